"""One answer of the model, up to the end of its first block of code, and no further.

Generation is ended as soon as the block is closed, so that a model cannot go on to invent what the block printed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import TypeVar

import msgspec

from allod.chat import ChatChunk, ChatRequest, Message, Options
from allod.engine.runner import Runner
from allod.errors import PromptTooLong
from allod.interpreter import prompt
from allod.interpreter.blocks import Block, BlockParser, Cut, Opened, Piece, Text, Written
from allod.interpreter.blocks import Thought as ThoughtPiece
from allod.interpreter.events import CodeOpened, CodeText, Event, Prose, Thought
from allod.interpreter.languages import PROSE, language_of

CONTINUED = 2  # times that a block which was cut off is gone on with
OLD_OUTPUT = 300  # characters that stay of the outputs of old turns where room is short
CIRCLE = 120  # characters at the end that stand there twice before: the model repeats itself

T = TypeVar("T")


class Turn:
    """Iterate ``run`` to its end; then ``block`` is what is to be run, ``said`` the prose, ``text`` all of it."""

    def __init__(self, runner: Runner, stop: asyncio.Event) -> None:
        self.runner = runner
        self.stop = stop
        self.block: Block | None = None
        self.said = ""
        self.text = ""
        self.cut = False  # it ended within a block, or at the limit of tokens
        self._finish = ""
        self._fence: RepeatedFence | None = None
        self.prompt_tokens = 0
        self.output_tokens = 0  # as the pieces came: llama.cpp sends one a token

    async def run(
        self, messages: list[Message], options: Options, opening: str = "", keep: int = 0
    ) -> AsyncGenerator[Event]:
        """Asks, and passes on what comes. ``opening`` is put into the model's mouth.

        The first ``keep`` messages are a beginning that other conversations share. A block that ends at the limit of
        tokens is gone on with from there, a few times at most.
        """
        parser = BlockParser()
        if opening:
            self.text = opening
            self._fence = RepeatedFence()
            for event in self._take(parser.feed(opening)):
                yield event
        for _ in range(1 + CONTINUED):
            async with contextlib.aclosing(self._speak(parser, ChatRequest(messages, options, keep=keep))) as events:
                async for event in events:
                    yield event
            if self.block or not (self._finish == "length" and parser.inside and self._goes_on(messages, options)):
                break
        if self.block:
            return
        for event in self._take(parser.finish()):
            yield event
        self.cut = self.cut or (self._finish == "length" and self.block is None)

    async def _speak(self, parser: BlockParser, request: ChatRequest) -> AsyncGenerator[Event]:
        """What the model says from where ``text`` stands, up to its first block or to the limit."""
        if self.text:
            request = msgspec.structs.replace(request, messages=[*request.messages, Message("assistant", self.text)])
        prompt_tokens, output_tokens = self.prompt_tokens, self.output_tokens
        self._finish = ""
        async with contextlib.aclosing(self._chunks(request)) as chunks:
            while (chunk := await until(self.stop, anext(chunks, None))) is not None:
                text = self._fence.feed(chunk.text) if self._fence else chunk.text
                self.text += text
                self.output_tokens += bool(chunk.text or chunk.thinking)
                self._finish = chunk.finish or self._finish
                if chunk.usage:
                    self.prompt_tokens = prompt_tokens + chunk.usage.prompt_tokens
                    self.output_tokens = output_tokens + chunk.usage.output_tokens
                if chunk.thinking:
                    yield Thought(chunk.thinking)
                for event in self._take(parser.feed(text)):
                    yield event
                if self.block:
                    return

    def _goes_on(self, messages: list[Message], options: Options) -> bool:
        """Whether a block that was cut off is worth going on with: it fits, and does not turn in circles."""
        context = self.runner.facts.context or 0
        held = sum(len(message.text) // 3 + 8 for message in messages) + len(self.text) // 3
        if context and held + (options.max_tokens or 0) > context:
            return False
        return self.text.count(self.text[-CIRCLE:]) < 3

    async def _chunks(self, request: ChatRequest) -> AsyncGenerator[ChatChunk]:
        """The runner's chunks, its iterator closed with this one: that is what ends the generation."""
        source = self.runner.chat(request)
        try:
            async for chunk in source:
                yield chunk
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()

    def _take(self, pieces: Iterable[Piece]) -> list[Event]:
        """The parser's pieces as events, up to the first block that is to be run."""
        events: list[Event] = []
        for piece in pieces:
            if isinstance(piece, Text):
                self.said += piece.text
                events.append(Prose(piece.text))
            elif isinstance(piece, ThoughtPiece):
                events.append(Thought(piece.text))
            elif isinstance(piece, Opened):
                events.append(CodeOpened(piece.language))
            elif isinstance(piece, Written):
                events.append(CodeText(piece.text))
            elif isinstance(piece, Cut):
                self.cut = True
            elif language_of(piece.block) in PROSE or not piece.block.code.strip():
                self.said += prompt.fenced(piece.block.code, piece.block.language)
            else:
                self.block = piece.block
                break
        return events


class RepeatedFence:
    """Takes off the fence that a model may write although it was put into its mouth."""

    def __init__(self) -> None:
        self._held = ""
        self._done = False

    def feed(self, text: str) -> str:
        """What of the text is not the fence, as soon as that is clear."""
        if self._done:
            return text
        self._held += text
        lead = self._held.lstrip()
        if "```".startswith(lead[:3]) and (len(lead) < 3 or "\n" not in lead):
            return ""
        self._done = True
        return lead.partition("\n")[2] if lead.startswith("```") else self._held


async def until(stop: asyncio.Event, wanted: Awaitable[T]) -> T | None:
    """What ``wanted`` gives; None where ``stop`` is set first, and ``wanted`` is cancelled."""
    task = asyncio.ensure_future(wanted)
    halt = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, halt}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, halt):
            each.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await each


async def fitted(runner: Runner, messages: list[Message], fixed: int, room: int) -> list[Message]:
    """The conversation so that it fits ``room`` tokens: outputs of old turns are cut first, then the oldest turns go.

    The first ``fixed`` messages and the last two stay as they are, so that an engine finds the beginning in its cache.

    Raises:
        PromptTooLong: what must stay does not fit.
    """
    kept = list(messages)
    while not await fits(runner, kept, room):
        old = [n for n in range(fixed, len(kept) - 2) if kept[n].role == "user"]
        long = next((n for n in old if len(kept[n].text) > OLD_OUTPUT + 100), None)
        if long is not None:
            kept[long] = Message("user", prompt.clip(kept[long].text, OLD_OUTPUT))
            continue
        after = next((n for n in range(fixed + 1, len(kept)) if kept[n].role == "user"), None)
        if after is None:
            raise PromptTooLong(
                "the job does not fit into the model's context", "Say it in fewer words, or in several jobs."
            )
        del kept[fixed:after]
    return kept


async def fits(runner: Runner, messages: list[Message], room: int) -> bool:
    """Whether a conversation has at most ``room`` tokens. The engine is asked only where it is not clear anyway.

    Texts of any language have a token for every two bytes at most, and seldom fewer than one for six.
    """
    size = sum(len(message.text.encode(errors="replace")) + 16 for message in messages)
    if size // 2 <= room:
        return True
    return size // 12 <= room and await runner.count_tokens(messages) <= room
