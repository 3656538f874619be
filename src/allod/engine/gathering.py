"""Fast streams a few events at a time: the system holds bytes back until a moment's worth has come together.

    with Gathering(writer) as gathering:
        while data := await reader.read(…):
            gathering.came(len(data))

Every time a process wakes up it takes a core from one of the model's threads, and all of them wait for that one. Above
some 50 tokens a second nobody sees them come one by one, so `SO_RCVLOWAT` says how many bytes there must be before this
process is woken: those of 60 ms at the stream's pace. Slower streams pass event by event, and what was held back is let
go when the stream stalls. Only for connections that the other side closes at the end, which wakes in any case.
"""

import asyncio
import socket
import time

SPAN = 0.06  # seconds of a stream that come together
PATIENCE = 4 * SPAN  # after so long without a byte, what is held back is let go
FADE = 0.7  # what the pieces before the newest one still weigh in the pace
EVENT = 256  # bytes: about what llama.cpp sends for a token
LARGEST = 16 * 1024  # bytes, well within the smallest receive buffer
AVAILABLE = hasattr(socket, "SO_RCVLOWAT")


class Gathering:
    """Of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.least = 1  # bytes that there must be
        self._socket: socket.socket = writer.get_extra_info("socket")
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._bytes = 0.0  # these two, of the pieces so far with the older ones faded, make the pace
        self._seconds = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Gathering":
        return self

    def came(self, size: int) -> None:
        """So many bytes were just read."""
        now = time.monotonic()  # the loop's own may stand still within a round
        if self._last:
            took = max(now - self._last, 0.0001)
            stalled = size * self._seconds * 4 < self._bytes * took
            fade = 0.0 if stalled else FADE
            self._bytes = fade * self._bytes + size
            self._seconds = fade * self._seconds + took
        self._last = now
        least = min(LARGEST, int(SPAN * self._bytes / self._seconds)) if self._seconds else 1
        if least < 2 * EVENT:
            least = 1
        if abs(least - self.least) > self.least // 4:  # each change is a call of the system
            self._set(least)

    def _set(self, least: int) -> None:
        self.least = least
        if AVAILABLE:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
        if least > 1 and not self._watch:
            self._watch = self._loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        """Lets go what is held back if nothing has come for long."""
        self._watch = None
        if self.least == 1:
            return
        left = self._last + PATIENCE - time.monotonic()
        if left <= 0:
            self._set(1)
        else:
            self._watch = self._loop.call_later(left, self._look)

    def __exit__(self, *error: object) -> None:
        if self._watch:
            self._watch.cancel()
