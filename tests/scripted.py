"""A runner that says what a test tells it to, for what a small model cannot be made to say on cue.

    runner = ScriptedRunner(["First answer", ToolCall("c1", "add", "{}"), RunnerCrashed("died"), lambda r: "…"])
    engine = ScriptedEngine(runner)           # lease() as the real one's

Each ``chat`` or ``complete`` plays the next reply, a few characters a chunk, stops at the request's stop strings and
limit as a model would, and ends with ``finish`` and ``usage``. ``runner.requests`` keeps what was asked;
``runner.left_early`` counts iterators that were closed before their end. A script that runs out is a test's mistake.
"""

import asyncio
import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import UNSET

from allod.chat import ChatChunk, ChatRequest, CompletionRequest, Embeddings, Finish, Message, Options, ToolCall, Usage
from allod.engine.runner import Answer, Facts

Reply = str | ToolCall | ChatChunk | Exception
Script = Reply | list[Reply] | Callable[[Any], Reply | list[Reply]]


class ScriptedRunner:
    """Plays ``replies`` in order. ``chunk`` is in characters, ``pause`` in seconds between chunks."""

    def __init__(
        self, replies: Iterable[Script] = (), *, chunk: int = 4, pause: float = 0.0, facts: Facts | None = None
    ) -> None:
        self.replies = list(replies)
        self.requests: list[ChatRequest | CompletionRequest] = []
        self.forwarded: list[tuple[str, bytes]] = []
        self.left_early = 0
        self.chunk = chunk
        self.pause = pause
        self.closed = False
        self.facts = facts or Facts(model="scripted", context=8192, slots=4, tools=True)

    def chat(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        return self._play(request)

    def complete(self, request: CompletionRequest) -> AsyncIterator[ChatChunk]:
        return self._play(request)

    async def _play(self, request: ChatRequest | CompletionRequest) -> AsyncGenerator[ChatChunk]:
        self.requests.append(copy.deepcopy(request))
        assert self.replies, f"the script has no reply left for {request!r}"
        script = self.replies.pop(0)
        if callable(script):
            script = script(request)
        done = False
        try:
            output = 0
            finish: Finish = "stop"
            for part in script if isinstance(script, list) else [script]:
                if isinstance(part, Exception):
                    done = True
                    raise part
                if isinstance(part, ToolCall):
                    finish = "tool_calls"
                    yield ChatChunk(tool_calls=[part])
                elif isinstance(part, ChatChunk):
                    yield part
                else:
                    text, finish, stopped = limited(part, request.options)
                    for piece in (text[i : i + self.chunk] for i in range(0, len(text), self.chunk)):
                        await asyncio.sleep(self.pause)
                        output += 1
                        yield ChatChunk(text=piece)
                    if stopped:
                        break
            done = True
            yield ChatChunk(finish=finish, usage=Usage(prompt_tokens=10, output_tokens=output, output_seconds=0.001))
        finally:
            self.left_early += not done

    async def embed(self, inputs: list[str] | list[list[int]]) -> Embeddings:
        return Embeddings([[1.0, 0.0, float(len(i))] for i in inputs], sum(len(i) for i in inputs))

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        words = set(query.split())
        return [float(len(words & set(d.split()))) for d in documents]

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        return list(text.encode())

    async def detokenize(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    async def apply_template(self, request: ChatRequest) -> str:
        return "".join(f"<|{m.role}|>{m.text}\n" for m in request.messages)

    async def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(m.text) // 4 + 4 for m in messages)

    async def count_prompt(self, request: ChatRequest) -> int:
        return await self.count_tokens(request.messages) + 10 * len(request.tools)

    @asynccontextmanager
    async def forward(self, path: str, body: bytes) -> AsyncIterator[Answer]:
        self.forwarded.append((path, body))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, str), "forward plays whole bodies, given as str"

        async def chunks() -> AsyncIterator[bytes]:
            data = reply.encode()
            for i in range(0, len(data), self.chunk):
                await asyncio.sleep(self.pause)
                yield data[i : i + self.chunk]

        kind = "text/event-stream" if reply.startswith("data:") else "application/json"
        yield Answer(200, kind, chunks())

    async def health(self) -> bool:
        return not self.closed

    async def close(self) -> None:
        self.closed = True


class ScriptedEngine:
    """Leases one runner under any name. ``leases`` keeps (model, options, keep_alive)."""

    def __init__(self, runner: ScriptedRunner) -> None:
        self.runner = runner
        self.leases: list[tuple[Any, Any, float | None]] = []

    @asynccontextmanager
    async def lease(
        self, model: Any, options: Any = None, keep_alive: float | None = None
    ) -> AsyncIterator[ScriptedRunner]:
        self.leases.append((model, options, keep_alive))
        yield self.runner

    def running(self) -> list[Any]:
        return []

    async def unload(self, name: str) -> None:
        """Nothing is loaded."""

    async def close(self) -> None:
        await self.runner.close()

    async def __aenter__(self) -> "ScriptedEngine":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


def limited(text: str, options: Options) -> tuple[str, Finish, bool]:
    """The text cut at the first stop string, as a server cuts it; why it ended; whether a stop string ended it."""
    stops = options.stop if options.stop is not UNSET else []
    at = min((i for s in stops if (i := text.find(s)) >= 0), default=-1)
    return (text[:at], "stop", True) if at >= 0 else (text, "stop", False)
