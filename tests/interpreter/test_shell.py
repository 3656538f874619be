"""The shell beside Python: what lives on, what is an error, and that nothing ends or hangs the session."""

import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels.outputs import Failure, Notice, Output, Stream
from allod.interpreter.sandbox import Limits
from allod.interpreter.workspace import Workspace, fonts

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@contextlib.asynccontextmanager
async def shell(home: Home, folder: Path, limits: Limits | None = None) -> AsyncIterator[Kernel]:
    workspace = Workspace.create(home, folder)
    try:
        async with Kernel.start(workspace, limits or Limits(wall=30), "shell") as kernel:
            yield kernel
    finally:
        workspace.discard()


async def outputs(kernel: Kernel, code: str) -> list[Output]:
    return [output async for output in kernel.run(code)]


async def printed(kernel: Kernel, code: str) -> str:
    """What it prints; fails where it fails."""
    found = await outputs(kernel, code)
    assert not [each for each in found if isinstance(each, Failure)], found
    return "".join(each.text for each in found if isinstance(each, Stream))


async def failure(kernel: Kernel, code: str) -> Failure:
    found = [each for each in await outputs(kernel, code) if isinstance(each, Failure)]
    assert len(found) == 1, (code, found)
    return found[0]


async def test_state_lives_on(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        first = "mkdir sub; cd sub; export WORD=fern; declare -A map=([a]=1); list=(x 'y z')\nf() { echo f:$1; }\n"
        assert await printed(kernel, first + "alias g='echo aliased'; set -- one two; shopt -s nullglob") == ""
        later = 'basename "$PWD"; sh -c \'echo $WORD\'; echo ${map[a]} "${list[1]}" $2; f x; g; echo *.none'
        assert (await printed(kernel, later)).splitlines() == ["sub", "fern", "1 y z two", "f:x", "aliased", ""]


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        ("exit 3", "Exit", "status 3"),
        ("exit 0", "Exit", "status 0"),
        ("f() { exit 4; }; f", "Exit", "status 4"),
        ("fi", "SyntaxError", "unexpected token `fi'"),
        ("if true; then\necho x", "SyntaxError", "unexpected end of file"),
        ("echo 'open", "SyntaxError", "looking for matching"),
        ("cat <<END\nno end", "SyntaxError", "here-document"),
        ("echo $(", "SyntaxError", ""),
        ("exec true", "Exit", "replaced"),
        ("exec /nowhere/program", "Exit", "status 127"),
        ("kill -9 $$", "Exit", "SIGKILL"),
        ("kill $$; sleep 1", "Exit", "SIGTERM"),
        ("trap 'echo mine' EXIT; exit 5", "Exit", "status 5"),
        ("set -e\nfalse\necho not", "ExitStatus", "false: exit status 1"),
        ("set -u; echo $nothing", "Exit", "status 1"),
        ("true\nls /nowhere", "ExitStatus", "ls /nowhere: exit status 2"),
        ("no_such_program", "ExitStatus", "exit status 127"),
        ("set -o pipefail; false | cat", "ExitStatus", "status 1"),
        ("a\0b", "SyntaxError", "NUL"),
    ],
)
async def test_oddities_are_errors_and_the_session_lives(
    home: Home, folder: Path, code: str, name: str, said: str
) -> None:
    async with shell(home, folder) as kernel:
        await printed(kernel, "x=5; mkdir sub; cd sub; f2() { echo f2 $x; }")
        found = await failure(kernel, code)
        assert found.name == name
        assert said in found.message
        assert await printed(kernel, "f2; basename $PWD; echo $-; false || true") != ""
        assert (await printed(kernel, "f2; basename $PWD")).splitlines() == ["f2 5", "sub"]


