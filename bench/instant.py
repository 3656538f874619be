"""A model that answers at once what it was told to, for benchmarks of everything around a model.

model = Instant(["```python\nprint(1)\n```", "Done."])
model.requests          # what it was asked
model.asked, model.said # when each question came, when each answer was out (perf_counter)
"""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from allod.chat import ChatChunk, ChatRequest, CompletionRequest, Embeddings, Message, Usage
from allod.engine.runner import Answer, Facts


class Instant:
    """Plays ``replies`` in order, each in one piece; the last one for ever."""

    def __init__(self, replies: list[str]) -> None:
        self.facts = Facts(model="instant", context=1 << 20, slots=4)
        self.replies = replies
        self.requests: list[ChatRequest] = []
        self.asked: list[float] = []
        self.said: list[float] = []

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatChunk]:
        self.asked.append(time.perf_counter())
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        self.said.append(time.perf_counter())
        yield ChatChunk(text=reply)
        yield ChatChunk(finish="stop", usage=Usage(output_tokens=1))

    async def count_tokens(self, messages: list[Message]) -> int:
        return sum(len(m.text) // 4 + 4 for m in messages)

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        return list(text.encode())

    async def detokenize(self, tokens: list[int]) -> str:
        return bytes(tokens).decode(errors="replace")

    async def apply_template(self, request: ChatRequest) -> str:
        return "".join(m.text for m in request.messages)

    async def health(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing to end."""

    def complete(self, request: CompletionRequest) -> AsyncGenerator[ChatChunk]:
        raise NotImplementedError("the interpreter only chats")

    async def embed(self, inputs: list[str] | list[list[int]]) -> Embeddings:
        raise NotImplementedError("the interpreter only chats")

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        raise NotImplementedError("the interpreter only chats")

    @asynccontextmanager
    async def forward(self, path: str, body: bytes) -> AsyncGenerator[Answer]:
        raise NotImplementedError("the interpreter only chats")
        yield
