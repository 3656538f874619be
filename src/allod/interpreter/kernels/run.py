"""One run of code in a kernel: its messages turned into outputs, its time, memory and disk watched, its end seen to.

The kernel's answers come on three sockets and its death on none of them, so one loop waits for whichever comes first,
and looks at the clock in between.
"""

import base64
import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
import zmq.asyncio

from allod.interpreter.kernels.leftovers import Leftovers
from allod.interpreter.kernels.machine import Program
from allod.interpreter.kernels.outputs import Failure, InputRequest, Notice, Output, Picture, Result, Stream
from allod.interpreter.kernels.spool import Spool
from allod.interpreter.sandbox.limits import Limits, proportional, usage
from allod.interpreter.workspace import tree

if TYPE_CHECKING:
    from jupyter_client.asynchronous.client import AsyncKernelClient

WATCH_EVERY = 0.25  # seconds between looks at time, memory and disk
AGAIN_EVERY = 0.4  # seconds between interrupts of code that does not heed the first
STOPPED_WITHIN = 1.8  # seconds from an interrupt to the kill
IDLE_AFTER_REPLY = 1.0  # seconds to wait for publications that a flood may have dropped
IDLE_CPU = 0.02  # processor seconds a second below which code counts as waiting
MOST_FILES = 1_000_000  # that a job may make: a disk has only so many, however small they are
CHECK_DISK = 1 << 30  # bytes that the disk loses between two looks at what the job itself wrote
LATE = 30  # milliseconds without a word, after which even a kernel that publishes in no order has said all
LARGEST_PICTURE = 20 << 20  # characters, as base64
LARGEST_FORM = 1 << 20  # of another form of a result, such as an HTML table
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
LOST = "The kernel ended with it: all variables are lost, and the next run begins a new one."


