"""The running sandbox of a workspace, and the kernels' programs in it.

    machine = Machine(workspace, limits, Sandbox.find())
    folder = await machine.ready()
    program = await machine.start(["python", "kernel.py"], {"NAME": "value"})
    …
    await machine.close()

A workspace's layers can be mounted only once at a time, so all its kernels run in one sandbox, whose own program is
``inside/supervisor.py``. It starts them on request, each in a session of its own. What it says is not trusted: code
may have taken its place. It is told nothing secret, and limits are kept from outside.

Only in an ``awake`` block does anything inside run; else all of it is stopped. So nothing that code left running
changes a file between the moment a person saw it and the moment it is applied, nor uses memory or disk unwatched.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from allod.errors import SandboxFailed
from allod.interpreter.sandbox import Process, Sandbox, environment
from allod.interpreter.sandbox.limits import Limits, descendants
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.reach import Reach

INSIDE = "/run/allod"  # sockets and start-up code, as seen inside
CODE = Path(__file__).parent / "inside"
STARTED_WITHIN = 60.0  # seconds
STILL_AT_ONCE, STILL_WITHIN = 0.02, 5.0  # seconds for what runs inside to stop, waited for without and with others
KEPT = 4000  # bytes of what programs say beside their kernel's messages


class Program:
    """One kernel's program. ``status`` is how it ended, -n for signal n; None while it runs."""

    def __init__(self, machine: "Machine", number: int, pid: int) -> None:
        self.machine = machine
        self.number = number
        self.pid = pid  # outside
        self.status: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.status is not None or self.machine.ended

    @property
    def vanished(self) -> bool:
        """Whether it ended while all stood still, which nobody inside could tell yet."""
        return self.ended or (Path("/proc/self").exists() and state(self.pid) in "ZX")

    @property
    def exit_status(self) -> int:
        """As a shell has it: 128 + n where signal n ended it."""
        if self.status is not None:
            return 128 - self.status if self.status < 0 else self.status
        process = self.machine.process
        return (process.bwrap.returncode or 0) if process else 0

    @property
    def out_of_memory(self) -> bool:
        """Whether the machine's kernel killed something in the sandbox for memory."""
        process = self.machine.process
        return process is not None and process.out_of_memory

    @property
    def pids(self) -> list[int]:
        """Everything that runs in the sandbox, as limits are for all of it."""
        return self.machine.pids

    def interrupt(self) -> None:
        """As a terminal's Ctrl-C would: the program and what it started in its process group."""
        if not self.ended and self.pid in self.pids:  # its number may be another's by now
            with contextlib.suppress(OSError):
                os.killpg(os.getpgid(self.pid), signal.SIGINT)

    def kill(self) -> None:
        """Kills it and what it started, as far as that did not leave it."""
        if self.ended:
            return
        for pid in reversed(descendants(self.pid) if self.pid in self.pids else []):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.status = self.status if self.status is not None else -signal.SIGKILL

    def kill_all(self) -> None:
        """Kills everything in the sandbox."""
        self.machine.kill()


