"""Red team, while a kernel runs: what code does to allod itself, what it leaves running, and the machine's means."""

import asyncio
import contextlib
import fcntl
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import termios
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from workspace_tools import output, shell

from allod.egress.ledger import Ledger
from allod.errors import AllodError
from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels import run as running
from allod.interpreter.kernels.outputs import Failure, Stream
from allod.interpreter.sandbox import Limits, ladder, landlock
from allod.interpreter.workspace import Workspace, fonts
from allod.interpreter.workspace.grants import parse

pytestmark = pytest.mark.anyio
RUNGS = [
    pytest.param("bubblewrap", marks=pytest.mark.skipif(not ladder.bubblewrap()[0], reason="does not work here")),
    pytest.param("landlock", marks=pytest.mark.skipif(not landlock.version(), reason="does not work here")),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    path = tmp_path / "user" / "work"
    path.mkdir(parents=True)
    (path / "a.txt").write_text("a\n")
    return path


@contextlib.asynccontextmanager
async def kernel_in(home: Home, folder: Path, limits: Limits | None = None) -> AsyncIterator[Kernel]:
    workspace = Workspace.create(home, folder)
    try:
        async with Kernel.start(workspace, limits or Limits(wall=30)) as kernel:
            yield kernel
    finally:
        workspace.discard()


async def run(kernel: Kernel, code: str) -> str:
    return await output(kernel, textwrap.dedent(code))


# ── what goes on after a run ────────────────────────────────────────────────────────────────────────────────────────

LEFT = """
    import os, threading, time
    def work(name, shown):
        for n in range(10**9):
            for path in ("a.txt", ".envrc"):
                with open(path, "r+" if os.path.exists(path) else "w") as file: file.write(f"{name:6} {n:09}\\n")
            time.sleep(0.001)
    threading.Thread(target=work, args=("thread", 1), daemon=True).start()
    if not os.fork():
        os.setsid()
        if os.fork(): os._exit(0)
        import signal
        for number in (1, 2, 13, 15, 18, 20): signal.signal(number, signal.SIG_IGN)
        work("child", 2)
    time.sleep(0.1)
"""


@pytest.mark.parametrize("rung", RUNGS)
async def test_what_was_shown_is_what_is_applied(
    rung: str, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOD_SANDBOX", rung)
    async with kernel_in(home, folder) as kernel:
        await run(kernel, LEFT)
        workspace = kernel.workspace
        shown = workspace.changes()
        await asyncio.sleep(0.2)
        assert workspace.changes() == shown
        workspace.apply()
        said = [line[1:] for c in shown if c.path == "a.txt" for line in c.diff.splitlines() if line[0] == "+"]
        assert (folder / "a.txt").read_text().splitlines() == said[1:]
        assert {c.path for c in shown} == {".envrc", "a.txt"}
        applied = (folder / "a.txt").read_text()
        await asyncio.sleep(0.1)
        assert (folder / "a.txt").read_text() == applied
        await run(kernel, "time.sleep(0.1)")  # both go on where they were: they would have changed it
        assert [c.path for c in workspace.changes()] == [".envrc", "a.txt"]


@pytest.mark.parametrize("rung", RUNGS)
async def test_what_is_left_running_ends_with_the_kernel(
    rung: str, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOD_SANDBOX", rung)
    async with kernel_in(home, folder) as kernel:
        await run(kernel, LEFT)
        left = [psutil.Process(pid) for pid in kernel.machine.pids]
        assert len(left) >= 3
        assert all(process.is_running() for process in left)
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# ── what a kernel says ──────────────────────────────────────────────────────────────────────────────────────────────

FORGE = """
    from ipykernel.kernelbase import Kernel
    kernel = get_ipython().kernel
    session, thread = kernel.session, kernel.iopub_thread
    parent = kernel.get_parent("shell")["header"]
    def forge(parent, content, kind="stream", sign=True):
        parts = [session.pack(session.msg_header(kind)), parent, b"{}", content]
        signature = session.sign(parts) if sign else b"0" * 64
        thread.send_multipart([b"x", b"<IDS|MSG>", signature, *parts])
    pack = session.pack
"""


async def test_forged_messages_stop_nothing_and_are_not_believed(home: Home, folder: Path) -> None:
    forged = (
        FORGE
        + """
    said = pack({"name": "stdout", "text": "FORGED"})
    forge(pack(parent), said, sign=False)
    for wrong in (b"[]", b'"x"', b"null", b"7", b"{", b"\\xff", b"[" * 200000, b'{"msg_id": {}}', b'{"a":' * 100000):
        forge(wrong, pack({"name": [], "text": {}}))
        forge(pack(parent), wrong)
        forge(pack(parent), wrong, "execute_result")
    for kind in ("error", "display_data", "execute_result", "status", "stream", "input_request", "\\x1b[2J"):
        for content in ({}, {"data": 7}, {"data": {"image/png": "%%%", "text/plain": [1]}}, {"traceback": 5},
                        {"execution_state": {}}, {"values": {}, "text": None}):
            forge(pack(parent), pack(content), kind)
    for frames in ([b""], [b"<IDS|MSG>"], [b"x"] * 50, [b"x", b"<IDS|MSG>", b"", b"{}"]):
        thread.send_multipart(frames)
    print("end")
    """
    )
    async with kernel_in(home, folder) as kernel:
        said = await run(kernel, forged)
        assert "end" in said
        assert "FORGED" not in said
        assert await run(kernel, "1 + 1") == "2"


async def test_a_flood_of_huge_messages_does_not_fill_allods_memory(home: Home, folder: Path) -> None:
    flood = (
        FORGE
        + """
    body = b'{"name": "stdout", "text": "' + b"x" * (24 << 20) + b'"}'
    for _ in range(36): forge(pack(parent), body)
    """
    )
    own, most, done = psutil.Process(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.01):
            most = max(most, own.memory_info().rss)

    async with kernel_in(home, folder) as kernel:
        await kernel.ready()
        before = own.memory_info().rss
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            assert "left out" in await run(kernel, flood)
        finally:
            done.set()
            watcher.join()
    assert most - before < 450 << 20  # of 864 that were sent


async def test_the_sockets_of_kernels_lead_nowhere(home: Home, folder: Path, tmp_path: Path) -> None:
    """Code knows where allod connects to, and puts links to another program's socket there."""
    got: list[object] = []
    listener = socket.socket(socket.AF_UNIX)
    place = Path(f"/tmp/allod-escape-{os.getpid()}")
    listener.bind(str(place))
    listener.listen()
    listener.settimeout(0.05)
    links = f"""
        import glob, os, threading, time
        print(glob.glob("/run/allod/ipc/*control*"))
        def swap():
            while True:
                for name in glob.glob("/run/allod/ipc/shell-*.json"):
                    for n in range(1, 6):
                        try: os.symlink({str(place)!r}, f"{{name[:-5]}}-{{n}}")
                        except OSError: pass
        threading.Thread(target=swap, daemon=True).start()
    """
    try:
        async with kernel_in(home, folder) as kernel:
            assert "[]" in await run(kernel, links)
            with contextlib.suppress(AllodError, TimeoutError):
                async with asyncio.timeout(5):
                    await output(kernel.beside("shell"), "echo hi")
        with contextlib.suppress(TimeoutError):
            got.append(listener.accept())
        assert not got
    finally:
        listener.close()
        place.unlink()


# ── means ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_endless_print_is_bounded(home: Home, folder: Path) -> None:
    async with kernel_in(home, folder, Limits(wall=1.5, kept=1 << 20)) as kernel:
        parts = [each async for each in kernel.run("while True: print('x' * 1000)")]
        assert any(isinstance(each, Failure) and each.name == "TimeLimit" for each in parts)
        assert sum(len(each.text) for each in parts if isinstance(each, Stream)) < 40_000
        assert sum(file.stat().st_size for file in kernel.workspace.output.iterdir()) < 3 << 20


async def test_endless_files_are_too_many(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_FILES", 3000)
    if not os.statvfs(folder).f_ffree:
        pytest.skip("this disk does not say how many files it can hold")
    async with kernel_in(home, folder) as kernel:
        code = (
            "import os, time\nfor n in range(10**9):\n    open(f'{n}', 'w').close()\n    n % 1000 or time.sleep(0.05)"
        )
        said = [each async for each in kernel.run(code)]
        assert any(isinstance(each, Failure) and each.name == "DiskLimit" for each in said)
        assert kernel.machine.process is not None
        await asyncio.wait_for(kernel.machine.process.wait(), 5)
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


async def test_huge_holes_take_no_space(home: Home, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    workspace = Workspace.create(home, folder)
    await shell(workspace, "for i in 1 2 3; do truncate -s 3G hole$i; done; ! truncate -s 100T hole4 2>/dev/null")
    with contextlib.suppress(AllodError):  # where they would not fit if they were full
        workspace.apply()
    assert free - shutil.disk_usage(folder).free < 500 << 20
    assert not (folder / "hole4").exists() or (folder / "hole4").stat().st_size < 100 << 40
    workspace.discard()


async def test_a_fork_bomb_leaves_the_machine_its_processes(home: Home, folder: Path) -> None:
    most = 0
    async with kernel_in(home, folder, Limits(processes=80, wall=20)) as kernel:
        bomb = (
            "import os, time\nfor _ in range(3000):\n    try:\n        if not os.fork(): time.sleep(60); os._exit(0)\n"
        )
        bomb += "    except OSError: time.sleep(0.001)"
        ran = asyncio.ensure_future(output(kernel, bomb))
        for _ in range(40):
            most = max(most, len(kernel.machine.pids))
            began = time.monotonic()
            subprocess.run(["true"], check=True)  # the machine starts programs as ever
            assert time.monotonic() - began < 2
            if ran.done():
                break
            await asyncio.sleep(0.05)
        await kernel.interrupt()
        await ran
        left = [psutil.Process(pid) for pid in kernel.machine.pids]
    # Where root runs without a cgroup, the watch ends it a quarter of a second late.
    assert most <= (90 if os.geteuid() else 3000)
    assert not [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


# ── the terminal ────────────────────────────────────────────────────────────────────────────────────────────────────

TYPE = """
    import ctypes, fcntl, glob, os, termios
    for path in ("/dev/tty", "/dev/console", *glob.glob("/dev/pts/*"), *glob.glob("/proc/*/fd/[0-2]"), *NAMED):
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            continue
        for act in (lambda: [fcntl.ioctl(fd, termios.TIOCSTI, bytes([c])) for c in b"TYPED\\n"],
                    lambda: fcntl.ioctl(fd, 0x541C, b"\\x03"), lambda: fcntl.ioctl(fd, 0x100005412, b"X"),
                    lambda: os.write(fd, b"WRITTEN") if os.isatty(fd) else None):
            try: act()
            except (OSError, OverflowError): pass
"""
DRIVER = """
import asyncio, os, sys
from pathlib import Path
from allod.interpreter.sandbox import Limits, View, environment, ladder
async def main(rung, place, code):
    view = View(place, *(place / name for name in ("upper", "work", "home", "tmp")))
    process = await ladder.best(rung).spawn(view, [sys.executable, "-c", code], environment(), Limits())
    print("said", (await process.bwrap.stdout.read())[-300:], await process.wait())
code = sys.argv[3].replace("NAMED", repr([os.ttyname(0)]))
if sys.argv[1] == "outside": exec(code)
else: asyncio.run(main(sys.argv[1], Path(sys.argv[2]), code))
print("READY")
"""


def typed(rung: str, place: Path) -> tuple[bool, bool]:
    """Whether code that runs under a terminal typed into it, and whether it wrote to it."""
    for name in ("upper", "work", "home", "tmp"):
        (place / name).mkdir(parents=True, exist_ok=True)
    master, slave = pty.openpty()
    said, begun = b"", time.monotonic()
    attributes = termios.tcgetattr(slave)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, rung, str(place), textwrap.dedent(TYPE)],
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    try:
        while b"READY" not in said and time.monotonic() - begun < 20:
            if select.select([master], [], [], 0.2)[0]:
                said += os.read(master, 4096)
        waiting = int.from_bytes(fcntl.ioctl(slave, termios.FIONREAD, bytes(4)), sys.byteorder)
    finally:
        driver.kill()
        driver.wait()
        os.close(slave)
        os.close(master)
    assert b"READY" in said, said
    return waiting > 0 or b"TYPED" in said, b"WRITTEN" in said


@pytest.mark.parametrize("rung", RUNGS)
def test_nothing_is_typed_into_or_written_to_the_callers_terminal(rung: str, tmp_path: Path) -> None:
    assert typed(rung, tmp_path) == (False, False)


def test_without_a_sandbox_it_is(tmp_path: Path) -> None:
    may = Path("/proc/sys/dev/tty/legacy_tiocsti")
    typing = os.geteuid() == 0 or not may.exists() or may.read_text().strip() == "1"
    assert typed("outside", tmp_path) == (typing, True)


# ── the way out that was granted ────────────────────────────────────────────────────────────────────────────────────

ASK = """
import os, socket, sys
host, _, port = os.environ["HTTP_PROXY"].removeprefix("http://").partition(":")
for target in sys.argv[1:]:
    for request in (f"CONNECT {target} HTTP/1.1\\r\\nHost: {target}\\r\\n\\r\\n",
                    f"GET http://{target}/x HTTP/1.1\\r\\nHost: granted.test\\r\\n\\r\\n"):
        with socket.create_connection((host, int(port)), 10) as s:
            s.sendall(request.encode())
            s.settimeout(5)
            try: print(target, s.recv(200).split(b"\\r\\n")[0])
            except OSError as error: print(target, error)
"""


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    got: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                got.append(b"came")
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1], got
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.skipif(not ladder.bubblewrap()[0], reason="hosts are granted only with bubblewrap")
@pytest.mark.parametrize("granted", [False, True])
async def test_a_granted_host_is_no_way_to_this_machine(
    granted: bool, home: Home, folder: Path, server: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, got = server
    looked = socket.getaddrinfo
    lies = {"granted.test": "127.0.0.1", "meta.granted.test": "169.254.169.254", "six.granted.test": "::ffff:127.0.0.1",
            "home.granted.test": "192.168.1.1"}  # fmt: skip

    def lied(host: object, *more: object, **named: object) -> object:
        return looked(lies.get(str(host), host), *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", lied)
    hosts = [f"granted.test:{port}", f"*.granted.test:{port}", *([f"127.0.0.1:{port}"] if granted else [])]
    targets = [f"{name}:{port}" for name in (*lies, "localhost", "0.0.0.0", "2130706433", "0x7f.1", "[::1]", "127.1")]
    targets += [
        f"[::ffff:127.0.0.1]:{port}",
        f"granted.test@127.0.0.1:{port}",
        f"127.0.0.1:{port}",
        f"a\x1b[2Jb:{port}",
    ]
    with Workspace.create(home, folder, parse(net=hosts)) as workspace:
        said = await shell(workspace, '"$@"', sys.executable, "-c", ASK, *targets)
        workspace.discard()
    # What is granted by its address may be reached by it, and by a granted name that leads there; nothing else.
    assert bool(got) == granted, said
    for row in Ledger(home).rows():
        assert str(row["host"]).isprintable()
