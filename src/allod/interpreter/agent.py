"""Does jobs: looks at the folder, reads what the task names, tries, and tries afresh where that did not do.

    async with Agent(runner, Workspace.create(home, folder), profile) as agent:
        async for event in agent.run("Which region sold most?"):
            ...
        agent.workspace.changes()        # the user's folder is as it was until the caller applies them

A small model seldom repairs what it wrote, so an attempt that fails is dropped with all that it did to its fork of the
workspace, and another begins from the clean prompt, a little less sure of itself. The agent owns the workspace that
holds the work so far and the session over it; state persists from one ``run`` to the next. Runs on asyncio.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Self

from allod.chat import Message
from allod.engine.runner import Runner
from allod.interpreter import listing, prompt, replay
from allod.interpreter.attempt import Attempt, Decision, Means, Outcome
from allod.interpreter.events import Changes, Code, Ended, Event, Notice, Started, Usage
from allod.interpreter.kernels import Kernel
from allod.interpreter.limits import Limits
from allod.interpreter.profiles import Profile
from allod.interpreter.session import Session
from allod.interpreter.workspace import Workspace

KernelFactory = Callable[[Workspace], AbstractAsyncContextManager[Kernel]]


class Agent:
    """One conversation over one folder. ``approve`` is asked before each block of the model's, ``ask`` for input()."""

    def __init__(
        self,
        runner: Runner,
        workspace: Workspace,
        profile: Profile,
        *,
        kernels: KernelFactory | None = None,
        approve: Callable[[Code], Awaitable[Decision]] | None = None,
        ask: Callable[[str, bool], Awaitable[str]] | None = None,
        history: list[Message] | None = None,
        codes: list[str] | None = None,
    ) -> None:
        self.workspace = workspace
        self.profile = profile
        self.history = list(history or [])  # the turns so far
        self.codes = list(codes or [])  # the blocks so far that ran
        self.outcome = Outcome()
        self._kernels = kernels or self._start
        self._means = Means(runner, profile, asyncio.Event(), approve, ask)
        self._session: Session | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session. The workspace is left to the caller: apply or discard it."""
        self._session = None
        await self._stack.aclose()

    async def stop(self) -> None:
        """Ends what is going on: the model stops, code is interrupted, variables stay."""
        self._means.stop.set()
        if self._session is not None:
            await self._session.kernel.interrupt()

    async def run(self, task: str, *, conversation: str = "") -> AsyncGenerator[Event]:
        """Does one job. The last events are Changes (where there are any), Usage and Ended."""
        begun = time.monotonic()
        self._means.stop.clear()
        yield Started(task, self._means.runner.facts.model, str(self.workspace.folder), conversation)
        outcomes: list[Outcome] = []
        lessons: list[str] = []
        spare: Workspace | None = self.workspace.fork()
        bounds = self.profile.bounds
        try:
            for number in range(bounds.attempts):
                last = number + 1 == bounds.attempts
                if number:
                    assert spare is not None
                    yield Notice(f"that did not do ({self.outcome.reason or 'no result'}); trying afresh")
                    await self._afresh(spare)
                    spare = None if last else self.workspace.fork()
                async for event in self._attempt(task, number, lessons):
                    yield event
                outcomes.append(self.outcome)
                late = time.monotonic() - begun > bounds.patience
                if self.outcome.status in ("done", "declined", "stopped") or late:
                    break
                lessons = list(dict.fromkeys([*lessons, self.outcome.lesson]))[-3:] if self.outcome.lesson else lessons
        finally:
            if spare is not None:
                spare.discard()
        async for event in self._end(task, outcomes, time.monotonic() - begun):
            yield event

    async def _end(self, task: str, outcomes: list[Outcome], seconds: float) -> AsyncGenerator[Event]:
        """Keeps what the last attempt said and did, and says how the job ended."""
        last = outcomes[-1]
        status, reason = last.status, last.reason
        if status in ("failed", "limit") and not last.crashed:
            # It ran without an error, and only a check found fault: the user is told and decides.
            status = "done"
            yield Notice(f"please look at the result: {reason}")
        self.history += [*last.messages]
        self.codes += last.codes
        changes = await asyncio.to_thread(self.workspace.changes)
        if changes:
            yield Changes(tuple(changes))
        yield Usage(
            sum(o.prompt_tokens for o in outcomes),
            sum(o.output_tokens for o in outcomes),
            sum(o.blocks for o in outcomes),
            len(outcomes),
            round(seconds, 2),
        )
        yield Ended(status, reason if status != "done" else "")

    # ── attempts ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _attempt(self, task: str, number: int, lessons: list[str]) -> AsyncGenerator[Event]:
        session = await self._open()
        head = prompt.prefix(self.profile)
        job: list[Message] = []
        async for event in self._job(session, task, lessons, job):
            yield event
        attempt = Attempt(self._means, session, task, [*head, *self.history, *job], len(head), number)
        async for event in attempt.run():
            yield event
        self.outcome = attempt.outcome
        self.outcome.messages = [*job, *attempt.outcome.messages]

    async def _job(self, session: Session, task: str, lessons: list[str], job: list[Message]) -> AsyncGenerator[Event]:
        """Looks at the folder, reads what the task needs, and writes the turn that asks for the job."""
        limit = self.profile.prompt.listing
        await session.begin()
        found = await session.look(task)
        there = await session.variables() if self.history else []
        wanted = [each for each in found.wanted(task) if not any(line.startswith(f"{each.name} is ") for line in there)]
        read = [each for each in wanted if await session.read(each)]
        if read:
            code = "\n".join(line for each in read for line in each.load)
            yield Code(code, author="allod")
            self.codes.append(code)
            job += prompt.first_turn(
                found.text(task, read, limit), task, code, [*there, *listing.held(read, limit)], lessons
            )
        elif self.history:
            job += prompt.later_turn(found.text(task, [], limit), task, there, lessons)
        else:
            job += prompt.first_turn(found.text(task, [], limit), task, "", (), lessons)

    def _start(self, workspace: Workspace) -> AbstractAsyncContextManager[Kernel]:
        return Kernel.start(workspace, Limits(wall=self.profile.bounds.wall))

    async def _open(self) -> Session:
        """The session; a new one brings back the variables of the conversation."""
        if self._session is None:
            kernel = await self._stack.enter_async_context(self._kernels(self.workspace))
            self._session = Session(self.workspace, kernel)
            if code := replay.block(replay.remembered(self.codes)):
                await self._session.hidden(code)
        return self._session

    async def _afresh(self, workspace: Workspace) -> None:
        """Drops the work of an attempt: ``workspace`` is as it was before."""
        await self.close()
        self._stack = AsyncExitStack()
        self.workspace.discard()
        self.workspace = workspace
