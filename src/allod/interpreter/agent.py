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
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from types import TracebackType
from typing import Self

from allod.chat import Message
from allod.engine.runner import Runner
from allod.interpreter import listing, prompt, replay
from allod.interpreter.attempt import Attempt, Decision, Means, Outcome
from allod.interpreter.events import Changes, Code, Ended, Event, Notice, Started, Usage
from allod.interpreter.kernels import Kernel
from allod.interpreter.profiles import Example, Profile
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
        self._read = ""  # the code that read the files of the job at hand
        self._example: Example | None = None  # stays for the conversation
        self._session: Session | None = None
        self._second: Workspace | None = None  # the work of an earlier attempt that ran, but met with a complaint
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

    async def warm(self) -> None:
        """Starts the session, so that it is there when the first job comes."""
        await (await self._open()).kernel.ready()

    async def run(self, task: str, *, conversation: str = "") -> AsyncGenerator[Event]:
        """Does one job. The last events are Changes (where there are any), Usage and Ended."""
        begun = time.monotonic()
        self._means.stop.clear()
        yield Started(task, self._means.runner.facts.model, str(self.workspace.folder), conversation)
        outcomes: list[Outcome] = []
        spare: Workspace | None = self.workspace.fork()
        try:
            while True:
                async with aclosing(self._attempt(task, outcomes)) as inner:
                    async for event in inner:
                        yield event
                outcomes.append(self.outcome)
                if spare is None or not self._again(outcomes, time.monotonic() - begun):
                    break
                yield Notice(f"that did not do ({self.outcome.reason or 'no result'}), so it is tried afresh")
                last = len(outcomes) + 1 == self.profile.bounds.attempts
                base, spare = spare, None if last else spare.fork()
                await self._afresh(base)
            await self._choose(outcomes)
        finally:
            for unused in (spare, self._second):
                if unused is not None:
                    unused.discard()
            self._second = None
        async with aclosing(self._end(outcomes, time.monotonic() - begun)) as inner:
            async for event in inner:
                yield event

    async def _end(self, outcomes: list[Outcome], seconds: float) -> AsyncGenerator[Event]:
        """Keeps what was said and done, and says how the job ended."""
        status, reason = self.outcome.status, self.outcome.reason
        if status in ("failed", "limit") and not self.outcome.crashed:
            # It ran without an error, and only a check found fault: the user is told and decides.
            status = "done"
            yield Notice(f"please look at the result: {reason}")
        self.history += self.outcome.messages
        self.codes += self.outcome.codes
        if changes := await asyncio.to_thread(self.workspace.changes):
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

    def _again(self, outcomes: list[Outcome], seconds: float) -> bool:
        """Whether another attempt is worth its time."""
        last = outcomes[-1]
        if last.status not in ("failed", "limit") or seconds > self.profile.bounds.patience:
            return False
        # Two attempts that ran and meet with the same complaint: the complaint is wrong rather than both of them.
        same = [o for o in outcomes if not o.crashed and o.reason == last.reason]
        return len(same) < 2 and len(outcomes) < self.profile.bounds.attempts

    async def _attempt(self, task: str, before: list[Outcome]) -> AsyncGenerator[Event]:
        """One try, in the workspace as it is. ``before``: how the earlier ones went."""
        session = await self._open()
        lessons = list(dict.fromkeys(outcome.lesson for outcome in before if outcome.lesson))[-3:]
        head: list[Message] = []
        job: list[Message] = []
        async with aclosing(self._job(session, task, lessons, head, job)) as inner:
            async for event in inner:
                yield event
        attempt = Attempt(self._means, session, task, [*head, *self.history, *job], len(head), len(before))
        async with aclosing(attempt.run()) as inner:
            async for event in inner:
                yield event
        self.outcome = attempt.outcome
        self.outcome.messages = [*job, *attempt.outcome.messages]
        self.outcome.codes = [*([self._read] if self._read else []), *attempt.outcome.codes]

    async def _job(
        self, session: Session, task: str, lessons: list[str], head: list[Message], job: list[Message]
    ) -> AsyncGenerator[Event]:
        """Looks at the folder, reads what the task needs, and writes what the conversation begins with."""
        limit = self.profile.prompt.listing
        await session.begin()
        self._read = ""
        found = await session.look(task)
        there = await session.variables() if self.history else []
        wanted = [each for each in found.wanted(task) if not any(line.startswith(f"{each.name} is ") for line in there)]
        read = [each for each in wanted if await session.read(each)]
        kinds = [each.kind for each in read or found.named(task)]
        if not self.history:
            self._example = prompt.fitting(self.profile, task, kinds, not found.names)
        head += prompt.prefix(self.profile, self._example)
        asked = prompt.asked(task, session.names)
        if read:
            code = "\n".join(line for each in read for line in each.load)
            yield Code(code, author="allod")
            self._read = code
            job += prompt.first_turn(
                found.text(task, read, limit),
                asked,
                [each.path for each in read],
                code,
                [*there, *listing.held(read, limit)],
                lessons,
            )
        elif self.history:
            job += prompt.later_turn(found.text(task, [], limit), asked, there, lessons)
        else:
            job += prompt.first_turn(found.text(task, [], limit), asked, (), "", (), lessons)

    def _start(self, workspace: Workspace) -> AbstractAsyncContextManager[Kernel]:
        return Kernel.start(workspace, self.profile.limits)

    async def _open(self) -> Session:
        """The session; a new one brings back the variables of the conversation."""
        if self._session is None:
            kernel = await self._stack.enter_async_context(self._kernels(self.workspace))
            self._session = Session(self.workspace, kernel)
            if code := replay.block(replay.remembered(self.codes)):
                await self._session.hidden(code)
        return self._session

    async def _afresh(self, workspace: Workspace) -> None:
        """Drops an attempt's work, or keeps it aside where it ran without an error; ``workspace`` takes its place."""
        await self.close()
        self._stack = AsyncExitStack()
        if not self.outcome.crashed and self._second is None:
            self._second = self.workspace
        else:
            self.workspace.discard()
        self.workspace = workspace

    async def _choose(self, outcomes: list[Outcome]) -> None:
        """Takes up the work that was kept aside where the last attempt came to less."""
        ran = next((outcome for outcome in outcomes if not outcome.crashed), None)
        if self._second is not None and self.outcome.crashed and ran is not None and self.outcome.status != "stopped":
            await self.close()
            self._stack = AsyncExitStack()
            self.workspace.discard()
            self.workspace, self._second = self._second, None
            self.outcome = ran
