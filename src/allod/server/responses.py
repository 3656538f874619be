"""OpenAI's responses: made, streamed, kept, gone on from, deleted.

A request goes: wire struct → `allod.chat` (``responses_requests``) → lease → runner → events (``responses_answers``),
and the answer is kept (``responses_kept``) before the client is told that it is complete. llama.cpp speaks this
protocol too, but keeps nothing, says ``completed`` where the limit ended it, and leaves the events without numbers.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import ChatRequest, ImagePart
from allod.engine.defaults import with_defaults
from allod.errors import BadRequest, NotFound
from allod.models.store import Model
from allod.server import ollama_requests as native
from allod.server import responses_kept as kept
from allod.server.door import Endpoint, Json, Stream, attended, decode, encode, read_body, understood
from allod.server.ollama_facts import check
from allod.server.pictures import with_pictures
from allod.server.prompts import check_length
from allod.server.responses_answers import Answering, Event, begun, on_the_wire
from allod.server.responses_requests import chat_request, items, listed
from allod.server.responses_wire import (
    RESPONSES,
    CountBody,
    CountedInput,
    Deleted,
    NoPrevious,
    Response,
    ResponseRequest,
)
from allod.server.state import State


class Door:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this part."""
        return [
            Route("/v1/responses", Endpoint(RESPONSES, self.create), methods=["POST"]),
            Route("/v1/responses/input_tokens", Endpoint(RESPONSES, self.count), methods=["POST"]),
            Route("/v1/responses/{id}", Endpoint(RESPONSES, self.one), methods=["GET"]),
            Route("/v1/responses/{id}", Endpoint(RESPONSES, self.delete), methods=["DELETE"]),
            Route("/v1/responses/{id}/cancel", Endpoint(RESPONSES, self.cancel), methods=["POST"]),
            Route("/v1/responses/{id}/input_items", Endpoint(RESPONSES, self.input_items), methods=["GET"]),
        ]

    # ── making one ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> ASGIApp:
        """Answers, from the beginning or from where an earlier response ended."""
        data = await with_pictures(self.state.egress, await read_body(request))
        body = decode(data, ResponseRequest)
        if body.store is not False:
            kept.check_size(len(data))
        asked = await self._asked(body)
        model = await self._model(body, asked)
        answer = Answering(begun(body, str(model.name)))
        if body.stream:
            return Stream(RESPONSES, self._stream(model, body, asked, answer))
        return Json(await attended(request, self._whole(model, body, asked, answer)))

    async def _asked(self, body: CountBody) -> ChatRequest:
        """The request with all that went before it."""
        if body.previous_response_id is None:
            return chat_request(body)
        try:
            history = await asyncio.to_thread(kept.history, self.state.home, body.previous_response_id)
        except NotFound as error:
            raise NoPrevious(error.message, error.remedy) from error
        return chat_request(body, history)

    async def _model(self, body: CountBody, asked: ChatRequest) -> Model:
        """The model, if it can do what is asked."""
        model = await self.state.model(body.model or "")
        seen = any(isinstance(p, ImagePart) for m in asked.messages if isinstance(m.content, list) for p in m.content)
        await check(model, body.model or "", "chat", tools=bool(asked.tools), vision=seen)
        return model

    async def _events(
        self, model: Model, body: ResponseRequest, asked: ChatRequest, answer: Answering
    ) -> AsyncGenerator[Event]:
        """Every event but the last, by when the response is whole and kept."""
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        async with self.state.engine.lease(model, load, seconds) as runner:
            asked = with_defaults(asked, model)
            await check_length(runner, model, (turn.text for turn in asked.messages))
            async with aclosing(answer.of(runner.chat(asked))) as events:
                async for event in events:
                    yield event
        response = answer.response
        if response.store:
            previous = body.previous_response_id or ""
            data = encode(response)
            await asyncio.to_thread(kept.put, self.state.home, response.id, previous, items(body), data)

    async def _stream(
        self, model: Model, body: ResponseRequest, asked: ChatRequest, answer: Answering
    ) -> AsyncGenerator[bytes]:
        """The events on the wire. What goes wrong once they have begun is the last of them."""
        try:
            async with aclosing(self._events(model, body, asked, answer)) as events:
                async for event in events:
                    yield on_the_wire(event)
            yield on_the_wire(answer.last())
        except Exception as error:
            if not answer.started:
                raise
            for event in answer.failed(understood(error)):
                yield on_the_wire(event)

    async def _whole(self, model: Model, body: ResponseRequest, asked: ChatRequest, answer: Answering) -> Response:
        """The response that all events add up to."""
        async with aclosing(self._events(model, body, asked, answer)) as events:
            async for _ in events:
                pass
        return answer.response

    # ── counting ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def count(self, request: Request) -> ASGIApp:
        """Counts the tokens of what would be the prompt."""
        body = decode(await with_pictures(self.state.egress, await read_body(request)), CountBody)
        asked = await self._asked(body)
        model = await self._model(body, asked)
        return Json(await attended(request, self._count(model, body, asked)))

    async def _count(self, model: Model, body: CountBody, asked: ChatRequest) -> CountedInput:
        load, seconds = native.load_options(body.options), native.keep_alive(body.keep_alive)
        async with self.state.engine.lease(model, load, seconds) as runner:
            return CountedInput(await runner.count_prompt(with_defaults(asked, model)))

    # ── those that are kept ─────────────────────────────────────────────────────────────────────────────────────────

    async def one(self, request: Request) -> ASGIApp:
        """A response that was kept."""
        if request.query_params.get("stream", "false").lower() == "true":
            raise BadRequest("stream: a response that was kept is answered whole")
        return Json(await asyncio.to_thread(kept.get, self.state.home, request.path_params["id"]))

    async def cancel(self, request: Request) -> ASGIApp:
        """Nothing is made in the background here, so there is nothing to cancel."""
        await asyncio.to_thread(kept.get, self.state.home, request.path_params["id"])
        raise BadRequest("only a response that is made in the background can be cancelled", "Hang up to end an answer.")

    async def input_items(self, request: Request) -> ASGIApp:
        """What one was made of: the items of its own request, the newest first."""
        found = await asyncio.to_thread(kept.inputs, self.state.home, request.path_params["id"])
        return Json(listed(found, request.query_params))

    async def delete(self, request: Request) -> ASGIApp:
        """Forgets one."""
        ident = request.path_params["id"]
        await asyncio.to_thread(kept.delete, self.state.home, ident)
        return Json(Deleted(ident))
