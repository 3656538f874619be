"""Undo: exact, in order, and never over what the user did since."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_tools import shell, times_of, tree_of

from allod.errors import Conflict
from allod.home import Home
from allod.interpreter.workspace import Workspace, jobs
from allod.interpreter.workspace.undo import history, undo

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    (path / "deep").mkdir(parents=True)
    (path / "a.txt").write_text("a\n")
    (path / "deep" / "b.txt").write_text("b\n")
    return path


@pytest.fixture
def workspace(home: Home, folder: Path) -> Iterator[Workspace]:
    made = Workspace.create(home, folder)
    yield made
    made.discard()


async def test_undo_goes_back_one_by_one_newest_first(workspace: Workspace, home: Home, folder: Path) -> None:
    states, times = [tree_of(folder)], [times_of(folder)]
    for script in (
        "echo 1 > a.txt",
        "rm -r deep; mkdir deep; echo 2 > a.txt",
        "rm a.txt; mkdir a.txt; echo 3 > a.txt/in",
    ):
        await shell(workspace, script)
        workspace.apply()
        states.append(tree_of(folder))
        times.append(times_of(folder))
    assert [record.state for record in history(home)] == ["applied"] * 3
    for state, when in zip(states[-2::-1], times[-2::-1], strict=True):
        assert undo(home, folder) is not None
        assert tree_of(folder) == state
        assert times_of(folder) == when
    assert undo(home, folder) is None
    assert [record.state for record in history(home)] == ["undone"] * 3


async def test_undo_keeps_to_the_folder(home: Home, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for place in (folder, other):
        workspace = Workspace.create(home, place)
        await shell(workspace, "echo x > x")
        workspace.apply()
        workspace.discard()
    assert undo(home, tmp_path) is None
    undone = undo(home, folder)
    assert undone is not None
    assert undone.folder == str(folder)
    assert not (folder / "x").exists()
    assert (other / "x").exists()
    assert [(record.folder, record.state) for record in history(home)] == [
        (str(other), "applied"),
        (str(folder), "undone"),
    ]
    undone = undo(home)
    assert undone is not None
    assert undone.folder == str(other)


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: (folder / "a.txt").write_text("user\n"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "new").chmod(0o600),
        lambda folder: (folder / "deep").mkdir(),
        lambda folder: (folder / "a.txt").replace(folder / "new"),
    ],
)
async def test_what_the_user_did_since_is_a_conflict(workspace: Workspace, home: Home, folder: Path, act) -> None:
    before = tree_of(folder)
    await shell(workspace, "echo job > a.txt; echo new > new; rm -r deep")
    workspace.apply()
    act(folder)
    now = tree_of(folder)
    with pytest.raises(Conflict) as caught:
        undo(home, folder)
    assert str(folder) in caught.value.message
    assert tree_of(folder) == now
    assert [record.state for record in history(home)] == ["applied"]
    undo(home, folder, overwrite=True)
    assert tree_of(folder) == before


async def test_what_the_user_put_beside_stays(workspace: Workspace, home: Home, folder: Path) -> None:
    await shell(workspace, "mkdir out; echo job > out/job.txt; echo job > deep/b.txt")
    workspace.apply()
    (folder / "out" / "mine.txt").write_text("mine\n")
    (folder / "mine.txt").write_text("mine\n")
    undo(home, folder)
    assert (folder / "out" / "mine.txt").read_text() == "mine\n"
    assert (folder / "mine.txt").read_text() == "mine\n"
    assert not (folder / "out" / "job.txt").exists()
    assert (folder / "deep" / "b.txt").read_text() == "b\n"


async def test_a_folder_that_is_gone_is_a_conflict(workspace: Workspace, home: Home, folder: Path) -> None:
    await shell(workspace, "echo job > a.txt")
    workspace.apply()
    folder.rename(folder.parent / "moved")
    with pytest.raises(Conflict, match="cannot be read"):
        undo(home)
    (folder.parent / "moved").rename(folder)
    assert undo(home) is not None


async def test_the_users_later_edit_does_not_reach_the_backup(workspace: Workspace, home: Home, folder: Path) -> None:
    """Backups are hard links where they can be; a file written in place must not change them."""
    await shell(workspace, "echo job > a.txt; rm deep/b.txt")
    workspace.apply()
    undo(home, folder)
    with (folder / "a.txt").open("a") as file:
        file.write("in place\n")
    await shell(workspace, "true")
    workspace.apply(["deep/b.txt"])
    undo(home, folder)
    assert (folder / "deep" / "b.txt").read_text() == "b\n"
    assert (folder / "a.txt").read_text() == "a\nin place\n"


async def test_backups_on_another_disk_are_copies(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, times = tree_of(folder), times_of(folder)

    def other_disk(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    workspace = Workspace.create(home, folder)
    await shell(workspace, "echo job > a.txt; rm deep/b.txt; chmod 600 a.txt")
    monkeypatch.setattr(os, "link", other_disk)
    workspace.apply()
    undo(home, folder)
    assert tree_of(folder) == before
    assert times_of(folder) == times
    workspace.discard()


async def test_broken_records_are_passed_over(workspace: Workspace, home: Home, folder: Path) -> None:
    await shell(workspace, "echo job > a.txt")
    workspace.apply()
    root = jobs.jobs_folder(home)
    (root / "20200101-000000-abc" / "applied" / "1").mkdir(parents=True)
    (root / "20200101-000000-abc" / "applied" / "1" / "journal.json").write_text('{"folder": 5')
    (root / "20200102-000000-abc").mkdir()
    (root / "20200102-000000-abc" / "job.json").write_bytes(b"\xff\x00")
    (root / "a file").write_text("x")
    assert [record.state for record in history(home)] == ["applied"]
    assert undo(home) is not None


async def test_changes_json_missing_after_a_kill(workspace: Workspace, home: Home, folder: Path) -> None:
    await shell(workspace, "echo job > a.txt; echo new > new; rm deep/b.txt")
    applied = workspace.apply()
    (workspace.path / "applied" / "1" / "changes.json").unlink()
    assert history(home)[0].paths == ("a.txt", "deep/b.txt", "new")
    undone = undo(home)
    assert undone is not None
    assert {c.path: c.kind for c in undone.changes} == {"a.txt": "changed", "deep/b.txt": "created", "new": "deleted"}
    assert len(applied.changes) == 3