class Run:
    """One execution."""

    def __init__(
        self,
        client: "AsyncKernelClient",
        program: Program,
        limits: Limits,
        spool: Spool,
        layers: Path,
        code: str,
        stdin: bool,
        by_message: bool = False,
        unordered: bool = False,
    ) -> None:
        self.client = client
        self.program = program
        self.layers = layers
        self.limits = limits
        self.spool = spool
        self.by_message = by_message  # how the kernel wants to be interrupted
        self.unordered = unordered  # it may say that it is idle before it publishes the last
        self.done = False  # the kernel is idle again
        self.death = ""  # how the kernel ended; empty: it lives
        self.failure: Failure | None = None  # a limit that was hit
        self._leftovers = Leftovers(program.pid)
        self._id = client.execute(code, store_history=True, allow_stdin=stdin, stop_on_error=False)
        self._failed = False  # as the kernel said
        self._replied = self._idle = 0.0  # when the kernel said so; a run is over with both
        self._asking = False
        self._interrupted = 0.0
        self._again = 0.0
        self._began = self._active = self._looked = time.monotonic()
        self._cpu = 0.0
        self._free = shutil.disk_usage(layers).free
        self._names = os.statvfs(layers).f_ffree

    # ── the loop ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def outputs(self) -> AsyncGenerator[Output]:
        """Everything until the kernel is idle again, or dead."""
        async with contextlib.aclosing(self._events()) as events:
            async for output in events:
                yield output
        if text := self.spool.rest():
            yield Stream("stdout", text)
        if self.failure is not None:
            yield self.failure
        elif self.death:
            yield Failure("KernelDied", self.death, hint=LOST)
        elif self._interrupted and not self._failed:  # some kernels just end the code
            yield Failure("KeyboardInterrupt", "the code was stopped")

    async def _events(self) -> AsyncGenerator[Output]:
        client = self.client
        poller = zmq.asyncio.Poller()
        sockets = {client.iopub_channel.socket: "iopub", client.shell_channel.socket: "shell"}
        sockets[client.stdin_channel.socket] = "stdin"
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        while not self.done and not self.death:
            came = dict(await poller.poll(int(WATCH_EVERY * 1000)))
            for socket, name in sockets.items():
                if socket not in came:
                    continue
                message = await self._receive(name)
                if message is not None:
                    for output in self._take(name, message):
                        yield output
            if self.program.ended:
                if not came:  # what it said last is taken in first
                    self._died()
            else:
                self._look()
            first = self._replied or self._idle
            if not came and first and time.monotonic() - first > IDLE_AFTER_REPLY:
                self.done = True
        if self._interrupted:
            await self._leftovers.end()
        while self.unordered and self.done and await client.iopub_channel.socket.poll(LATE):
            if (message := await self._receive("iopub")) is not None:
                for output in self._take("iopub", message):
                    yield output

    async def _receive(self, channel: str) -> dict[str, Any] | None:
        """One message; None where it is not well formed (the kernel's code may send what it likes)."""
        client = self.client
        get = {"iopub": client.get_iopub_msg, "shell": client.get_shell_msg, "stdin": client.get_stdin_msg}[channel]
        with contextlib.suppress(Exception):
            message = await get(timeout=0)
            if isinstance(message.get("content"), dict) and isinstance(message.get("parent_header"), dict):
                return message
        return None

    def _take(self, channel: str, message: dict[str, Any]) -> Iterator[Output]:
        """What a message comes to."""
        mine = message.get("parent_header", {}).get("msg_id") == self._id
        kind, content = message.get("msg_type"), message["content"]
        if channel == "shell":
            if mine and kind == "execute_reply":
                self._replied = time.monotonic()
                self.done = bool(self._idle)
            return
        if channel == "stdin":
            if kind == "input_request" and mine:
                self._asking = True
                yield InputRequest(str(content.get("prompt", "")), bool(content.get("password")))
            return
        if kind == "status":
            if mine and content.get("execution_state") == "idle":
                self._idle = time.monotonic()
                self.done = bool(self._replied)
            return
        self._active = time.monotonic()
        if kind == "stream":
            # Of earlier runs too: a thread of theirs may print on.
            if text := self.spool.write(str(content.get("text", ""))):
                yield Stream("stderr" if content.get("name") == "stderr" else "stdout", text)
        elif mine and kind == "error":
            self._failed = True
            yield self._failure(content)
        elif kind in ("execute_result", "display_data"):
            yield from self._shown(content.get("data"))

    def _failure(self, content: dict[str, Any]) -> Failure:
        """An exception of the code."""
        name, message = str(content.get("ename", "")), str(content.get("evalue", ""))
        lines = content.get("traceback")
        values = content.get("values")
        line = content.get("line")
        return Failure(
            name,
            message,
            ANSI.sub("", "\n".join(str(each) for each in lines)) if isinstance(lines, list) else "",  # pyright: ignore
            line if isinstance(line, int) else 0,
            str(content.get("source", "")),
            tuple(str(each) for each in values) if isinstance(values, list) else (),  # pyright: ignore
            str(content.get("hint", "")),
        )

    def _shown(self, data: object) -> Iterator[Output]:
        if not isinstance(data, dict):
            return
        texts = {str(k): v for k, v in data.items() if isinstance(v, str)}  # pyright: ignore
        png, svg = texts.pop("image/png", ""), texts.pop("image/svg+xml", "")
        if (png or svg) and len(png) + len(svg) < LARGEST_PICTURE:
            with contextlib.suppress(ValueError):
                yield Picture(base64.b64decode(png), svg)
                return
        text = texts.pop("text/plain", "")
        if not text and (markup := texts.get("text/html") or texts.get("text/markdown")):
            text = words_of(markup)
        now = self.spool.write(text + "\n").rstrip("\n") if text else ""
        if now:
            yield Result(now, {"text/plain": now} | {k: v for k, v in texts.items() if len(v) <= LARGEST_FORM})

    # ── limits and the end ──────────────────────────────────────────────────────────────────────────────────────────

    def answered(self) -> None:
        """The user answered; the time they took does not count."""
        self._asking = False
        self._active = self._began = time.monotonic()

    def interrupt(self) -> None:
        """Asks the code to stop; the loop sees to it that it does."""
        if not self._interrupted:
            self._interrupted = self._again = time.monotonic()
            self._leftovers.look()
            self._signal()

    def _signal(self) -> None:
        if self.by_message:
            self.client.control_channel.send(self.client.session.msg("interrupt_request", {}))
        else:
            self.program.interrupt()

    async def stop(self) -> None:
        """Interrupts and waits for the end, of which nothing is handed on."""
        self.interrupt()
        async with contextlib.aclosing(self._events()) as events:
            async for _ in events:
                pass

    def _look(self) -> None:
        """Sees whether the kernel keeps its limits."""
        now = time.monotonic()
        if now - self._looked < WATCH_EVERY:
            return
        span, self._looked = now - self._looked, now
        if self._interrupted:
            if now - self._interrupted > STOPPED_WITHIN:
                if self.failure is None:
                    self.failure = Failure("KeyboardInterrupt", "the code did not stop")
                self._end(f"{self.failure.message}, and its kernel was killed", self.program.kill)
            elif now - self._again > AGAIN_EVERY:
                self._again = now
                self._leftovers.look()
                self._signal()
            return
        limits = self.limits
        pids = self.program.pids
        used = usage(pids)
        if used.cpu - self._cpu > IDLE_CPU * span:
            self._active = now
        self._cpu = used.cpu
        if used.memory > self.limits.memory and (held := proportional(pids)) > self.limits.memory:
            self._kill("MemoryLimit", f"its programs held {held >> 20:,} MB, of {self.limits.memory >> 20:,} allowed")
        elif limits.processes > 0 and len(pids) > limits.processes:
            self._kill("ProcessLimit", f"it started more than {limits.processes} programs")
        elif self._full():
            self._kill("DiskLimit", f"the job wrote more than {limits.disk >> 20:,} MB")
        elif self._crowded():
            self._kill("DiskLimit", f"the job made more than {MOST_FILES:,} files")
        elif self._asking:
            pass
        elif limits.wall > 0 and now - self._began > limits.wall:
            self._stop("TimeLimit", f"the code ran for more than {limits.wall:g} s")
        elif limits.idle > 0 and now - self._active > limits.idle:
            self._stop("TimeLimit", f"the code waited for more than {limits.idle:g} s without doing anything")

    def _full(self) -> bool:
        """Whether the job's layers hold more than they may; only added up where the disk lost that much."""
        most, free = self.limits.disk, shutil.disk_usage(self.layers).free
        if most <= 0 or self._free - free < min(most, CHECK_DISK):
            return False
        self._free = free
        return tree.disk_use(self.layers) > most

    def _crowded(self) -> bool:
        """Whether the job's layers hold more files than they may; only counted where the disk lost that many."""
        free = os.statvfs(self.layers).f_ffree
        if self._names - free < MOST_FILES:
            return False
        self._names = free
        return sum(len(names) + 1 for _, _, names in os.walk(self.layers)) > MOST_FILES

    def _stop(self, name: str, message: str) -> None:
        """Interrupts because of a limit."""
        self.failure = Failure(name, message, hint="Do it in smaller steps. The variables are still there.")
        self.interrupt()

    def _kill(self, name: str, message: str) -> None:
        """Ends everything in the sandbox because of a limit."""
        self.failure = Failure(name, message)
        self._end(message, self.program.kill_all)

    def _end(self, why: str, kill: Callable[[], None]) -> None:
        if self.failure is not None:
            self.failure = Failure(self.failure.name, self.failure.message, hint=LOST)
        self.death = why
        kill()

    def _died(self) -> None:
        """The process ended on its own."""
        status = self.program.exit_status
        number = status - 128 if status > 128 else 0
        if self.program.out_of_memory:
            self.death = f"its programs held more than {self.limits.memory >> 20:,} MB of memory"
            self.failure = Failure("MemoryLimit", self.death, hint=LOST)
        elif number == signal.SIGKILL:
            self.death = "it was killed, most likely because the machine ran out of memory"
        elif number:
            with contextlib.suppress(ValueError):
                self.death = f"the program crashed with {signal.Signals(number).name}"
        self.death = self.death or f"the program ended itself with status {status}"
        if self._interrupted and self.failure is None:  # as kernels do that know no interrupt
            self.failure = Failure("KeyboardInterrupt", "the code was stopped", hint=LOST)


def words_of(markup: str) -> str:
    """HTML as plain text, a line for each row or paragraph."""
    lines = re.sub(r"</tr>|</p>|<br[^>]*>", "\n", markup).splitlines()
    return "\n".join(words for line in lines if (words := " ".join(re.sub(r"<[^>]*>", " ", line).split())))


def notice(death: str) -> Notice:
    """What the run after a kernel's death says first."""
    return Notice(f"The kernel was started anew, as {death}; all variables are gone.")
