"""``GET /openapi.json``: the routes of this server and the bodies they take, as OpenAPI 3.1.

Bodies come from the structs that requests are read into, summaries from the handlers' docstrings, so there is one place
for each. Answers are described by their statuses only: what is in them is Ollama's, OpenAI's and Anthropic's to define.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from allod import __version__
from allod.server import anthropic_wire, counting, ollama_wire, openai_wire, rerank, responses_wire, tokens
from allod.server.door import Endpoint, Json

BODIES: dict[str, type] = {
    "/api/chat": ollama_wire.ChatBody,
    "/api/generate": ollama_wire.GenerateBody,
    "/api/embed": ollama_wire.EmbedBody,
    "/api/embeddings": ollama_wire.EmbeddingsBody,
    "/api/show": ollama_wire.ShowBody,
    "/api/pull": ollama_wire.PullBody,
    "/api/push": ollama_wire.PullBody,
    "/api/create": ollama_wire.CreateBody,
    "/api/copy": ollama_wire.CopyBody,
    "/api/delete": ollama_wire.NameBody,
    "/api/tokenize": tokens.TextBody,
    "/api/detokenize": tokens.TokensBody,
    "/v1/chat/completions": openai_wire.ChatBody,
    "/v1/completions": openai_wire.CompletionBody,
    "/v1/embeddings": openai_wire.EmbeddingsBody,
    "/v1/responses": responses_wire.ResponseRequest,
    "/v1/responses/input_tokens": responses_wire.CountBody,
    "/v1/messages": anthropic_wire.MessagesBody,
    "/v1/messages/count_tokens": anthropic_wire.CountBody,
    "/allod/v1/count_tokens": counting.CountBody,
    **dict.fromkeys(("/v1/rerank", "/v1/reranking", "/rerank", "/reranking"), rerank.RerankBody),
}
RUNS = {  # below /allod/v1
    "conversations": "NewConversation",
    "conversations/{id}/runs": "NewRun",
    "runs/{id}/approve": "Approval",
    "runs/{id}/reject": "Rejection",
    "runs/{id}/input": "Input",
    "runs/{id}/stop": "Nothing",
    "runs/{id}/apply": "Choice",
    "runs/{id}/discard": "Nothing",
    "runs/{id}/undo": "Overwrite",
}
REF = "#/components/schemas/{name}"


class Door:
    """The handler; ``routes`` are those of the other doors."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = list(routes)
        self._text = b""

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/openapi.json", self.document, methods=["GET"])]

    async def document(self, request: Request) -> Response:
        """The description; put together at first use."""
        self._text = self._text or msgspec.json.encode(described([*self._routes, *self.routes()]))
        return Json(self._text)


def described(routes: Iterable[Route]) -> dict[str, Any]:
    """The routes as an OpenAPI document."""
    from allod.server import runs_wire  # here: with what jobs need
    from allod.server.runs_door import Handlers
    from allod.server.runs_routes import BASE, ROUTES

    docs = {(method, f"{BASE}/{path}"): getattr(Handlers, name).__doc__ for method, path, name in ROUTES}
    taken = BODIES | {f"/allod/v1/{path}": getattr(runs_wire, name) for path, name in RUNS.items()}
    kinds = list(dict.fromkeys(taken.values()))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    bodies = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = re.sub(r"\{(\w+):path\}", r"{\1}", route.path)
        entry = paths.setdefault(path, {})
        for method in sorted((route.methods or set()) - ({"HEAD"} if "GET" in (route.methods or set()) else set())):
            body = bodies.get(taken.get(route.path, object)) if method != "GET" else None
            entry[method.lower()] = operation(route, path, body, docs.get((method, route.path), ""))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "allod",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def operation(route: Route, path: str, body: dict[str, Any] | None, doc: str) -> dict[str, Any]:
    """One method of a route."""
    endpoint: Any = route.endpoint
    handler = cast("Callable[..., Any]", endpoint.handler if isinstance(endpoint, Endpoint) else endpoint)
    summary = (doc or handler.__doc__ or "").strip().partition("\n")[0]
    found: dict[str, Any] = {"summary": summary, "responses": {"default": {"description": "See docs/api.md."}}}
    names = re.findall(r"\{(\w+)\}", path)
    if names:
        found["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if body:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found
