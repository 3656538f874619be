"""A run: one job that the server does, whoever listens. Its events are numbered, kept, and told to any who ask.

    run = Run(home)
    task = asyncio.create_task(run.work(job))     # until Ended
    async for number, body in run.follow(after=12): ...

A run belongs to the server: readers come and go, it goes on. Where the person has to be asked it waits, for as long as
that takes, for ``answer``. It knows nothing of HTTP, of conversations, or of how many runs there may be.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Literal

import msgspec
from msgspec import Struct

from allod.errors import AllodError, Conflict
from allod.home import Home
from allod.interpreter.attempt import Decision
from allod.interpreter.events import Code, Ended, Event, Notice
from allod.server import runs_log
from allod.server.runs_log import Entry

GATHER = 0.2  # seconds in which events gather before they are written
INTERRUPTED = "the server ended before the run did"

Status = Literal["queued", "running", "waiting", "done", "question", "gave_up", "declined", "stopped"]
log = logging.getLogger("allod.server")


class Waiting(Struct, frozen=True, tag="waiting"):
    """The run waits for a person: to approve or reject a block, or for a line that the code reads with input()."""

    kind: Literal["approve", "input"]
    code: str = ""
    language: str = ""
    prompt: str = ""
    password: bool = False


class Run:
    """``status`` and ``waiting`` are as of now; ``over`` is set once there is a last event.

    ``entry`` is set before ``work``.
    """

    entry: Entry

    def __init__(self, home: Home) -> None:
        self.home = home
        self.status: Status = "queued"
        self.reason = ""
        self.waiting: Waiting | None = None
        self.waiting_at = 0  # its number among the events
        self.over = asyncio.Event()
        self.stopped = False
        self._bodies: list[bytes] = []
        self._written = 0
        self._news = asyncio.Event()
        self._answer: asyncio.Future[Decision | str] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many events there are so far."""
        return len(self._bodies)

    # ── the job ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def work(self, job: Callable[[], AsyncGenerator[Event]], free: Callable[[], None]) -> None:
        """Tells the events of the job; whatever becomes of it, the last one is Ended.

        ``free`` is called just before that one: who reads it may begin the next run, or ask for the changes.
        """
        self._writer = asyncio.create_task(self._write())
        ended = Ended("stopped", "the run was stopped")
        try:
            if not self.stopped:
                async with aclosing(job()) as events:
                    async for event in events:
                        if isinstance(event, Ended):
                            ended = event
                        else:
                            self.tell(event)
        except asyncio.CancelledError:
            ended = Ended("stopped", "the server was stopped")
        except AllodError as error:
            ended = self._failed(error)
        except Exception as error:
            log.error("a run failed: %s", error, exc_info=error)
            ended = self._failed(AllodError("internal error", "The server's log has the details."))
        finally:
            self.waiting = None
            self.reason = ended.reason
            self.status = ended.status
            free()
            self.over.set()
            self.tell(ended)
            await asyncio.shield(self._finish())

    def _failed(self, error: AllodError) -> Ended:
        if error.remedy:
            self.tell(Notice(error.remedy))
        return Ended("gave_up", error.message)

    async def _finish(self) -> None:
        if self._writer is not None:
            await self._writer
        try:
            await asyncio.to_thread(runs_log.end, self.home, self.entry.id, self.status, self.reason)
        except AllodError as error:
            log.error("the end of a run is not kept: %s", error.message)

    def tell(self, event: Event | Waiting) -> None:
        """The next event."""
        self._bodies.append(msgspec.json.encode(event))
        self._rouse()

    def _rouse(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _write(self) -> None:
        """Keeps events as they come, a few at a time, until the run is over."""
        while not (self.over.is_set() and self._written == len(self._bodies)):
            if self._written == len(self._bodies):
                await self._news.wait()
                if not self.over.is_set():
                    await asyncio.sleep(GATHER)
            bodies = self._bodies[self._written :]
            try:
                await asyncio.to_thread(runs_log.add, self.home, self.entry.id, self._written + 1, bodies)
            except AllodError as error:
                log.error("the events of a run are not kept: %s", error.message)
                return
            self._written += len(bodies)

    # ── readers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def follow(self, after: int = 0) -> AsyncGenerator[tuple[int, bytes]]:
        """Events with numbers above ``after``, those to come included, to the end. The last one always comes."""
        at = after
        while True:
            news = self._news
            while at < len(self._bodies):
                at += 1
                yield at, self._bodies[at - 1]
            if self.over.is_set():
                if after >= len(self._bodies):
                    yield len(self._bodies), self._bodies[-1]
                return
            await news.wait()

    # ── the person ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def approve(self, code: Code) -> Decision:
        """Waits for what a person says to a block."""
        said = await self._wait(Waiting("approve", code.code, code.language))
        return said if isinstance(said, Decision) else Decision(False)

    async def ask(self, prompt: str, password: bool) -> str:
        """Waits for the line that code asks for."""
        said = await self._wait(Waiting("input", prompt=prompt, password=password))
        return said if isinstance(said, str) else ""

    async def _wait(self, wanted: Waiting) -> Decision | str:
        if self.stopped:
            return Decision(False)
        self._answer = asyncio.get_running_loop().create_future()
        self.tell(wanted)
        self.status, self.waiting, self.waiting_at = "waiting", wanted, len(self._bodies)
        try:
            return await self._answer
        finally:
            self.status, self.waiting, self._answer = "running", None, None

    def answer(self, kind: Literal["approve", "input"], said: Decision | str, number: int | None = None) -> None:
        """What the person says. ``number``: of the event that asked, so that nothing later is answered by mistake.

        Raises:
            Conflict: the run does not wait for that, or no longer.
        """
        waiting, future = self.waiting, self._answer
        if waiting is None or waiting.kind != kind or future is None or future.done():
            raise Conflict("the run does not wait for that", "Its `waiting` says what it waits for.")
        if number is not None and number != self.waiting_at:
            raise Conflict("the run waits for something else by now", "Look at its `waiting` again.")
        future.set_result(said)

    def let_go(self) -> None:
        """Nobody will be asked any more: what waits is declined, what waits for its turn never begins."""
        self.stopped = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Decision(False))
