"""Every rung of the ladder that works here, really run: kernels over copies, and what code cannot do there."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace_tools import output

from allod.errors import BadRequest, BadSettings, SandboxFailed
from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.sandbox import Limits, Sandbox, View, bubblewrap, environment, ladder, landlock, seatbelt
from allod.interpreter.workspace import Workspace, fonts
from allod.interpreter.workspace.grants import parse
from allod.interpreter.workspace.undo import undo

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
pytestmark = pytest.mark.anyio
RUNGS = [pytest.param("landlock", marks=needs_landlock), "none"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    user = tmp_path / "user"
    path = user / "work"
    path.mkdir(parents=True)
    (path / "a.txt").write_text("a\n")
    (path / "b.txt").write_text("b\n")
    (user / ".ssh").mkdir()
    (user / ".ssh" / "id_ed25519").write_text("SECRET\n")
    monkeypatch.setenv("HOME", str(user))
    return path


@contextlib.asynccontextmanager
async def kernel_on(
    rung: str, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch, **granted: list[str]
) -> AsyncIterator[Kernel]:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    monkeypatch.setenv("ALLOD_SANDBOX", rung)
    workspace = Workspace.create(home, folder, parse(**granted)) if granted else Workspace.create(home, folder)
    assert workspace.job.copied
    try:
        async with Kernel.start(workspace, Limits(wall=60)) as kernel:
            assert kernel.sandbox.name == rung
            yield kernel
    finally:
        workspace.discard()


async def run(kernel: Kernel, code: str) -> str:
    return await output(kernel, textwrap.dedent(code))


# ── which one ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_best_that_works_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    works = ladder.bubblewrap()[0] is not None
    assert Sandbox.find().name == "bubblewrap" or not works
    monkeypatch.setattr(ladder, "bubblewrap", lambda: (None, "setting up uid map: Permission denied"))
    monkeypatch.setattr(landlock, "version", lambda: 4)
    found = Sandbox.find()
    assert (found.name, found.confines, found.overlays, found.mounts) == ("landlock", True, False, False)
    assert any("signal" in lack for lack in found.lacks)
    monkeypatch.setattr(landlock, "version", lambda: 0)
    found = Sandbox.find()
    assert (found.name, found.confines) == ("none", False)
    monkeypatch.setenv("ALLOD_SANDBOX", "bubblewrap")
    with pytest.raises(SandboxFailed, match="uid map") as caught:
        Sandbox.find()
    assert "user namespaces" in caught.value.remedy
    monkeypatch.setenv("ALLOD_SANDBOX", "landlock")
    with pytest.raises(SandboxFailed, match="no Landlock"):
        Sandbox.find()
    monkeypatch.setenv("ALLOD_SANDBOX", "none")
    assert not Sandbox.find().confines
    monkeypatch.setenv("ALLOD_SANDBOX", "chroot")
    with pytest.raises(BadSettings, match="chroot"):
        Sandbox.find()


@pytest.mark.parametrize("script", ["echo 'bwrap: No permissions' >&2; exit 1", "kill -9 $$"])
def test_a_bubblewrap_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(f"#!/bin/sh\n{script}\n")
    broken.chmod(0o755)
    monkeypatch.setattr(ladder, "find_bwrap", lambda: broken)
    ladder.bubblewrap.cache_clear()
    try:
        assert ladder.bubblewrap()[0] is None
        assert Sandbox.find().name != "bubblewrap"
    finally:
        ladder.bubblewrap.cache_clear()


def test_the_profile_for_macos_names_real_places(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" \\c'
    view = View(odd, odd / "upper", odd, odd / "home", odd / "tmp", hidden=(odd / "hidden",))
    said = seatbelt.profile(view)
    assert "(deny default)" in said
    assert 'a \\"b\\" \\\\c/upper")' in said
    assert said.index("hidden") > said.index("upper")
    assert "network-outbound" not in said
    assert said.count("(") == said.count(")")


# ── kernels ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rung", RUNGS)
async def test_code_changes_a_copy_which_is_applied_and_undone(
    rung: str, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with kernel_on(rung, home, folder, monkeypatch) as kernel:
        workspace = kernel.workspace
        said = await run(
            kernel,
            """
            import os, pathlib, shutil, subprocess, tempfile, threading
            import pandas
            print(sorted(os.listdir(".")), open("a.txt").read().strip())
            pandas.DataFrame({"x": [1, 2]}).to_csv("t.csv", index=False)
            open("a.txt", "w").write("new\\n"); os.remove("b.txt")
            shutil.copy2("a.txt", "c.txt")
            subprocess.run(["bash", "-c", "mkdir d; echo hi | sort > d/e"], check=True)
            with tempfile.TemporaryFile() as file: file.write(b"x")
            (pathlib.Path.home() / "note").write_text("x")
            thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
            child = os.fork()
            if not child: os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """,
        )
        assert "['a.txt', 'b.txt'] a\n" in said, said
        assert said.endswith("thread\n3\n"), said
        assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "b.txt"]
        changes = {change.path: change.kind for change in workspace.changes()}
        assert changes == {"a.txt": "changed", "b.txt": "deleted", "c.txt": "created", "d/e": "created",
                           "t.csv": "created"}, changes  # fmt: skip
        workspace.apply()
        assert (folder / "a.txt").read_text() == "new\n"
        assert not (folder / "b.txt").exists()
        undo(home)
        assert (folder / "a.txt").read_text() == "a\n"
        assert not (folder / "t.csv").exists()


@needs_landlock
async def test_no_privileges_and_a_filter(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with kernel_on("landlock", home, folder, monkeypatch) as kernel:
        assert await run(kernel, "1 + 1") == "2"
        status = Path(f"/proc/{kernel.machine.pids[-1]}/status").read_text()
        for line in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
            assert line in status
        assert os.geteuid() or "CapBnd:\t0000000000000000" in status  # others may not give it up, and have no use of it


@needs_landlock
async def test_what_is_hidden_of_a_readable_folder_stays_hidden(tmp_path: Path) -> None:
    (tmp_path / "r" / "in" / "secret").mkdir(parents=True)
    (tmp_path / "r" / "in" / "open").mkdir()
    found = dict(landlock.without(tmp_path / "r", (tmp_path / "r" / "in" / "secret",)))
    assert found == {
        str(tmp_path / "r"): landlock.READ_DIR,
        str(tmp_path / "r" / "in"): landlock.READ_DIR,
        str(tmp_path / "r" / "in" / "open"): landlock.RUN,
    }


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("flag", ["--net", "--packages", "--add-folder"])
async def test_grants_that_it_cannot_give_are_refused(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rung: str, flag: str
) -> None:
    monkeypatch.setenv("ALLOD_SANDBOX", rung)
    (tmp_path / "more").mkdir()
    granted = {"--net": {"net": ["example.com"]}, "--packages": {"packages": True}}.get(flag)
    with pytest.raises(BadRequest) as caught:
        Workspace.create(home, folder, parse(**granted or {"folders": [tmp_path / "more"]}))  # type: ignore[arg-type]
    assert caught.value.message == f"the sandbox that is used here, {rung}, cannot do {flag}"
    assert caught.value.remedy == "Leave that out, or have bubblewrap used: `allod doctor` says how."
    assert list((home.data / "jobs").glob("*-*")) == []


async def test_a_job_of_another_kind_of_sandbox_is_not_gone_on_with(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ladder.bubblewrap()[0] is None:
        pytest.skip("bubblewrap does not work here")
    workspace = Workspace.create(home, folder)
    monkeypatch.setenv("ALLOD_SANDBOX", "none")
    async with Kernel.start(workspace, Limits()) as kernel:
        with pytest.raises(SandboxFailed, match="another kind of sandbox than none"):
            await kernel.ready()
    workspace.discard()


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────

ORPHANS = "setsid sh -c 'setsid sleep 1000 & echo $! > pid; sleep 1000' > /dev/null 2>&1 & until [ -s pid ]; do :; done"


async def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        await asyncio.sleep(0.01)
    return False


def view_of(folder: Path) -> View:
    for name in ("upper", "work", "home", "tmp"):
        (folder / name).mkdir()
    return View(folder, *(folder / name for name in ("upper", "work", "home", "tmp")))


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("killed", [True, False])
async def test_what_left_the_session_ends_too(rung: str, killed: bool, folder: Path) -> None:
    view = view_of(folder)
    sandbox = ladder.best(rung)
    process = await sandbox.spawn(view, ["sh", "-c", ORPHANS + ("; sleep 1000" if killed else "; exit 5")],
                                  environment(), Limits())  # fmt: skip
    pid = view.upper / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        await asyncio.sleep(0.01)
    if killed:
        process.kill()
    assert await asyncio.wait_for(process.wait(), 10) == (137 if killed else 5)
    assert await gone(int(pid.read_text()))


@pytest.mark.parametrize("rung", RUNGS)
async def test_it_ends_with_allod(rung: str, folder: Path) -> None:
    view = view_of(folder)
    code = f"""
        import asyncio, os, sys
        from pathlib import Path
        from allod.interpreter.sandbox import Limits, View, environment, ladder
        async def main():
            view = View(*map(Path, {[str(p) for p in (view.folder, view.upper, view.work, view.home, view.tmp)]!r}))
            await ladder.best({rung!r}).spawn(view, ["sh", "-c", {ORPHANS!r} + "; sleep 1000"], environment(), Limits())
            await asyncio.sleep(1000)
        asyncio.run(main())
    """
    allod = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    pid = view.upper / "pid"
    began = time.monotonic()
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.01)
    allod.kill()
    allod.wait()
    assert await gone(int(pid.read_text()))


@pytest.mark.parametrize("rung", RUNGS)
async def test_a_program_that_is_not_there_is_told(rung: str, folder: Path) -> None:
    with pytest.raises(SandboxFailed, match="No such file"):
        await ladder.best(rung).spawn(view_of(folder), ["/no/such"], environment(), Limits())


@needs_landlock
def test_words_that_name_places_are_translated(tmp_path: Path) -> None:
    view = view_of(tmp_path)
    names = landlock.translations(view)
    said = landlock.translated(f"{bubblewrap.INSIDE_HOME}/.config/x", names)
    assert said == f"{view.home}/.config/x"
    assert landlock.translated("/tmp", names) == str(view.tmp)
    assert landlock.translated("/tmpx", names) == "/tmpx"
    assert landlock.translated("/run/homes", names) == "/run/homes"
