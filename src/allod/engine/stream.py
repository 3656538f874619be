"""An engine's event stream to the chunks of an answer.

    events = Events(); reader = ChatReader(top_logprobs)
    async for data in answer.body:
        for event in events.feed(data):
            if chunk := reader.chunk(event): ...
    last = reader.last()                          # finish, usage and the tool calls

Formats: OpenAI's chat completion chunks as llama.cpp and vLLM write them, and llama.cpp's own ``/completion``. This
runs once a token, so events are decoded straight into typed structs and nothing else in them is looked at.
"""

import time
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field, structs

from allod.chat import ChatChunk, Finish, TokenLogprob, ToolCall, Usage
from allod.engine.wire import failure
from allod.errors import EngineFailed

EVENT_LIMIT = 16 * 1024 * 1024  # bytes of one event's line
FINISHES: dict[str, Finish] = {"length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls"}


class Events:
    """Server-sent events (WHATWG HTML, section 9.2) as far as these servers use them: data on one line each."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the lines that are now whole; ``[DONE]``, comments and other fields are skipped.

        Raises:
            EngineFailed: a line without end.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > EVENT_LIMIT:
            raise EngineFailed("the engine sent an endless line", "Report this, with the model's name.")
        for line in lines:
            if line.startswith(b"data:"):
                payload = line[5:].strip()
                if payload not in (b"[DONE]", b"null"):  # llama.cpp begins with a null where there are several prompts
                    yield payload


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class FunctionDelta(Struct):
    """Part of a call's name and arguments."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(Struct):
    """Part of a tool call."""

    index: int = 0
    id: str | None = None
    function: FunctionDelta = field(default_factory=FunctionDelta)


class Delta(Struct):
    """What is new since the last event."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # vLLM's name for it
    tool_calls: list[CallDelta] | None = None


class Likely(Struct):
    """One token with its log-probability."""

    token: str = ""
    logprob: float = 0.0
    bytes: list[int] | None = None
    top_logprobs: list["Likely"] = field(default_factory=list["Likely"])

    def plain(self, top: int) -> TokenLogprob:
        """As ours, with at most ``top`` others."""
        others = [other.plain(0) for other in self.top_logprobs[:top]]
        return TokenLogprob(self.token, self.logprob, self.bytes or list(self.token.encode()), others)


class Logprobs(Struct):
    """Chat's ``content``; the other three are /v1/completions' own form, one entry a token."""

    content: list[Likely] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None

    def plain(self, top: int) -> list[TokenLogprob]:
        """As ours, whichever form it is."""
        if self.content is not None:
            return [token.plain(top) for token in self.content]
        found: list[TokenLogprob] = []
        others = self.top_logprobs or []
        for i, (token, value) in enumerate(zip(self.tokens or [], self.token_logprobs or [], strict=False)):
            best = sorted(((others[i] if i < len(others) else None) or {}).items(), key=lambda pair: -pair[1])
            likely = [Likely(text, number).plain(0) for text, number in best[:top]]
            found.append(TokenLogprob(token, value or 0.0, list(token.encode()), likely))
        return found


class Choice(Struct):
    """The first of the answers; these requests ask for one."""

    delta: Delta = field(default_factory=Delta)
    text: str = ""  # /v1/completions
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Details(Struct):
    """Of the prompt's tokens."""

    cached_tokens: int | None = None


class Counts(Struct):
    """OpenAI's usage."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None


class Timings(Struct):
    """llama.cpp's usage; times in milliseconds, ``prompt_n`` without what was cached."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0

    def usage(self) -> Usage:
        """As ours."""
        return Usage(
            prompt_tokens=self.prompt_n + self.cache_n,
            cached_tokens=self.cache_n,
            output_tokens=self.predicted_n,
            prompt_seconds=self.prompt_ms / 1000,
            output_seconds=self.predicted_ms / 1000,
        )


class ChatEvent(Struct):
    """One event of ``/v1/chat/completions`` or ``/v1/completions``."""

    choices: list[Choice] = field(default_factory=list[Choice])
    usage: Counts | None = None
    timings: Timings | None = None
    error: Any = None


class CompletionEvent(Struct):
    """One event of llama.cpp's ``/completion`` and ``/infill``."""

    content: str = ""
    stop: bool = False
    stop_type: str = ""
    completion_probabilities: list[Likely] = field(default_factory=list[Likely])
    timings: Timings | None = None
    error: Any = None


