"""Asking the person at the terminal: one of several letters, one of several things; and Ctrl-C while a job runs."""

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence


async def asked(question: str, letters: str) -> str:
    """One of the letters; ``n`` for Ctrl-C and Ctrl-D."""
    from allod.cli.reader import Interrupted, Reader

    reader = Reader(None)
    while True:
        try:
            answer = (await reader.line(question, None)).strip().lower()[:1]
        except (Interrupted, EOFError):
            return "n"
        if answer and answer in letters:
            return answer


async def picked(question: str, lines: Sequence[str]) -> int | None:
    """The place of one of the lines, which are shown with numbers; None for none of them."""
    from allod.cli.reader import Interrupted, Reader

    for n, line in enumerate(lines, 1):
        print(f"{n:>3}  {line}", file=sys.stderr)
    reader = Reader(None)
    while True:
        try:
            answer = (await reader.line(f"{question} [1-{len(lines)}] ", None)).strip()
        except (Interrupted, EOFError):
            return None
        if not answer:
            return None
        if answer.isdecimal() and 0 < int(answer) <= len(lines):
            return int(answer) - 1


class Interrupts:
    """For its time, Ctrl-C calls ``first``; a second one within the same job ends the program's work."""

    def __init__(self, first: Callable[[], None]) -> None:
        self.first = first
        self.count = 0
        self.task = asyncio.current_task()

    def __enter__(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._signal)

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _signal(self) -> None:
        self.count += 1
        if self.count == 1:
            print(file=sys.stderr)
            self.first()
        elif self.task is not None:
            self.task.cancel()
