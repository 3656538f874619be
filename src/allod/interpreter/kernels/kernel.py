"""A Jupyter kernel inside a sandbox, over a workspace: runs code, hands on what it prints, stops when told.

    async with Kernel.start(workspace, Limits()) as kernel:
        async for output in kernel.run("x = 6 * 7; x"):
            …                       # Stream, Result, Picture, Failure, InputRequest, Notice
        shell = kernel.beside("shell")      # of another language, in the same sandbox; ends with this one

Entering starts the process and does not wait for it: the first ``run`` does. One run at a time. State lives between
runs, in which nothing inside goes on, and survives ``interrupt``. A kernel that dies (memory, a crash in C,
``os._exit``) ends its run with a Failure; the next run begins a new one and says in a Notice that the variables are
gone.

It speaks Jupyter's messaging protocol (https://jupyter-client.readthedocs.io/en/stable/messaging.html) over Unix
sockets in a folder that is bound into the sandbox, as there is no network inside. Runs on asyncio, as pyzmq does.
"""

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import msgspec
import zmq

from allod.errors import SandboxFailed, Unsupported
from allod.interpreter.kernels import specs
from allod.interpreter.kernels.machine import STARTED_WITHIN, Machine, Program, claim, socket_folder, write_new
from allod.interpreter.kernels.outputs import Failure, InputRequest, Notice, Output, Picture, Result, Stream
from allod.interpreter.kernels.run import Run, notice
from allod.interpreter.kernels.spool import Spool
from allod.interpreter.sandbox import Process, Sandbox
from allod.interpreter.sandbox.limits import Limits, memory_limit
from allod.interpreter.workspace import Workspace, fonts, packages

__all__ = ["Failure", "InputRequest", "Kernel", "Notice", "Output", "Picture", "Result", "Stream", "socket_folder"]

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

LARGEST_MESSAGE = 256 << 20  # bytes that the kernel may make this process take at once
QUEUED = 4  # and so many messages of that size; the rest wait in the kernel, whose memory is limited
CHANNELS = {"shell": 1, "iopub": 2, "stdin": 3, "control": 4}  # and their sockets' numbers