CHAT_EVENT = msgspec.json.Decoder(ChatEvent)
COMPLETION_EVENT = msgspec.json.Decoder(CompletionEvent)
Event = TypeVar("Event", ChatEvent, CompletionEvent)


# ── readers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Reader:
    """Gathers what only the end of an answer knows. ``top``: how many others to keep with a token's probability."""

    def __init__(self, top: int | None, model: str = "") -> None:
        self.top = top or 0
        self.model = model
        self.finish: Finish | None = None
        self._counts: Counts | None = None
        self._timings: Timings | None = None
        self._started = time.monotonic()
        self._first = 0.0

    def chunk(self, data: bytes) -> ChatChunk | None:
        """What an event adds, or nothing."""
        raise NotImplementedError

    def last(self) -> ChatChunk:
        """The chunk that ends the answer.

        Raises:
            EngineFailed: the stream ended before the answer did.
        """
        if self.finish is None:
            raise EngineFailed("the answer broke off", "Ask again.")
        return ChatChunk(finish=self.finish, usage=self.usage())

    def usage(self) -> Usage:
        """The engine's own measure; our clock's where it gives none."""
        if self._timings:
            return self._timings.usage()
        now = time.monotonic()
        first = self._first or now
        counts = self._counts or Counts()
        details = counts.prompt_tokens_details or Details()
        cached = details.cached_tokens or 0
        return Usage(counts.prompt_tokens, cached, counts.completion_tokens, first - self._started, now - first)

    def decode(self, data: bytes, decoder: msgspec.json.Decoder[Event]) -> Event:
        """An event; raises what the engine reports instead of one."""
        try:
            event = decoder.decode(data)
        except msgspec.DecodeError as error:
            raise EngineFailed(f"the engine sent no event: {data[:80]!r}", "Report this.") from error
        if event.error is not None:
            raise failure(500, data, self.model)
        self._timings = event.timings or self._timings
        self._first = self._first or time.monotonic()
        return event


class ChatReader(Reader):
    """Events of ``/v1/chat/completions`` and ``/v1/completions`` to chunks; tool calls come whole, at the end."""

    def __init__(self, top: int | None, model: str = "", measured: bool = False) -> None:
        super().__init__(top, model)
        self._measured = measured
        self._calls: dict[int, ToolCall] = {}

    def chunk(self, data: bytes) -> ChatChunk | None:
        """What an event adds, or nothing."""
        event = self.decode(data, CHAT_EVENT)
        self._counts = event.usage or self._counts
        if not event.choices:
            return None
        choice = event.choices[0]
        delta = choice.delta
        for part in delta.tool_calls or ():
            call = self._calls.get(part.index) or ToolCall("", "", "")
            self._calls[part.index] = ToolCall(
                part.id or call.id,
                call.name + (part.function.name or ""),
                call.arguments + (part.function.arguments or ""),
            )
        if choice.finish_reason:
            self.finish = FINISHES.get(choice.finish_reason, "stop")
        text = delta.content or choice.text
        thinking = delta.reasoning_content or delta.reasoning or ""
        logprobs = choice.logprobs.plain(self.top) if choice.logprobs else []
        if not (text or thinking or logprobs):
            return None
        usage = self._timings.usage() if self._measured and self._timings else None
        return ChatChunk(text, thinking, logprobs=logprobs, usage=usage)

    def last(self) -> ChatChunk:
        """The end, with the tool calls that were gathered."""
        chunk = super().last()
        calls = [self._calls[index] for index in sorted(self._calls)]
        finish: Finish | None = "tool_calls" if calls and chunk.finish == "stop" else chunk.finish
        return structs.replace(chunk, tool_calls=calls, finish=finish)


class CompletionReader(Reader):
    """Events of llama.cpp's ``/completion`` and ``/infill`` to chunks."""

    def chunk(self, data: bytes) -> ChatChunk | None:
        """What an event adds, or nothing."""
        event = self.decode(data, COMPLETION_EVENT)
        if event.stop:
            self.finish = "length" if event.stop_type == "limit" else "stop"
        logprobs = [token.plain(self.top) for token in event.completion_probabilities]
        return ChatChunk(event.content, logprobs=logprobs) if event.content or logprobs else None
