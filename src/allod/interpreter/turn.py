"""One answer of the model, up to the end of its first block of code, and no further.

Generation is ended as soon as the block is closed, so that a model cannot go on to invent what the block printed.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Iterable
from typing import TypeVar

from allod.chat import ChatChunk, ChatRequest, Message, Options
from allod.engine.runner import Runner
from allod.errors import PromptTooLong
from allod.interpreter import prompt
from allod.interpreter.blocks import Block, BlockParser, Cut, Opened, Piece, Text, Written
from allod.interpreter.blocks import Thought as ThoughtPiece
from allod.interpreter.events import CodeOpened, CodeText, Event, Prose, Thought
from allod.interpreter.languages import PROSE, language_of

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
        self.prompt_tokens = 0
        self.output_tokens = 0  # as the pieces came: llama.cpp sends one a token

    async def run(self, messages: list[Message], options: Options, opening: str = "") -> AsyncGenerator[Event]:
        """Asks, and passes on what comes. ``opening`` is put into the model's mouth."""
        parser = BlockParser()
        finish = ""
        if opening:
            messages = [*messages, Message("assistant", opening)]
            self.text = opening
            for event in self._take(parser.feed(opening)):
                yield event
        async with contextlib.aclosing(self._chunks(ChatRequest(messages, options))) as chunks:
            while (chunk := await until(self.stop, anext(chunks, None))) is not None:
                self.text += chunk.text
                self.output_tokens += bool(chunk.text or chunk.thinking)
                finish = chunk.finish or finish
                if chunk.usage:
                    self.prompt_tokens, self.output_tokens = chunk.usage.prompt_tokens, chunk.usage.output_tokens
                if chunk.thinking:
                    yield Thought(chunk.thinking)
                for event in self._take(parser.feed(chunk.text)):
                    yield event
                if self.block:
                    return
        for event in self._take(parser.finish()):
            yield event
        self.cut = self.cut or (finish == "length" and self.block is None)

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


def fitted(messages: list[Message], fixed: int, room: int) -> list[Message]:
    """The conversation without its oldest turns after the first ``fixed`` messages, so that it fits ``room`` tokens.

    Counted at three characters a token: code and text of any language that these models know take fewer tokens.

    Raises:
        PromptTooLong: what must stay does not fit.
    """
    kept = list(messages)
    while sum(len(message.text) // 3 + 8 for message in kept) > room:
        after = next((n for n in range(fixed + 1, len(kept)) if kept[n].role == "user"), None)
        if after is None:
            raise PromptTooLong(
                "the job does not fit into the model's context", "Say it in fewer words, or in several jobs."
            )
        del kept[fixed:after]
    return kept
