"""What a task is, and where all of them are.

    class Loans(Task):
        kind, prompts = "join", ("Which books …",)
        def make(self, folder, rng): ...          # builds the files; returns what the check has to know
        def check(self, folder, said, facts): ... # raises Wrong
        solution = "…"                            # Python that does the job in the folder and prints the answer
        wrong = ("# forgets the filter\n…",)      # Python whose result must not pass

``make`` depends on nothing but ``rng``. What is in the folder beforehand must still be there, byte for byte, but for
the paths that match ``changes``. The facts are computed from what was made, never by the code of the solution.
"""

import hashlib
import importlib
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from random import Random
from typing import Any, ClassVar

HERE = Path(__file__).parent
FAMILIES = (
    "numbers",
    "tables",
    "rows",
    "formats",
    "settings",
    "office",
    "texts",
    "pictures",
    "folders",
    "archives",
    "stores",
    "turns",
    "sums",
    "groups",
    "exports",
    "documents",
    "lines",
)


class Wrong(Exception):
    """Why a result is not what was asked for, in a line."""


class Task:
    """One job. A subclass is a task, under its own name."""

    kind: ClassVar[str]
    prompts: ClassVar[tuple[str, ...]]
    solution: ClassVar[str]
    wrong: ClassVar[tuple[str, ...]]
    changes: ClassVar[tuple[str, ...]] = ()
    known: ClassVar[dict[str, type["Task"]]] = {}

    def __init_subclass__(cls) -> None:
        assert cls.__name__ not in Task.known, cls.__name__
        Task.known[cls.__name__] = cls

    @property
    def name(self) -> str:
        """``LateTrains`` is late-trains."""
        letters = type(self).__name__
        return "".join(("-" if c.isupper() and at else "") + c.lower() for at, c in enumerate(letters))

    def make(self, folder: Path, rng: Random) -> Any:
        """Builds the files in the folder, which is empty; returns the facts."""

    def check(self, folder: Path, said: str, facts: Any) -> None:
        """Raises Wrong unless folder and answer are as asked for."""
        raise NotImplementedError


class Job:
    """A task set up in a folder: ``complaint`` says what is wrong with a result, or nothing."""

    def __init__(self, task: Task, folder: Path, data: int = 1) -> None:
        self.task = task
        self.folder = folder
        self.facts = task.make(folder, Random(f"{task.name} {data}"))
        self.before = digests(folder)

    def complaint(self, said: str, folder: Path | None = None) -> str:
        """Empty where the result is right. ``folder``: a copy that was worked in."""
        folder = folder or self.folder
        now = digests(folder)
        for path, digest in self.before.items():
            if not any(fnmatch(path, pattern) for pattern in self.task.changes) and now.get(path) != digest:
                return f"{path} is {'changed' if path in now else 'gone'}, which nobody asked for"
        try:
            self.task.check(folder, readable(said), self.facts)
        except Wrong as wrong:
            return str(wrong) or "wrong"
        return ""


def readable(said: str) -> str:
    """As much of an answer as a person would read: its beginning and its end."""
    return said if len(said) <= 10_000 else f"{said[:4000]}\n…\n{said[-6000:]}"


def digests(folder: Path) -> dict[str, str]:
    """What each file holds, by path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def everything() -> dict[str, Task]:
    """All tasks by name, in the order of their families."""
    for family in FAMILIES:
        importlib.import_module(f"suite.tasks.{family}")
    tasks = [each() for each in Task.known.values()]
    return {task.name: task for task in tasks}


def split() -> dict[str, list[str]]:
    """Which names are in which half; fixed before anything was measured."""
    halves = tomllib.loads((HERE.parent / "split.toml").read_text())
    return {half: [name for pair in halves[half].values() for name in pair] for half in ("tune", "report")}
