"""Does jobs: looks at the folder, reads what the task names, tries, and tries afresh where that did not do.

    async with Agent(runner, Workspace.create(home, folder), profile) as agent:
        async for event in agent.run("Which region sold most?"):
            ...
        agent.workspace.changes()        # the user's folder is as it was until the caller applies them

A small model seldom repairs what it wrote, and what it is sure of is often wrong. So an attempt that fails is not
mended for ever but left, another begins from the clean prompt in a fork of the workspace, a little less sure of
itself, and one that ran through is believed when a second came to the same (``attempts`` judges). Those that only
confirm are made out of sight. What was not chosen is dropped with all that it did. The agent owns the workspace that
holds the work so far and the session over it; state persists from one ``run`` to the next. Runs on asyncio.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from types import TracebackType
from typing import Self

from allod.chat import ImagePart, Message, TextPart
from allod.engine.runner import Runner
from allod.interpreter import attempts, checks, listing, prompt, replay
from allod.interpreter.attempt import Attempt, Decision, Means, Outcome
from allod.interpreter.events import PIECES, Changes, Code, Ended, Event, Notice, Started, Tried, Usage
from allod.interpreter.events import Status as EndStatus
from allod.interpreter.kernels import Kernel
from allod.interpreter.profiles import Example, Profile
from allod.interpreter.session import Session
from allod.interpreter.turn import fits
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
        self._pictures: list[ImagePart] = []  # of the job at hand
        self._read = ""  # the code that read the files of the job at hand
        self._example: Example | None = None  # stays for the conversation
        self._session: Session | None = None
        self._aside: dict[int, Workspace] = {}  # the work of earlier attempts at this job, by their number
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def means(self) -> Means:
        """What jobs are done with: who does them may change it between two jobs."""
        return self._means

    async def close(self) -> None:
        """Ends the session. The workspace is left to the caller: apply or discard it."""
        self._session = None
        await self._stack.aclose()

    async def stop(self) -> None:
        """Ends what is going on: the model stops, code is interrupted, variables stay."""
        self._means.stop.set()
        if self._session is not None:
            await self._session.interrupt()

    async def warm(self) -> None:
        """Starts the session, so that it is there when the first job comes."""
        await (await self._open()).kernel.ready()

    async def session(self) -> Session:
        """The session, started where it was not yet: for what a person runs in it besides jobs."""
        return await self._open()

    async def run(
        self, task: str, *, conversation: str = "", pictures: Sequence[ImagePart] = ()
    ) -> AsyncGenerator[Event]:
        """Does one job. The last events are Changes (where there are any), Usage and Ended.

        ``pictures`` are shown to the model with the task; only one that sees may be given any.
        """
        begun = time.monotonic()
        self._means.until = begun + self.profile.bounds.patience
        self._pictures = list(pictures)
        self._means.stop.clear()
        yield Started(task, self._means.runner.facts.model, str(self.workspace.folder), conversation)
        outcomes: list[Outcome] = []
        hidden: dict[int, list[Event]] = {}  # what happened in attempts that were made out of sight
        spare: Workspace | None = self.workspace.fork() if self._may_fork else None
        try:
            while True:
                number = len(outcomes)
                async with aclosing(self._attempt(task, outcomes)) as inner:
                    async for event in inner:
                        if number in hidden:
                            hidden[number].append(event)
                        else:
                            yield event
                outcomes.append(self.outcome)
                if spare is None or not (why := self._again(task, outcomes, time.monotonic() - begun)):
                    break
                yield Notice(why)
                if any(outcome.status == "done" for outcome in outcomes):
                    hidden[len(outcomes)] = []
                last = len(outcomes) + 1 == self.profile.bounds.attempts
                base, spare = spare, None if last else spare.fork()
                await self._afresh(base, number)
            winner = await self._choose(task, outcomes)
        finally:
            for unused in (spare, *self._aside.values()):
                if unused is not None:
                    unused.discard()
            self._aside = {}
        for event in self._told(winner, outcomes, hidden):
            yield event
        async with aclosing(self._end(outcomes, time.monotonic() - begun)) as inner:
            async for event in inner:
                yield event

    def _told(self, winner: int, outcomes: list[Outcome], hidden: dict[int, list[Event]]) -> list[Event]:
        """What is said once all were made: the one that is taken, where it was out of sight; a record of the others."""
        told: list[Event] = []
        if winner in hidden:
            told.append(Notice(f"attempt {winner + 1} of {len(outcomes)} is taken instead: another came to the same"))
            told += [event for event in hidden[winner] if not isinstance(event, PIECES)]
        for number, outcome in enumerate(outcomes):
            if number != winner:
                told.append(Tried(number + 1, outcome.status, outcome.reason, tuple(outcome.codes)))
        return told

    async def _end(self, outcomes: list[Outcome], seconds: float) -> AsyncGenerator[Event]:
        """Keeps what was said and done, and says how the job ended."""
        ended, reason = self.outcome.status, self.outcome.reason
        status: EndStatus = "gave_up" if ended in ("failed", "limit") else ended
        if status == "gave_up" and not self.outcome.crashed:
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

    @property
    def _may_fork(self) -> bool:
        """Whether attempts have no effect but on their fork: one that reached the network cannot be made undone."""
        return self.profile.bounds.attempts > 1 and not self.workspace.grants.outside

    def _again(self, task: str, outcomes: list[Outcome], seconds: float) -> str:
        """Why another attempt is worth its time, for a person; empty where none is."""
        agreeing = self._means.approve is None
        return attempts.more(
            tries(outcomes), self.profile.bounds, seconds, asks=checks.asks_answer(task), agreeing=agreeing
        )

    async def _attempt(self, task: str, before: list[Outcome]) -> AsyncGenerator[Event]:
        """One try, in the workspace as it is. ``before``: how the earlier ones went."""
        session = await self._open()
        lessons = list(dict.fromkeys(outcome.lesson for outcome in before if outcome.lesson))[-3:]
        taught = bool(before and before[-1].lesson and before[-1].lesson not in [o.lesson for o in before[:-1]])
        head: list[Message] = []
        job: list[Message] = []
        async with aclosing(self._job(session, task, lessons, head, job)) as inner:
            async for event in inner:
                yield event
        if self._pictures:
            job[-1] = Message("user", [TextPart(job[-1].text), *self._pictures])
        earlier = [outcome.work for outcome in before if outcome.status == "done"]
        messages = [*head, *self.history, *job]
        attempt = Attempt(self._means, session, task, messages, len(head), len(before), taught, earlier)
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
        await session.begin()
        self._read = ""
        found = await session.look(task)
        there = await session.variables() if self.history else []
        wanted = [each for each in found.wanted(task) if not any(line.startswith(f"{each.name} is ") for line in there)]
        read = [each for each in wanted if await session.read(each)]
        kinds = [each.kind for each in read or found.named(task)]
        if not self.history:
            self._example = prompt.fitting(self.profile, task, kinds, not found.names)
        head += prompt.prefix(self.profile, self._example, self.workspace.grants.net)
        asked = prompt.asked(task, session.names, await session.linked(task, read))
        if read:
            self._read = "\n".join(line for each in read for line in each.load)
            yield Code(self._read, author="allod")
        most = self.profile.prompt.tokens if not self.history else 0
        for limit in listing.limits(self.profile.prompt.listing):
            job[:] = self._words(found, read, task, asked, there, lessons, limit)
            if not most or await fits(self._means.runner, [*head, *job], most):
                break

    def _words(
        self,
        found: listing.Listing,
        read: list[listing.Found],
        task: str,
        asked: str,
        there: list[str],
        lessons: list[str],
        limit: int,
    ) -> list[Message]:
        """The folder and the job, told in about ``limit`` characters for the folder."""
        folder = found.text(task, read, limit)
        if read:
            names = [*there, *listing.held(read, limit)]
            return prompt.first_turn(folder, asked, [each.path for each in read], self._read, names, lessons)
        if self.history:
            return prompt.later_turn(folder, asked, there, lessons)
        return prompt.first_turn(folder, asked, (), "", (), lessons)

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

    async def _afresh(self, workspace: Workspace, number: int) -> None:
        """Puts the work of an attempt aside; ``workspace`` takes its place."""
        await self._leave()
        self._aside[number] = self.workspace
        self.workspace = workspace

    async def _choose(self, task: str, outcomes: list[Outcome]) -> int:
        """Takes up the work of the attempt that is believed; returns its number."""
        winner = attempts.chosen(tries(outcomes), asks=checks.asks_answer(task))
        if winner in self._aside:
            await self._leave()
            self.workspace.discard()
            self.workspace = self._aside.pop(winner)
            self.outcome = outcomes[winner]
        return winner

    async def _leave(self) -> None:
        """Ends the session; the next one is of another workspace."""
        await self.close()
        self._stack = AsyncExitStack()


def tries(outcomes: list[Outcome]) -> list[attempts.Try]:
    """The attempts as they are judged."""
    return [
        attempts.Try(outcome.status, outcome.reason, outcome.crashed, outcome.blocks > 0, outcome.work)
        for outcome in outcomes
    ]
