"""OpenAI's API: chat completions, completions, embeddings, models.

llama.cpp speaks this protocol itself, so answers pass through as they are: of a stream only the ends of events are
looked for, so that an error that breaks in never lands inside of one. What is edited is the request: the model's own
defaults go under it, and fields that llama.cpp takes in another way are put its way.
"""

import asyncio
import base64
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import ChatRequest
from allod.engine import wire
from allod.engine.defaults import with_defaults
from allod.engine.http_runner import whole
from allod.engine.options import LoadOptions
from allod.engine.runner import Answer
from allod.errors import BadRequest, EngineFailed
from allod.models.store import Model
from allod.server import ollama_requests as native
from allod.server.door import Endpoint, Json, Stream, attended, decode, encode, read, read_body
from allod.server.embeddings import embedded, shortened, texts, tokens, told
from allod.server.ollama_facts import check
from allod.server.openai_fill import Filling, fill_request
from allod.server.openai_wire import (
    OPENAI,
    ChatBody,
    CompletionBody,
    Embedding,
    EmbeddingList,
    EmbeddingsBody,
    EmbeddingUsage,
    ListedModel,
    ModelList,
    Sampled,
)
from allod.server.pictures import with_pictures
from allod.server.prompts import SHORT, check_length
from allod.server.state import State

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
EVENT_END = b"\n\n"
DONE = b"data: [DONE]\n\n"
NULL = b"data: null\n\n"  # llama.cpp's beginning of each of several prompts; clients trip over it
LARGEST_ANSWER = 256 * 2**20  # bytes of an answer that is not streamed
LARGEST_ERROR = 2**20

B = TypeVar("B", bound=Sampled)


class OpenAIJson(Json):
    """JSON with OpenAI's content type."""

    media_type = "application/json"


