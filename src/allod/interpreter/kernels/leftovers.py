"""What a block of code started and left running when it was stopped: programs that do not heed an interrupt.

    leftovers = Leftovers(kernel_pid)     # before the block runs
    leftovers.look()                      # before it is interrupted, while they still hang together
    await leftovers.end()                 # once it has stopped

The kernel itself, and what earlier blocks started, is not touched. A process is known by its pid and the time it began,
and is killed through a descriptor, so that no other one ever gets what was meant for it.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from allod.interpreter.sandbox.limits import descendants

GRACE = 0.4  # seconds that they have to end by themselves after an interrupt
PAUSE = 0.02  # seconds between looks
Process = tuple[int, int]  # pid, and when it began in ticks of the machine's clock


class Leftovers:
    """Of one block, in the kernel with that pid."""

    def __init__(self, kernel: int) -> None:
        self._kernel = kernel
        self._before = set(below(kernel))
        self._found: set[Process] = set()

    def look(self) -> None:
        """Notes what runs now: an orphan cannot be told from the rest of the sandbox any more."""
        self._found.update(each for each in below(self._kernel) if each not in self._before)

    @property
    def _left(self) -> list[Process]:
        return [each for each in self._found if began(each[0]) == each[1]]

    async def end(self) -> None:
        """Kills what is left after a moment."""
        self.look()
        await self._gone()
        for process in self._left:
            for each in (process, *(one for one in below(process[0]) if one not in self._before)):
                kill(*each)
        await self._gone()
        self._found.clear()

    async def _gone(self) -> None:
        """Waits until none is left, for a moment: an end takes its time, be it by a signal that nothing withstands."""
        for _ in range(int(GRACE / PAUSE)):
            if not self._left:
                break
            await asyncio.sleep(PAUSE)


def below(pid: int) -> list[Process]:
    """The processes below one, that itself not."""
    return [(each, at) for each in descendants(pid)[1:] if (at := began(each))]


def began(pid: int) -> int:
    """When a process began; 0 where it is no more, or only waits to be buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def kill(pid: int, began_at: int) -> None:
    """Kills that very process."""
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if began(pid) == began_at:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
