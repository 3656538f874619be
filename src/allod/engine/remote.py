"""Models behind a URL: another allod, llama-server, Ollama, vLLM, or any server with OpenAI's ``/v1``.

    async with RemoteEngine("http://127.0.0.1:11435", egress=egress) as engine:
        async with engine.lease("smollm2") as runner: ...

    async with connect(home) as engine:           # the server at ALLOD_HOST if one answers, else an Engine of our own

What the server can do is found out at the lease (``discovery``); what it cannot is Unsupported. Every connection goes
through ``allod.egress`` and is in the ledger, those to loopback too.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from allod.engine.counting import estimate
from allod.engine.http_runner import HTTPRunner
from allod.engine.options import LoadOptions
from allod.engine.runner import Answer, Facts, Runner
from allod.engine.wire import KEEP
from allod.errors import AllodError, BadSettings, ModelNotFound, Network, NotFound, Unsupported
from allod.home import Home

if TYPE_CHECKING:
    import httpx

    from allod.chat import ChatRequest, CompletionRequest, Message
    from allod.egress import Egress
    from allod.engine.engine import Engine
    from allod.models.store import Model

PURPOSE = "hosted-model"
PORT = 11435
PROBE = 0.5  # seconds for a loopback connection; a refusal takes microseconds
T = TypeVar("T")


class RemoteRunner(HTTPRunner):
    """One model of a server. ``extra`` goes into every body; ``allod``: the server is one of ours."""

    def __init__(
        self,
        http: "httpx.AsyncClient",
        url: str,
        facts: Facts,
        extra: dict[str, Any] | None = None,
        *,
        allod: bool = False,
    ) -> None:
        super().__init__(facts)
        self.url = url
        self._http = http
        self._extra = extra or {}
        self._allod = allod
        self._counts_here = True  # the server can count tokens, as far as is known

    def _more(self, body: dict[str, Any], request: "ChatRequest | CompletionRequest") -> dict[str, Any]:
        if getattr(request, "adapters", None):
            raise Unsupported("adapters cannot be chosen over this server's API", "Use a model that has them applied.")
        if self._allod and (keep := getattr(request, "keep", 0)):
            body = body | {KEEP: keep}
        return super()._more(body, request) | self._extra

    async def _count(self, messages: "list[Message]") -> int:
        """By allod's own way or llama-server's; by an estimate where the server has neither."""
        if self._allod:
            from allod.engine.discovery import COUNT, Counted

            body = {"model": self.facts.model, "messages": messages} | self._extra
            return (await self.ask(COUNT, body, Counted)).tokens
        if self._counts_here:
            try:
                return await super()._count(messages)
            except Unsupported:
                self._counts_here = False
        return estimate(messages)

    async def ask(self, path: str, body: Any, kind: type[T], method: str = "POST") -> T:
        try:
            return await super().ask(path, body, kind, method)
        except ModelNotFound:
            raise
        except NotFound as error:
            raise Unsupported(f"the server at {self.url} has no {path}", "Ask one that has, or run it here.") from error

    @asynccontextmanager
    async def forward(self, path: str, body: bytes) -> AsyncGenerator[Answer]:
        """Posts ``body`` to the server's own ``path`` and hands the answer through, byte for byte."""
        async with self.send("POST", path, body) as answer:
            yield Answer(answer.status, answer.content_type, told(answer.body, self.url))

    @asynccontextmanager
    async def send(self, method: str, path: str, body: bytes = b"") -> AsyncGenerator[Answer]:
        import httpx

        try:
            response = await self._sent(method, path, body)
            try:
                yield Answer(response.status_code, response.headers.get("content-type", ""), response.aiter_raw())
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise broken(error, self.url) from error

    async def _sent(self, method: str, path: str, body: bytes) -> "httpx.Response":
        """The answer's head. A connection kept open may just have been closed by the server: then it is sent again."""
        import httpx

        headers = {"content-type": "application/json"} if body else {}
        request = self._http.build_request(method, self.url + path, content=body or None, headers=headers)
        try:
            return await self._http.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            request = self._http.build_request(method, self.url + path, content=body or None, headers=headers)
            return await self._http.send(request, stream=True)

    async def health(self) -> bool:
        """Whether it would answer now."""
        if await super().health():
            return True
        with suppress(AllodError):
            async with self.send("GET", "/v1/models") as answer:
                return answer.status == 200
        return False

    async def close(self) -> None:
        """Nothing: the model is the server's."""