async def test_what_a_block_did_before_its_exit_lives_on(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        found = await outputs(kernel, "x=7; cd /tmp; echo before; exit 1; echo after")
        assert Stream("stdout", "before\n") in found
        assert await printed(kernel, "echo $x $PWD") == "7 /tmp\n"


async def test_the_line_that_failed_is_named(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        found = await failure(kernel, "echo one\n\nif true; then\n  grep nothing /dev/null\nfi")
        assert (found.line, found.source) == (4, "grep nothing /dev/null")
        assert found.text == "line 4: grep nothing /dev/null\nExitStatus: grep nothing /dev/null: exit status 1"
        found = await failure(kernel, "echo 'a'\nfor x in 1 2; do")
        assert found.line == 3 or found.line == 2


@pytest.mark.parametrize("code", ["[ -f nope ] && echo yes", "if false; then :; fi", "! true", "break", "false; true"])
async def test_what_fails_on_purpose_is_no_error(home: Home, folder: Path, code: str) -> None:
    async with shell(home, folder) as kernel:
        await printed(kernel, code)
        assert await printed(kernel, "echo on") == "on\n"


async def test_output_of_every_kind(home: Home, folder: Path) -> None:
    async with shell(home, folder, Limits(wall=60, shown=2000)) as kernel:
        assert await outputs(kernel, "echo out; echo err >&2; sleep 0.1; echo end") != []
        found = await outputs(kernel, "echo err >&2")
        assert found == [Stream("stderr", "err\n")]
        assert await printed(kernel, r"printf '\xff\xc3'; sleep 0.1; printf '\xa9\n'") == "\ufffdé\n"
        assert await printed(kernel, "head -c 300 /dev/zero | tr '\\0' '\\200'") == "\ufffd" * 300
        assert await printed(kernel, "printf 'no newline'") == "no newline"
        text = await printed(kernel, "seq 1000000")
        assert text.startswith("1\n2\n") and text.endswith("999999\n1000000\n") and "left out" in text
        assert len(text) < 2200
        whole = max(kernel.workspace.output.iterdir())
        assert whole.read_text() == "".join(f"{n}\n" for n in range(1, 1_000_001))
        assert await printed(kernel, "exec >log; echo in the log") == ""
        assert await printed(kernel, "cat log") == "in the log\n"


async def test_what_looks_like_an_end_is_not_taken_for_one(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        code = r"printf '0\0\0\0\0end\0'; printf '0\0\0\0\0end\0' >&2; sleep 0.1; echo after"
        assert (await printed(kernel, code)).endswith("after\n")


async def test_stdin_is_empty(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        assert await printed(kernel, "read line || echo $?; cat; python3 -c 'import sys; print(sys.stdin.read())'") == (
            "1\n\n"
        )


@pytest.mark.parametrize(
    "code",
    [
        "echo began; sleep 60431",
        "echo began; while :; do :; done",
        "(trap '' INT; echo began; sleep 60431; sleep 60431)",
    ],
)
async def test_interrupts_end_the_whole_group_within_two_seconds(home: Home, folder: Path, code: str) -> None:
    async with shell(home, folder) as kernel:
        await printed(kernel, "x=5; sleep 60432 & echo $! > job")
        with anyio.fail_after(6):
            async with contextlib.aclosing(kernel.run(code)) as found:
                failed: list[Output] = []
                began = time.monotonic()
                async for each in found:
                    if isinstance(each, Stream):
                        began = time.monotonic()
                        await kernel.interrupt()
                    failed.append(each)
        assert time.monotonic() - began < 2.5
        assert isinstance(failed[-1], Failure) and failed[-1].name == "KeyboardInterrupt"
        assert "60431" not in running(kernel)
        assert await printed(kernel, "echo $x") == "5\n"
        # What must be killed takes the jobs in the background along, as they are of the group.
        assert ("60432" in running(kernel)) == ("trap" not in code)


def running(kernel: Kernel) -> str:
    """The command lines of what runs in the sandbox."""
    lines: list[str] = []
    for pid in kernel.machine.pids:
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    return "\n".join(lines)


async def test_background_jobs_go_on_and_can_be_waited_for(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        assert await printed(kernel, "(sleep 0.3; echo done > made) & echo started") == "started\n"
        assert await printed(kernel, "wait; cat made") == "done\n"


async def test_a_shell_that_ends_between_two_blocks_is_replaced(home: Home, folder: Path) -> None:
    async with shell(home, folder) as kernel:
        await printed(kernel, "x=5")
        for pid in kernel.machine.pids:
            if "/dev/fd/" in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
        with anyio.fail_after(5):
            while "/dev/fd/" in running(kernel):
                await anyio.sleep(0.05)
        assert await printed(kernel, "echo $x\r\necho lines\r\n") == "5\nlines\n"


async def test_limits_are_kept_by_the_shell_too(home: Home, folder: Path) -> None:
    async with shell(home, folder, Limits(wall=30, idle=1)) as kernel:
        await printed(kernel, "x=5")
        found = await outputs(kernel, "sleep 600")
        assert isinstance(found[-1], Failure) and found[-1].name == "TimeLimit"
        assert await printed(kernel, "echo $x") == "5\n"
    async with shell(home, folder, Limits(wall=1, idle=0)) as kernel:
        found = await outputs(kernel, "while :; do echo y; done | tail -n 1")
        assert isinstance(found[-1], Failure) and found[-1].name == "TimeLimit"
    async with shell(home, folder, Limits(wall=30, disk=30 << 20)) as kernel:
        found = await outputs(kernel, "for n in 1 2 3 4 5 6 7 8; do head -c 8M /dev/zero > $n.bin; done; sleep 20")
        assert isinstance(found[-1], Failure) and found[-1].name == "DiskLimit"
        again = await outputs(kernel, "echo on")
        assert isinstance(again[0], Notice) and again[1] == Stream("stdout", "on\n")


async def test_python_and_the_shell_share_one_sandbox(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    async with Kernel.start(workspace, Limits(wall=30)) as python:
        bash = python.beside("bash")
        await outputs(python, "open('a.txt', 'w').write('from Python')\nx = 5")
        assert await printed(bash, "cat a.txt; echo from bash > b.txt; y=6") == "from Python"
        assert await outputs(python, "print(open('b.txt').read(), end='')") == [Stream("stdout", "from bash\n")]
        # Each may die without the other.
        await outputs(python, "import os; os._exit(1)")
        assert await printed(bash, "echo $y") == "6\n"
        assert isinstance((await outputs(python, "x"))[-1], Failure)
        await outputs(bash, "kill -9 $PPID")
        assert [type(each) for each in await outputs(bash, "echo $y")] == [Notice, Stream]
        assert await outputs(python, "x = 1\nprint(x)") == [Stream("stdout", "1\n")]
        pids = python.machine.pids
    assert not [pid for pid in pids if alive(pid)]
    assert not list(folder.iterdir())
    workspace.discard()


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def test_a_socket_put_in_a_kernels_place_is_not_connected_to(home: Home, folder: Path, tmp_path: Path) -> None:
    """Code that runs already may write where a second kernel's sockets will be."""
    from allod.errors import SandboxFailed
    from allod.interpreter.kernels.machine import claim, write_new

    target = tmp_path / "secret"
    target.write_text("mine")
    link = tmp_path / "k-1"
    link.symlink_to(target)
    with pytest.raises(SandboxFailed):
        claim(link, tmp_path / "own-1")
    assert not claim(tmp_path / "none", tmp_path / "own-2")
    with pytest.raises(FileExistsError):
        write_new(link, "overwritten")
    assert target.read_text() == "mine"
