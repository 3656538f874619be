"""kill -9 at any moment: when the next command has run, every folder is as before, or every folder is as after."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_tools import times_of, tree_of

from allod.home import Home
from allod.interpreter.workspace.undo import history, undo

TIMES = 30
SEED = 4


class Child:
    """The process of ``killed_child.py``."""

    def __init__(self, folders: list[Path]) -> None:
        here = Path(__file__).parent
        self.process = subprocess.Popen(
            [sys.executable, str(here / "killed_child.py"), *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == ("ready", 0)

    def line(self) -> tuple[str, float]:
        assert self.process.stdout is not None
        said, took = self.process.stdout.readline().split()
        return said, float(took)

    def run(self, act: str, kill_after: float | None = None) -> tuple[str, float]:
        """Has it ``apply`` or ``undo``; killed after some seconds. How it ended, and after how long."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{act} {kill_after or ''}\n")
        self.process.stdin.flush()
        return self.line()


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Three folders with files of every kind."""
    made = [tmp_path / name for name in ("one", "two", "three")]
    for folder in made:
        (folder / "gone" / "deep").mkdir(parents=True)
        (folder / "folder").mkdir()
        for name in (*(f"old{n}" for n in range(1, 11)), "gone/a", "gone/deep/b", "file", "folder/in", "mode"):
            (folder / name).write_text(f"{folder.name} {name}\n")
        (folder / "link").symlink_to("old1")
    return made


@pytest.fixture
def child(home: Home, folders: list[Path]) -> Iterator[Child]:
    made = Child(folders)
    yield made
    made.process.kill()
    made.process.communicate()


def test_killed_at_random_moments(home: Home, folders: list[Path], child: Child) -> None:
    before, times = [tree_of(folder) for folder in folders], [times_of(folder) for folder in folders]
    said, apply_takes = child.run("apply")
    assert said == "done"
    after = [tree_of(folder) for folder in folders]
    assert all(one != other for one, other in zip(before, after, strict=True))
    said, undo_takes = child.run("undo")
    assert said == "done"
    assert [tree_of(folder) for folder in folders] == before

    dice = random.Random(SEED)
    there = before
    between = 0  # kills after which a folder was neither
    outcomes: set[tuple[str, bool]] = set()
    for n in range(TIMES):
        act, target = ("apply", after) if there == before else ("undo", before)
        takes = apply_takes if act == "apply" else undo_takes
        said, _ = child.run(act, dice.uniform(0, takes * 1.5))
        assert said in ("done", "killed"), (n, said)
        found = [tree_of(folder) for folder in folders]
        between += said == "killed" and found not in (before, after)
        if said == "killed" and dice.random() < 0.5:
            child.run("history", dice.uniform(0, takes))  # which puts it right, and is killed too
        states = [record.state for record in history(home)]  # what any command does first
        now = [tree_of(folder) for folder in folders]
        assert now in (before, after), (n, act)
        assert (states[0] == "applied") == (now == after), (n, act)
        if now == before:
            assert [times_of(folder) for folder in folders] == times, (n, act)
        if said == "done":
            assert now == target, (n, act)
        outcomes.add((act, now == target))
        there = now
    assert between >= 3, "no kill came in the middle"
    assert {act for act, _ in outcomes} == {"apply", "undo"}
    assert any(not reached for _, reached in outcomes)
    if there == after:
        undo(home)
    assert [tree_of(folder) for folder in folders] == before
    assert not [path for folder in folders for path in folder.iterdir() if path.name.startswith(".allod")]


def test_the_command_line_puts_it_right(home: Home, folders: list[Path], child: Child) -> None:
    before = [tree_of(folder) for folder in folders]
    _, takes = child.run("apply")
    after = [tree_of(folder) for folder in folders]
    child.run("undo")
    for part in (0.9, 0.8, 0.7, 0.6, 0.95):
        child.run("apply", takes * part)
        if [tree_of(folder) for folder in folders] not in (before, after):
            break
        undo(home)
    done = subprocess.run(
        [sys.executable, "-m", "allod", "changes", "--json"], cwd=folders[0], capture_output=True, text=True, check=True
    )
    now = [tree_of(folder) for folder in folders]
    assert now in (before, after)
    states = [record["state"] for record in json.loads(done.stdout)]
    assert ("applied" in states) == (now == after)
