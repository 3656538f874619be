"""The server: all doors on one port, as an ASGI application (``create_app``) and as a process (``serve``)."""

import asyncio
import contextlib
import logging
import signal
import socket
import ssl
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from allod import __version__
from allod.egress import is_loopback
from allod.engine.engine import Engine
from allod.errors import AllodError, BadSettings
from allod.home import Home
from allod.keys import Keys, make_own
from allod.server import (
    anthropic,
    counting,
    metrics,
    ollama,
    ollama_create,
    ollama_models,
    openai,
    openapi,
    rerank,
    responses,
    runs_routes,
    tokens,
)
from allod.server.access import Access
from allod.server.anthropic_wire import ANTHROPIC
from allod.server.door import Json, refusal
from allod.server.ollama_wire import NATIVE
from allod.server.openai_wire import OPENAI
from allod.server.security import Address, Guard, check_bind, parse_address
from allod.server.state import State

BACKLOG = 2048  # connections that may wait to be accepted
LAST_WORDS = 10  # seconds that running answers have once the server is told to stop

log = logging.getLogger("allod.server")


def create_app(
    home: Home, bind: str = "127.0.0.1", engine: Engine | None = None, keys: Keys | None = None
) -> Starlette:
    """The application. A further door adds its routes to the list and changes nothing here.

    Args:
        home: whose models and settings are served.
        bind: the address it is listened on; on loopback, Host headers are checked.
        engine: instead of one of its own; it is entered and left with the application either way.
        keys: those that are asked for; None: the home's.
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
    routes = [Route("/health", health, methods=["GET"]), *(route for door in doors for route in door.routes())]
    app = Starlette(
        routes=[*routes, *openapi.Door(routes).routes()],
        middleware=[
            Middleware(metrics.Meter, counts=counts),
            Middleware(Guard, bind=bind, origins=origins),
            Middleware(Access, keys=keys or Keys(home), answer=refused, always=not is_loopback(bind)),
        ],
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


def refused(path: str, error: AllodError) -> ASGIApp:
    """The answer to a request that may not pass, in the shape of the API that it is for."""
    shape = OPENAI if path.startswith(("/v1/", "/rerank")) else NATIVE
    return refusal(ANTHROPIC if path.startswith("/v1/messages") else shape, error)


async def no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405, in Ollama's words."""
    assert isinstance(error, HTTPException)
    text = {404: "404 page not found", 405: "405 method not allowed"}.get(error.status_code, error.detail)
    return PlainTextResponse(text, error.status_code, dict(error.headers or {}))


def serve(home: Home, host: str = "", cert: str = "", cert_key: str = "") -> None:
    """Listens until it is told to stop (SIGINT, SIGTERM), then lets running answers end for a few seconds.

    Args:
        host: ``host:port``; empty: the setting. Port 0 is any free one; the log says which.
        cert: a PEM file with a certificate to speak TLS with; empty: the setting, which may be none.
        cert_key: one with its private key; empty: the setting, else in the same file.

    Raises:
        BadSettings: not an address, one that is not this machine's, one that is taken, or not on loopback while there
            are no keys; a certificate that is none.
    """
    address = parse_address(host or home.settings.host)
    keys = Keys(home)
    check_bind(address, keys=bool(keys.list()))
    tls = certificate(cert or home.settings.cert, cert_key or home.settings.cert_key)
    make_own(home)
    allow_files()
    listener = listen(address)
    bound = Address(address.host, listener.getsockname()[1])
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    if not tls and not is_loopback(address.host):
        log.warning("without --cert, keys and prompts can be read by whoever is on the way between client and server")
    where = f"{'https' if tls else 'http'}://{bound}, models in {home.models}"
    run_loop(run(create_app(home, bind=address.host, keys=keys), listener, where, tls))


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Runs the server's event loop: uvloop's, which takes half the time for a piece of a stream, where there is one."""
    try:
        import uvloop
    except ImportError:  # Windows
        asyncio.run(work)
    else:
        uvloop.run(work)


def allow_files() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def certificate(cert: str, key: str) -> tuple[str, str] | None:
    """The files of a certificate and its private key, tried out; None where there is none.

    Raises:
        BadSettings: it cannot be read, or certificate and key do not belong together.
    """
    if not cert:
        return None
    files = str(Path(cert).expanduser()), str(Path(key or cert).expanduser())
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*files, password=lambda: "")
    except (OSError, ValueError) as error:  # ssl's own errors are of the first kind
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise BadSettings(
            f"{' and '.join(dict.fromkeys(files))} cannot be used for TLS: {reason}",
            "Give PEM files: --cert with the certificate, --cert-key with its private key without a password.",
        ) from error
    return files


async def run(app: Starlette, listener: socket.socket, where: str, tls: tuple[str, str] | None = None) -> None:
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
        ssl_certfile=tls[0] if tls else None,
        ssl_keyfile=tls[1] if tls else None,
    )
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()
    ending: set[asyncio.Future[None]] = set()

    stopped = asyncio.Event()

    async def until_stopped() -> None:
        """In the place of uvicorn's own loop, which looks ten times a second: each look stops the model's threads."""
        while not stopped.is_set():
            await server.on_tick(0)  # the Date header
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), 1)

    def leave(number: int) -> None:
        server.handle_exit(number, None)
        stopped.set()
        ending.add(asyncio.ensure_future(app.state.stopping()))  # who reads a run's events sees its end

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave, number)
    # uvicorn's own would raise the signal again once it has stopped: the process would die by it, not return.
    setattr(server, "capture_signals", contextlib.nullcontext)  # noqa: B010
    setattr(server, "main_loop", until_stopped)  # noqa: B010
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
