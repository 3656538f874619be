"""The server: all doors on one port, as an ASGI application (``create_app``) and as a process (``serve``)."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from allod import __version__
from allod.engine.engine import Engine
from allod.errors import BadSettings
from allod.home import Home
from allod.server import (
    anthropic,
    counting,
    metrics,
    ollama,
    ollama_create,
    ollama_models,
    openai,
    rerank,
    responses,
    runs_routes,
    tokens,
)
from allod.server.door import Json
from allod.server.security import Address, Guard, check_bind, parse_address
from allod.server.state import State

BACKLOG = 2048  # connections that may wait to be accepted
LAST_WORDS = 10  # seconds that running answers have once the server is told to stop

log = logging.getLogger("allod.server")


def create_app(home: Home, bind: str = "127.0.0.1", engine: Engine | None = None) -> Starlette:
    """The application. A further door adds its routes to the list and changes nothing here.

    Args:
        home: whose models and settings are served.
        bind: the address it is listened on; on loopback, Host headers are checked.
        engine: instead of one of its own; it is entered and left with the application either way.
    """
    state = State(home, engine)
    runs = runs_routes.Door(state)
    counts = metrics.Counts()
    doors = (
        ollama.Generate(state),
        ollama_models.Models(state),
        ollama_create.Create(state),
        openai.Door(state),
        anthropic.Door(state),
        responses.Door(state),
        counting.Door(state),
        tokens.Door(state),
        rerank.Door(state),
        metrics.Door(state, counts),
        runs,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        async with state.engine:
            try:
                yield
            finally:
                await runs.close()

    origins = tuple(entry.strip() for entry in home.settings.origins.split(",") if entry.strip())
    app = Starlette(
        routes=[Route("/health", health, methods=["GET"]), *(route for door in doors for route in door.routes())],
        middleware=[Middleware(metrics.Meter, counts=counts), Middleware(Guard, bind=bind, origins=origins)],
        exception_handlers={HTTPException: no_such_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.shared = state
    app.state.stopping = runs.end
    return app


async def health(request: Request) -> Response:
    """Whether the server answers at all."""
    return Json({"status": "ok"})


async def no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405, in Ollama's words."""
    assert isinstance(error, HTTPException)
    text = {404: "404 page not found", 405: "405 method not allowed"}.get(error.status_code, error.detail)
    return PlainTextResponse(text, error.status_code, dict(error.headers or {}))


def serve(home: Home, host: str = "") -> None:
    """Listens until it is told to stop (SIGINT, SIGTERM), then lets running answers end for a few seconds.

    Args:
        host: ``host:port``; empty: the setting. Port 0 is any free one; the log says which.

    Raises:
        BadSettings: not an address, one that is not this machine's, one that is taken, or not on loopback.
    """
    address = parse_address(host or home.settings.host)
    check_bind(address)
    listener = listen(address)
    bound = Address(address.host, listener.getsockname()[1])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    asyncio.run(run(create_app(home, bind=address.host), listener, f"http://{bound}, models in {home.models}"))


async def run(app: Starlette, listener: socket.socket, where: str) -> None:
    """Serves until a signal. The first lets running answers end, a second SIGINT does not."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=LAST_WORDS,
    )
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    ending: set[asyncio.Future[None]] = set()

    def leave(number: int) -> None:
        server.handle_exit(number, None)
        ending.add(asyncio.ensure_future(app.state.stopping()))  # who reads a run's events sees its end

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave, number)
    # uvicorn's own would raise the signal again once it has stopped: the process would die by it, not return.
    setattr(server, "capture_signals", contextlib.nullcontext)  # noqa: B010
    log.info("allod %s listens on %s", __version__, where)
    await server.serve(sockets=[listener])


def listen(address: Address) -> socket.socket:
    """A listening socket.

    Raises:
        BadSettings: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        remedy = "Is `allod serve` running already? Else choose another port with --host or ALLOD_HOST."
        raise BadSettings(f"cannot listen on {address}: {error.strerror or error}", remedy) from error
    listener.listen(BACKLOG)
    return listener
