"""A Jupyter kernel inside a sandbox, over a workspace: runs code, hands on what it prints, stops when told.

    async with Kernel.start(workspace, Limits()) as kernel:
        async for output in kernel.run("x = 6 * 7; x"):
            …                       # Stream, Result, Picture, Failure, InputRequest, Notice

Entering starts the process and does not wait for it: the first ``run`` does. One run at a time. State lives between
runs, and survives ``interrupt``. A kernel that dies (memory, a crash in C, ``os._exit``) ends its run with a Failure;
the next run begins a new one and says in a Notice that the variables are gone.

It speaks Jupyter's messaging protocol (https://jupyter-client.readthedocs.io/en/stable/messaging.html) over Unix
sockets in a folder that is bound into the sandbox, as there is no network inside. Runs on asyncio, as pyzmq does.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import msgspec
import zmq

from allod.errors import SandboxFailed, Unsupported
from allod.interpreter.kernels.outputs import Failure, InputRequest, Notice, Output, Picture, Result, Stream
from allod.interpreter.kernels.run import Run, notice
from allod.interpreter.kernels.spool import Spool
from allod.interpreter.sandbox import Process, Sandbox, environment
from allod.interpreter.sandbox.limits import Limits, memory_limit
from allod.interpreter.workspace import Workspace, fonts
from allod.interpreter.workspace.reach import Reach

__all__ = ["Failure", "InputRequest", "Kernel", "Notice", "Output", "Picture", "Result", "Stream"]

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

INSIDE = "/run/allod"  # sockets and start-up code, as seen inside
STARTED_WITHIN = 60.0  # seconds
LARGEST_MESSAGE = 512 << 20  # bytes that the kernel may make this process take at once


class Kernel:
    """One kernel and its process. Made by ``Kernel.start``."""

    def __init__(self, workspace: Workspace, limits: Limits, sandbox: Sandbox) -> None:
        self.workspace = workspace
        self.limits = msgspec.structs.replace(limits, memory=memory_limit(limits))  # as the machine is now
        self.sandbox = sandbox
        self.language = "python"
        self._process: Process | None = None
        self._client: AsyncKernelClient | None = None
        self._folder: Path | None = None
        self._open = contextlib.AsyncExitStack()  # the way to the network, where one was granted
        self._starting: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._lost = ""  # why the last process ended; empty: it lives
        self._runs = 0
        self._run: Run | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, workspace: Workspace, limits: Limits | None = None) -> AsyncGenerator[Self]:
        """A kernel over ``workspace``, killed at the end with everything that it started.

        Raises:
            SandboxFailed: no sandbox can be made here (here, or in the first ``run``).
        """
        kernel = cls(workspace, limits or Limits(), Sandbox.find())
        kernel._starting = asyncio.ensure_future(kernel._start())
        try:
            yield kernel
        finally:
            with anyio.CancelScope(shield=True):
                await kernel.close()

    def beside(self, language: str) -> "Kernel":
        """A kernel of another language over the same workspace."""
        raise Unsupported(f"there is no kernel for {language} here", "Install a Jupyter kernel for it.")

    async def ready(self) -> None:
        """Waits until code can be run. ``run`` does so itself."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        try:
            await asyncio.shield(self._starting)
        except SandboxFailed:
            self._starting = None
            raise

    async def _start(self) -> None:
        from jupyter_client.asynchronous.client import AsyncKernelClient

        self._folder = socket_folder()
        ports = {f"{name}_port": n for n, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
        info: dict[str, Any] = {
            "transport": "ipc",
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            "kernel_name": "python3",
            **ports,
        }
        (self._folder / "connection.json").write_text(json.dumps(info | {"ip": f"{INSIDE}/ipc/k"}))
        view = msgspec.structs.replace(
            self.workspace.view,
            readable=(*self.workspace.view.readable, (Path(__file__).parent / "inside", f"{INSIDE}/inside")),
            writable=(*self.workspace.view.writable, (self._folder, f"{INSIDE}/ipc")),
        )
        command = [sys.executable, "-s", f"{INSIDE}/inside/start.py", f"{INSIDE}/ipc/connection.json"]
        env = environment() | {"ALLOD_OUTPUT_LIMIT": str(self.limits.kept), "IPYTHONDIR": f"{INSIDE}/ipc/ipython"}
        reach = await self._open.enter_async_context(Reach.opened(self.workspace))
        process = await self.sandbox.spawn(
            reach.view(view), reach.command(command), reach.environment(env), self.limits
        )
        self._process = process
        await self._wait_ready(process)
        client = AsyncKernelClient()
        client.context.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        # The sockets are there now. Later the code might have put a link to another program's socket in their place.
        client.context.setsockopt(zmq.RECONNECT_IVL, -1)
        client.load_connection_info(info | {"ip": str(self._folder / "k")})  # pyright: ignore[reportArgumentType]
        client.start_channels(shell=True, iopub=True, stdin=True, hb=False, control=False)
        self._client = client
        await self._handshake(client, process)
        self._warming = asyncio.ensure_future(fonts.make(self.workspace.home, self.sandbox))

    async def _wait_ready(self, process: Process) -> None:
        assert process.bwrap.stdout is not None
        said: list[str] = []
        try:
            async with asyncio.timeout(STARTED_WITHIN):
                while line := await process.bwrap.stdout.readline():
                    if line == b"ready\n":
                        return
                    said.append(line.decode(errors="replace").rstrip())
        except TimeoutError:
            process.kill()
            said.append(f"it was not ready after {STARTED_WITHIN:.0f} s")
        await process.wait()
        raise SandboxFailed(f"the kernel did not start: {' '.join(said[-3:])}", "Run `allod doctor`.")

    async def _handshake(self, client: "AsyncKernelClient", process: Process) -> None:
        """Waits until the kernel's publications arrive: a subscription is not in force when it is made."""
        published = client.iopub_channel.socket
        tries = int(STARTED_WITHIN / 0.2)
        for _ in range(tries):
            client.kernel_info()
            if await published.poll(200):
                break
            if process.ended:
                raise SandboxFailed("the kernel ended as soon as it had started", "Run `allod doctor`.")
        else:
            raise SandboxFailed("the kernel does not answer", "Run `allod doctor`.")
        for socket in (published, client.shell_channel.socket):
            while await socket.poll(0):
                await socket.recv_multipart()

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, code: str, *, stdin: bool = True) -> AsyncGenerator[Output]:
        """Runs code and yields its output as it comes. Leaving the loop early interrupts the code.

        ``stdin``: whether ``input()`` asks (InputRequest) or fails at once.
        """
        if self._run is not None:
            raise RuntimeError("one run at a time")
        if self._process is not None and self._process.ended and self._starting is not None and not self._lost:
            self._lost = "it ended between two runs"
        if self._lost:
            yield notice(self._lost)
            await self._reset()
        await self.ready()
        assert self._client is not None and self._process is not None
        self._runs += 1
        spool = Spool(self.workspace.output / f"{self._runs:04}.txt", self.limits.shown, self.limits.kept)
        run = self._run = Run(self._client, self._process, self.limits, spool, self.workspace.layers, code, stdin)
        try:
            async with contextlib.aclosing(run.outputs()) as outputs:
                async for output in outputs:
                    yield output
        finally:
            if not run.done and not run.death:
                with anyio.CancelScope(shield=True):
                    await run.stop()
            spool.close()
            self._lost = run.death
            self._run = None

    async def answer(self, text: str) -> None:
        """Answers the InputRequest."""
        if self._client is not None and self._run is not None:
            self._client.input(text)
            self._run.answered()

    async def interrupt(self) -> None:
        """Stops the code that runs, as Ctrl-C would: the run ends with a KeyboardInterrupt and the variables stay.

        Code that does not heed it is killed with its kernel within two seconds.
        """
        if self._run is not None:
            self._run.interrupt()

    async def close(self) -> None:
        """Kills the kernel and everything that it started."""
        await self._reset()

    async def _reset(self) -> None:
        for task in (self._starting, self._warming):
            if task is not None:
                task.cancel()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await task
        self._starting = self._warming = None
        if self._client is not None:
            # With its sockets, and while they are connected: a broken connection would take a second to let go.
            self._client.context.destroy(linger=0)
            self._client = None
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None
        await self._open.aclose()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self._lost = ""


def socket_folder() -> Path:
    """A new folder for a kernel's sockets, after clearing away those of processes that were killed.

    Its path is short, as that of a Unix socket may have 107 characters.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime if os.access(runtime, os.W_OK) and len(runtime) < 60 else tempfile.gettempdir())
    for old in base.glob("allod-kernel-*"):
        pid = old.name.split("-")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"allod-kernel-{os.getpid()}-", dir=base))
