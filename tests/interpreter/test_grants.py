"""Grants: what is asked for is given and nothing else; what makes no sense is told in words."""

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest
from workspace_tools import output, shell, tree_of

from allod.egress.ledger import Ledger
from allod.errors import AllodError, BadRequest, Conflict, NotFound, ReadOnly
from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels.outputs import Stream
from allod.interpreter.workspace import Grants, Workspace, reach, transaction
from allod.interpreter.workspace.grants import parse
from allod.interpreter.workspace.undo import history, undo
from models.servers import FileServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "a.txt").write_text("a\n")
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    (path / "deep").mkdir(parents=True)
    (path / "b.txt").write_text("b\n")
    (path / "deep" / "c.txt").write_text("c\n")
    return path


def test_parse_keeps_each_thing_once(other: Path, folder: Path) -> None:
    grants = parse(read=[other, str(other)], folders=[folder], net=["a.org", "A.org"], packages=True)
    assert grants == Grants((other,), (folder,), ("a.org",), True)
    assert parse() == Grants()
    assert grants.outside
    assert not parse(packages=True).outside


@pytest.mark.parametrize("text", ["/", "/etc", "/proc/self", "/dev", "/home", "/sys"])
def test_folders_of_the_system_are_not_granted(text: str) -> None:
    for wanted in ({"read": [text]}, {"folders": [text]}):
        with pytest.raises(BadRequest, match="belongs to the system"):
            parse(**wanted)


def test_folders_that_cannot_be_granted(folder: Path, other: Path, tmp_path: Path, home: Home) -> None:
    for bad in ("missing", "nul\0", "~nobody-of-this-name/x"):
        with pytest.raises(NotFound, match="no folder"):
            parse(read=[tmp_path / bad])
    with pytest.raises(BadRequest, match="is not a folder"):
        parse(folders=[folder / "a.txt"])
    with pytest.raises(BadRequest, match="is in"):
        parse(folders=[other, other / "deep"])
    with pytest.raises(BadRequest, match="is in"):
        parse(folders=[other], read=[other / "deep"])
    link = tmp_path / "link"
    link.symlink_to(other)
    for grants in (parse(folders=[other / "deep"]), parse(folders=[link]), parse(read=[other / "deep"])):
        with pytest.raises(BadRequest, match=r"is in|own folder"):
            Workspace.create(home, other, grants)
    with pytest.raises(BadRequest, match="is in"):
        Workspace.create(home, other / "deep", parse(folders=[other]))
    for own in (home.data, home.config):
        own.mkdir(parents=True, exist_ok=True)
        with pytest.raises(BadRequest, match="allod's own"):
            Workspace.create(home, folder, parse(read=[own]))
        with pytest.raises(BadRequest, match="allod's own"):
            Workspace.create(home, folder, parse(folders=[own]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_read(other: Path) -> None:
    other.chmod(0)
    try:
        with pytest.raises(ReadOnly):
            parse(read=[other])
    finally:
        other.chmod(0o700)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AllodError) as caught:
        parse(net=["https://example.org/x"])
    assert "example.org:8080" in caught.value.remedy


def test_forks_keep_the_grants(home: Home, folder: Path, other: Path) -> None:
    grants = parse(read=[other], net=["example.org"])
    with Workspace.create(home, folder, grants) as workspace:
        assert workspace.grants == grants
        fork = workspace.fork()
        assert fork.grants == grants
        fork.discard()
        workspace.discard()


# ── several folders ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_further_folders_are_changed_listed_and_applied_as_the_first(
    home: Home, folder: Path, other: Path, tmp_path: Path
) -> None:
    third = tmp_path / "third"
    third.mkdir()
    before = [tree_of(path) for path in (folder, other, third)]
    workspace = Workspace.create(home, folder, parse(folders=[other, third]))
    await shell(workspace, 'echo 1 > new; echo 2 > "$1/new"; rm -r "$1/deep"; echo more >> "$1/b.txt"', str(other))
    assert [tree_of(path) for path in (folder, other, third)] == before
    assert {(c.folder, c.path): c.kind for c in workspace.changes()} == {
        ("", "new"): "created",
        (str(other), "new"): "created",
        (str(other), "b.txt"): "changed",
        (str(other), "deep/c.txt"): "deleted",
    }
    assert {c.place for c in workspace.changes()} >= {"new", f"{other}/new"}
    assert "+more" in next(c.diff for c in workspace.changes() if c.path == "b.txt")
    applied = workspace.apply()
    assert len(applied.changes) == 4
    assert (folder / "new").read_text() == "1\n"
    assert (other / "new").read_text() == "2\n"
    assert not (other / "deep").exists()
    assert workspace.changes() == []
    assert not [path for path in (*folder.iterdir(), *other.iterdir()) if path.name.startswith(".allod")]
    assert [(record.folder, record.more) for record in history(home)] == [(str(folder), (str(other),))]
    assert str(other / "new") in history(home)[0].paths
    assert undo(home, third) is None
    undone = undo(home, other)  # wherever it is asked for, all of it
    assert undone is not None
    assert {c.place: c.kind for c in undone.changes}[f"{other}/new"] == "deleted"
    assert [tree_of(path) for path in (folder, other, third)] == before
    workspace.discard()


