"""Progress of pulls and creates: a bar for each blob on a terminal, plain lines elsewhere, JSON lines on demand.

    await show_pull(pull("smollm2", home, store, egress), "smollm2")

    pulling manifest
    pulling b179c9523d0e   45% ▕██████████▎            ▏  44 MB/98 MB   12 MB/s   4s
    success

Light ANSI instead of Rich, as ``allod run`` may pull before its first token. Knows only the Progress values; where the
bytes come from and how they are kept for the next try is for ``models.pull``.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TextIO

from msgspec import Struct, field

from allod.cli.output import clock, note, print_json_line, size, terminal
from allod.models.progress import Progress

EVERY = 0.1  # seconds between two pictures of the bars
WINDOW = 5.0  # seconds that the speed is taken over
PLAIN_STEP = 10  # per cent between two lines where there is no terminal
EIGHTHS = " ▏▎▍▌▋▊▉"


async def show_pull(
    events: AsyncIterator[Progress], name: str, command: str = "pull", *, as_json: bool = False
) -> None:
    """Shows a pull or a push to its end. Ctrl-C says that the next one goes on from here, and passes on."""
    bars = None if as_json else Bars()
    try:
        async for event in events:
            if bars is None:
                print_json_line(as_dict(event))
            else:
                bars.update(event)
    except (asyncio.CancelledError, KeyboardInterrupt):
        if bars is not None:
            bars.close()
            note(f"Stopped. What was transferred is kept: `allod {command} {name}` goes on from here.")
        raise
    finally:
        if bars is not None:
            bars.close()


def show_steps(events: Iterable[Progress], *, as_json: bool = False) -> None:
    """The same for work done in this thread (``create``)."""
    bars = None if as_json else Bars()
    try:
        for event in events:
            if bars is None:
                print_json_line(as_dict(event))
            else:
                bars.update(event)
    finally:
        if bars is not None:
            bars.close()


def as_dict(event: Progress) -> dict[str, object]:
    """The event as Ollama's /api/pull streams it."""
    fields: dict[str, object] = {"status": event.status}
    if event.digest:
        fields |= {"digest": event.digest, "total": event.total, "completed": event.completed}
    return fields


class Row(Struct):
    """One line: a step, or a blob on its way with the last seconds' (time, bytes)."""

    status: str
    total: int = 0
    completed: int = 0
    started: float = 0.0
    samples: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    told: int = -PLAIN_STEP  # per cent last printed as a plain line

    def add(self, completed: int, now: float) -> None:
        """Takes in how far it has come."""
        self.completed = completed
        self.samples.append((now, completed))
        while len(self.samples) > 2 and self.samples[1][0] < now - WINDOW:
            self.samples.popleft()

    @property
    def speed(self) -> float:
        """Bytes a second over the last seconds; what was here from an earlier pull does not count."""
        (t0, c0), (t1, c1) = self.samples[0], self.samples[-1]
        return (c1 - c0) / (t1 - t0) if t1 - t0 > 0.2 else 0.0

    @property
    def percent(self) -> int:
        """How much of it is here."""
        return min(100, 100 * self.completed // self.total) if self.total else 100


class Bars:
    """A list of lines on stderr, the ones that move redrawn in place."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.rows: dict[str, Row] = {}  # what still moves, and what began after it
        self.settled: set[str] = set()
        self.drawn = 0  # lines of the last picture, which the next one goes over
        self.last = 0.0

    def update(self, event: Progress) -> None:
        """Takes in one event; draws when it is time."""
        now = time.monotonic()
        key = event.digest or event.status
        if key in self.settled:
            return
        row = self.rows.get(key)
        fresh = row is None
        if row is None:
            row = self.rows[key] = Row(event.status, event.total, started=now)
        if event.total:
            row.total = event.total
            row.add(event.completed, now)
        if not self.live:
            self.print_plain(row, fresh)
        elif fresh or now - self.last >= EVERY or (event.total and event.completed >= event.total):
            self.draw(now)

    def close(self) -> None:
        """Draws the last state; what follows goes below it."""
        if self.live and self.rows:
            self.draw(time.monotonic())
        self.rows.clear()
        self.drawn = 0

    def draw(self, now: float) -> None:
        """Draws over the picture before. What is done and has nothing moving above it stays as drawn, for good."""
        self.last = now
        width, height = terminal()
        shown = list(self.rows.items())[-(height - 1) :]  # a line that has scrolled away cannot be drawn over
        up = f"\x1b[{self.drawn}A" if self.drawn else ""
        picture = "".join(f"\r{line(row, width, now)}\x1b[K\n" for _, row in shown)
        self.stream.write(f"{up}{picture}\x1b[J")
        self.stream.flush()
        self.drawn = len(shown)
        for key, row in shown:
            if row.completed < row.total:
                break
            self.settled.add(key)
            del self.rows[key]
            self.drawn -= 1

    def print_plain(self, row: Row, fresh: bool) -> None:
        """A line for each step, and for a blob one every ten per cent."""
        if not row.total:
            if fresh:
                print(row.status, file=self.stream, flush=True)
        elif row.percent // PLAIN_STEP > row.told // PLAIN_STEP:
            row.told = row.percent
            amount = f"{row.percent:3}%  {size(row.completed)}/{size(row.total)}"
            print(f"{row.status}  {amount}", file=self.stream, flush=True)


def line(row: Row, width: int, now: float) -> str:
    """One row as it looks at this moment, at most ``width - 1`` columns."""
    if not row.total:
        return row.status[: width - 1]
    left = f"{row.status:<21} {row.percent:3}% "
    done = row.completed >= row.total
    if done:
        right = (
            f" {size(row.total):>15}   {'':9}  {clock(now - row.started) if row.samples[0][1] < row.total else '':>6}"
        )
    else:
        speed = row.speed
        rest = clock((row.total - row.completed) / speed) if speed else ""
        pace = f"{size(speed)}/s" if speed else ""
        right = f" {size(row.completed) + '/' + size(row.total):>15}   {pace:>9}  {rest:>6}"
    room = width - 1 - len(left) - len(right) - 2
    if room < 8:
        return (left + right.strip())[: width - 1]
    return f"{left}▕{bar(row.completed / row.total, room)}▏{right}"


def bar(share: float, width: int) -> str:
    """A share of ``width`` columns filled, to an eighth of a column."""
    eighths = int(max(0.0, min(1.0, share)) * width * 8)
    full, part = divmod(eighths, 8)
    filled = "█" * full + (EIGHTHS[part] if part else "")
    return filled.ljust(width)
