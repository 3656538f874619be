"""Does jobs: looks at the folder, reads what the task names, tries, and tries afresh where that did not do.

    async with Agent(runner, Workspace.create(home, folder), profile) as agent:
        async for event in agent.run("Which region sold most?"):
            ...
        agent.workspace.changes()        # the user's folder is as it was until the caller applies them

A small model seldom repairs what it wrote, and what it is sure of is often wrong. So an attempt that fails is not
mended for ever but left, another begins from the clean prompt in a fork of the workspace, a little less sure of
itself, and one that ran through is believed when a second came to the same (``attempts`` judges). Those that only
confirm are made out of sight, several side by side where the profile says so. What was not chosen is dropped with all
that it did. The agent owns the lane that holds the work so far, a workspace and the session over it; state
persists from one ``run`` to the next. Runs on asyncio.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from types import TracebackType
from typing import Self

from msgspec import structs

from allod.chat import ImagePart, Message, TextPart
from allod.engine.runner import Runner
from allod.interpreter import attempts, checks
from allod.interpreter.attempt import Attempt, Decision, Means, Outcome
from allod.interpreter.briefing import Briefing, brief
from allod.interpreter.events import PIECES, Changes, Code, Ended, Event, Notice, Started, Tried, Usage
from allod.interpreter.events import Status as EndStatus
from allod.interpreter.kernels import Kernel
from allod.interpreter.lane import KernelFactory, Lane
from allod.interpreter.profiles import Example, Profile
from allod.interpreter.session import Session
from allod.interpreter.workspace import Workspace


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
        self.profile = profile
        self.history = list(history or [])  # the turns so far
        self.codes = list(codes or [])  # the blocks so far that ran
        self._kernels = kernels or self._start
        self._means = Means(runner, profile, asyncio.Event(), approve, ask)
        self._pictures: list[ImagePart] = []  # of the job at hand
        self._example: Example | None = None  # stays for the conversation
        self._lane = self._over(workspace)
        self._beside: list[Lane] = []  # where attempts are made at the same time

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def workspace(self) -> Workspace:
        """What holds the work so far."""
        return self._lane.workspace

    @property
    def outcome(self) -> Outcome:
        """How the last job went."""
        return self._lane.outcome

    @property
    def means(self) -> Means:
        """What jobs are done with: who does them may change it between two jobs."""
        return self._means

    async def close(self) -> None:
        """Ends the session. The workspace is left to the caller: apply or discard it."""
        await self._lane.leave()

    async def stop(self) -> None:
        """Ends what is going on: the model stops, code is interrupted, variables stay."""
        self._means.stop.set()
        for lane in (self._lane, *self._beside):
            await lane.interrupt()

    async def warm(self) -> None:
        """Starts the session, so that it is there when the first job comes."""
        await (await self._lane.open()).kernel.ready()

    async def session(self) -> Session:
        """The session, started where it was not yet: for what a person runs in it besides jobs."""
        return await self._lane.open()

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
        made: list[Lane] = []  # one for each attempt
        hidden: dict[int, list[Event]] = {}  # what happened in attempts that were made out of sight
        spare = self.workspace.fork() if self._may_fork else None
        try:
            async with aclosing(self._first(task, made)) as events:
                async for event in events:
                    yield event
            while spare is not None and (why := self._again(task, made, time.monotonic() - begun)):
                together = self._together(made)
                yield Notice(f"{why}, {together} times side by side" if together > 1 else why)
                await made[-1].leave()
                lanes = [self._over(spare.fork()) for _ in range(together)]
                if together > 1:
                    await self._side_by_side(task, made, lanes, hidden)
                    continue
                async with aclosing(self._next(task, made, lanes[0], hidden)) as events:
                    async for event in events:
                        yield event
            winner = attempts.chosen(tries(made), asks=checks.asks_answer(task))
            self._lane = made[winner]
        finally:
            await self._drop(made, spare)
        for event in self._told(winner, made, hidden):
            yield event
        async with aclosing(self._end(made, time.monotonic() - begun)) as inner:
            async for event in inner:
                yield event

    def _told(self, winner: int, made: list[Lane], hidden: dict[int, list[Event]]) -> list[Event]:
        """What is said once all were made: the one that is taken, where it was out of sight; a record of the others."""
        told: list[Event] = []
        if winner in hidden:
            told.append(
                Notice(f"attempt {winner + 1} of {len(made)} is taken instead: {attempts.why(winner, tries(made))}")
            )
            told += [event for event in hidden[winner] if not isinstance(event, PIECES)]
        for number, outcome in enumerate(lane.outcome for lane in made):
            if number != winner:
                told.append(Tried(number + 1, outcome.status, outcome.reason, tuple(outcome.codes)))
        return told

    async def _end(self, made: list[Lane], seconds: float) -> AsyncGenerator[Event]:
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
        outcomes = [lane.outcome for lane in made]
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

    def _together(self, made: list[Lane]) -> int:
        """How many attempts are made next at the same time: one where a person looks at each block."""
        bounds = self.profile.bounds
        if self._means.approve is not None:
            return 1
        return max(1, min(bounds.together, bounds.attempts - len(made), self._means.runner.facts.slots))

    def _again(self, task: str, made: list[Lane], seconds: float) -> str:
        """Why another attempt is worth its time, for a person; empty where none is."""
        agreeing = self._means.approve is None
        asks = checks.asks_answer(task)
        return attempts.more(tries(made), self.profile.bounds, seconds, asks=asks, agreeing=agreeing)

    async def _first(self, task: str, made: list[Lane]) -> AsyncGenerator[Event]:
        """The attempt that everybody sees, where the work so far is."""
        async with aclosing(self._attempt(task, self._lane, [], 0, self._means)) as events:
            async for event in events:
                yield event
        made.append(self._lane)

    async def _next(
        self, task: str, made: list[Lane], lane: Lane, hidden: dict[int, list[Event]]
    ) -> AsyncGenerator[Event]:
        """One more, by itself; out of sight if it is to confirm what another one came to."""
        number = len(made)
        before = [each.outcome for each in made]
        out_of_sight = any(outcome.status == "done" for outcome in before)
        self._lane = lane
        async with aclosing(self._attempt(task, lane, before, number, self._means)) as events:
            async for event in events:
                if out_of_sight:
                    hidden.setdefault(number, []).append(event)
                else:
                    yield event
        made.append(lane)

    async def _side_by_side(
        self, task: str, made: list[Lane], lanes: list[Lane], hidden: dict[int, list[Event]]
    ) -> None:
        """Several at once, out of sight, until enough agree; those that are still at it then are dropped.

        Nobody answers their input(): two questions at a time are one too many.
        """
        before = [lane.outcome for lane in made]
        means = structs.replace(self._means, ask=None)

        async def one(lane: Lane, number: int) -> tuple[Lane, list[Event]]:
            async with aclosing(self._attempt(task, lane, before, number, means)) as events:
                seen = [event async for event in events]
            await lane.leave()
            return lane, seen

        self._beside = lanes
        running = {asyncio.create_task(one(lane, len(before) + place)) for place, lane in enumerate(lanes)}
        try:
            while running and not attempts.settled(tries(made), self.profile.bounds, asks=checks.asks_answer(task)):
                ready, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for each in ready:
                    lane, hidden[len(made)] = each.result()
                    made.append(lane)
        finally:
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._beside = []
            for lane in lanes:
                if lane not in made:
                    await lane.drop()

    async def _drop(self, made: list[Lane], spare: Workspace | None) -> None:
        """Throws away what is not where the conversation goes on."""
        for lane in made:
            if lane is not self._lane:
                await lane.drop()
        if spare is not None:
            await asyncio.to_thread(spare.discard)

    async def _attempt(
        self, task: str, lane: Lane, before: list[Outcome], number: int, means: Means
    ) -> AsyncGenerator[Event]:
        """One try. ``before``: how those went that it may learn from; ``number``: which one it is, from 0."""
        lane.outcome = Outcome()
        session = await lane.open()
        lessons = list(dict.fromkeys(outcome.lesson for outcome in before if outcome.lesson))[-3:]
        asked = Briefing(task, self.profile, means.runner, self._example, goes_on=bool(self.history), lessons=lessons)
        told = await brief(asked, session)
        self._example = told.example
        if told.read:
            yield Code(told.read, author="allod")
        job = told.job
        if self._pictures:
            job[-1] = Message("user", [TextPart(job[-1].text), *self._pictures])
        messages = [*told.head, *self.history, *job]
        attempt = Attempt(means, session, task, messages, len(told.head), number, before)
        async with aclosing(attempt.run()) as inner:
            async for event in inner:
                yield event
        lane.outcome = attempt.outcome
        lane.outcome.messages = [*job, *attempt.outcome.messages]
        lane.outcome.codes = [*([told.read] if told.read else []), *attempt.outcome.codes]

    def _start(self, workspace: Workspace) -> AbstractAsyncContextManager[Kernel]:
        return Kernel.start(workspace, self.profile.limits)

    def _over(self, workspace: Workspace) -> Lane:
        """A lane over a workspace; its session begins with the variables of the conversation."""
        return Lane(workspace, self._kernels, self.codes)


def tries(made: Sequence[Lane]) -> list[attempts.Try]:
    """The attempts as they are judged."""
    found: list[attempts.Try] = []
    for outcome in (lane.outcome for lane in made):
        ran = outcome.blocks > 0
        found.append(attempts.Try(outcome.status, outcome.reason, outcome.crashed, ran, outcome.work))
    return found
