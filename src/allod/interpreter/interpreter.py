"""One person's or program's work in one folder: jobs, their changes, the conversation. What every door stands on.

    async with AsyncInterpreter("~/films", approve=ask) as interpreter:
        async for event in interpreter.do("Turn the film table in films.pdf into an Excel file"):
            ...                                  # see allod.interpreter.events
        await interpreter.apply()                # until then the folder is as it was

Owns the conversation, the agent and its workspace, and the model only while a job is done. One job at a time; several
interpreters may work side by side, in the same folder too. Everything is kept as it happens, and what breaks off is
kept as far as it came. It never talks to a person: ``approve``, ``ask`` and ``settle`` do. ``blocking`` is the same
without async, the command line's desk and the server's runs are made of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

import msgspec

from allod.chat import ImagePart
from allod.engine import LoadOptions, Runner, connect
from allod.errors import AllodError, BadRequest, Conflict, Disk, NotFound, SandboxFailed, Unsupported
from allod.home import Home
from allod.interpreter import profiles
from allod.interpreter.agent import Agent
from allod.interpreter.asking import Approve, Ask, Settle, approver, asker
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Applied, Changes, Ended, Event, Notice, Status
from allod.interpreter.given import Given, land, unchanged
from allod.interpreter.granting import granted
from allod.interpreter.idleness import Idleness
from allod.interpreter.profiles import Profile
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.session import Session
from allod.interpreter.workspace import Change, Grants, Workspace, checked, undo
from allod.interpreter.workspace.changes import Applied as Written
from allod.interpreter.workspace.changes import empties

P = ParamSpec("P")
T = TypeVar("T")


class Leaser(Protocol):
    """What is asked of an engine, in this process or behind a server."""

    def lease(
        self, model: str, options: LoadOptions | None = None, keep_alive: float | None = None
    ) -> AbstractAsyncContextManager[Runner]:
        """A loaded model for the time of the ``async with``."""
        ...


class AsyncInterpreter:
    """Enter it to begin.

    Args:
        folder: where to work. With ``conversation`` and none given, that of the conversation.
        model: a name; none: the conversation's, else the profile's.
        profile: a name or a profile; none: the conversation's, else ``default``.
        conversation: the id of one to go on with.
        read, folders, net, packages: what code may reach besides the folder, on top of what the profile grants.
        approve: asked before each block of the model's code. Without it blocks run unasked in the sandbox, where they
            change nothing outside the workspace; a strict profile and a machine without a sandbox need it.
        ask: answers what code asks with input(); without it such code fails.
        auto: changes are applied at the end of each job that is done, unless they delete every file.
        settle: says at the end of each job what becomes of its changes, in the place of ``auto``.
        profile_name: what the conversation keeps as the profile's name where one is given that has none.
        keep: what is not applied when it is closed stays on disk, and is taken up again with the conversation.
        rest: seconds without a job after which the kernels are let go, until the next one; none: the profile's.
        engine: to lease models from; none: the server if it runs, else an engine in this process.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        model: str | None = None,
        profile: str | Profile | None = None,
        *,
        conversation: str = "",
        read: Sequence[str | Path] = (),
        folders: Sequence[str | Path] = (),
        net: Sequence[str] = (),
        packages: bool = False,
        approve: Approve | None = None,
        ask: Ask | None = None,
        auto: bool = False,
        settle: Settle | None = None,
        profile_name: str = "",
        unconfined: bool = False,
        seed: int | None = None,
        keep_alive: float | None = None,
        keep: bool = False,
        rest: float | None = None,
        home: Home | None = None,
        engine: Leaser | None = None,
    ) -> None:
        self.home = home or Home.open()
        self.auto = auto
        self.approve = approve
        self.ask = ask
        self.settle = settle
        self.unconfined = unconfined
        self.keep_alive = keep_alive
        self.keep = keep
        self._engine = engine
        wanted = Grants(tuple(map(Path, read)), tuple(map(Path, folders)), tuple(net), packages)
        before = Conversation.get(self.home, conversation) if conversation else None
        place = folder if folder is not None else before.folder if before and before.folder else "."
        self.folder = checked(Path(place))
        self.profile = self._loaded(profile or (before.profile if before else "") or "default", seed)
        self.grants = granted(self.home, self.folder, self.profile, wanted)
        self.model = model or (before.model if before else "") or self.profile.model
        name = profile_name or (profile if isinstance(profile, str) else before.profile if before else "")
        self._begin = (self.model, name or "default")
        self._conversation = before
        self._agent: Agent | None = None
        self._applied: list[str] = []  # what is undone, last first
        self._busy = False
        self._stopped = False
        self._idleness = Idleness(self.profile.bounds.rest if rest is None else rest, self._tired)
        self._notices: list[Notice] = []  # that the job at hand has still to tell
        self._kept = True  # whether what happens can be written down
        self._stack = AsyncExitStack()
        self.check(approve, auto)

    def _loaded(self, profile: str | Profile, seed: int | None) -> Profile:
        loaded = profiles.load(self.home, profile) if isinstance(profile, str) else profile
        if seed is None:
            return loaded
        return msgspec.structs.replace(loaded, sampling=msgspec.structs.replace(loaded.sampling, seed=seed))

    def check(self, approve: Approve | None, auto: bool) -> None:
        """Raises SandboxFailed or BadRequest where that may not be done without a person's leave."""
        if self.profile.strict and (approve is None or auto):
            raise BadRequest(
                "this profile asks before everything", "Give approve, leave out auto, or take another profile."
            )
        if approve is None and not self.unconfined and not Sandbox.find().confines:
            raise SandboxFailed(
                "there is no sandbox on this machine: code could read and change everything that you can",
                "Give approve, which is asked before each block. `allod doctor` says what is missing.",
            )

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Makes the workspace, or takes up the one that was kept. Nothing runs yet, and no model is loaded."""
        workspace = await asyncio.to_thread(self._workspace)
        try:
            if self._engine is None:
                self._engine = await self._stack.enter_async_context(connect(self.home))
            if self._conversation is None:
                self._conversation = Conversation.begin(self.home, self.folder, self._begin[0], profile=self._begin[1])
            await self._remember(workspace)
        except BaseException:
            kept = self._conversation is not None and self._conversation.job == workspace.path.name
            await asyncio.to_thread(workspace.close if kept else workspace.discard)
            await self._stack.aclose()
            raise
        self._agent = self._made(workspace)

    def _workspace(self) -> Workspace:
        """The one that was kept, else a new one."""
        if self.keep and self._conversation is not None and self._conversation.job:
            with contextlib.suppress(NotFound):
                kept = Workspace.reopen(self.home, self._conversation.job, self.grants)
                done = [each.id for each in undo.history(self.home, self.folder) if each.state == "applied"]
                self._applied = [id_ for id_ in done[::-1] if id_.startswith(f"{kept.path.name}/")]
                return kept
        return Workspace.create(self.home, self.folder, self.grants)

    async def _remember(self, workspace: Workspace | None) -> None:
        """Notes where that is which is not applied, so that it is found again after a restart or a kill."""
        job = workspace.path.name if workspace else ""
        if self.keep and self.conversation.job != job:
            await thoroughly(self.conversation.work_in, job)

    async def close(self) -> None:
        """Ends the session; what was not applied is dropped, or kept where that was asked for.

        A conversation in which nobody spoke is dropped, too.
        """
        agent, self._agent = self._agent, None
        try:
            if agent is not None:
                await self._idleness.end()
                await agent.close()
                await self._leave(agent)
            if (said := self._conversation) is not None and said.head is None and not said.tree():
                said.delete()
        finally:
            await self._stack.aclose()

    async def _leave(self, agent: Agent) -> None:
        """Drops the workspace, or keeps it for later where it holds changes."""
        if self.keep:
            try:
                held = bool(await self._changed(agent))
            except AllodError:  # more than can be looked through
                held = True
            if held:
                agent.workspace.close()
                return
            await self._remember(None)
        await asyncio.to_thread(agent.workspace.discard)

    def _made(self, workspace: Workspace) -> Agent:
        # The runner is that of the job at hand: `do` leases it.
        said = self.conversation
        return Agent(_NO_RUNNER, workspace, self.profile, history=said.messages, codes=said.blocks)

    @property
    def conversation(self) -> Conversation:
        """What was said, in the database; its ``id`` resumes it."""
        if self._conversation is None:
            raise BadRequest("the interpreter has not begun", "Enter it first: `with Interpreter(…) as interpreter`.")
        return self._conversation

    @property
    def agent(self) -> Agent:
        """Who does the jobs."""
        if self._agent is None:
            raise BadRequest("the interpreter is not open", "Enter it first: `with Interpreter(…) as interpreter`.")
        return self._agent

    @property
    def busy(self) -> bool:
        """Whether a job is going on, or changes are looked at or applied."""
        return self._busy

    def _idle(self) -> Agent:
        if self._busy:
            raise Conflict("something is going on in this conversation", "Wait for its end, or stop it.")
        return self.agent

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncGenerator[Agent]:
        """The agent, while nothing else is done with it. Raises Conflict."""
        self._idle()
        await self._idleness.over()
        agent = self._idle()
        self._busy = True
        try:
            yield agent
        finally:
            self._busy = False

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """The kernels, for what a person runs in them besides jobs. `stop` interrupts that. Raises Conflict."""
        async with self._alone() as agent, self._idleness.interrupted():
            yield await agent.session()

    async def warm(self) -> None:
        """Starts the kernels, so that they are there when the first job comes. Raises Conflict, SandboxFailed."""
        async with self._alone() as agent, self._idleness.interrupted():
            await agent.warm()

    async def rest(self) -> None:
        """Ends the session's processes. Its files stay as they are, its variables come back with the next job.

        It happens by itself where no job comes for a while.
        """
        async with self._alone() as agent:
            await agent.close()

    def _tired(self) -> Awaitable[None] | None:
        """Lets the kernels go, unless something else is done with the workspace."""
        return self._agent.close() if self._agent is not None and not self._busy else None

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def do(
        self,
        task: str,
        *,
        files: Sequence[str | Path | Given] = (),
        model: str = "",
        approve: Approve | None = None,
        ask: Ask | None = None,
    ) -> AsyncGenerator[Event]:
        """Does one job; the last event is Ended. Leaving the loop early ends it.

        ``files`` go with it: those outside the folder are copied to where code sees them, and pictures are shown to a
        model that sees. ``model``, ``approve`` and ``ask`` take the place of the interpreter's own for this job.

        Raises:
            AllodError: the model cannot be used, a file cannot be read, or a job is going on.
        """
        self._idle()
        if not task.strip():
            raise BadRequest("there is no job", "Say what to do.")
        self.check(approve or self.approve, self.auto)
        given = [file if isinstance(file, Given) else Given.at(Path(file), self.folder) for file in files]
        await self._idleness.over()
        agent = self._idle()
        self._busy, self._stopped = True, False
        try:
            options = LoadOptions(context=self.profile.bounds.context)
            assert self._engine is not None
            lease = self._engine.lease(model or self.model, options, self.keep_alive)
            async with lease as runner, self._idleness.interrupted():
                means = agent.means
                means.runner = runner
                means.approve = approver(approve or self.approve)
                means.ask = asker(ask or self.ask)
                async with aclosing(self._job(agent, runner, task, given)) as events:
                    async for event in events:
                        yield event
        finally:
            self._busy = False

    async def _job(self, agent: Agent, runner: Runner, task: str, given: list[Given]) -> AsyncGenerator[Event]:
        """One job, written down as it goes."""
        said = self.conversation
        pictures = [file.picture for file in given if file.picture is not None]
        text, self._notices = await self._attached(agent, task, given), []
        if pictures and not runner.facts.vision:
            self._notices.append(
                Notice(
                    f"{runner.facts.model} cannot see: only its code can open the picture. "
                    "The profile moondream has a model that sees"
                )
            )
            pictures: list[ImagePart] = []
        ended: Ended | None = None
        changes: tuple[Change, ...] = ()
        if self._stopped:
            yield Ended("stopped", "stopped")
            return
        try:
            async with aclosing(agent.run(text, conversation=said.id, pictures=pictures)) as events:
                async for event in events:
                    if isinstance(event, Ended):
                        ended = event
                        break
                    if isinstance(event, Changes):
                        changes = tuple(c for c in event.changes if not self._is_given(agent, c))
                        if not changes:
                            continue
                        event = Changes(changes)
                    await self._keep(event)
                    yield event
                    for notice in await self._told():
                        yield notice
            if ended is None or (self._stopped and ended.status == "declined"):
                ended = Ended("stopped", "stopped")
            if changes and (done := await self._settled(agent, changes, ended.status)):
                await self._keep(done)
                yield done
            await self._keep(ended)
            if self._kept:
                await self._remember(agent.workspace)
                await thoroughly(said.add, agent.history, agent.codes, [])
            for notice in await self._told():
                yield notice
            yield ended
        finally:
            if self._kept:
                said.leave()

    async def _keep(self, event: Event) -> None:
        """Writes an event down. Where that fails the job goes on all the same, which is said once."""
        if not self._kept:
            return
        try:
            await thoroughly(self.conversation.record, event)
        except Disk as error:
            self._kept = False
            self._notices.append(Notice(f"this conversation is not kept: {error.message}. {error.remedy}"))

    async def _told(self) -> list[Notice]:
        """What is to be said now, besides what the agent says."""
        told, self._notices = self._notices, []
        for notice in told:
            await self._keep(notice)
        return told

    async def _attached(self, agent: Agent, task: str, given: list[Given]) -> str:
        """Puts files where code sees them; the task with their paths."""
        if not given:
            return task
        paths: list[str] = []
        for file in given:
            if file.data is None:
                paths.append(file.name)
                continue
            path, digest = await land(await agent.session(), file)
            agent.workspace.note_given(path, digest)
            paths.append(path)
        return f"{task}\nFiles given with this job: {', '.join(paths)}"

    def _is_given(self, agent: Agent, change: Change) -> bool:
        """Whether a change is nothing but a file that came with a job, as it came."""
        digest = agent.workspace.given.get(change.path) if change.kind == "created" and not change.folder else None
        return digest is not None and unchanged(agent.workspace.upper, change.path, digest)

    async def stop(self) -> None:
        """Ends the job that is going on: the model stops, code is interrupted, variables stay."""
        if self._agent is not None and self._busy:
            self._stopped = True
            await self._agent.stop()

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def changes(self) -> tuple[Change, ...]:
        """The files that are not as they were, by all jobs so far. Nothing of it is in the folder yet."""
        async with self._alone() as agent:
            return await self._changed(agent)

    async def _changed(self, agent: Agent) -> tuple[Change, ...]:
        found = await asyncio.to_thread(agent.workspace.changes)
        return tuple(change for change in found if not self._is_given(agent, change))

    async def apply(self, paths: Sequence[str] | None = None, *, overwrite: bool = False) -> Written:
        """Writes the changes into the folder: all, or those at or below ``paths``. All or nothing; undoable.

        Raises:
            NotFound: nothing changed at one of them.
            Conflict: a file changed in the folder meanwhile, or a job is going on.
        """
        async with self._alone() as agent:
            return await self._write(agent, paths, overwrite)

    async def _write(self, agent: Agent, paths: Sequence[str] | None, overwrite: bool = False) -> Written:
        if paths is None and agent.workspace.given:
            paths = [change.place for change in await self._changed(agent)]
        done = await thoroughly(agent.workspace.apply, paths, overwrite=overwrite)
        if done.changes:
            self._applied.append(done.id)
        return done

    async def _settled(self, agent: Agent, changes: tuple[Change, ...], status: Status) -> Event | None:
        """What becomes of the changes of a job that is over, as the event that tells it; None where nothing does."""
        if self.settle is not None:

            async def write(paths: Sequence[str] | None = None, overwrite: bool = False) -> Written:
                return await self._write(agent, paths, overwrite)

            done = await self.settle(changes, status, write)
        elif not self.auto or status != "done":
            return None
        elif empties(self.folder, changes):
            return Notice("nothing was applied, as it would delete every file there is")
        else:
            done = await self._write(agent, [change.place for change in changes if not change.refused])
        if done is None or not done.changes:
            return None
        return Applied(done.folder, tuple(change.place for change in done.changes))

    async def discard(self) -> None:
        """Drops what was not applied. Variables stay as far as they can be made again."""
        await self.renew()

    async def renew(self, conversation: Conversation | None = None) -> None:
        """Goes on with the conversation as it is now, or with another one, in a new workspace."""
        async with self._alone() as agent:
            fresh = await asyncio.to_thread(Workspace.create, self.home, self.folder, self.grants)
            self._conversation = conversation or self._conversation
            self._agent = self._made(fresh)
            await self._remember(fresh)
            await agent.close()
            await asyncio.to_thread(agent.workspace.discard)

    async def undo(self, *, overwrite: bool = False) -> Written:
        """Takes back what this interpreter applied last; again, and what it applied before that.

        Raises:
            NotFound: it applied nothing that is left to take back.
            Conflict: a file was changed since, or something else was applied after it.
        """
        async with self._alone():
            return await self._undone(overwrite)

    async def _undone(self, overwrite: bool) -> Written:
        if not self._applied:
            raise NotFound("nothing was applied that could be taken back", "`allod changes` lists what jobs changed.")
        records = await asyncio.to_thread(undo.history, self.home, self.folder)
        last = next((record.id for record in records if record.state == "applied"), "")
        if last != self._applied[-1]:
            raise Conflict(
                f"another job's changes were applied in {self.folder} since", "Take those back first: `allod undo`."
            )
        done = await thoroughly(undo.undo, self.home, self.folder, overwrite=overwrite)
        self._applied.pop()
        assert done is not None
        return done


async def thoroughly(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """A call in a thread that is waited for even where the waiting is cancelled: nothing goes on behind one's back."""
    task = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class _NoRunner:
    """Stands for the model between jobs."""

    def __getattr__(self, name: str) -> object:
        raise Unsupported("no model is held between jobs", "Ask the engine for one.")


_NO_RUNNER: Runner = _NoRunner()  # pyright: ignore[reportAssignmentType]