class Kernel:
    """One kernel and its program. Made by ``Kernel.start`` and ``beside``."""

    def __init__(self, machine: Machine, language: specs.Language) -> None:
        self.machine = machine
        self.workspace = machine.workspace
        self.limits = machine.limits
        self.sandbox = machine.sandbox
        self.language = language.name
        self._spec = language
        self._program: Program | None = None
        self._client: AsyncKernelClient | None = None
        self._starting: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._lost = ""  # why the last program ended; empty: it lives
        self._run: Run | None = None
        self._others: list[Kernel] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls, workspace: Workspace, limits: Limits | None = None, language: str = "python"
    ) -> AsyncGenerator[Self]:
        """A kernel over ``workspace``, killed at the end with everything that it started.

        Raises:
            SandboxFailed: no sandbox can be made here (here, or in the first ``run``).
            Unsupported: no kernel is installed for the language.
        """
        limits = limits or Limits()
        limits = msgspec.structs.replace(limits, memory=memory_limit(limits))  # as the machine is now
        kernel = cls(Machine(workspace, limits, Sandbox.find()), installed(language))
        kernel._starting = asyncio.ensure_future(kernel._start())
        try:
            yield kernel
        finally:
            with anyio.CancelScope(shield=True):
                await kernel.close()

    def beside(self, language: str) -> "Kernel":
        """A kernel of another language in the same sandbox. It starts with its first run, and ends with this one.

        Raises:
            Unsupported: no kernel is installed for it.
        """
        kernel = Kernel(self.machine, installed(language))
        self._others.append(kernel)
        return kernel

    @property
    def _process(self) -> Process | None:
        return self.machine.process

    @property
    def _folder(self) -> Path | None:
        return self.machine.folder

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
        async with self.machine.awake():
            await self._begin()

    async def _begin(self) -> None:
        from jupyter_client.asynchronous.client import AsyncKernelClient

        name = f"{self.language}-{secrets.token_hex(2)}".replace("+", "p").replace("#", "s").replace("/", "")
        info: dict[str, Any] = {
            "transport": "ipc",
            "key": secrets.token_hex(16),
            "signature_scheme": "hmac-sha256",
            "kernel_name": self.language,
            "hb_port": 5,
            **{f"{channel}_port": number for channel, number in CHANNELS.items()},
        }
        folder = await self.machine.ready(shown())
        seen = f"{self.machine.sockets}/{name}"
        write_new(folder / "ipc" / f"{name}.json", json.dumps(info | {"ip": seen}))
        program = self._program = await self.machine.start(self._command(f"{seen}.json"), self._env())
        inside, own = folder / "ipc" / name, folder / "own" / name
        await self._claim(program, inside, own)
        client = AsyncKernelClient()
        client.context.setsockopt(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        client.context.setsockopt(zmq.RCVHWM, QUEUED)
        client.load_connection_info(info | {"ip": str(own)})  # pyright: ignore[reportArgumentType]
        client.start_channels(shell=True, iopub=True, stdin=True, hb=False, control=self._by_message)
        self._client = client
        await self._handshake(client, program)
        if self._warming is None and self.language == "python":
            self._warming = asyncio.ensure_future(fonts.make(self.workspace.home, self.sandbox))

    @property
    def _by_message(self) -> bool:
        return self._spec.interrupt == "message"

    def _command(self, connection: str) -> list[str]:
        """The kernel's command line."""
        if self.language == "python":
            python = packages.PYTHON if self.workspace.grants.packages else sys.executable
            return [python, "-s", f"{self.machine.code}/start.py", connection]
        if self.language == "shell":
            return [sys.executable, "-I", f"{self.machine.code}/shell_kernel.py", connection]
        words = {"{connection_file}": connection, "{resource_dir}": self._spec.folder}
        argv = list(self._spec.argv)
        for word, value in words.items():
            argv = [each.replace(word, value) for each in argv]
        return [sys.executable, "-I", "-S", f"{self.machine.code}/bridge.py", connection, *argv]

    def _env(self) -> dict[str, str]:
        own = {"ALLOD_OUTPUT_LIMIT": str(self.limits.kept), "IPYTHONDIR": f"{self.machine.sockets}/ipython"}
        return own | self._spec.env

    async def _claim(self, program: Program, inside: Path, own: Path) -> None:
        """Waits for the kernel's sockets, and takes hold of them."""
        wanted = {number for name, number in CHANNELS.items() if name != "control" or self._by_message}
        try:
            async with asyncio.timeout(STARTED_WITHIN):
                while wanted:
                    wanted -= {n for n in wanted if claim(Path(f"{inside}-{n}"), Path(f"{own}-{n}"))}
                    if program.ended:
                        raise SandboxFailed(f"the kernel did not start: {self.machine.said}", "Run `allod doctor`.")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            program.kill()
            raise SandboxFailed(
                f"the kernel did not start: it was not ready after {STARTED_WITHIN:.0f} s {self.machine.said}",
                "Run `allod doctor`.",
            ) from None

    async def _handshake(self, client: "AsyncKernelClient", program: Program) -> None:
        """Waits until the kernel's publications arrive: a subscription is not in force when it is made."""
        published = client.iopub_channel.socket
        for _ in range(int(STARTED_WITHIN / 0.2)):
            client.kernel_info()
            if await published.poll(200):
                break
            if program.ended:
                raise SandboxFailed(
                    f"the kernel ended as soon as it had started: {self.machine.said}", "Run `allod doctor`."
                )
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
        async with self.machine.awake(), contextlib.aclosing(self._outputs(code, stdin)) as outputs:
            async for output in outputs:
                yield output

    async def _outputs(self, code: str, stdin: bool) -> AsyncGenerator[Output]:
        if self._program is not None and self._program.vanished and not self._lost:
            self._lost = "it ended between two runs"
        if self._lost:
            yield notice(self._lost)
            await self._reset()
        await self.ready()
        assert self._client is not None and self._program is not None
        spool = Spool(self.machine.next_output(), self.limits.shown, self.limits.kept)
        more = {"by_message": self._by_message, "unordered": bool(self._spec.argv)}
        run = Run(self._client, self._program, self.limits, spool, self.workspace.layers, code, stdin, **more)
        self._run = run
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
        """Kills the kernel and everything that it started, and those beside it."""
        for kernel in self._others:
            await kernel._reset()
        await self._reset()
        if self._warming is not None:
            await ended(self._warming)
            self._warming = None
        await self.machine.close()

    async def _reset(self) -> None:
        """Ends the kernel; the sandbox too where no other runs in it, as what it left there is nobody's."""
        if self._starting is not None:
            await ended(self._starting)
            self._starting = None
        if self._client is not None:
            self._client.context.destroy(linger=0)  # with its sockets
            self._client = None
        if self._program is not None:
            self._program.kill()
            self._program = None
            if self.machine.alone:
                await self.machine.close()
        self._lost = ""


def installed(word: str) -> specs.Language:
    """The language that a word means.

    Raises:
        Unsupported: it has no kernel here.
    """
    language = specs.find(word)
    if language is None:
        names = ", ".join(each.name for each in specs.available())
        raise Unsupported(f"{word} cannot be run here, only {names}", "Install a Jupyter kernel for it.")
    return language


def shown() -> tuple[Path, ...]:
    """What kernels need to see of this machine beside the system and Python: it must be shown before one is wanted."""
    return tuple(dict.fromkeys(path for each in specs.available() for path in each.folders))


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancels a task and waits for its end."""
    task.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await task
