"""HTTPRunner: the Runner protocol over any server that speaks OpenAI's ``/v1``, with llama.cpp's further paths if it
has them.

How a request gets there is left to ``send``: to a child over a loopback connection (``llama``), to any other server
through the egress (``remote``). What both do alike is here, once.
"""

import base64
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from hashlib import sha256
from typing import Any, ClassVar, TypeVar

import msgspec
from msgspec import Struct, field

from allod.chat import ChatChunk, ChatRequest, CompletionRequest, Embeddings, ImagePart, Message
from allod.engine.counting import Counts, pictures
from allod.engine.runner import Answer, Facts
from allod.engine.stream import ChatReader, Events, Reader
from allod.engine.wire import chat_body, check_length, failure, options
from allod.errors import AllodError, BadRequest, EngineFailed, Unsupported

REPLY_LIMIT = 1024 * 1024 * 1024  # bytes of a reply that is read whole
ERROR_LIMIT = 1024 * 1024
T = TypeVar("T")


class Vector(Struct):
    """Of ``/v1/embeddings``."""

    embedding: list[float] | str  # base64 of little-endian float32, where that was asked for
    index: int = 0

    def numbers(self) -> list[float]:
        """As numbers.

        Raises:
            EngineFailed: not base64 of such, or none at all.
        """
        found = self.embedding
        if isinstance(found, str):
            try:
                data = base64.b64decode(found, validate=True)
                found = list(struct.unpack(f"<{len(data) // 4}f", data))
            except (ValueError, struct.error) as error:
                raise EngineFailed(f"a vector came that is none: {error}", "Report this.") from error
        if not found:
            raise EngineFailed("a vector came without numbers", "Report this.")
        return found


class Tokens(Struct):
    """Of ``usage``."""

    prompt_tokens: int = 0


class Vectors(Struct):
    """The reply of ``/v1/embeddings``."""

    data: list[Vector]
    usage: Tokens = field(default_factory=Tokens)


class Score(Struct):
    """Of ``/v1/rerank``."""

    index: int
    relevance_score: float


class Scores(Struct):
    """The reply of ``/v1/rerank``."""

    results: list[Score]


class TokenList(Struct):
    """The reply of ``/tokenize``."""

    tokens: list[int]


class Content(Struct):
    """The reply of ``/detokenize``."""

    content: str


class Prompt(Struct):
    """The reply of ``/apply-template``."""

    prompt: str


