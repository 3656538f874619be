"""Ollama's API, the part that manages models: tags, show, ps, pull, copy, delete; making them is ``ollama_create``.

Names from the wire are parsed before anything else is done with them; no path ever comes from the wire. What may take
long on the disk runs in a thread.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from allod import __version__
from allod.engine.engine import Running
from allod.errors import AllodError, BadName, BadRequest, ModelNotFound
from allod.models.name import Name
from allod.models.progress import Progress
from allod.models.store import Model
from allod.server.door import Endpoint, Json, Stream, attended, read
from allod.server.ollama_facts import details, shown
from allod.server.ollama_wire import (
    NATIVE,
    CopyBody,
    Details,
    NameBody,
    PullBody,
    RunningModel,
    ShowBody,
    TaggedModel,
    line,
    moment,
)
from allod.server.state import State, echo

EVERY = 0.06  # seconds between two lines about one blob


class Models:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this part."""

        def route(path: str, handler: Callable[[Request], Any], *methods: str) -> Route:
            return Route(path, Endpoint(NATIVE, handler), methods=methods)

        return [
            route("/", self.root, "GET"),
            route("/api/version", self.version, "GET"),
            route("/api/tags", self.tags, "GET"),
            route("/api/ps", self.running, "GET"),
            route("/api/show", self.show, "POST"),
            route("/api/pull", self.pull, "POST"),
            route("/api/push", self.push, "POST"),
            route("/api/copy", self.copy, "POST"),
            route("/api/delete", self.delete, "DELETE"),
        ]

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def root(self, request: Request) -> ASGIApp:
        """What a client pings. The words are Ollama's, as clients look for them."""
        return PlainTextResponse("Ollama is running")

    async def version(self, request: Request) -> ASGIApp:
        """This server's version."""
        return Json({"version": __version__})

    async def tags(self, request: Request) -> ASGIApp:
        """Every model, newest first."""
        models = await asyncio.to_thread(self.state.store.list)
        return Json({"models": [tagged(model) for model in models]})

    async def running(self, request: Request) -> ASGIApp:
        """Every loaded model, the one that stays longest first."""
        running = sorted(self.state.engine.running(), key=lambda entry: entry.expires_at, reverse=True)
        return Json({"models": [await asyncio.to_thread(self._running, entry) for entry in running]})

    def _running(self, entry: Running) -> RunningModel:
        name = str(entry.name)
        try:
            facts = details(self.state.store.get(name))
        except AllodError:  # deleted or broken since it was loaded
            facts = Details()
        return RunningModel(
            name=name,
            model=name,
            size=entry.size,
            digest=entry.digest,
            details=facts,
            expires_at=moment(entry.expires_at),
            size_vram=entry.size_vram,
            context_length=entry.context,
        )

    async def show(self, request: Request) -> ASGIApp:
        """Everything about one model."""
        body = await read(request, ShowBody)
        asked = body.model or body.name or ""
        if not asked:
            raise BadRequest("model is required")
        model = await self.state.stored(asked)
        answer = await asyncio.to_thread(shown, model, bool(body.verbose))
        if body.system:
            answer.system = body.system
        if request.headers.get("user-agent", "").startswith("GitHubCopilotChat/"):
            answer.model_info["general.basename"] = asked  # what that client shows in its list of models
        return Json(answer)

    # ── changing ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def pull(self, request: Request) -> ASGIApp:
        """Brings a model, telling how far it is."""
        body = await read(request, PullBody)
        name = named(body.model or body.name or "", "invalid model name")
        return await progress(request, self.state.pull(name, bool(body.insecure)), body.stream)

    async def push(self, request: Request) -> ASGIApp:
        """Sends a model to its registry, telling how far it is."""
        body = await read(request, PullBody)
        name = named(body.model or body.name or "", "invalid model name")
        await self.state.stored(name)  # one that is not here is a 404
        return await progress(request, self.state.push(name, bool(body.insecure)), body.stream)

    async def copy(self, request: Request) -> ASGIApp:
        """Gives a model a second name."""
        body = await read(request, CopyBody)
        source = named(body.source or "", f'source "{echo(body.source or "")}" is invalid')
        target = named(body.destination or "", f'destination "{echo(body.destination or "")}" is invalid')
        try:
            await asyncio.to_thread(self.state.store.copy, await self._meant(source), target)
        except ModelNotFound as error:
            raise ModelNotFound(f'model "{source}" not found', error.remedy, error.nearest) from error
        return Response()

    async def delete(self, request: Request) -> ASGIApp:
        """Removes a model, and the blobs that no other uses."""
        body = await read(request, NameBody)
        asked = body.model or body.name or ""
        name = await self._meant(named(asked, f'name "{echo(asked)}" is invalid'))
        await self.state.engine.unload(str(name))
        await asyncio.to_thread(self.state.store.delete, name)
        return Response()

    async def _meant(self, name: str) -> Name:
        """The stored name that ``name`` means; also of a model that is broken, which `resolve` would refuse."""
        try:
            return (await self.state.model(name)).name
        except ModelNotFound:
            raise
        except AllodError:
            return Name.parse(name)


def tagged(model: Model) -> TaggedModel:
    """An entry of the list of models."""
    return TaggedModel(
        name=str(model.name),
        model=str(model.name),
        modified_at=moment(model.modified_at),
        size=model.size,
        digest=model.digest,
        details=details(model),
    )


def named(text: str, otherwise: str) -> str:
    """``text``, which is a model's name.

    Raises:
        BadRequest: with the text ``otherwise``.
    """
    try:
        Name.parse(text)
    except BadName as error:
        raise BadRequest(otherwise) from error
    return text


async def progress(request: Request, steps: AsyncGenerator[Progress], stream: bool | None) -> ASGIApp:
    """The answer of a long job: a line a step, or the last step alone."""

    async def lines() -> AsyncGenerator[bytes]:
        async with aclosing(calmed(steps)) as calm:
            async for step in calm:
                yield line(step)

    async def last() -> Progress:
        found = Progress("success")
        async with aclosing(steps):
            async for step in steps:
                found = step
        return found

    return Stream(NATIVE, lines()) if stream is not False else Json(await attended(request, last()))


async def calmed(steps: AsyncGenerator[Progress]) -> AsyncGenerator[Progress]:
    """The steps, but of those that only count on, no more than one in `EVERY` seconds."""
    said, at = Progress(""), 0.0
    async with aclosing(steps):
        async for step in steps:
            same = (step.status, step.digest) == (said.status, said.digest)
            if not same or step.completed == step.total or time.monotonic() - at >= EVERY:
                said, at = step, time.monotonic()
                yield step