async def test_apply_some_of_several_folders(home: Home, folder: Path, other: Path) -> None:
    workspace = Workspace.create(home, folder, parse(folders=[other]))
    await shell(workspace, 'echo 1 > same; echo 2 > "$1/same"; echo 3 > "$1/deep/x"', str(other))
    workspace.apply(["same"])
    assert (folder / "same").exists()
    assert not (other / "same").exists()
    with pytest.raises(NotFound):
        workspace.apply(["deep/x"])
    applied = workspace.apply([f"{other}/deep/"])
    assert [(c.folder, c.path) for c in applied.changes] == [(str(other), "deep/x")]
    workspace.apply([str(other)])
    assert (other / "same").read_text() == "2\n"
    assert workspace.changes() == []
    workspace.discard()


async def test_a_conflict_in_one_folder_keeps_all_as_they_are(home: Home, folder: Path, other: Path) -> None:
    workspace = Workspace.create(home, folder, parse(folders=[other]))
    await shell(workspace, 'echo job > a.txt; echo job > "$1/b.txt"; echo job > b.txt', str(other))
    (other / "b.txt").write_text("user\n")
    with pytest.raises(Conflict) as caught:
        workspace.apply()
    assert str(other / "b.txt") in caught.value.message
    assert (folder / "a.txt").read_text() == "a\n"
    assert not (folder / "b.txt").exists()
    workspace.apply(overwrite=True)
    assert (other / "b.txt").read_text() == "job\n"
    (other / "b.txt").write_text("user again\n")
    with pytest.raises(Conflict) as caught:
        undo(home, folder)
    assert str(other / "b.txt") in caught.value.message
    assert (folder / "a.txt").read_text() == "job\n"
    undo(home, folder, overwrite=True)
    assert (other / "b.txt").read_text() == "user\n"
    assert (folder / "a.txt").read_text() == "a\n"
    workspace.discard()


