"""Documents scored by how well they answer a query, the best first: ``POST /v1/rerank``, as with Jina and llama.cpp.

It takes a model that was made for this (its GGUF says ``pooling_type`` rank); the scores are what the model gives,
higher is nearer, and comparable within one query only.
"""

from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.engine.plan import examine
from allod.errors import BadRequest, Unsupported
from allod.models.store import Model
from allod.server import ollama_requests as native
from allod.server.door import Endpoint, Json, attended, read
from allod.server.openai_wire import OPENAI
from allod.server.prompts import check_length
from allod.server.state import State

MOST = 10_000  # documents of one request


class Text(Struct):
    """A document with fields of its own."""

    text: str


class RerankBody(Struct):
    """The request."""

    model: str | None = None
    query: str | None = None
    documents: Annotated[list[str | Text], Meta(max_length=MOST)] | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool = False
    keep_alive: float | str | None = None


class Ranked(Struct, omit_defaults=True):
    """One document's place: its number in the request and its score."""

    index: int
    relevance_score: float
    document: Text | None = None


class Reranked(Struct):
    """The answer, the best first."""

    model: str
    results: list[Ranked]
    object: str = "list"


class Door:
    """The handler; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """The one handler under the names that are in use."""
        paths = ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")
        return [Route(path, Endpoint(OPENAI, self.rerank), methods=["POST"]) for path in paths]

    async def rerank(self, request: Request) -> ASGIApp:
        """Scores and sorts."""
        body = await read(request, RerankBody)
        if body.query is None or body.documents is None:
            raise BadRequest("query and documents are required")
        model = await self.state.model(body.model or "")
        if not examine(model, self.state.store).reranking:
            raise Unsupported(
                f"'{model.name}' is no reranker", "Use a model made for it, such as a GGUF of bge-reranker-v2-m3."
            )
        return Json(await attended(request, self._ranked(model, body.query, body)))

    async def _ranked(self, model: Model, query: str, body: RerankBody) -> Reranked:
        documents = [entry if isinstance(entry, str) else entry.text for entry in body.documents or []]
        async with self.state.engine.lease(model, None, native.keep_alive(body.keep_alive)) as runner:
            for document in documents:
                await check_length(runner, model, [query, document])
            scores = await runner.rerank(query, documents)
        best = sorted(range(len(documents)), key=lambda index: -scores[index])[: body.top_n]
        shown = [Ranked(i, scores[i], Text(documents[i]) if body.return_documents else None) for i in best]
        return Reranked(body.model or "", shown)
