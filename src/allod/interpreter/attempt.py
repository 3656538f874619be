"""One try at a task: ask the model, run its block, check what came of it, until it is done or given up.

An attempt owns a conversation with the model over one session. It knows nothing of other attempts, of applying changes,
or of what becomes of its workspace: ``agent`` decides that by its ``outcome``.
"""

import asyncio
import math
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Literal

from msgspec import Struct, field

from allod.chat import Message, Options
from allod.engine.runner import Runner
from allod.interpreter import checks, prompt
from allod.interpreter.attempts import Work, same_printed
from allod.interpreter.blocks import Block
from allod.interpreter.events import Answer, Code, Error, Event, Notice, Output, Prose
from allod.interpreter.kernels.outputs import Failure, InputRequest, Picture, Result, Stream
from allod.interpreter.kernels.outputs import Notice as KernelNotice
from allod.interpreter.kernels.outputs import Output as KernelOutput
from allod.interpreter.languages import advice, language_of, refusal
from allod.interpreter.profiles import Profile
from allod.interpreter.session import Session
from allod.interpreter.turn import Turn, fitted

REPEATS = 2  # times that a model is asked for another block than one that failed before


class Decision(Struct, frozen=True):
    """What a person says to a block: run it (as it is, or as they edited it), or not."""

    run: bool
    code: str = ""


class Means(Struct):
    """What every attempt of a job works with. ``approve`` and ``ask`` are None where nobody is asked."""

    runner: Runner
    profile: Profile
    stop: asyncio.Event
    approve: Callable[[Code], Awaitable[Decision]] | None = None
    ask: Callable[[str, bool], Awaitable[str]] | None = None  # answers input(): its prompt, whether it is a password
    until: float = math.inf  # by time.monotonic: after it nothing is mended any more, and no attempt begun


Status = Literal["done", "failed", "limit", "question", "declined", "stopped"]


class Outcome(Struct):
    """How an attempt went."""

    status: Status = "failed"
    reason: str = ""
    lesson: str = ""  # what another attempt should mind
    messages: list[Message] = field(default_factory=list[Message])  # what was said after the job
    codes: list[str] = field(default_factory=list[str])  # blocks that ran without an error
    crashing: list[str] = field(default_factory=list[str])  # blocks that ended with an error
    crashed: bool = True  # the last block failed, or none ran
    work: Work = field(default_factory=Work)
    prompt_tokens: int = 0
    output_tokens: int = 0
    blocks: int = 0