class Door:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this API."""
        return [
            Route(CHAT, Endpoint(OPENAI, self.chat), methods=["POST"]),
            Route(COMPLETIONS, Endpoint(OPENAI, self.complete), methods=["POST"]),
            Route("/v1/embeddings", Endpoint(OPENAI, self.embed), methods=["POST"]),
            Route("/v1/models", Endpoint(OPENAI, self.models), methods=["GET"]),
            Route("/v1/models/{model:path}", Endpoint(OPENAI, self.model), methods=["GET"]),
        ]

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def chat(self, request: Request) -> ASGIApp:
        """Answers a conversation."""
        raw, body = parsed(await with_pictures(self.state.egress, await read_body(request)), ChatBody)
        if not body.messages:
            raise BadRequest("[] is too short - 'messages'")
        if not 0 <= (body.top_logprobs or 0) <= 20:
            raise BadRequest("top_logprobs must be between 0 and 20")
        model = await self.state.model(body.model or "")
        await check(model, body.model or "", "chat", tools=bool(body.tools))
        return await self._forward(request, CHAT, model, body, chat_body(raw, body))

    async def complete(self, request: Request) -> ASGIApp:
        """Continues a prompt; with a suffix, fills in what stands between."""
        raw, body = parsed(await read_body(request), CompletionBody)
        if body.prompt is None:
            raise BadRequest("prompt is required")
        model = await self.state.model(body.model or "")
        await check(model, body.model or "", "generate", insert=bool(body.suffix))
        if body.suffix:
            return await self._fill(request, model, body)
        return await self._forward(request, COMPLETIONS, model, body, raw)

    async def _forward(self, request: Request, path: str, model: Model, body: Sampled, raw: dict[str, Any]) -> ASGIApp:
        """Hands a request to the engine, and its answer back as it comes."""
        filled = with_defaults(sampled(raw, body), model)
        if path == CHAT and (keep := raw.get(wire.KEEP)):  # the model's own messages come between those to be kept
            filled[wire.KEEP] = keep + len(filled["messages"]) - len(raw["messages"])
        data = encode(filled)
        if body.stream:
            return Stream(OPENAI, self._events(path, model, body, data))
        return OpenAIJson(await attended(request, self._whole(path, model, body, data)))

    async def _events(self, path: str, model: Model, body: Sampled, data: bytes) -> AsyncGenerator[bytes]:
        """The events of a streamed answer, whole ones at a time.

        Raises:
            EngineFailed: the engine ended the stream without saying so.
        """
        async with self._answer(path, model, body, data) as answer:
            rest, last = b"", b""
            async for piece in answer.body:
                if rest:
                    piece = rest + piece
                    rest = b""
                if not piece.endswith(EVENT_END):
                    end = piece.rfind(EVENT_END) + len(EVENT_END)
                    if end < len(EVENT_END):
                        rest = piece
                        continue
                    piece, rest = piece[:end], piece[end:]
                if NULL in piece:  # a line break within an event's JSON is escaped, so this is always an event
                    piece = piece.replace(NULL, b"")
                if piece:
                    last = piece
                    yield piece
            if not last.endswith(DONE):
                raise EngineFailed("the answer broke off", "Ask again.")

    async def _whole(self, path: str, model: Model, body: Sampled, data: bytes) -> bytes:
        """An answer in one piece."""
        async with self._answer(path, model, body, data) as answer:
            return await whole(answer.body, LARGEST_ANSWER)

    @asynccontextmanager
    async def _answer(self, path: str, model: Model, body: Sampled, data: bytes) -> AsyncGenerator[Answer]:
        """The engine's answer to a request; one that is an error is raised."""
        load = native.load_options(body.options, exact=body.wants_logprobs)
        async with self.state.engine.lease(model, load, native.keep_alive(body.keep_alive)) as runner:
            if len(data) > SHORT:
                await check_length(runner, model, body.texts())
            async with runner.forward(path, data) as answer:
                if answer.status != 200:
                    raise wire.failure(answer.status, await whole(answer.body, LARGEST_ERROR), str(model.name))
                yield answer

    async def _fill(self, request: Request, model: Model, body: CompletionBody) -> ASGIApp:
        """A completion with a suffix, which llama.cpp does not take on this path."""
        asked = fill_request(body)
        asked.options = with_defaults(ChatRequest([], asked.options), model).options
        answer = Filling(str(model.name), body)
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)

        async def pieces() -> AsyncGenerator[bytes]:
            async with (
                self.state.engine.lease(model, load, seconds) as runner,
                aclosing(answer.of(runner.complete(asked))) as found,
            ):
                async for piece in found:
                    yield piece

        async def only() -> bytes:
            return b"".join([piece async for piece in pieces()])

        return Stream(OPENAI, pieces()) if body.stream else OpenAIJson(await attended(request, only()))

    # ── embeddings ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def embed(self, request: Request) -> ASGIApp:
        """Vectors for texts or tokens."""
        body = await read(request, EmbeddingsBody)
        if body.encoding_format not in (None, "float", "base64"):
            raise BadRequest(f"invalid encoding_format {body.encoding_format[:40]!r}: it is float or base64")
        if body.dimensions is not None and body.dimensions < 1:
            raise BadRequest("dimensions must be at least 1")
        inputs = embedding_inputs(body.input)
        model = await self.state.model(body.model or "")
        answer, cut = await attended(request, self._embed(model, body, inputs))
        return OpenAIJson(answer, headers=told(cut))

    async def _embed(
        self, model: Model, body: EmbeddingsBody, inputs: list[str] | list[list[int]]
    ) -> tuple[EmbeddingList, list[int]]:
        async with self.state.engine.lease(model, LoadOptions(embedding=True)) as runner:
            found, cut = await embedded(runner, model, inputs, truncate=True)
        vectors = [shortened(vector, body.dimensions) for vector in found.vectors]
        entries = [
            Embedding(packed(vector) if body.encoding_format == "base64" else vector, index)
            for index, vector in enumerate(vectors)
        ]
        return EmbeddingList(entries, str(model.name), EmbeddingUsage(found.prompt_tokens, found.prompt_tokens)), cut

    # ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def models(self, request: Request) -> ASGIApp:
        """Every model, newest first."""
        models = await asyncio.to_thread(self.state.store.list)
        return OpenAIJson(ModelList([listed(model) for model in models]))

    async def model(self, request: Request) -> ASGIApp:
        """One model."""
        return OpenAIJson(listed(await self.state.model(request.path_params["model"])))


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


