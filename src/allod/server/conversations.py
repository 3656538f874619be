"""The conversations that are open on this server, each with its interpreter, and the runs that go on in them.

An interpreter holds what a conversation's jobs changed and did not apply, and its kernel. It opens with the first run
and stays until the conversation is deleted, the server stops, or others need the room: then the one that was idle
longest goes, one that holds changes last. What is not applied stays on disk and is taken up again, after a restart too.
Runs are bounded: so many at once, so many that wait, one a conversation.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct

from allod.errors import AllodError, Busy, Conflict, Stopping
from allod.home import Home
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Event
from allod.interpreter.given import Given
from allod.interpreter.interpreter import AsyncInterpreter, Leaser
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.workspace import Workspace
from allod.server import runs_log
from allod.server.runs import Run

AT_ONCE = 4  # runs that work
WAITING = 16  # runs that wait for one of these to end
OPEN = 24  # interpreters
KEPT = 100  # runs that are over and still in memory, for readers who are behind
GRACE = 8.0  # seconds in which runs end when the server stops


class Order(Struct, frozen=True):
    """What a run is to do, as its request said."""

    task: str
    files: tuple[Given, ...] = ()
    model: str = ""
    profile: str = ""
    auto_approve: bool | None = None  # None: as the profile says
    auto_apply: bool = False


class Room(Struct):
    """One open conversation."""

    interpreter: AsyncInterpreter
    profile: str
    used: float
    run: Run | None = None  # the latest


class Conversations:
    """Owns the rooms and the runs. Used on one event loop."""

    def __init__(self, home: Home, engine: Leaser) -> None:
        self.home = home
        self.engine = engine
        self._rooms: dict[str, Room] = {}
        self._runs: dict[str, Run] = {}
        self._done: deque[str] = deque()
        self._busy: set[str] = set()  # conversations in which a run goes on, or begins
        self._tasks: set[asyncio.Task[None]] = set()  # the runs that go on, or write down their end
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ending = False

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def begin(self, id_: str, order: Order) -> Run:
        """Starts a run; it works, or waits for its turn, from here on.

        Raises:
            NotFound: no such conversation.
            Conflict: a run is going on in it.
            Busy: too many are waiting.
            AllodError: folder, profile or model cannot be used.
        """
        if self._ending:
            raise Stopping("the server is being stopped", "Ask again when it is back.")
        if id_ in self._busy:
            raise Conflict("a run is going on in this conversation", "Wait for its end, or stop it.")
        if len(self._busy) >= AT_ONCE + WAITING:
            raise Busy("too many runs are waiting", "Try again later.", retry_after=10)
        self._busy.add(id_)
        try:
            room = await self._room(id_, order.profile)
            if room.interpreter.busy:
                raise Conflict("changes are being applied in this conversation", "Try again in a moment.")
            run = Run(self.home)
            self._prepare(room.interpreter, run, order)
            run.entry = await asyncio.to_thread(runs_log.begin, self.home, id_, order.task)
            if self._ending:
                raise Stopping("the server is being stopped", "Ask again when it is back.")
        except BaseException:
            self._busy.discard(id_)
            raise
        self._runs[run.entry.id] = room.run = run
        task = asyncio.create_task(self._work(id_, room, run, order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def _work(self, id_: str, room: Room, run: Run, order: Order) -> None:
        interpreter = room.interpreter

        async def job() -> AsyncGenerator[Event]:
            async with self._slots:
                if run.stopped:
                    return
                run.status = "running"
                work = interpreter.do(order.task, files=order.files, model=order.model)
                async with aclosing(work) as events:
                    async for event in events:
                        yield event

        def free() -> None:
            room.used = time.monotonic()
            self._busy.discard(id_)

        await run.work(job, free)
        self._done.append(run.entry.id)
        while len(self._done) > KEPT:
            self._runs.pop(self._done.popleft(), None)

    def _prepare(self, interpreter: AsyncInterpreter, run: Run, order: Order) -> None:
        """Who is asked, and whether changes are applied at the end. Raises where the profile forbids that."""
        confined = Sandbox.find().confines
        asks = (
            not confined or interpreter.profile.ask == "each" if order.auto_approve is None else not order.auto_approve
        )
        approve = run.approve if asks else None
        interpreter.check(approve, order.auto_apply)
        interpreter.approve, interpreter.ask, interpreter.auto = approve, run.ask, order.auto_apply

    def live(self, run: str) -> Run | None:
        """A run that is in memory: one that goes on, or was over lately."""
        return self._runs.get(run)

    async def stop(self, run: Run) -> None:
        """Ends a run; it tells its last events."""
        run.let_go()
        if (room := self._rooms.get(run.entry.conversation)) is not None and room.run is run:
            await room.interpreter.stop()

    # ── rooms ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _room(self, id_: str, profile: str = "") -> Room:
        """The conversation's room, opened where it is not; anew where another profile is wanted."""
        async with self._opening:
            return await self._opened(id_, profile)

    async def _opened(self, id_: str, profile: str) -> Room:
        room = self._rooms.get(id_)
        if room is not None and profile and profile != room.profile:
            if await room.interpreter.changes():
                raise Conflict(
                    "the conversation has changes that were made with another profile",
                    "Apply or discard them first.",
                )
            await self._shut(id_)
            room = None
        if room is None:
            await self._make_room()
            said = await asyncio.to_thread(Conversation.get, self.home, id_)
            name = profile or said.profile or "default"
            interpreter = AsyncInterpreter(
                said.folder,
                profile=name,
                conversation=said.id,
                keep=True,
                home=self.home,
                engine=self.engine,
                approve=_nobody,
            )
            await interpreter.open()
            room = self._rooms[id_] = Room(interpreter, name, time.monotonic())
        return room

    async def _make_room(self) -> None:
        """Lets the one go that was idle longest, where there are as many as there may be."""
        if len(self._rooms) < OPEN:
            return
        idle = [(room.used, id_) for id_, room in self._rooms.items() if id_ not in self._busy]
        able = [id_ for _, id_ in sorted(idle) if not self._rooms[id_].interpreter.busy]
        for id_ in able:
            if not await self._rooms[id_].interpreter.changes():
                break
        else:
            id_ = next(iter(able), "")
        if not id_ or id_ in self._busy:
            raise Busy("too many conversations are at work", "Try again later.", retry_after=30)
        await self._shut(id_)

    async def _shut(self, id_: str) -> None:
        room = self._rooms.pop(id_)
        await room.interpreter.close()

    async def held(self, run: str) -> AsyncInterpreter:
        """The interpreter with the changes of a run that is over, perhaps before the server was started.

        Raises:
            NotFound: no such run.
            Conflict: it is going on, another one came after it, or what it changed is no longer there.
        """
        entry = await asyncio.to_thread(runs_log.get, self.home, run)
        latest = (await asyncio.to_thread(runs_log.of, self.home, entry.conversation))[-1]
        if latest.id != run:
            raise Conflict(
                "the changes of this run are no longer held", "Only those of a conversation's latest run are."
            )
        if entry.conversation in self._busy:
            raise Conflict("the run is going on", "Wait for its end, or stop it.")
        if entry.conversation not in self._rooms:
            said = await asyncio.to_thread(Conversation.get, self.home, entry.conversation)
            if said.job and not await asyncio.to_thread(Workspace.is_kept, self.home, said.job):
                raise Conflict(
                    "the changes of this run are gone: nobody applied them for days, or they were removed",
                    "Start the run again.",
                )
        return (await self._room(entry.conversation)).interpreter

    async def delete(self, conversation: Conversation) -> None:
        """Deletes a conversation with its runs. Raises Conflict where one is going on."""
        room = self._rooms.get(conversation.id)
        if conversation.id in self._busy or (room is not None and room.interpreter.busy):
            raise Conflict("a run is going on in this conversation", "Stop it first.")
        if room is not None:
            room.interpreter.keep = False
            await self._shut(conversation.id)
        elif conversation.job:
            with contextlib.suppress(AllodError):  # gone already, or another process has it
                await asyncio.to_thread(Workspace.reopen(self.home, conversation.job).discard)
        await asyncio.to_thread(conversation.delete)
        for id_ in [id_ for id_, run in self._runs.items() if run.entry.conversation == conversation.id]:
            del self._runs[id_]

    def running(self, id_: str) -> Run | None:
        """The run that is going on in a conversation."""
        room = self._rooms.get(id_)
        return room.run if room is not None and id_ in self._busy else None

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def end(self) -> None:
        """Stops what runs, so that readers see its end. Nothing begins any more."""
        self._ending = True
        tasks = list(self._tasks)
        for run in self._runs.values():
            if not run.over.is_set():
                with contextlib.suppress(AllodError):
                    await self.stop(run)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def close(self) -> None:
        """`end`, then lets go of everything. What was not applied stays on disk."""
        await self.end()
        for id_ in list(self._rooms):
            await self._shut(id_)


async def _nobody(_: object) -> bool:
    """Stands for the person until a run says whether there is one."""
    return False
