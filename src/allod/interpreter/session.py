"""The kernels over a workspace, and what allod itself looks up in it: the listing, the variables, the files written.

Hidden blocks are run for that (``probe``); their output never reaches the user or the model as it is.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from allod.interpreter import checks, listing, probe
from allod.interpreter.checks import Result
from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels.outputs import Failure, Output
from allod.interpreter.kernels.specs import find
from allod.interpreter.listing import Found, Listing
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.overlay import Difference

ASSIGNED = re.compile(r"(\w+) = ")
SHOWN = 4  # files written that are told one by one
State = dict[str, tuple[int, int] | None]  # path → (size, modification time), None: deleted


class Session:
    """A workspace and its kernels, one a language. ``kernel`` is Python's; the others start when they are needed.

    ``names`` are the paths of all files there are, as far as they were looked at.
    """

    def __init__(self, workspace: Workspace, kernel: Kernel) -> None:
        self.workspace = workspace
        self.kernel = kernel
        self.kernels = {kernel.language: kernel}
        self._running: Kernel | None = None
        self.names: set[str] = set()
        self.summary = ""  # what this turn wrote so far, for a person
        self.touched: list[str] = []  # files of the user's that the turn changed or removed
        self.work: dict[str, str] = {}  # the same, to be compared: path → digest of what it holds, empty if it is gone
        self._looked_at: dict[str, tuple[tuple[int, int] | None, Result]] = {}
        self._before: State = {}  # when the turn began
        self._last: State = {}  # after the last block

    async def run(self, code: str, language: str = "python", *, stdin: bool = True) -> AsyncGenerator[Output]:
        """Runs code in the kernel of its language. Leaving the loop early interrupts the code.

        Raises:
            Unsupported: no kernel is installed for it.
        """
        known = find(language)
        name = known.name if known else language
        if name not in self.kernels:
            self.kernels[name] = self.kernel.beside(name)
        self._running = self.kernels[name]
        try:
            async with aclosing(self._running.run(code, stdin=stdin)) as outputs:
                async for output in outputs:
                    yield output
        finally:
            self._running = None

    async def answer(self, text: str) -> None:
        """Answers the InputRequest of the code that runs."""
        if self._running is not None:
            await self._running.answer(text)

    @property
    def running(self) -> bool:
        """Whether code runs that can be interrupted."""
        return self._running is not None

    async def interrupt(self) -> None:
        """Stops the code that runs; variables stay."""
        for kernel in self.kernels.values():
            await kernel.interrupt()

    async def begin(self) -> None:
        """A new turn: what is written from here on is its work."""
        self._before = self._last = await self._state()

    async def look(self, task: str) -> Listing:
        """What the folder holds. Empty where it cannot be looked at."""
        found = probe.found(await self.hidden(probe.look(task, listing.SECONDS)), Listing) or Listing()
        self.names = {path for path, _ in found.names}
        return found

    async def variables(self) -> list[str]:
        """What the session's variables hold, a line each."""
        return probe.found(await self.hidden(probe.variables()), list[str]) or []

    async def read(self, found: Found) -> bool:
        """Runs the code that reads one file; whether it did."""
        outputs = await self.hidden("\n".join(found.load))
        return not any(isinstance(output, Failure) for output in outputs)

    async def linked(self, task: str, read: Sequence[Found]) -> list[str]:
        """What words of the task mean in what was read: values of a column, columns under a longer name."""
        names = list(dict.fromkeys(name[1] for each in read for line in each.load if (name := ASSIGNED.match(line))))
        found: list[str] = []
        if names:
            found += probe.found(await self.hidden(probe.linked(task, names)), list[str]) or []
        if names and (columns := checks.asked_columns(task)):
            found += probe.found(await self.hidden(probe.meant(columns, names)), list[str]) or []
        return found

    async def results(self, task: str) -> tuple[str, list[Result]]:
        """The files that the last block wrote, in words for the model; and all that this turn wrote."""
        differences = await asyncio.to_thread(self.workspace.differences)
        now = state(differences)
        turn = changed(self._before, now)
        block = changed(self._last, now)
        self._last = now
        self.names = (self.names | {path for path in now if now[path]}) - {path for path in now if not now[path]}
        theirs = {each.shown for each in differences if each.before is not None and each.before.kind != "folder"}
        self.touched = [path for path in turn if path in theirs]
        there = [path for path in turn if now.get(path)]
        results = await self._results(task, there, now)
        by_path = {result.path: result for result in results}
        self.summary = summed(turn, now, by_path)
        self.work = {path: by_path[path].digest if path in by_path else "" for path in turn}
        return told(block, now, self._before, by_path), results

    async def _results(self, task: str, paths: list[str], now: State) -> list[Result]:
        """What files hold; one that is as it was when it was looked at last is not looked at again."""
        fresh = [path for path in paths if path not in self._looked_at or self._looked_at[path][0] != now[path]]
        found: list[Result] = []
        if fresh:
            look = probe.look_at(fresh, checks.asked_columns(task), bool(checks.asked_order(task)[0]))
            found = probe.found(await self.hidden(look), list[Result]) or []
            self._looked_at |= {result.path: (now.get(result.path), result) for result in found}
        results = [self._looked_at[path][1] for path in paths if path in self._looked_at]
        return results or [Result(path) for path in paths]

    async def hidden(self, code: str) -> list[Output]:
        """Runs code whose output nobody sees."""
        return [output async for output in self.kernel.run(code, stdin=False)]

    async def _state(self) -> State:
        return await asyncio.to_thread(lambda: state(self.workspace.differences()))