class Attempt:
    """One try. ``messages`` ends with the job; its first ``fixed`` are never dropped. See ``outcome`` after ``run``.

    ``number``: which one it is, from 0. ``before``: how those went that it may learn from; fewer than ``number`` where
    others are made beside it.
    """

    def __init__(
        self,
        means: Means,
        session: Session,
        task: str,
        messages: list[Message],
        fixed: int,
        number: int,
        before: Sequence[Outcome] = (),
    ) -> None:
        self.means = means
        self.session = session
        self.task = task
        self.messages = messages
        self.fixed = fixed
        self.number = number
        self.before = before
        self.taught = number == len(before) and is_taught(before)
        self.outcome = Outcome()
        self._failing: set[str] = set()  # blocks that did not do
        self._known = {block for outcome in before for block in outcome.crashing}
        self._repeated = 0  # times that its first block was one of these
        self._problems: list[str] = []  # of the last block
        self._turns = 0  # answers of the model
        self._begins = self._first_words()  # what its first block begins with, put into the model's mouth
        self._opening = self._begins  # what the model's next answer begins with
        self._asked = ""  # what the model asked the user instead of working
        self._printed = ""  # by the last block that ran

    def _first_words(self) -> str:
        """Put into a small model's mouth where it might answer out of its head: nothing to read, or less sure."""
        brief = self.means.profile.bounds.brief and checks.needs_code(self.task, self.session.names)
        return prompt.FENCE if brief and (self.number or not self.session.names) else ""

    async def run(self) -> AsyncGenerator[Event]:
        """Everything that happens, to the end."""
        begun = len(self.messages)
        try:
            while not self._over():
                turn = Turn(self.means.runner, self.means.stop)
                messages, options = await self._question()
                async with aclosing(turn.run(messages, options, self._opening, self.fixed)) as inner:
                    async for event in inner:
                        yield event
                self._opening = ""
                self._keep(turn)
                async with aclosing(self._answered(turn)) as inner:
                    async for event in inner:
                        yield event
        finally:
            self.outcome.messages = self.messages[begun:]

    def _over(self) -> bool:
        return bool(self.outcome.reason) or self.outcome.status != "failed"

    def _end(self, status: Status, reason: str = "") -> None:
        if status in ("failed", "limit") and self._asked:  # it said at once what it lacks
            status = "question"
            self._problems, reason = [], self._asked
        self.outcome.status = status
        self.outcome.reason = "" if status == "done" else " ".join(self._problems) or reason

    def _say(self, text: str) -> None:
        self.messages.append(Message("user", text))

    # ── the model speaks ────────────────────────────────────────────────────────────────────────────────────────────

    async def _question(self) -> tuple[list[Message], Options]:
        """The conversation as far as it fits, and how to answer it: surest first, a little less so after a failure."""
        profile = self.means.profile
        sampling = profile.sampling
        warm = sampling.afresh if self.number else sampling.repair if self._failing else 0.0
        if self.taught and not self._failing and not self._repeated:
            warm = 0.0  # what it was told makes it go another way
        options = Options(
            temperature=max(sampling.temperature, warm),
            seed=sampling.seed + self.number + 1000 * self._repeated,
            max_tokens=sampling.max_tokens,
        )
        context = min(profile.bounds.context, self.means.runner.facts.context or profile.bounds.context)
        room = context - sampling.max_tokens
        return await fitted(self.means.runner, self.messages, self.fixed, room), options

    def _keep(self, turn: Turn) -> None:
        self.messages.append(Message("assistant", turn.text.rstrip()))
        self.outcome.prompt_tokens += turn.prompt_tokens
        self.outcome.output_tokens += turn.output_tokens

    async def _answered(self, turn: Turn) -> AsyncGenerator[Event]:
        """What follows from an answer: a block is run, words end the attempt, half a block is asked for again."""
        bounds = self.means.profile.bounds
        self._turns += 1
        if self.means.stop.is_set():
            self._end("stopped", "stopped")
        elif turn.block is not None and self.outcome.blocks >= bounds.steps:
            self._end("limit", f"it was not done after {bounds.steps} blocks of code")
        elif turn.block is not None and turn.block.code.strip() in self._failing:
            self._end("failed", "the model wrote the same block again, which had not done")
        elif turn.block is not None and self._is_known(turn.block):
            yield Notice("that block ended with an error before, so it is asked for another")
        elif turn.block is not None:
            async with aclosing(self._try(turn.block)) as inner:
                async for event in inner:
                    yield event
        elif self._turns > 3 * bounds.steps:
            self._end("limit", "the model did not come to an end")
        elif turn.cut:
            self._say(prompt.CUT)
        elif not self.outcome.blocks and self._turns == 1 and checks.needs_code(self.task, self.session.names):
            self._asked = question_in(turn.said)
            self._say(prompt.CODE_FIRST)
            self._opening = prompt.FENCE
        else:
            yield Answer(turn.said.strip())
            self._finish(turn.said.strip())

    def _is_known(self, block: Block) -> bool:
        """Whether the first block is one that failed before: the model is asked again then, warmer."""
        if self.outcome.blocks or block.code.strip() not in self._known or self._repeated == REPEATS:
            return False
        self._repeated += 1
        self.messages.pop()
        self._opening = self._begins
        return True

    def _finish(self, said: str) -> None:
        """The model said its last word."""
        self.outcome.work = Work(self.session.work, said, self._printed)
        if not self.outcome.blocks:
            self.outcome.crashed = checks.needs_code(self.task, self.session.names)
            self._end("failed" if self.outcome.crashed else "done", "the model wrote no code")
        else:
            self._end("failed" if self._problems else "done")

    # ── its block is run ────────────────────────────────────────────────────────────────────────────────────────────

    async def _try(self, block: Block) -> AsyncGenerator[Event]:
        """Asks for leave, runs a block, checks what came of it, and tells the model."""
        code = Code(block.code, language_of(block))
        self.outcome.blocks += 1
        if refused := refusal(code.language, self.means.profile.languages):
            yield Notice(refused)
            self._failing.add(block.code.strip())
            self._say(f"{refused} {prompt.CODE_FIRST}")
            return
        if self.means.approve is not None:
            decision = await self.means.approve(code)
            if not decision.run:
                self._end("declined", "you declined the block")
                return
            if decision.code and decision.code.strip() != block.code.strip():
                code = Code(decision.code, code.language, "user")
                self.messages[-1] = Message("assistant", prompt.fenced(decision.code, block.language or "python"))
        yield code
        printed = Printed()
        async with aclosing(self._run(code, printed)) as inner:
            async for event in inner:
                yield event
        if self.means.stop.is_set():
            self._end("stopped", "stopped")
            return
        await self._judge(code, printed)
        if self._problems and time.monotonic() > self.means.until:
            self._end("limit", "it took too long")
        if said := self.session.summary if self._is_done() else self._said_before(printed.text):
            self.messages.append(Message("assistant", said))
            yield Prose(said)
            yield Answer(said)
            self.outcome.work = Work(self.session.work, said, printed.text)
            self._end("done")

    def _is_done(self) -> bool:
        """Whether the files are all that was wanted, and nothing is wrong with them as far as that can be seen.

        The model is not asked then: what a small one says of a file it made is more often wrong than the file.
        """
        files_only = self.means.profile.bounds.brief and not checks.asks_answer(self.task)
        return files_only and not self._problems and bool(self.session.summary)

    def _said_before(self, printed: str) -> str:
        """The answer of an earlier attempt that wrote and printed the same: it need not be asked for again."""
        if self._problems or not printed.strip():
            return ""
        work = Work(self.session.work, "", printed)
        earlier = [outcome.work for outcome in self.before if outcome.status == "done"]
        return next((each.answer for each in earlier if same_printed(each, work)), "")

    async def _run(self, code: Code, printed: "Printed") -> AsyncGenerator[Event]:
        ask = self.means.ask
        async with aclosing(self.session.run(code.code, code.language, stdin=ask is not None)) as outputs:
            async for output in outputs:
                if isinstance(output, InputRequest) and ask is not None:
                    await self.session.answer(await ask(output.prompt, output.password))
                elif (event := printed.take(output)) is not None:
                    yield event

    async def _judge(self, block: Code, printed: "Printed") -> None:
        """Looks at what the block wrote, finds what is missing, and writes the next turn of the conversation."""
        written, results = await self.session.results(self.task)
        failure, error, ask = printed.failure, "", prompt.go_on(self.task)
        if failure is not None:
            hint = advice(failure)
            error = failure.text if hint in failure.text else f"{failure.text}\n{hint}"
            self.outcome.crashing.append(block.code.strip())
            self._problems = [f"{failure.name}: {failure.message}".strip(": ")[:200]]
            self.outcome.lesson = hint or (failure.message if failure.name == "NotMeant" else "")
            ask = prompt.mend(self.task)
        else:
            if block.language == "python":  # what the next session makes its variables from
                self.outcome.codes.append(block.code)
            self._printed = printed.text
            self._problems = checks.problems(self.task, self.session.names, results, printed.text)
            if self._problems:
                self.outcome.lesson = " ".join(self._problems)
                ask = prompt.complete(self.task, self._problems)
        if self._problems:
            self._failing.add(block.code.strip())
        if touched := checks.unspoken(self.task, self.session.touched):
            # It cannot be taken back while code runs over it: a fresh attempt has the file as it was.
            self._problems = [touched, *self._problems]
            self.outcome.lesson = touched
            self._end("failed", touched)
        self.outcome.crashed = failure is not None
        self._say(prompt.outcome(printed.text, written, ask, self.means.profile.prompt, error))


