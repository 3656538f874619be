"""Chunks of an answer as Ollama's lines: piece by piece, or gathered into one line where nothing is to be streamed."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Generic, TypeVar, cast

import msgspec

from allod.chat import ChatChunk, TokenLogprob, Usage
from allod.server.ollama_requests import new_call_id
from allod.server.ollama_wire import (
    AnswerMessage,
    CalledFunction,
    ChatAnswer,
    DebugInfo,
    GenerateAnswer,
    Line,
    WireLogprob,
    WireToolCall,
    nanoseconds,
    now,
)

L = TypeVar("L", bound=Line)


class Answering(ABC, Generic[L]):
    """One answer in the making. ``asked`` is the model's name as the client wrote it."""

    def __init__(self, asked: str, stream: bool) -> None:
        self.asked = asked
        self.stream = stream
        self.text = ""  # all of the answer so far
        self._began = time.monotonic()
        self._loaded = 0.0

    @abstractmethod
    def line(self, chunk: ChatChunk, **more: Any) -> L:
        """A line that says what ``chunk`` says."""

    def has_runner(self) -> None:
        """To be called when the model is there: the end of what Ollama calls loading."""
        self._loaded = time.monotonic() - self._began

    def nothing(self, reason: str) -> L:
        """The answer to a request that only loads or unloads."""
        return self.line(ChatChunk(), done=True, done_reason=reason)

    def rendered(self, prompt: str, images: int) -> L:
        """The answer to ``_debug_render_only``."""
        return self.line(ChatChunk(), done=False, debug=DebugInfo(prompt, images))

    async def of(self, chunks: AsyncIterator[ChatChunk]) -> AsyncGenerator[L]:
        """The lines of an answer; the last, and only it, is ``done``."""
        gathered = ChatChunk()
        async with aclosing(cast("AsyncGenerator[ChatChunk]", chunks)):
            async for chunk in chunks:
                self.text += chunk.text
                if not self.stream:
                    gathered.text = self.text
                    gathered.thinking += chunk.thinking
                    gathered.tool_calls += chunk.tool_calls
                    gathered.logprobs += chunk.logprobs
                if chunk.finish is not None:
                    yield self._last(chunk if self.stream else gathered, chunk.finish, chunk.usage or Usage())
                elif self.stream:
                    yield self.line(chunk, done=False)

    def _last(self, chunk: ChatChunk, finish: str, usage: Usage) -> L:
        return self.line(
            chunk,
            done=True,
            done_reason="length" if finish == "length" else "stop",
            total_duration=nanoseconds(time.monotonic() - self._began),
            load_duration=nanoseconds(self._loaded),
            prompt_eval_count=usage.prompt_tokens,
            prompt_eval_duration=nanoseconds(usage.prompt_seconds),
            eval_count=usage.output_tokens,
            eval_duration=nanoseconds(usage.output_seconds),
        )


class ChatLines(Answering[ChatAnswer]):
    """For /api/chat."""

    def line(self, chunk: ChatChunk, **more: Any) -> ChatAnswer:
        """A line with a message."""
        text, calls = tool_calls(chunk)
        message = AnswerMessage("assistant", text, chunk.thinking, calls)
        probs = logprobs(chunk.logprobs)
        return ChatAnswer(model=self.asked, created_at=now(), message=message, logprobs=probs, **more)


class GenerateLines(Answering[GenerateAnswer]):
    """For /api/generate."""

    def line(self, chunk: ChatChunk, **more: Any) -> GenerateAnswer:
        """A line with a response."""
        text, calls = tool_calls(chunk)
        return GenerateAnswer(
            model=self.asked,
            created_at=now(),
            response=text,
            thinking=chunk.thinking,
            tool_calls=calls,
            logprobs=logprobs(chunk.logprobs),
            **more,
        )


def tool_calls(chunk: ChatChunk) -> tuple[str, list[WireToolCall] | None]:
    """The text of a chunk and its calls. A call whose arguments are no JSON object was cut off: it is given as text."""
    text = chunk.text
    calls: list[WireToolCall] = []
    for call in chunk.tool_calls:
        arguments = json_object(call.arguments)
        if arguments is None:
            text += f"{call.name}({call.arguments}"
        else:
            ident = call.id if call.id.startswith("call_") else new_call_id()
            calls.append(WireToolCall(ident, CalledFunction(call.name, arguments, len(calls))))
    return text, calls or None


def json_object(text: str) -> dict[str, Any] | None:
    """``text`` as a JSON object, None where it is none; no text at all is an empty one."""
    try:
        found: object = msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def logprobs(entries: list[TokenLogprob]) -> list[WireLogprob] | None:
    """Log-probabilities in Ollama's form."""
    return [
        WireLogprob(entry.token, entry.logprob, entry.bytes or list(entry.token.encode()), logprobs(entry.top))
        for entry in entries
    ] or None