class Machine:
    """Made for a workspace; starts with its first program."""

    def __init__(self, workspace: Workspace, limits: Limits, sandbox: Sandbox) -> None:
        self.workspace = workspace
        self.limits = limits
        self.sandbox = sandbox
        self.process: Process | None = None
        self.folder: Path | None = None  # ipc: seen inside as well; own: not
        self._programs: dict[int, Program] = {}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._outputs = 0
        self._said = b""
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._reach: contextlib.AsyncExitStack = contextlib.AsyncExitStack()
        self._lock = asyncio.Lock()
        self._awake = 0  # blocks that want what is inside to run

    @property
    def code(self) -> str:
        """The folder of what runs inside, as programs there see it."""
        return f"{INSIDE}/inside" if self._mounts else str(CODE)

    @property
    def sockets(self) -> str:
        """The folder for sockets, as programs inside see it."""
        return f"{INSIDE}/ipc" if self._mounts or self.folder is None else str(self.folder / "ipc")

    @property
    def _mounts(self) -> bool:
        """Whether the sandbox shows things at places of its own, as one with a mount namespace does."""
        return getattr(self.sandbox, "mounts", True)

    @property
    def ended(self) -> bool:
        """Whether it does not run (any more)."""
        return self.process is None or self.process.ended

    @property
    def pids(self) -> list[int]:
        """Outer pids of everything inside."""
        return [] if self.process is None else self.process.pids

    @property
    def alone(self) -> bool:
        """Whether no program runs."""
        return all(program.ended for program in self._programs.values())

    @property
    def said(self) -> str:
        """The last that programs said beside their kernel's messages."""
        return " ".join(self._said.decode(errors="replace").split("\n")[-4:]).strip()

    def next_output(self) -> Path:
        """A new file for the whole of what a run prints."""
        self._outputs += 1
        return self.workspace.output / f"{self._outputs:04}.txt"

    # ── running and standing still ──────────────────────────────────────────────────────────────────────────────────

    @contextlib.asynccontextmanager
    async def awake(self) -> AsyncGenerator[None]:
        """What is inside runs for as long as the block does, and stands still after it."""
        self._awake += 1
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._awake -= 1
            await self._still()

    def _signal(self, number: int) -> list[int]:
        """Sends it to everything inside; to what."""
        pids = sorted(self.pids) if not self.ended else []
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, number)
        return pids

    async def _still(self) -> None:
        """Stops everything inside. What starts programs faster than they can be stopped is killed."""
        began, before = time.monotonic(), [0]
        while not self._awake and (now := time.monotonic()) < began + STILL_WITHIN:
            pids = self._signal(signal.SIGSTOP)
            settled = pids == before
            if settled and all(state(pid) in "TtZX" for pid in pids):
                return
            before = pids
            if now < began + STILL_AT_ONCE:
                time.sleep(0.0005)  # noqa: ASYNC251 - a moment in which nothing may come between
            else:
                await asyncio.sleep(0.01)
                if not settled and time.monotonic() > began + 1:
                    self.kill()

    # ── programs ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def ready(self, readable: Sequence[Path] = ()) -> Path:
        """The folder for sockets of the running sandbox, which is started where it does not run.

        ``readable`` are files and folders that it shows at their own paths.

        Raises:
            SandboxFailed: it cannot be made.
        """
        async with self._lock:
            if self.ended or self.folder is None:
                await self._reset()
                await self._start(readable)
            assert self.folder is not None
            return self.folder

    async def start(self, argv: Sequence[str], env: Mapping[str, str]) -> Program:
        """Starts a program in the running sandbox.

        Raises:
            SandboxFailed: it cannot be started.
        """
        async with self._lock:
            self._count += 1
            number = self._count
            answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            assert self._writer is not None
            with contextlib.suppress(ConnectionError):
                self._writer.write(msgspec.json.encode({"start": number, "argv": argv, "env": env}) + b"\n")
                await self._writer.drain()
            try:
                async with asyncio.timeout(STARTED_WITHIN):
                    said = await answer
            except TimeoutError:
                said = {"reason": "the sandbox does not answer"}
            finally:
                self._waiting.pop(number, None)
            pid = outer(said.get("pid"), self.pids)
            if pid is None:
                reason = str(said.get("reason", "it ended as soon as it had started"))[:300]
                raise SandboxFailed(f"the kernel did not start: {reason} {self.said}".strip(), "Run `allod doctor`.")
            program = self._programs[number] = Program(self, number, pid)
            return program

    async def _start(self, readable: Sequence[Path]) -> None:
        if self.workspace.job.copied == self.sandbox.overlays:  # its files would not be where code looks
            raise SandboxFailed(
                f"this job was begun in another kind of sandbox than {self.sandbox.name}",
                "Begin a new job, or set ALLOD_SANDBOX to the sandbox it was begun in.",
            )
        self.folder = socket_folder()
        for name in ("ipc", "own"):
            (self.folder / name).mkdir(mode=0o700)
        view = msgspec.structs.replace(
            self.workspace.view,
            readable=(
                *self.workspace.view.readable,
                (CODE, self.code),
                *((path, str(path)) for path in readable),
            ),
            writable=(*self.workspace.view.writable, (self.folder / "ipc", self.sockets)),
        )
        command = [sys.executable, "-I", "-S", f"{self.code}/supervisor.py", f"{self.sockets}/control"]
        reach = await self._reach.enter_async_context(Reach.opened(self.workspace))
        self.process = await self.sandbox.spawn(
            reach.view(view), reach.command(command), reach.environment(environment()), self.limits
        )
        await self._ready(self.process)
        # Connected before any code runs, which might put a link to another program's socket in its place.
        reader, self._writer = await asyncio.open_unix_connection(str(self.folder / "ipc" / "control"))
        self._tasks = [asyncio.ensure_future(self._listen(reader)), asyncio.ensure_future(self._drain(self.process))]

    async def _ready(self, process: Process) -> None:
        assert process.bwrap.stdout is not None
        self._said = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STARTED_WITHIN):
                while line := await process.bwrap.stdout.readline():
                    if line == b"ready\n":
                        return
                    self._said = (self._said + line)[-KEPT:]
        process.kill()
        await process.wait()
        raise SandboxFailed(f"the kernel did not start: {self.said}", "Run `allod doctor`.")

    async def _drain(self, process: Process) -> None:
        """Reads what programs write to their own stdout and stderr, so that none waits for a reader."""
        assert process.bwrap.stdout is not None
        while data := await process.bwrap.stdout.read(1 << 16):
            self._said = (self._said + data)[-KEPT:]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Takes in what the supervisor says."""
        with contextlib.suppress(ConnectionError, ValueError):  # ValueError: an endless line
            while line := await reader.readline():
                try:
                    said = msgspec.json.decode(line, type=dict[str, Any])
                except msgspec.MsgspecError:
                    continue
                self._take(said)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"reason": "the sandbox ended"})

    def _take(self, said: dict[str, Any]) -> None:
        number = said.get("started", said.get("failed"))
        if isinstance(number, int) and (waiting := self._waiting.get(number)) is not None and not waiting.done():
            waiting.set_result(said)
        ended, status = said.get("ended"), said.get("status")
        if isinstance(ended, int) and isinstance(status, int) and ended in self._programs:
            self._programs[ended].status = status

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def kill(self) -> None:
        """Kills everything inside, at once."""
        if self.process is not None:
            self.process.kill()

    async def close(self) -> None:
        """Kills everything inside and clears up."""
        async with self._lock:
            await self._reset()

    async def _reset(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            self.process = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await task
        self._tasks = []
        self._programs.clear()
        await self._reach.aclose()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


def state(pid: int) -> str:
    """What a process does, by proc(5)'s letter: R, S, T for stopped, Z and X for ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "X"


def outer(inner: object, pids: Sequence[int]) -> int | None:
    """The pid outside of a process by its pid inside, among those inside."""
    if not isinstance(inner, int):
        return None
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{pid}/status").read_text()
            if int(text.split("\nNSpid:", 1)[1].split("\n", 1)[0].split()[-1]) == inner:
                return pid
    return None


def write_new(path: Path, text: str) -> None:
    """Writes a file that is not there yet: where code inside may write too, no link of its own is followed."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)


def claim(path: Path, own: Path) -> bool:
    """Gives a socket that a kernel made a name which code inside cannot change; False where it is not there yet.

    Raises:
        SandboxFailed: something else is in its place.
    """
    try:
        os.link(path, own, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(own.lstat().st_mode):
        own.unlink()
        raise SandboxFailed("the kernel did not start: its socket is none", "Run it again.")
    return True


def socket_folder() -> Path:
    """A new folder for a sandbox's sockets, after clearing away those of processes that were killed.

    Its path is short, as that of a Unix socket may have 107 characters.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime if os.access(runtime, os.W_OK) and len(runtime) < 60 else tempfile.gettempdir())
    for old in base.glob("allod-kernel-*"):
        pid = old.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"allod-kernel-{os.getpid()}-", dir=base))