class HTTPRunner(ABC):
    """A model behind HTTP. Subclasses say how to get there and what they know of it."""

    facts: Facts
    vectors: ClassVar[str] = "float"  # encoding_format that vectors are asked for in; every server has this one

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._counts = Counts()

    @abstractmethod
    def send(self, method: str, path: str, body: bytes = b"") -> AbstractAsyncContextManager[Answer]:
        """Sends a request. What goes wrong on the way, then or while the body is read, is raised as an AllodError."""

    @abstractmethod
    async def close(self) -> None:
        """Ends it."""

    def turn(self, prompt: bytes = b"") -> AbstractAsyncContextManager[int | None]:
        """Held while a request uses the model; the slot it should take, where that is ours to say."""
        return nullcontext()

    def shared(self, body: Mapping[str, Any]) -> bool | None:
        """Whether other conversations begin as a request does that has not said so; None: not worth a thought."""
        return None

    async def prepare(  # noqa: B027 - most servers see to this themselves, or not
        self, slot: int | None, body: Mapping[str, Any], keep: int, beginning: bytes, save: bool
    ) -> None:
        """Called with a turn in hand, before a request whose first ``keep`` messages may be on disk; where ``save``,
        they are worth keeping there."""

    def _more(self, body: dict[str, Any], request: ChatRequest | CompletionRequest) -> dict[str, Any]:
        """A body with what this server needs besides."""
        return body | {"model": self.facts.model}

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatChunk]:
        """Answers a conversation. A last message of role ``assistant`` is continued."""
        if not request.messages:
            raise BadRequest("a conversation needs at least one message", "Add a message of role user.")
        if not self.facts.vision and any(
            isinstance(part, ImagePart)
            for m in request.messages
            if not isinstance(m.content, str)
            for part in m.content
        ):
            raise Unsupported(f"'{self.facts.model}' cannot see pictures", "Use a model with vision.")
        check_length("".join(m.text for m in request.messages), self.facts.context)
        body = self._more(chat_body(request), request)
        reader = ChatReader(request.top_logprobs, self.facts.model, request.measured)
        async with aclosing(self._answer("/v1/chat/completions", body, reader, request.keep)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[ChatChunk]:
        """Continues raw text or tokens; no template is applied."""
        if request.images:
            raise Unsupported("pictures in a raw prompt are not part of this server's API", "Send them with chat.")
        check_length(request.prompt, self.facts.context)
        body = options(request.options) | {"prompt": request.prompt}
        if request.suffix:
            body["suffix"] = request.suffix
        if request.format is not None:
            schema = {"type": "object"} if request.format == "json" else request.format
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        if request.top_logprobs is not None:
            body["logprobs"] = max(1, request.top_logprobs)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        reader = ChatReader(request.top_logprobs, self.facts.model)
        async with aclosing(self._answer("/v1/completions", self._more(body, request), reader)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _answer(
        self, path: str, body: dict[str, Any], reader: Reader, keep: int = 0
    ) -> AsyncGenerator[ChatChunk]:
        """Posts a body and reads its event stream."""
        prompt = encode([body.get("lora"), body.get("messages") or body.get("prompt") or body.get("input_prefix")])
        async with self.turn(prompt) as slot:
            shared = True if keep > 0 else self.shared(body)
            if shared is not None:
                keep = max(keep, 1)
                beginning = encode([body.get("lora"), body["messages"][:keep]]).removesuffix(b"]]")
                await self.prepare(slot, body, keep, beginning, shared)
            data = encode(body if slot is None else body | {"id_slot": slot})
            async with self.send("POST", path, data) as answer:
                await self._check(answer)
                events = Events()
                async for piece in answer.body:
                    for event in events.feed(piece):
                        if chunk := reader.chunk(event):
                            yield chunk
        yield reader.last()

    # ── vectors and scores ──────────────────────────────────────────────────────────────────────────────────────────

    async def embed(self, inputs: list[str] | list[list[int]]) -> Embeddings:
        """One vector an input, in one pass."""
        if not inputs:
            return Embeddings([])
        for text in inputs:
            check_length(text, self.facts.context)
        async with self.turn():
            body = {"model": self.facts.model, "input": inputs, "encoding_format": self.vectors}
            reply = await self.ask("/v1/embeddings", body, Vectors)
        if sorted(v.index for v in reply.data) != list(range(len(inputs))):
            raise EngineFailed(f"{len(reply.data)} vectors came for {len(inputs)} inputs", "Report this.")
        ordered = sorted(reply.data, key=lambda vector: vector.index)
        return Embeddings([vector.numbers() for vector in ordered], reply.usage.prompt_tokens)

    async def rerank(self, query: str, documents: list[str]) -> list[float]:
        """One relevance score a document, higher is nearer."""
        if not documents:
            return []
        async with self.turn():
            body = {"model": self.facts.model, "query": query, "documents": documents}
            reply = await self.ask("/v1/rerank", body, Scores)
        scores = {score.index: score.relevance_score for score in reply.results}
        if sorted(scores) != list(range(len(documents))):
            raise EngineFailed(f"{len(scores)} scores came for {len(documents)} documents", "Report this.")
        return [scores[index] for index in range(len(documents))]

    # ── tokens and text ─────────────────────────────────────────────────────────────────────────────────────────────

    async def tokenize(self, text: str, special: bool = True) -> list[int]:
        """Token ids; ``special``: control tokens in the text are taken as such."""
        body = {"content": text, "add_special": False, "parse_special": special}
        return (await self.ask("/tokenize", body, TokenList)).tokens

    async def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids."""
        return (await self.ask("/detokenize", {"tokens": tokens}, Content)).content

    async def apply_template(self, request: ChatRequest) -> str:
        """The prompt that ``chat`` would send, as text."""
        return (await self.ask("/apply-template", self._more(chat_body(request), request), Prompt)).prompt

    async def count_tokens(self, messages: list[Message]) -> int:
        """Tokens of the prompt that ``chat`` would make of a conversation; what was counted before is remembered."""
        if not messages:
            return 0
        key = sha256(encode(messages)).digest()
        known = self._counts.of(key)
        return self._counts.put(key, await self._count(messages)) if known is None else known

    async def _count(self, messages: list[Message]) -> int:
        """The same, asked of the server."""
        return await self.count_prompt(ChatRequest(messages))

    async def count_prompt(self, request: ChatRequest) -> int:
        """The same for a whole request, its tools and its wish to think with it. Nothing is remembered."""
        prompt = await self.apply_template(request)
        return len(await self.prompt_tokens(prompt)) + pictures(request.messages)

    async def prompt_tokens(self, prompt: str) -> list[int]:
        """Token ids of a whole prompt: as ``tokenize``, with what the model wants before every prompt."""
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return (await self.ask("/tokenize", body, TokenList)).tokens

    # ── through ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def forward(self, path: str, body: bytes) -> AsyncGenerator[Answer]:
        """Posts ``body`` to the engine's own ``path`` and hands the answer through, byte for byte."""
        async with self.turn(), self.send("POST", path, body) as answer:
            yield answer

    async def health(self) -> bool:
        """Whether it would answer now."""
        try:
            async with self.send("GET", "/health") as answer:
                return answer.status == 200
        except AllodError:
            return False

    # ── beneath ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(self, path: str, body: Any, kind: type[T], method: str = "POST") -> T:
        """A request whose reply is one JSON value."""
        async with self.send(method, path, b"" if body is None else encode(body)) as answer:
            await self._check(answer)
            data = await whole(answer.body, REPLY_LIMIT)
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.DecodeError as error:
            raise EngineFailed(f"the engine's reply to {path} makes no sense: {error}", "Report this.") from error

    async def _check(self, answer: Answer) -> None:
        """Raises what an answer that is none means."""
        if answer.status != 200:
            raise failure(answer.status, await whole(answer.body, ERROR_LIMIT), self.facts.model)


def encode(body: Any) -> bytes:
    """JSON; raises BadRequest for what has no place in it (NaN, lone surrogates…)."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, msgspec.EncodeError) as error:
        raise BadRequest(f"the request cannot be written as JSON: {error}", "Check its texts and options.") from error


async def whole(body: AsyncIterator[bytes], limit: int) -> bytes:
    """A body read to its end; raises EngineFailed past ``limit`` bytes."""
    parts: list[bytes] = []
    size = 0
    async for data in body:
        parts.append(data)
        size += len(data)
        if size > limit:
            raise EngineFailed(f"the engine's reply is larger than {limit} bytes", "Ask for less at once.")
    return b"".join(parts)