async def test_a_further_folder_that_cannot_be_written_fails_all(
    home: Home, folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.create(home, folder, parse(folders=[other]))
    await shell(workspace, 'echo job > a.txt; rm -r "$1/deep"; echo job > "$1/b.txt"; echo job > "$1/z"', str(other))
    before = [tree_of(path) for path in (folder, other)]
    for failing in range(1, 60):
        count = 0

        def fail(_: str, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(30, "Read-only file system")

        monkeypatch.setattr(transaction, "checkpoint", fail)
        try:
            workspace.apply()
        except ReadOnly:
            monkeypatch.setattr(transaction, "checkpoint", lambda _: None)
            assert [tree_of(path) for path in (folder, other)] == before, failing
        else:
            break
    assert failing >= 15
    assert (other / "z").exists()
    workspace.discard()


async def test_forks_begin_with_all_folders_as_they_are(home: Home, folder: Path, other: Path) -> None:
    workspace = Workspace.create(home, folder, parse(folders=[other]))
    await shell(workspace, 'echo 1 > one; rm -r "$1/deep"; echo 1 > "$1/one"', str(other))
    fork = workspace.fork()
    await shell(fork, 'test -e one; test ! -e "$1/deep"; cat "$1/one"; echo 2 > "$1/two"', str(other))
    assert f"{other}/two" not in {c.place for c in workspace.changes()}
    assert {c.place for c in fork.changes()} == {"one", f"{other}/one", f"{other}/two", f"{other}/deep/c.txt"}
    fork.apply()
    assert (other / "two").exists()
    await shell(workspace, 'echo another > "$1/one"', str(other))
    with pytest.raises(Conflict):
        workspace.apply()
    for each in (workspace, fork):
        each.discard()
        assert not each.layers.exists()


async def test_settings_in_a_further_folder_stay_hidden(
    home: Home, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    (user / ".ssh").mkdir(parents=True)
    (user / ".ssh" / "id").write_text("secret\n")
    (user / "notes").write_text("notes\n")
    monkeypatch.setenv("HOME", str(user))
    for grants in (parse(folders=[user]), parse(read=[user])):
        workspace = Workspace.create(home, folder, grants)
        said = await shell(workspace, 'ls -A "$1/.ssh"; cat "$1/notes"', str(user))
        assert said == "notes\n"
        workspace.discard()


# ── folders to read ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_folder_to_read_is_seen_and_cannot_be_written(home: Home, folder: Path, other: Path) -> None:
    workspace = Workspace.create(home, folder, parse(read=[other]))
    before = tree_of(other)
    said = await shell(
        workspace,
        'cat "$1/b.txt" "$1/deep/c.txt"; ! echo x > "$1/b.txt"; ! touch "$1/x"; ! rm "$1/b.txt";'
        '! chmod 600 "$1/b.txt"; cp "$1/b.txt" copy.txt',
        str(other),
    )  # fmt: skip
    assert said.startswith("b\nc\n")
    assert "Read-only file system" in said
    assert tree_of(other) == before
    assert [c.path for c in workspace.changes()] == ["copy.txt"]
    workspace.discard()


async def test_sockets_in_a_granted_folder_do_not_answer(home: Home, tmp_path: Path) -> None:
    """A program outside that listens there would do things for the code."""
    places = [tmp_path / name for name in ("w", "r", "f")]
    listeners: list[socket.socket] = []
    for place in places:
        place.mkdir()
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(str(place / "s"))
        listeners[-1].listen()
    workspace = Workspace.create(home, places[0], parse(read=[places[1]], folders=[places[2]]))
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for place in places:
        said = await shell(workspace, '! "$1" -c "$2" "$3"', sys.executable, code, str(place / "s"))
        assert "ConnectionRefusedError" in said
    workspace.discard()
    for listener in listeners:
        listener.close()


async def test_hidden_settings_may_be_granted_one_by_one(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tmp_path / "user"
    for name in (".config/app", ".config/other"):
        (user / name).mkdir(parents=True)
        (user / name / "settings").write_text(name + "\n")
    monkeypatch.setenv("HOME", str(user))
    workspace = Workspace.create(home, user, parse(read=[user / ".config" / "app"]))
    assert await shell(workspace, "cat .config/app/settings; ls .config; ! touch .config/app/x 2>&-") == (
        ".config/app\napp\n"
    )
    workspace.discard()


def test_the_temporary_folder_is_not_granted(home: Home, folder: Path) -> None:
    with pytest.raises(BadRequest, match="another one"):
        Workspace.create(home, folder, parse(read=["/tmp"]))


async def test_what_is_not_granted_is_not_there(home: Home, folder: Path, other: Path) -> None:
    workspace = Workspace.create(home, folder)
    assert await shell(workspace, '! test -e "$1"; ls -A', str(other)) == "a.txt\n"
    workspace.discard()


async def test_the_folder_may_lie_in_one_to_read(home: Home, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    (outer / "beside").write_text("beside\n")
    workspace = Workspace.create(home, outer / "inner", parse(read=[outer]))
    said = await shell(workspace, "cat ../beside; echo x > x; ! touch ../y 2>/dev/null; ls ..")
    assert said == "beside\nbeside\ninner\n"
    assert [c.path for c in workspace.changes()] == ["x"]
    workspace.discard()


# ── hosts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

FETCH = "import sys, urllib.request; sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"


async def test_code_reaches_granted_hosts_through_the_ledger_and_nothing_else(home: Home, folder: Path) -> None:
    with FileServer({"/file": b"from outside"}) as server, FileServer({"/file": b"no"}) as other:
        with Workspace.create(home, folder, parse(net=[server.host])) as workspace:
            said = await shell(workspace, '"$1" -c "$2" "$3"', sys.executable, FETCH, f"{server.url}/file")
            assert said == "from outside"
            said = await shell(workspace, '! "$1" -c "$2" "$3"', sys.executable, FETCH, f"{other.url}/file")
            assert f"HTTP Error 403: {other.host} is not granted to this job (allod do --net {other.host})" in said
            direct = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5)"
            said = await shell(workspace, '! "$1" -c "$2" "$3"', sys.executable, direct, str(server.port))
            assert "ConnectionRefusedError" in said
        assert other.requests() == []
        rows = [(row["purpose"], row["port"], row["outcome"]) for row in Ledger(home).rows()]
        assert rows == [("job", other.port, "refused"), ("job", server.port, "done")]
        workspace.discard()


async def test_shell_tools_find_the_way_too(home: Home, folder: Path) -> None:
    if shutil.which("curl", path="/usr/bin:/bin") is None:
        pytest.skip("curl is not installed")
    with FileServer({"/file": b"from outside"}) as server:
        workspace = Workspace.create(home, folder, parse(net=[server.host]))
        assert await shell(workspace, 'curl -sS "$1"', f"{server.url}/file") == "from outside"
        workspace.discard()


async def test_without_a_grant_there_is_no_way(home: Home, folder: Path) -> None:
    with FileServer({"/file": b"no"}) as server:
        workspace = Workspace.create(home, folder)
        said = await shell(workspace, 'env; ! "$1" -c "$2" "$3"', sys.executable, FETCH, f"{server.url}/file")
        assert "URLError" in said
        assert "_PROXY" not in said
        assert server.requests() == []
        assert Ledger(home).rows() == []
        workspace.discard()


async def test_a_kernel_reaches_them_and_an_interrupt_does_not_end_the_way(home: Home, folder: Path) -> None:
    with FileServer({"/file": b"from outside"}) as server:
        workspace = Workspace.create(home, folder, parse(net=[server.host]))
        async with Kernel.start(workspace) as kernel:
            fetch = f"import urllib.request; print(urllib.request.urlopen('{server.url}/file').read())"
            assert "from outside" in await output(kernel, fetch)
            async for each in kernel.run("print('now', flush=True); import time; time.sleep(60)"):
                if isinstance(each, Stream):
                    await kernel.interrupt()
            assert "from outside" in await output(kernel, fetch)
        workspace.discard()
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    assert not list(base.glob(f"{reach.PREFIX}{os.getpid()}-*"))


async def test_what_is_not_granted_is_told_with_what_is(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder, parse(net=["example.org", "*.example.com"]))
    async with Kernel.start(workspace) as kernel:
        said = await output(kernel, "import socket; socket.create_connection(('192.0.2.1', 80), 5)")
        assert "only example.org *.example.com can be reached" in said
    workspace.discard()
