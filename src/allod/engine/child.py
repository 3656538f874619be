"""One worker process from the parent's side: started, waited for, its last words kept, killed.

    child = await Child.start(parameters)        # returns once it says where it listens
    child.address                                # ("127.0.0.1", 41234)
    await child.fate()                           # after it broke off: an error that says why

What is spoken with it over HTTP is ``llama``'s business.
"""

import asyncio
import os
import re
import signal
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from allod.errors import EngineFailed, RunnerCrashed

WORKER = Path(__file__).with_name("llama_worker.py")
LOG_LINES = 100
LOG_LINE = 2000  # characters
# OpenMP's threads wait for each other by spinning. Where something else needs a core they spin for a whole time slice:
# eight tokens took a minute on a busy machine. So they spin for a moment only, unless the user says otherwise.
ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
DYING = 0.8  # seconds that a process whose connection broke may take to be gone
LOG_PREFIX = re.compile(r"^[0-9.]+ [A-Z] (?:\w+: )?")  # llama.cpp's: time, level, function
ERROR = re.compile(r"^[0-9.]+ E |error|assert|exception|fatal|failed", re.IGNORECASE)


class Child:
    """A running worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ("", 0)
        self.build = ""  # which engine it is; a native one says so elsewhere
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.reason = ""  # why it was killed, as a verb
        self._reading = asyncio.create_task(self._read_log())
        self._gone = asyncio.create_task(process.wait())

    @classmethod
    async def spawn(cls, native: bool = False) -> "Child":
        """Starts the process; it waits for its parameters, importing meanwhile what only a ``native`` one does without.

        Raises:
            EngineFailed: the system starts no processes.
        """
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # not the worker's own folder: its modules would hide the standard library's
                str(WORKER),
                *(["native"] if native else []),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the terminal is for the parent
                env=ENVIRONMENT | os.environ,
            )
        except OSError as error:
            raise EngineFailed(
                f"the model's process cannot be started: {error}", "Check the system's limits."
            ) from error
        return cls(process)

    async def load(self, parameters: dict[str, Any]) -> None:
        """Says what to load (``llama_worker.Parameters``) and waits for the address.

        Raises:
            EngineFailed: it ended instead; the message carries its last words.
        """
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(msgspec.json.encode(parameters | {"parent": os.getpid()}) + b"\n")
            await self.process.stdin.drain()
            line = await self.process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            await self._end()
            words = self.first_error() or f"its process {self.ended()} without a word"
            raise EngineFailed(
                f"'{parameters['name']}' could not be loaded: {words}",
                "Is the file damaged? `allod rm` and `allod pull` it again; `allod doctor` checks the engine.",
            )
        said: dict[str, str] = msgspec.json.decode(line)
        self.build = said.get("build", "")
        host, _, port = said["address"].rpartition("//")[2].rpartition(":")
        self.address = (host, int(port))

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs, as far as is known."""
        return self.process.returncode is None

    async def fate(self, name: str) -> RunnerCrashed:
        """Why a connection to it broke: the process's end, where it ended, with its last words."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), DYING)
        code = self.process.returncode
        if code is None:
            return RunnerCrashed(f"the process of '{name}' broke off its answer", "Ask again.")
        await self._end()
        words = self.last_errors()
        remedy = "Ask again: the next request starts it anew."
        if code == -signal.SIGKILL:
            words = ""  # it had no time for any
        if self.reason:
            remedy = "Close what takes the memory, or use a smaller model or context."
        elif code == -signal.SIGKILL:
            remedy += " If this repeats, memory may be short: try a smaller context or model."
        return RunnerCrashed(f"the process of '{name}' {self.ended()}" + (f": {words}" if words else ""), remedy)

    def ended(self) -> str:
        """How it ended, as a verb."""
        if self.reason:
            return self.reason
        code = self.process.returncode or 0
        return f"was killed ({signal_name(-code)})" if code < 0 else f"ended with code {code}"

    def first_error(self) -> str:
        """What it complained of first, else its last line; perhaps nothing."""
        errors = [line for line in self.log if ERROR.search(line)] or list(self.log)[-1:]
        return LOG_PREFIX.sub("", errors[0])[:500] if errors else ""

    def last_errors(self) -> str:
        """What it complained of last; perhaps nothing."""
        errors = [line for line in self.log if ERROR.search(line)][-2:]
        return "; ".join(LOG_PREFIX.sub("", line) for line in errors)[:500]

    async def wait(self) -> None:
        """Until it is gone."""
        await asyncio.shield(self._gone)

    async def kill(self, reason: str = "") -> None:
        """Ends it at once and waits until it is gone, its memory with it; ``reason`` is told to those it answers."""
        if self.alive:
            self.reason = reason
            with suppress(ProcessLookupError):
                self.process.kill()
        await self._end()

    async def _end(self) -> None:
        """Waits for the end, reads what is left of the log, lets the watcher go."""
        await self.wait()
        if self.process.stdin:
            self.process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._reading), DYING)

    async def _read_log(self) -> None:
        """Keeps the last lines of stderr, however long or broken they are."""
        assert self.process.stderr
        rest = ""
        while data := await self.process.stderr.read(64 * 1024):
            *lines, rest = (rest + data.decode(errors="replace")).split("\n")
            self.log.extend(line[:LOG_LINE] for line in lines if line.strip())
            rest = rest[:LOG_LINE]
        if rest.strip():
            self.log.append(rest)


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
