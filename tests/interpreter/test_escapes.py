"""Red team: code that tries to get out of the sandbox, as root and as an ordinary user, on each rung that confines.

Every attempt of ``escape_attempts`` is made for real, in one start of each sandbox, and judged by what is outside. The
same code is run without a sandbox first: an attempt that does nothing there shows nothing here.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import as_nobody
import pytest
from escape_attempts import ATTEMPTS, SOURCE
from escape_world import World

from allod.home import Home
from allod.interpreter.sandbox import Limits, environment, ladder, landlock, seccomp
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.grants import parse

ROOT = os.geteuid() == 0
RUNGS = ("bubblewrap", "landlock")
# Not promised by a Landlock that is older than this, which the sandbox says (`Landlock.lacks`).
SINCE = {"tcp": 4, "tcp_by_any_address": 4, **dict.fromkeys(("kill_it", "kill_its_group", "kill_its_thread"), 6),
         **dict.fromkeys(("queue_a_signal", "signal_by_descriptor", "signal_by_a_file"), 6)}  # fmt: skip


class Outcome:
    """What the attempts said, and which of them did what they tried."""

    def __init__(self, world: World, said: dict[str, str]) -> None:
        self.said = said
        self.escaped = {name for name, text in said.items() if world.escaped(name, text)}


def arguments(world: World, names: list[str]) -> list[str]:
    return [sys.executable, "-c", SOURCE, json.dumps(world.known), " ".join(names)]


def outside(place: Path) -> Outcome:
    """Without a sandbox, those that harm nothing."""
    names = [name for name, (_, _, who) in ATTEMPTS.items() if who == "anyone" or (ROOT and who == "root")]
    with World(place) as world:
        work = place / "work"
        work.mkdir()
        world.known["own_mounts"] = ROOT
        done = subprocess.run(
            arguments(world, names), cwd=work, env={**os.environ, **world.environment()}, close_fds=False,
            capture_output=True, text=True, errors="replace", timeout=60, check=True,
        )  # fmt: skip
        return Outcome(world, json.loads(done.stdout.splitlines()[-1]))


async def inside(place: Path, rung: str) -> Outcome:
    """In the sandbox of a workspace over the folder, with another folder to read."""
    with World(place) as world, pytest.MonkeyPatch.context() as patch:
        for name, value in (world.environment() | {"ALLOD_HOME": str(place / "home")}).items():
            patch.setenv(name, value)
        patch.setenv("ALLOD_SANDBOX", rung)
        home = Home.open()
        home.db().close()
        home.config.mkdir(parents=True, exist_ok=True)
        (home.config / "key").write_text(world.token)
        (home.data / "key").write_text(world.token)
        world.known["private"] += [str(home.config / "key"), str(home.data / "key"), str(home.data / "allod.db")]
        workspace = Workspace.create(home, world.folder, parse(read=[str(world.given)]))
        try:
            command = arguments(world, list(ATTEMPTS))
            process = await ladder.best(rung).spawn(workspace.view, command, environment(), Limits())
            assert process.bwrap.stdout is not None
            text = (await asyncio.wait_for(process.bwrap.stdout.read(), 60)).decode(errors="replace")
            status = await process.wait()
            assert status == 0, text[-3000:]
            return Outcome(world, json.loads(text.splitlines()[-1]))
        finally:
            workspace.discard()


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not in pytest's own folder, whose path is too long for some of it."""
    with tempfile.TemporaryDirectory(prefix="allod-escapes-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def control(place: Path) -> Outcome:
    (place / "control").mkdir()
    return outside(place / "control")


@pytest.fixture(scope="module", params=RUNGS)
def confined(request: pytest.FixtureRequest, place: Path) -> tuple[str, Outcome]:
    rung = request.param
    if (rung == "landlock" and not landlock.version()) or (rung == "bubblewrap" and not ladder.bubblewrap()[0]):
        pytest.skip(f"{rung} does not work here")
    (place / rung).mkdir()
    return rung, asyncio.run(inside(place / rung, rung))


@pytest.mark.parametrize("name", ATTEMPTS)
def test_it_does_not_get_out(name: str, confined: tuple[str, Outcome]) -> None:
    rung, outcome = confined
    if not seccomp.supported() and ATTEMPTS[name][1] == "past":
        pytest.skip("no filter of system calls for this processor")
    if rung == "landlock" and landlock.version() < SINCE.get(name, 0):
        pytest.skip("this kernel's Landlock does not promise it")
    assert name not in outcome.escaped, outcome.said[name][:2000]


@pytest.mark.parametrize("name", [name for name, (_, _, who) in ATTEMPTS.items() if who])
def test_without_a_sandbox_it_does(name: str, control: Outcome) -> None:
    if ATTEMPTS[name][2] == "root" and not ROOT:
        pytest.skip("only root could")
    if control.said[name] == "no -38\n":
        pytest.skip("this kernel has no such call")
    assert name in control.escaped, control.said[name][:2000]


@pytest.mark.skipif(not ROOT, reason="runs as an ordinary user anyway")
def test_all_of_it_as_an_ordinary_user() -> None:
    as_nobody.run(*(f"test_escapes{more}.py" for more in ("", "_applied", "_running")))