def parsed(data: bytes, kind: type[B]) -> tuple[dict[str, Any], B]:
    """A request as it came, without nulls, and its known fields checked.

    Raises:
        BadRequest: not JSON, or a field of the wrong type.
    """
    raw = decode(data, dict[str, Any])
    try:
        body = msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request: {error}") from error
    return {key: value for key, value in raw.items() if value is not None}, body


def chat_body(raw: dict[str, Any], body: ChatBody) -> dict[str, Any]:
    """The request as llama.cpp takes it.

    Raises:
        BadRequest: a picture that would have to be fetched, or a tool choice that names no tool on offer.
    """
    raw["messages"] = [message(turn) for turn in body.messages or []]
    effort = body.reasoning_effort or (body.reasoning.effort if body.reasoning else None)
    if effort:
        thinks = (
            {"enable_thinking": False} if effort == "none" else {"enable_thinking": True, "reasoning_effort": effort}
        )
        raw["chat_template_kwargs"] = thinks | (body.chat_template_kwargs or {})
    if isinstance(body.tool_choice, dict):
        # llama.cpp takes a choice by name for "auto", so that tool alone is offered.
        name = function_name(body.tool_choice)
        raw["tools"] = [tool for tool in body.tools or [] if function_name(tool) == name]
        raw["tool_choice"] = "required"
        if not raw["tools"]:
            raise BadRequest("tool_choice names a tool that is not among the tools")
    return raw


def message(turn: dict[str, Any]) -> dict[str, Any]:
    """A message as llama.cpp takes it. Pictures come within the request: nothing is fetched, and no file is read."""
    if turn.get("role") == "developer":  # OpenAI's newer word, which few templates know
        turn = {**turn, "role": "system"}
    content = turn.get("content")
    for part in cast("list[Any]", content) if isinstance(content, list) else []:
        if not isinstance(part, dict):
            raise BadRequest("a part of a message's content is not an object")
        fields = cast("dict[str, Any]", part)
        if fields.get("type") == "text" and not isinstance(fields.get("text"), str):
            raise BadRequest("a part of type text has no text")
        for key, value in fields.items():
            source = cast("dict[str, Any]", value).get("url", "data:") if isinstance(value, dict) else value
            if (key.endswith("_url") or isinstance(value, dict)) and not str(source).startswith("data:"):
                raise BadRequest(f"{key[:40]} must be a data: URL, or an https one that may be fetched")
    return turn


def function_name(tool: dict[str, Any]) -> str | None:
    """The name in a tool, or in a choice of one."""
    function = tool.get("function")
    return cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None


def sampled(raw: dict[str, Any], body: Sampled) -> dict[str, Any]:
    """Without what is not the engine's; Ollama's ``options`` count where the request says nothing itself."""
    options = wire.options(native.options(body.options))
    kept = {key: value for key, value in raw.items() if key not in ("options", "keep_alive", "reasoning")}
    return options | kept


def embedding_inputs(value: Any) -> list[str] | list[list[int]]:
    """``input`` in any of its four forms.

    Raises:
        BadRequest: in none of them, or empty.
    """
    if isinstance(value, str) and value:
        return [value]
    if tokens(value):
        return [value]
    if isinstance(value, list) and value:
        entries = cast("list[Any]", value)
        if texts(entries) or all(tokens(entry) for entry in entries):
            return entries
    raise BadRequest("invalid input")


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def packed(vector: list[float]) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def listed(model: Model) -> ListedModel:
    """A model of the store in the list."""
    return ListedModel(str(model.name), int(model.modified_at.timestamp()), model.name.namespace)
