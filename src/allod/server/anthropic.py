"""Anthropic's API: messages and count_tokens.

A request goes: wire struct → `allod.chat` (``anthropic_requests``) → lease → runner → events (``anthropic_answers``).
llama.cpp speaks this protocol too, but answers without max_tokens or messages, says ``end_turn`` where a stop sequence
ended it, and shows errors in OpenAI's shape.

``anthropic-version`` and ``x-api-key`` are taken whatever they say, as there are no keys and one version.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import ChatRequest, ImagePart
from allod.engine.defaults import with_defaults
from allod.errors import Busy
from allod.models.store import Model
from allod.server import ollama_requests as native
from allod.server.anthropic_answers import Answering, Show
from allod.server.anthropic_requests import chat_request
from allod.server.anthropic_wire import (
    ANTHROPIC,
    Answered,
    CountBody,
    CountedTokens,
    Event,
    MessagesBody,
    Overloaded,
    event,
)
from allod.server.door import Endpoint, Json, Stream, attended, decode, read_body
from allod.server.ollama_facts import check
from allod.server.pictures import with_pictures
from allod.server.prompts import check_length
from allod.server.state import State


class Door:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this API."""
        return [
            Route("/v1/messages", Endpoint(ANTHROPIC, self.messages), methods=["POST"]),
            Route("/v1/messages/count_tokens", Endpoint(ANTHROPIC, self.count), methods=["POST"]),
        ]

    async def messages(self, request: Request) -> ASGIApp:
        """Answers a conversation."""
        body = decode(await with_pictures(self.state.egress, await read_body(request)), MessagesBody)
        asked = chat_request(body)
        model = await self._model(body, asked)
        answer = Answering(str(model.name), body.max_tokens or 0, body.stop_sequences or [], shown(body))
        events = self._events(model, body, asked, answer)
        if body.stream:
            return Stream(ANTHROPIC, on_the_wire(events))
        return Json(await attended(request, whole(events, answer)))

    async def count(self, request: Request) -> ASGIApp:
        """Counts the tokens of what would be the prompt."""
        body = decode(await with_pictures(self.state.egress, await read_body(request)), CountBody)
        asked = chat_request(body)
        model = await self._model(body, asked)
        return Json(await attended(request, self._count(model, body, asked)))

    async def _model(self, body: CountBody, asked: ChatRequest) -> Model:
        """The model, if it can do what is asked."""
        model = await self.state.model(body.model or "")
        await check(
            model,
            body.model or "",
            "chat",
            tools=bool(asked.tools),
            vision=any(
                isinstance(p, ImagePart) for m in asked.messages if isinstance(m.content, list) for p in m.content
            ),
            thinking=body.thinking is not None and body.thinking.type == "enabled",
        )
        return model

    async def _events(
        self, model: Model, body: MessagesBody, asked: ChatRequest, answer: Answering
    ) -> AsyncGenerator[Event]:
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        try:
            async with self.state.engine.lease(model, load, seconds) as runner:
                asked = with_defaults(asked, model)
                await check_length(runner, model, (turn.text for turn in asked.messages))
                async with aclosing(answer.of(runner.chat(asked))) as events:
                    async for one in events:
                        yield one
        except Busy as error:
            raise Overloaded(error.message, error.remedy, error.retry_after) from error

    async def _count(self, model: Model, body: CountBody, asked: ChatRequest) -> CountedTokens:
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        try:
            async with self.state.engine.lease(model, load, seconds) as runner:
                return CountedTokens(await runner.count_prompt(with_defaults(asked, model)))
        except Busy as error:
            raise Overloaded(error.message, error.remedy, error.retry_after) from error


def shown(body: MessagesBody) -> Show:
    """What becomes of the model's thoughts."""
    if body.thinking is None or body.thinking.type == "disabled":
        return "no"
    return "omitted" if body.thinking.display == "omitted" else "yes"


async def on_the_wire(events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    """Events as bytes."""
    async with aclosing(events):
        async for one in events:
            yield event(one)


async def whole(events: AsyncGenerator[Event], answer: Answering) -> Answered:
    """The message that all events add up to."""
    async with aclosing(events):
        async for _ in events:
            pass
    return answer.message