async def told(body: AsyncIterator[bytes], url: str) -> AsyncGenerator[bytes]:
    """A body that breaks off with our error."""
    import httpx

    try:
        async for data in body:
            yield data
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise broken(error, url) from error


def broken(error: Exception, url: str) -> Network:
    """What httpx met on the way, as ours."""
    import httpx

    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Network(f"nobody answers at {url}", "Start the server, or check ALLOD_HOST.")
    return Network(f"the connection to {url} broke off: {error or type(error).__name__}", "Try again.")


class RemoteEngine:
    """The models of one server. ``api_key`` goes along as a bearer."""

    def __init__(self, url: str, api_key: str = "", *, egress: "Egress") -> None:
        import httpx

        self.url = base_url(url)
        self._http = egress.client(PURPOSE, httpx.Timeout(None, connect=10.0))
        self._http.headers["accept-encoding"] = "identity"
        if api_key:
            self._http.headers["authorization"] = f"Bearer {api_key}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @asynccontextmanager
    async def lease(
        self, model: "str | Model", options: LoadOptions | None = None, keep_alive: float | None = None
    ) -> AsyncGenerator[Runner]:
        """One of the server's models. Where the server is an allod or an Ollama, it is loaded now.

        Raises:
            ModelNotFound: the server does not have it.
            Network, Refused, Offline: the server cannot be reached, or may not.
        """
        from allod.engine.discovery import discover

        name = model if isinstance(model, str) else str(model.name)
        found = await discover(self.about(name), name, options or LoadOptions(), keep_alive)
        yield RemoteRunner(self._http, self.url, found.facts, found.extra, allod=found.allod)

    async def unload(self, name: str) -> None:
        """Has the server unload a model, if it is a server that can."""
        from allod.engine.discovery import unload

        await unload(self.about(name), name)

    def about(self, name: str) -> RemoteRunner:
        """A runner to ask with, before anything is known of the model."""
        return RemoteRunner(self._http, self.url, Facts(model=name, context=0))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()


def base_url(host: str) -> str:
    """The URL that ``host:port``, a bare host or a URL means, without a trailing ``/v1``.

    An address to listen on everywhere is met on loopback.

    Raises:
        BadSettings: it is none of these.
    """
    try:
        parts = urlsplit(host if "//" in host else f"http://{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name = port = parts = None
    if not parts or not name:
        raise BadSettings(f"'{host[:80]}' is no host", "Write it as 127.0.0.1:11435 or https://example.com.")
    if name in ("0.0.0.0", "::"):
        name = "127.0.0.1"
    if ":" in name:
        name = f"[{name}]"
    port = port or (443 if parts.scheme == "https" else 80 if "//" in host else PORT)
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/').removesuffix('/v1')}"


@asynccontextmanager
async def connect(home: Home, slots: int = 1) -> "AsyncGenerator[Engine | RemoteEngine]":
    """The server at ``settings.host`` if it answers, else an engine in this process.

    A host elsewhere is taken at its word: that it cannot be reached is an error of the lease, and no reason to run
    models here unasked.

    Args:
        slots: requests at once an engine of our own is made for; each costs a context's worth of memory.
    """
    from allod.egress import Egress, is_loopback
    from allod.keys import to_say

    url = base_url(home.settings.host)
    host = urlsplit(url).hostname or ""
    if not is_loopback(host) or await listening(host, urlsplit(url).port or 80):
        # Naming the host in ALLOD_HOST is the yes where the policy says ask.
        key = to_say(home, near=is_loopback(host))
        remote = RemoteEngine(url, key, egress=Egress(home, asker=lambda _purpose, asked: asked == host))
        async with remote:
            if not is_loopback(host) or await serves_models(remote):
                yield remote
                return
    from allod.engine.child import Child

    child = asyncio.create_task(Child.spawn(native=bool(home.settings.engine.binary)))
    await asyncio.sleep(0)  # it starts, and imports its own while we import ours
    from allod.engine.engine import Engine

    async with Engine(home, slots=slots, spare=child) as engine:
        yield engine


async def listening(host: str, port: int) -> bool:
    """Whether anybody takes connections there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), port), PROBE)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def serves_models(remote: RemoteEngine) -> bool:
    """Whether what listens there is a server with OpenAI's API."""
    from allod.engine.discovery import models

    try:
        await models(remote.about(""))
    except AllodError as error:
        return error.status in (401, 403)
    return True