def is_taught(before: Sequence[Outcome]) -> bool:
    """Whether the last attempt left a lesson that none before it had."""
    return bool(before and before[-1].lesson and before[-1].lesson not in [o.lesson for o in before[:-1]])


def question_in(said: str) -> str:
    """The question that a text ends with; empty where there is none."""
    text = said.strip()
    return re.split(r"(?<=[.!?:])\s+|\n", text)[-1] if text.endswith("?") else ""


class Printed:
    """What a run gave: as text for the model, and as events."""

    def __init__(self) -> None:
        self.text = ""
        self.failure: Failure | None = None

    def take(self, output: KernelOutput) -> Event | None:
        """Keeps one output, and says what it is to others."""
        match output:
            case Stream(name, text):
                self.text += text
                return Output(text, "stderr" if name == "stderr" else "stdout")
            case Result(text, data):
                self.text += text + "\n"
                other = {kind: each for kind, each in data.items() if kind != "text/plain"}
                return Output(text + "\n", "result", data=other)
            case Picture(png, svg):
                self.text += "[a figure was shown]\n"
                return Output("", "picture", png, {"image/svg+xml": svg} if svg else {})
            case Failure():
                self.failure = output
                return Error(output.name, output.message, output.text)
            case KernelNotice(text):
                self.text += text + "\n"
                return Notice(text)
            case InputRequest():
                return None
