"""Ollama's API, the part that runs models: chat, generate, embed. Managing them is ``ollama_models``.

A request goes: wire struct → `allod.chat` (``ollama_requests``) → lease → runner → lines (``ollama_answers``).
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from msgspec import UNSET
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import ChatRequest, CompletionRequest, Embeddings, ImagePart, Message, Part, TextPart
from allod.engine.defaults import with_defaults
from allod.engine.runner import Runner
from allod.errors import BadRequest, Unsupported
from allod.models.abilities import has_template
from allod.models.store import Model
from allod.server import ollama_requests as requests
from allod.server.door import Endpoint, Json, Stream, attended, read
from allod.server.embeddings import embedded, shortened, texts, told
from allod.server.ollama_answers import ChatLines, GenerateLines
from allod.server.ollama_facts import check
from allod.server.ollama_wire import (
    NATIVE,
    ChatBody,
    EmbedAnswer,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    Generation,
    Line,
    VectorAnswer,
    line,
    nanoseconds,
)
from allod.server.prompts import check_length
from allod.server.state import State

BARE_TEMPLATE = "{{.Prompt}}"


class Generate:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this part."""
        return [
            Route("/api/chat", Endpoint(NATIVE, self.chat), methods=["POST"]),
            Route("/api/generate", Endpoint(NATIVE, self.generate), methods=["POST"]),
            Route("/api/embeddings", Endpoint(NATIVE, self.embeddings), methods=["POST"]),
            Route("/api/embed", Endpoint(NATIVE, self.embed), methods=["POST"]),
        ]

    # ── chat ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def chat(self, request: Request) -> ASGIApp:
        """Answers a conversation; without messages, loads or unloads the model."""
        body = await read(request, ChatBody)
        if not body.model:
            raise BadRequest("model is required")
        asked = requests.chat_request(body)
        model = await self.state.model(body.model)
        seen = any(pictures(turn) for turn in asked.messages)
        await check(model, body.model, "chat", thinking=bool(body.think), tools=bool(asked.tools), vision=seen)
        answer = ChatLines(body.model, streamed(body))
        if not asked.messages:
            return Json(await attended(request, self._load(model, body, answer)))
        return await self._answer(request, body, self._chat(model, body, asked, answer))

    async def _chat(self, model: Model, body: ChatBody, asked: ChatRequest, answer: ChatLines) -> AsyncGenerator[Line]:
        async with self._lease(model, body, answer) as runner:
            whole = with_defaults(asked, model)
            await check_length(runner, model, (turn.text for turn in whole.messages))
            if body.debug_render_only:
                yield answer.rendered(await runner.apply_template(whole), sum(pictures(m) for m in whole.messages))
                return
            async with aclosing(answer.of(runner.chat(whole))) as pieces:
                async for piece in pieces:
                    yield piece

    # ── generate ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def generate(self, request: Request) -> ASGIApp:
        """Answers or continues a prompt; without one, loads or unloads the model."""
        body = await read(request, GenerateBody)
        parts = GenerateParts(body)
        model = await self.state.model(body.model or "")
        if body.raw and (body.template or body.system or body.context):
            raise BadRequest("raw mode does not support template, system, or context")
        needed = {"thinking": bool(body.think), "insert": bool(body.suffix), "vision": bool(parts.images)}
        await check(model, body.model or "", "generate", **needed)
        answer = GenerateLines(body.model or "", streamed(body))
        if not (body.prompt or body.suffix or parts.images):
            return Json(await attended(request, self._load(model, body, answer)))
        return await self._answer(request, body, self._generate(model, body, parts, answer))

    async def _generate(
        self, model: Model, body: GenerateBody, parts: "GenerateParts", answer: GenerateLines
    ) -> AsyncGenerator[Line]:
        async with self._lease(model, body, answer) as runner:
            asked = with_defaults(parts.chat, model)
            await check_length(runner, model, (parts.prompt, parts.suffix))
            raw = parts.raw or not await asyncio.to_thread(has_template, model)
            prompt = parts.prompt if raw else await runner.apply_template(asked)
            if body.debug_render_only:
                yield answer.rendered(prompt, len(parts.images))
                return
            if body.context:
                chunks = runner.complete(parts.completion(asked, [*body.context, *await runner.tokenize(prompt)]))
            elif raw:
                chunks = runner.complete(parts.completion(asked, prompt))
            else:
                chunks = runner.chat(asked)
            async with aclosing(answer.of(chunks)) as pieces:
                async for piece in pieces:
                    if piece.done and not body.raw:
                        # What the next request may send back to go on from here.
                        piece.context = [*(body.context or []), *await runner.tokenize(prompt + answer.text)]
                    yield piece

    # ── embed ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def embed(self, request: Request) -> ASGIApp:
        """Vectors for one or several texts."""
        body = await read(request, EmbedBody)
        inputs = [body.input] if isinstance(body.input, str) else [] if body.input is None else body.input
        if not texts(inputs):
            raise BadRequest("invalid input type")
        if body.dimensions is not None and body.dimensions < 0:
            raise BadRequest("dimensions must not be negative")
        if body.input == "":
            inputs = []
        model = await self.state.model(body.model or "")
        answer = await attended(request, self._embed(model, body, inputs))
        return Json(answer, headers=told(answer.truncated or []))

    async def embeddings(self, request: Request) -> ASGIApp:
        """One vector for one text, as the model gives it: the older form of it."""
        body = await read(request, EmbeddingsBody)
        model = await self.state.model(body.model or "")
        if not body.prompt:
            return Json(VectorAnswer([]))
        asked = EmbedBody(body.model, None, None, None, body.keep_alive, body.options)
        answer = await attended(request, self._embed(model, asked, [body.prompt]))
        return Json(VectorAnswer(answer.embeddings[0]), headers=told(answer.truncated or []))

    async def _embed(self, model: Model, body: EmbedBody, inputs: list[str]) -> EmbedAnswer:
        began = time.monotonic()
        asked = requests.load_options(body.options, embedding=True)
        async with self.state.engine.lease(model, asked, requests.keep_alive(body.keep_alive)) as runner:
            loaded = time.monotonic() - began
            found, cut = Embeddings([]), list[int]()
            if inputs:
                found, cut = await embedded(runner, model, inputs, body.truncate is not False)
        vectors = [shortened(vector, body.dimensions) for vector in found.vectors]
        spent = nanoseconds(time.monotonic() - began)
        return EmbedAnswer(body.model or "", vectors, spent, nanoseconds(loaded), found.prompt_tokens, cut or UNSET)

    # ── common ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _lease(self, model: Model, body: Generation, answer: ChatLines | GenerateLines) -> AsyncGenerator[Runner]:
        exact = requests.logprobs(body) is not None
        load = requests.load_options(body.options, exact=exact, shift=body.shift is True)
        async with self.state.engine.lease(model, load, requests.keep_alive(body.keep_alive)) as runner:
            answer.has_runner()
            yield runner

    async def _load(self, model: Model, body: Generation, answer: ChatLines | GenerateLines) -> Line:
        """What a request without a prompt asks for."""
        if requests.keep_alive(body.keep_alive) == 0:
            await self.state.engine.unload(str(model.name))
            return answer.nothing("unload")
        async with self._lease(model, body, answer):
            return answer.nothing("load")

    async def _answer(self, request: Request, body: Generation, pieces: AsyncGenerator[Line]) -> ASGIApp:
        """Piece by piece, or all of it in one."""
        requests.load_options(body.options)  # what is wrong with these is said before anything is waited for
        requests.keep_alive(body.keep_alive)
        if not streamed(body):
            return Json(await attended(request, only(pieces)))
        return Stream(NATIVE, lines(pieces))