def state(differences: list[Difference]) -> State:
    """Size and time of every changed file."""
    files = [d for d in differences if not all(n is None or n.kind == "folder" for n in (d.before, d.after))]
    return {d.shown: (d.after.size, d.after.mtime) if d.after is not None else None for d in files}


def changed(before: State, now: State) -> list[str]:
    """The paths that are not as they were. A change that was taken back counts too."""
    return [path for path in now if path not in before or before[path] != now[path]] + [
        p for p in before if p not in now
    ]


def told(paths: list[str], now: State, before: State, results: dict[str, Result]) -> str:
    """The files a block wrote: the first ones with what they hold, the others by name."""
    lines: list[str] = []
    gone = [path for path in paths if path in now and now[path] is None]
    there = [path for path in paths if now.get(path)]
    for path in there[:SHOWN]:
        result = results.get(path)
        about = f"{result.rows} rows, columns {', '.join(result.columns[:14])}" if result and result.columns else ""
        about = about or (result.about if result else "")
        lines.append(f"{'Changed' if path in before else 'New'} file {path}" + (f": {about}" if about else ""))
    if more := there[SHOWN:]:
        lines.append(f"and {len(more)} more: {', '.join(more[:SHOWN])}{' …' if len(more) > SHOWN else ''}")
    if gone:
        lines.append(
            f"Gone: {', '.join(gone[:SHOWN])}" + (f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else "")
        )
    return "\n".join(lines)


def summed(paths: list[str], now: State, results: dict[str, Result]) -> str:
    """What a turn wrote, as a sentence or two."""
    there = [path for path in paths if now.get(path)]
    gone = [path for path in paths if path in now and now[path] is None]
    said: list[str] = []
    if len(there) > SHOWN:
        said.append(f"{len(there)} files are new or changed: {', '.join(there[:SHOWN])} …")
    for path in there if len(there) <= SHOWN else ():
        result = results.get(path)
        held = (
            f" has {result.rows} rows, columns {', '.join(result.columns)}"
            if result and result.columns
            else " is there"
        )
        said.append(path + held)
    if gone:
        said.append(f"{len(gone)} files are gone or have another name" if len(gone) > 1 else f"{gone[0]} is gone")
    return ". ".join(said) + "." if said else ""
