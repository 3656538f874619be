"""Text to token ids and back: ``POST /api/tokenize`` and ``/api/detokenize``, in the manner of Ollama's routes.

``{"model", "content"}`` is answered with ``{"model", "tokens": [1, 2]}``, and ``{"model", "tokens"}`` with
``{"model", "content"}``; both have ``total_duration`` and ``load_duration`` too. Ollama itself has no such routes; the
fields are those of llama.cpp's server. Control tokens in a text are taken as such unless ``parse_special`` is false.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.engine.runner import Runner
from allod.errors import BadRequest
from allod.server import ollama_requests as native
from allod.server.door import Endpoint, Json, attended, read
from allod.server.embeddings import tokens as are_tokens
from allod.server.ollama_wire import NATIVE, nanoseconds
from allod.server.prompts import check_length
from allod.server.state import State

T = TypeVar("T")


class TextBody(Struct):
    """POST /api/tokenize."""

    model: str | None = None
    content: str | None = None
    prompt: str | None = None  # another name for it
    parse_special: bool = True
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class TokensBody(Struct):
    """POST /api/detokenize."""

    model: str | None = None
    tokens: Any = None
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class Tokenized(Struct):
    """The answer of /api/tokenize; durations in nanoseconds."""

    model: str
    tokens: list[int]
    total_duration: int
    load_duration: int


class Detokenized(Struct):
    """The answer of /api/detokenize."""

    model: str
    content: str
    total_duration: int
    load_duration: int


class Door:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Both."""
        return [
            Route("/api/tokenize", Endpoint(NATIVE, self.tokenize), methods=["POST"]),
            Route("/api/detokenize", Endpoint(NATIVE, self.detokenize), methods=["POST"]),
        ]

    async def tokenize(self, request: Request) -> ASGIApp:
        """Token ids of a text."""
        body = await read(request, TextBody)
        text = body.prompt if body.content is None else body.content
        if text is None:
            raise BadRequest("content is required")
        model = await self.state.model(body.model or "")

        async def work(runner: Runner) -> list[int]:
            await check_length(runner, model, [text])
            return await runner.tokenize(text, body.parse_special)

        found, spent, loading = await attended(request, self._leased(body, work))
        return Json(Tokenized(body.model or "", found, spent, loading))

    async def detokenize(self, request: Request) -> ASGIApp:
        """The text of token ids."""
        body = await read(request, TokensBody)
        ids: object = body.tokens
        if ids != [] and not are_tokens(ids):
            raise BadRequest("tokens must be a list of token ids")
        given = ids if are_tokens(ids) else []
        found, spent, loading = await attended(request, self._leased(body, lambda runner: runner.detokenize(given)))
        return Json(Detokenized(body.model or "", found, spent, loading))

    async def _leased(self, body: TextBody | TokensBody, work: Callable[[Runner], Awaitable[T]]) -> tuple[T, int, int]:
        """What ``work`` makes with the model, the time of it all and of the load in nanoseconds."""
        began = time.monotonic()
        model = await self.state.model(body.model or "")
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        async with self.state.engine.lease(model, load, seconds) as runner:
            loaded = time.monotonic() - began
            found = await work(runner)
        return found, nanoseconds(time.monotonic() - began), nanoseconds(loaded)
