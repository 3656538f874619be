"""Two lines and an exit code; a traceback only when asked for."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Allod, Run

from allod import errors
from allod.cli import failures
from allod.home import Home


def reported(capsys: pytest.CaptureFixture[str], error: BaseException, debug: bool = False) -> tuple[int, list[str]]:
    code = failures.report(error, debug)
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadName("no name", "Give one."), 2),
        (errors.ModelNotFound("no model", "Give one."), 1),
        (errors.Offline("no network", "Give one."), 1),
        (errors.TooLarge("no room", "Give one."), 1),
        (errors.Cancelled("stopped", "Give one."), 130),
    ],
)
def test_an_error_is_two_lines_and_its_exit_code(
    capsys: pytest.CaptureFixture[str], error: errors.AllodError, code: int
):
    assert reported(capsys, error) == (code, [f"Error: {error.message}", "Give one."])


def test_an_error_within_a_task_group_is_found(capsys: pytest.CaptureFixture[str]):
    async def fails() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(10))
            group.create_task(raises())

    async def raises() -> None:
        raise errors.Busy("full", "Wait.")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(fails())
    assert reported(capsys, caught.value) == (1, ["Error: full", "Wait."])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_disk_refuses_is_no_bug(capsys: pytest.CaptureFixture[str], number: int):
    code, lines = reported(capsys, OSError(number, os.strerror(number), "/place"))
    assert code == 1
    assert "/place" in lines[0] and "bug" not in lines[0] and len(lines) == 2


def test_a_bug_says_so_and_how_to_see_more(capsys: pytest.CaptureFixture[str]):
    code, lines = reported(capsys, KeyError("x"))
    assert code == 70
    assert lines[0] == "Error: this is a bug in allod: KeyError: 'x'" and "--debug" in lines[1]


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]):
    try:
        raise errors.Busy("full", "Wait.")
    except errors.Busy as error:
        code, lines = reported(capsys, error, debug=True)
    assert code == 1
    assert lines[0].startswith("Traceback") and lines[-2:] == ["Error: full", "Wait."]


@pytest.mark.parametrize(
    ("args", "words", "debug"),
    [
        (["list", "--debug"], ["list"], True),
        (["--debug", "list"], ["list"], True),
        (["run", "m", "--", "--debug"], ["run", "m", "--", "--debug"], False),
        (["list"], ["list"], False),
    ],
)
def test_debug_is_taken_from_anywhere_before_two_dashes(args: list[str], words: list[str], debug: bool):
    assert failures.take_debug(args) == (words, debug)


@pytest.mark.parametrize(("value", "debug"), [("1", True), ("0", False), ("", False)])
def test_debug_by_variable(monkeypatch: pytest.MonkeyPatch, value: str, debug: bool):
    monkeypatch.setenv("ALLOD_DEBUG", value)
    assert failures.take_debug(["list"])[1] is debug


# ── the whole program ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("home")
def test_an_unknown_model(allod: Allod):
    done = allod("show", "nothing-like-it")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "Error: model 'nothing-like-it' not found"
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "a b", "x" * 5000, "a:b:c/d", "\x1b[31m", "UPPER/lower:tag\n"]
)
def test_hostile_names_are_refused_as_names(run: Run, name: str):
    code, out, err = run("show", "--", name)
    assert code in (1, 2) and out == ""
    assert err.startswith("Error: ") and len(err) < 1000 and "\x1b" not in err


def test_wrong_settings(allod: Allod, home: Home):
    home.config.mkdir(parents=True)
    (home.config / "config.toml").write_text("offlin = true\n")
    done = allod("list")
    assert done.returncode == 2
    assert "offlin" in done.stderr and "Did you mean 'offline'?" in done.stderr


def test_usage_errors_are_typers(allod: Allod):
    done = allod("lst")
    assert done.returncode == 2
    assert "No such command 'lst'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("home")
def test_a_reader_that_goes_away_is_not_an_error():
    done = subprocess.run(
        f"{sys.executable} -m allod --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")  # 0: all of it had been written before the pipe closed


@pytest.mark.usefixtures("home")
def test_output_into_a_full_disk_is_an_error(allod: Allod):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with Path("/dev/full").open("w") as full:
        done = allod("list", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert done.returncode == 1
    assert "no space left" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("home")
def test_ctrl_c_ends_with_130_and_no_words(tmp_path: Path):
    """Stopped while it reads a FIFO that nobody writes to."""
    fifo = tmp_path / "Modelfile"
    os.mkfifo(fifo)
    child = subprocess.Popen(
        [Path(sys.executable).with_name("allod"), "create", "x", "-f", str(fifo)], stderr=subprocess.PIPE, text=True
    )
    writer = os.open(fifo, os.O_WRONLY)  # returns when the other side has opened it
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    os.close(writer)
    assert (child.returncode, err) == (130, "")
