"""Every rung of the ladder that works here, really run: kernels over copies, and what code cannot do there."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from allod.errors import BadRequest, SandboxFailed
from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.sandbox import Limits, View, bubblewrap, environment, ladder, landlock
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.grants import parse

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
pytestmark = pytest.mark.anyio
RUNGS = [pytest.param("landlock", marks=needs_landlock), "none"]


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


@needs_landlock
@pytest.mark.parametrize("granted", [{"net": ["example.com"]}, {"packages": True}])
async def test_grants_that_it_cannot_give_are_refused(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch, granted: dict[str, object]
) -> None:
    monkeypatch.setenv("ALLOD_SANDBOX", "landlock")
    with pytest.raises(BadRequest, match="landlock, cannot do --") as caught:
        Workspace.create(home, folder, parse(**granted))  # type: ignore[arg-type]
    assert "doctor" in caught.value.remedy


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
