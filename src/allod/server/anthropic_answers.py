"""The engine's chunks turned into Anthropic's answers: events as they come, and the message they add up to.

One `Answering` makes one answer, streamed or not: whoever wants it whole runs the events to their end and takes
``message``. Tool calls come whole from the engine, so their arguments are one delta each.
"""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from hashlib import sha256
from typing import Literal, cast

from allod.chat import ChatChunk, ToolCall, Usage
from allod.server.anthropic_wire import (
    Answered,
    BlockDelta,
    BlockStart,
    BlockStop,
    Ending,
    Event,
    InputDelta,
    MessageDelta,
    MessageStart,
    MessageStop,
    SignatureDelta,
    Text,
    TextDelta,
    ThinkingDelta,
    Thought,
    ToolUse,
    Used,
)
from allod.server.ollama_answers import json_object
from allod.server.stops import Stops

Show = Literal["yes", "omitted", "no"]


class Answering:
    """One answer.

    Args:
        limit: max_tokens; an answer that is cut off before it has filled the context.
        show: what becomes of thoughts; those of a model that cannot help thinking are left out where nobody asked.
    """

    def __init__(self, model: str, limit: int, stops: list[str], show: Show) -> None:
        self.message = Answered(f"msg_{secrets.token_hex(12)}", model)
        self._limit = limit
        self._show = show
        self._stops = Stops(stops)
        self._open: Text | Thought | None = None
        self._started = False
        self._used = Usage()

    async def of(self, chunks: AsyncIterator[ChatChunk]) -> AsyncGenerator[Event]:
        """Events from message_start to message_stop; the engine is left at a stop sequence."""
        finish = ""
        calls: list[ToolCall] = []
        async with aclosing(cast("AsyncGenerator[ChatChunk]", chunks)):
            async for chunk in chunks:
                self._used = chunk.usage or self._used
                for event in self._chunk(chunk):
                    yield event
                calls += chunk.tool_calls
                finish = chunk.finish or ""
                if finish or self._stops.found is not None:
                    break
        for event in self._end(finish, calls):
            yield event

    def _chunk(self, chunk: ChatChunk) -> Iterator[Event]:
        yield from self._start()
        if chunk.thinking and self._show != "no":
            yield from self._grow(Thought, chunk.thinking if self._show == "yes" else "")
        if text := self._stops.feed(chunk.text):
            yield from self._grow(Text, text)

    def _start(self) -> Iterator[Event]:
        if not self._started:
            self._started = True
            self.message.usage = used(self._used)
            yield MessageStart(self.message)

    def _grow(self, kind: type[Text] | type[Thought], piece: str) -> Iterator[Event]:
        """More of the open block, or of a new one."""
        if not isinstance(self._open, kind):
            yield from self._close()
            self._open = kind("")
            yield BlockStart(len(self.message.content), self._open)
            self.message.content.append(self._open)
        index = len(self.message.content) - 1
        if isinstance(self._open, Text):
            self._open.text += piece
            yield BlockDelta(index, TextDelta(piece))
        else:
            self._open.thinking += piece
            if piece:
                yield BlockDelta(index, ThinkingDelta(piece))

    def _close(self) -> Iterator[Event]:
        if self._open is None:
            return
        index = len(self.message.content) - 1
        if isinstance(self._open, Thought):
            self._open.signature = sha256(self._open.thinking.encode(errors="replace")).hexdigest()
            yield BlockDelta(index, SignatureDelta(self._open.signature))
        self._open = None
        yield BlockStop(index)

    def _end(self, finish: str, calls: list[ToolCall]) -> Iterator[Event]:
        """What is left to say: the calls, why it ended, what it cost."""
        found = self._stops.found
        if found is None and (rest := self._stops.rest()):
            yield from self._grow(Text, rest)
        called = False
        for call in calls if found is None else ():
            arguments = json_object(call.arguments)
            if arguments is None:  # it was cut off
                yield from self._grow(Text, f"{call.name}({call.arguments}")
                continue
            called = True
            yield from self._close()
            index = len(self.message.content)
            ident = f"toolu_{secrets.token_hex(12)}"
            yield BlockStart(index, ToolUse(ident, call.name, {}))
            self.message.content.append(ToolUse(ident, call.name, arguments))
            yield BlockDelta(index, InputDelta(call.arguments or "{}"))
            yield BlockStop(index)
        yield from self._close()
        self.message.usage = used(self._used)
        self.message.stop_sequence = found
        self.message.stop_reason = self._reason(finish, called)
        yield MessageDelta(Ending(self.message.stop_reason, found), self.message.usage)
        yield MessageStop()

    def _reason(self, finish: str, called: bool) -> str:
        if self._stops.found is not None:
            return "stop_sequence"
        if finish == "length":
            return "max_tokens" if self._used.output_tokens >= self._limit else "model_context_window_exceeded"
        return "tool_use" if called else "end_turn"


def used(usage: Usage) -> Used:
    """Tokens in Anthropic's names. Nothing is ever charged for what goes into the cache, so no token counts as that."""
    return Used(usage.prompt_tokens - usage.cached_tokens, usage.output_tokens, usage.cached_tokens)
