"""allod's own count of tokens: how long a conversation would be as a prompt of a model, exactly.

``POST /allod/v1/count_tokens`` takes ``{"model", "messages", "options", "keep_alive"}``, with messages in the language
inside (``allod.chat``), and answers ``{"tokens": 512}``. No message at all is no token, and loads nothing.
"""

from typing import Any

from msgspec import Struct, field
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import ChatRequest, Message
from allod.engine.defaults import with_defaults
from allod.models.store import Model
from allod.server import ollama_requests as native
from allod.server.door import Endpoint, Json, attended, read
from allod.server.ollama_facts import check
from allod.server.ollama_wire import NATIVE
from allod.server.state import State


class CountBody(Struct):
    """The request."""

    model: str = ""
    messages: list[Message] = field(default_factory=list[Message])
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class Counted(Struct):
    """The answer."""

    tokens: int


class Door:
    """The handler; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/allod/v1/count_tokens", Endpoint(NATIVE, self.count), methods=["POST"])]

    async def count(self, request: Request) -> ASGIApp:
        """Counts."""
        body = await read(request, CountBody)
        model = await self.state.model(body.model)
        if not body.messages:
            return Json(Counted(0))
        await check(model, body.model, "chat")
        return Json(Counted(await attended(request, self._count(model, body))))

    async def _count(self, model: Model, body: CountBody) -> int:
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        async with self.state.engine.lease(model, load, seconds) as runner:
            return await runner.count_tokens(with_defaults(ChatRequest(body.messages), model).messages)
