"""Runner: the protocol every engine speaks, local child or remote server.

    async with engine.lease("smollm2") as runner:
        async for chunk in runner.chat(ChatRequest([Message("user", "Hi")])):
            print(chunk.text, end="")

A runner knows one loaded model and nothing of names, stores or doors. Closing an iterator early (``aclose``, or leaving
the task) cancels the generation and frees its slot. Errors are those of ``allod.errors``: RunnerCrashed when the
process behind it died, PromptTooLong, Unsupported, BadRequest.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from allod.chat import ChatChunk, ChatRequest, CompletionRequest, Embeddings, Message


class Facts(Struct, frozen=True):
    """What a runner can do, as found out when it was loaded."""

    model: str  # the name the runner answers to on the wire
    context: int  # tokens a slot
    slots: int = 1
    vision: bool = False
    audio: bool = False
    tools: bool = False
    thinking: bool = False
    embedding: bool = False  # an embedding model: no chat
    template: str = ""  # the chat template (Jinja), empty where the model has none
    memory: int = 0  # bytes the process really uses, 0: unknown


class Answer(Struct):
    """A raw HTTP answer on its way through: the body's chunks are not looked at."""

    status: int
    content_type: str
    body: AsyncIterator[bytes]


class Runner(Protocol):
    """A loaded model."""

    facts: Facts

    def chat(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """Answers a conversation. A last message of role ``assistant`` is continued."""
        ...

    def complete(self, request: CompletionRequest) -> AsyncIterator[ChatChunk]:
        """Continues raw text or tokens; no template is applied."""
        ...

    async def embed(self, inputs: list[str] | list[list[int]]) -> Embeddings:
        """One vector an input, in one pass."""
        ...

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        """One relevance score a document, higher is nearer."""
        ...

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Token ids; ``special``: control tokens in the text are taken as such."""
        ...

    async def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids."""
        ...

    async def apply_template(self, request: ChatRequest) -> str:
        """The prompt that ``chat`` would send, as text."""
        ...

    async def count_tokens(self, messages: list[Message]) -> int:
        """Tokens of the prompt that ``chat`` would make of a conversation, the opening of the answer with it.

        Exact, but for pictures; from a server that cannot count, an estimate that is rather too high (``counting``).
        """
        ...

    async def count_prompt(self, request: ChatRequest) -> int:
        """The same for a whole request, its tools and its wish to think with it.

        Raises:
            Unsupported: the server cannot count.
        """
        ...

    def forward(self, path: str, body: bytes) -> AbstractAsyncContextManager[Answer]:
        """Posts ``body`` to the engine's own ``path`` and hands the answer through, byte for byte."""
        ...

    async def health(self) -> bool:
        """Whether it would answer now."""
        ...

    async def close(self) -> None:
        """Ends it and gives the memory back."""
        ...
