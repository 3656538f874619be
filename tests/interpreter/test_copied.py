"""Layers that are copies: what holds for them besides what holds for all layers (``test_workspace``)."""

import os
import shutil
from pathlib import Path

import pytest
from workspace_tools import shell, tree_of

from allod.errors import Conflict, DiskFull
from allod.home import Home
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.grants import parse
from allod.interpreter.workspace.undo import history, undo

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_overlays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "overlays", False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    (path / "deep" / "er").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.txt", "deep/er/d.txt"):
        (path / name).write_text(name + "\n")
    (path / "link").symlink_to("a.txt")
    os.utime(path / "a.txt", ns=(10**18, 10**18 + 123456789))
    return path


def kinds(workspace: Workspace) -> dict[str, str]:
    return {change.path: change.kind for change in workspace.changes()}


async def test_a_copy_is_the_folder_and_no_part_of_it(home: Home, folder: Path) -> None:
    (folder / "deep").chmod(0o750)
    (folder / "b.txt").chmod(0o640)
    os.link(folder / "b.txt", folder / "hard")
    with Workspace.create(home, folder) as workspace:
        assert tree_of(workspace.upper) == tree_of(folder)
        assert (workspace.upper / "a.txt").stat().st_mtime_ns == (folder / "a.txt").stat().st_mtime_ns
        inodes = {path.lstat().st_ino for path in folder.rglob("*")}
        assert not inodes & {path.lstat().st_ino for path in workspace.upper.rglob("*")}
        assert workspace.changes() == []
        workspace.discard()
    assert history(home) == []


async def test_what_only_the_user_changed_is_no_difference(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    (folder / "a.txt").write_text("user\n")
    (folder / "b.txt").unlink()
    shutil.rmtree(folder / "deep")
    (folder / "mine").mkdir()
    (folder / "mine" / "x").write_text("x")
    (folder / "link").unlink()
    (folder / "link").mkdir()
    assert workspace.changes() == []
    await shell(workspace, "echo job > new.txt")
    assert kinds(workspace) == {"new.txt": "created"}
    workspace.apply()
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "link", "mine", "new.txt"]
    assert (folder / "a.txt").read_text() == "user\n"
    await shell(workspace, "echo job > deep/c.txt; rm a.txt")
    assert kinds(workspace) == {"a.txt": "deleted", "deep/c.txt": "created"}
    with pytest.raises(Conflict, match=r"a\.txt, deep, deep/c\.txt"):
        workspace.apply()
    workspace.discard()


async def test_a_time_set_back_hides_nothing(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    await shell(workspace, "touch -r a.txt t; printf 'A.TXT\\n' > a.txt; touch -r t a.txt; rm t")
    assert (workspace.upper / "a.txt").stat().st_mtime_ns == (folder / "a.txt").stat().st_mtime_ns
    assert kinds(workspace) == {"a.txt": "changed"}
    workspace.discard()


async def test_applied_undone_and_applied_again(home: Home, folder: Path) -> None:
    before = tree_of(folder)
    workspace = Workspace.create(home, folder)
    await shell(workspace, "rm -r deep; echo 1 > a.txt; echo new > n.txt; rm link; mkdir link")
    changes = kinds(workspace)
    workspace.apply()
    after = tree_of(folder)
    assert workspace.changes() == []
    undo(home)
    assert tree_of(folder) == before
    assert kinds(workspace) == changes
    workspace.apply(overwrite=True)
    assert tree_of(folder) == after
    await shell(workspace, "rm n.txt a.txt")
    assert kinds(workspace) == {"a.txt": "deleted", "n.txt": "deleted"}
    workspace.apply()
    assert sorted(path.name for path in folder.iterdir()) == ["b.txt", "link"]
    workspace.discard()


async def test_forks_of_copies_of_several_folders(home: Home, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "o.txt").write_text("o\n")
    workspace = Workspace.create(home, folder, parse(folders=[other], read=[]))
    await shell(workspace, 'rm b.txt; echo 1 > one; echo 1 >> "$1/o.txt"', str(other))
    fork = workspace.fork()
    (folder / "a.txt").write_text("user\n")
    assert {c.place for c in fork.changes()} == {"b.txt", "one", f"{other}/o.txt"}
    await shell(fork, 'rm "$1/o.txt"; echo 2 > two', str(other))
    assert {c.place for c in workspace.changes()} == {"b.txt", "one", f"{other}/o.txt"}
    fork.apply()
    assert list(other.iterdir()) == []
    assert (folder / "two").exists()
    assert (folder / "a.txt").read_text() == "user\n"
    for each in (workspace, fork):
        each.discard()


async def test_no_space_for_a_copy_is_told_before_anything(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "big").write_bytes(b"x" * 200_000)
    (folder / "sparse").touch()
    os.truncate(folder / "sparse", 1 << 30)
    with Workspace.create(home, folder) as workspace:  # the holes take no space
        assert (workspace.upper / "sparse").stat().st_size == 1 << 30
        assert (workspace.upper / "sparse").stat().st_blocks * 512 < 100_000
        workspace.discard()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 150_000))
    with pytest.raises(DiskFull, match=r"needs a copy .* 150,000 free") as caught:
        Workspace.create(home, folder)
    assert "allod doctor" in caught.value.remedy
    monkeypatch.undo()
    assert history(home) == []
    assert not [path for path in home.folder("jobs").iterdir() if path.is_dir()]


async def test_what_is_hidden_or_cannot_be_copied_is_neither_there_nor_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    (user / ".ssh").mkdir(parents=True)
    (user / ".ssh" / "id").write_text("key")
    (user / ".netrc").write_text("password")
    (user / "notes").mkdir()
    os.mkfifo(user / "notes" / "pipe")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("ALLOD_HOME", str(tmp_path / "allod"))
    workspace = Workspace.create(Home.open(), user)
    assert sorted(path.name for path in workspace.upper.rglob("*")) == ["notes"]
    assert workspace.changes() == []
    await shell(workspace, "mkdir .ssh; echo forged > .ssh/id; echo x > notes/x; echo forged > .netrc")
    assert kinds(workspace) == {"notes/x": "created"}
    workspace.apply()
    assert (user / ".ssh" / "id").read_text() == "key"
    assert (user / ".netrc").read_text() == "password"
    workspace.discard()


async def test_a_job_that_was_killed_is_pending_only_where_it_changed_something(home: Home, folder: Path) -> None:
    for script, states in (("true", []), ("echo x > x", ["pending"])):
        workspace = Workspace.create(home, folder)
        await shell(workspace, script)
        workspace.close()
        assert [record.state for record in history(home)] == states
        workspace.discard()