class GenerateParts:
    """What of a generate request can be worked out without the model.

    Raises:
        BadRequest, Unsupported: see ``ollama_requests``.
    """

    def __init__(self, body: GenerateBody) -> None:
        self.images = requests.images(body.images)
        self.prompt = body.prompt or ""
        self.suffix = body.suffix or ""
        bare = (body.template or "").replace(" ", "") == BARE_TEMPLATE
        if body.template and not bare and not body.raw:
            raise Unsupported(
                "a template within a request is not supported", "Send the whole prompt with raw, or no template."
            )
        self.raw = bool(body.raw or bare or self.suffix)
        content: str | list[Part] = [TextPart(self.prompt), *self.images] if self.images else self.prompt
        self.chat = ChatRequest(
            messages=[*([Message("system", body.system)] if body.system else []), Message("user", content)],
            options=requests.options(body.options),
            format=requests.answer_format(body.format),
            think=requests.thinking(body.think),
            top_logprobs=requests.logprobs(body),
        )

    def completion(self, asked: ChatRequest, prompt: str | list[int]) -> CompletionRequest:
        """The request as raw text or tokens, with the options of ``asked``."""
        return CompletionRequest(prompt, asked.options, self.suffix, self.images, asked.format, asked.top_logprobs)


def streamed(body: Generation) -> bool:
    """Whether the answer comes piece by piece."""
    return body.stream is not False and not body.debug_render_only


def pictures(message: Message) -> int:
    """How many there are in a message."""
    return 0 if isinstance(message.content, str) else sum(isinstance(part, ImagePart) for part in message.content)


async def lines(pieces: AsyncGenerator[Line]) -> AsyncGenerator[bytes]:
    """Each piece as a line."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield line(piece)


async def only(pieces: AsyncGenerator[Line]) -> Line:
    """The one piece there is."""
    async with aclosing(pieces):
        return [piece async for piece in pieces][-1]
