"""A running server, over Ollama's own API: what it has loaded and, where it is another machine, its models.

Goes through ``egress`` like every connection, for the purpose ``server``; that the user named the host in ALLOD_HOST is
a yes where the policy says ``ask``. Errors are the server's own words.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from msgspec import UNSET, Struct, ValidationError, convert

from allod.cli.library import Listed, Shown
from allod.egress import Egress, is_loopback
from allod.engine.remote import base_url
from allod.errors import AllodError, BadRequest, ModelNotFound, Network
from allod.home import Home
from allod.keys import to_say
from allod.models.progress import Progress

T = TypeVar("T")


class Loaded(Struct, frozen=True):
    """A model in a server's memory; sizes in bytes, ``expires_at`` as RFC 3339."""

    name: str
    digest: str = ""
    size: int = 0
    size_vram: int = 0
    context_length: int = 0
    expires_at: str = ""


class Server:
    """The server that ALLOD_HOST names, spoken to in one request each time."""

    def __init__(self, home: Home) -> None:
        self.url = base_url(home.settings.host)
        here = urlsplit(self.url).hostname
        key = to_say(home, near=is_loopback(here or ""))
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self.egress = Egress(home, asker=lambda _purpose, host: host == here)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """``ask`` where no event loop runs."""
        return asyncio.run(self.ask(method, path, body))

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; returns the JSON object of its answer.

        Raises:
            Network: nobody answers there, or not with JSON.
            ModelNotFound, AllodError: what the server said.
        """
        async with self.egress.client("server") as http:
            with self.errors():
                answer = await http.request(method, self.url + path, json=body, headers=self._headers)
        if answer.status_code >= 400:
            raise said(answer.status_code, answer.content)
        return as_object(answer.content) if answer.content.strip() else {}

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """One request whose answer is a JSON object a line. Raises as ``ask`` does."""
        timeout = httpx.Timeout(None, connect=10)
        async with self.egress.client("server", timeout) as http:
            with self.errors():
                async with http.stream("POST", self.url + path, json=body, headers=self._headers) as answer:
                    if answer.status_code >= 400:
                        raise said(answer.status_code, await answer.aread())
                    async for line in answer.aiter_lines():
                        if line.strip():
                            yield checked(as_object(line.encode()))

    @contextmanager
    def errors(self) -> Generator[None]:
        """httpx's errors as Network."""
        try:
            yield
        except httpx.ConnectError as error:
            raise Network(
                f"no server answers at {self.url}", "Start it there with `allod serve`, or unset ALLOD_HOST."
            ) from error
        except httpx.HTTPError as error:
            raise Network(f"the server at {self.url} broke off: {error}", "Look at its log, then try again.") from error

    def running(self) -> list[Loaded]:
        """What it has loaded."""
        return rows(self.call("GET", "/api/ps"), Loaded)

    def unload(self, name: str) -> None:
        """Gives a model's memory back, once nobody uses it."""
        self.call("POST", "/api/generate", {"model": name, "keep_alive": 0})


class RemoteLibrary:
    """The models of a server on another machine."""

    def __init__(self, home: Home) -> None:
        self.server = Server(home)

    def list(self) -> "list[Listed]":
        """GET /api/tags."""
        found = rows(self.server.call("GET", "/api/tags"), Tag)
        return [
            Listed(
                name=tag.name,
                digest=tag.digest.removeprefix("sha256:"),
                size=tag.size,
                modified_at=when(tag.modified_at),
                family=str(tag.details.get("family") or ""),
                parameters=str(tag.details.get("parameter_size") or ""),
                quantization=str(tag.details.get("quantization_level") or ""),
            )
            for tag in found
        ]

    def show(self, name: str, verbose: bool = False) -> Shown:
        """POST /api/show."""
        raw = self.server.call("POST", "/api/show", {"model": name, "verbose": verbose})
        try:
            answer = convert(raw, ShowAnswer, strict=False)
        except ValidationError as error:
            raise Network(f"the server's answer makes no sense: {error}", "Is it an allod or Ollama server?") from error
        return Shown(
            name=name,
            details=answer.details,
            capabilities=answer.capabilities or [],
            info=answer.model_info or {},
            tensors=answer.tensors or [],
            parameters=answer.parameters or "",
            template=answer.template or "",
            system=answer.system or "",
            license=answer.license or "",
            modelfile=answer.modelfile or "",
        )

    def delete(self, name: str) -> str:
        """DELETE /api/delete."""
        self.server.call("DELETE", "/api/delete", {"model": name})
        return name

    def copy(self, source: str, target: str) -> None:
        """POST /api/copy."""
        self.server.call("POST", "/api/copy", {"source": source, "destination": target})

    async def pull(self, name: str, insecure: bool = False) -> AsyncIterator[Progress]:
        """POST /api/pull: the server fetches it."""
        async for event in self.server.stream("/api/pull", {"model": name, "insecure": insecure}):
            yield convert(event, Progress, strict=False)

    async def push(self, name: str, insecure: bool = False) -> AsyncIterator[Progress]:
        """POST /api/push: the server sends it."""
        async for event in self.server.stream("/api/push", {"model": name, "insecure": insecure}):
            yield convert(event, Progress, strict=False)


class Tag(Struct, frozen=True):
    """A model in /api/tags."""

    name: str
    digest: str = ""
    size: int = 0
    modified_at: str = ""
    details: dict[str, Any] = {}


class ShowAnswer(Struct, frozen=True):
    """What /api/show answers."""

    details: dict[str, Any] = {}
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None
    tensors: list[dict[str, Any]] | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    modelfile: str | None = None


def rows(raw: dict[str, Any], kind: type[T]) -> list[T]:
    """The entries under ``models``. Raises Network where they are not what they should be."""
    try:
        return convert(raw.get("models") or [], list[kind], strict=False)
    except ValidationError as error:
        raise Network(f"the server's answer makes no sense: {error}", "Is it an allod or Ollama server?") from error


def as_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Network."""
    try:
        raw: object = json.loads(data)
    except ValueError:
        raw = UNSET
    if not isinstance(raw, dict):
        raise Network(f"the server answered {data[:80]!r}", "Is it an allod or Ollama server?")
    return cast("dict[str, Any]", raw)


def said(status: int, body: bytes) -> AllodError:
    """A server's error answer as an error here."""
    try:
        text = str(as_object(body).get("error") or f"the server answered with status {status}")
    except Network:
        text = f"the server answered with status {status}"
    if status == 404:
        return ModelNotFound(text, "`allod list` shows what the server has.")
    error = BadRequest(text) if status == 400 else AllodError(text)
    error.status = status
    return error


def checked(event: dict[str, Any]) -> dict[str, Any]:
    """A line of a stream, unless it is the server's error."""
    if event.get("error"):
        raise AllodError(str(event["error"]))
    return event


def when(text: str) -> datetime:
    """A time of Go's, whose fractions are longer than Python reads; the epoch where it is none."""
    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    try:
        at = datetime.fromisoformat(f"{head}.{tail[: min(digits, 6)]:0<6}{tail[digits:]}" if dot else text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
