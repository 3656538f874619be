"""Fast streams a few events at a time: the system holds bytes back until a moment's worth has come together.

    with Gathering(writer) as gathering:
        while data := await reader.read(…):
            gathering.came(len(data))

Every time a process wakes up it takes a core from one of the model's threads, and all of them wait for that one. Above
some 50 tokens a second nobody sees them come one by one, so `SO_RCVLOWAT` says how many bytes there must be before this
process is woken: those of 50 ms at the stream's pace. Slower streams pass event by event, and what was held back is let
go when the stream stalls. Only for connections that the other side closes at the end, which wakes in any case.
"""

import asyncio
import socket
import time

SPAN = 0.05  # seconds of a stream that come together
PATIENCE = 4 * SPAN  # after so long without a byte, what is held back is let go
SMOOTH = 0.2  # the newest piece's weight in the pace
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
        self._pace = 0.0  # bytes a second
        self._watch: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Gathering":
        return self

    def came(self, size: int) -> None:
        """So many bytes were just read."""
        now = time.monotonic()  # the loop's own may stand still within a round
        if self._last:
            pace = size / max(now - self._last, 0.001)
            stalled = pace < self._pace / 4
            self._pace = pace if stalled else self._pace + SMOOTH * (pace - self._pace)
        self._last = now
        least = min(LARGEST, int(SPAN * self._pace))
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
