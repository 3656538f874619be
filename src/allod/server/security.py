"""Who may talk to the server: which addresses it listens on, which Host and Origin a request may carry.

On loopback any program of this machine may ask, and so may web pages of this machine. What must not get in is a page
from elsewhere that runs in the user's browser: its Origin is refused, and so is a Host that is not this machine's own
(DNS rebinding). Rules and lists are Ollama's (server/routes.go, envconfig), plus the two headers that Anthropic's SDK
sends from a browser. Which key a request needs is ``access``'s; without any, nothing but loopback is listened on.
"""

import fnmatch
import hashlib
import ipaddress
import re
import socket
from functools import cache

from msgspec import Struct
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod.egress import is_loopback
from allod.engine.turns import CLIENT
from allod.errors import BadSettings

DEFAULT_PORT = 11435

ORIGINS = (
    *(f"{scheme}://{host}{port}" for scheme in ("http", "https")
      for host in ("localhost", "127.0.0.1", "0.0.0.0") for port in ("", ":*")),
    *(f"{scheme}://*" for scheme in ("app", "file", "tauri", "vscode-webview", "vscode-file")),
    *(f"{scheme}://*" for scheme in ("chrome-extension", "safari-extension", "moz-extension", "ms-browser-extension")),
)  # fmt: skip
METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
REQUEST_HEADERS = ", ".join(
    (
        *("Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "OpenAI-Beta"),
        *("x-api-key", "anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"),
        *("x-stainless-arch", "x-stainless-async", "x-stainless-custom-poll-interval", "x-stainless-helper-method"),
        *("x-stainless-lang", "x-stainless-os", "x-stainless-package-version", "x-stainless-poll-helper"),
        *("x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-timeout"),
    )
)
NAME_SUFFIXES = (".localhost", ".local", ".internal")  # names that no public DNS server answers for


class Address(Struct, frozen=True):
    """Where to listen. ``str()`` is the form for a URL."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """``host``, ``host:port``, ``:port``, ``[v6]:port`` or any of them with ``http://`` in front.

    Raises:
        BadSettings: not such an address.
    """
    wrong = BadSettings(
        f"{text[:80]!r} is not an address to listen on", "Use host:port, e.g. 127.0.0.1:11435, in ALLOD_HOST or --host."
    )
    found = re.fullmatch(r"(?:https?://)?(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]*)(?::(\d{1,5}))?/?", text.strip())
    if not found or int(port := found[2] or DEFAULT_PORT) > 65535:
        raise wrong
    return Address(found[1].strip("[]") or "127.0.0.1", int(port))


def check_bind(address: Address, keys: bool = False) -> None:
    """Returns where it is safe to listen.

    Raises:
        BadSettings: others than this machine could reach it, and nothing would ask them for a key.
    """
    if not keys and not is_loopback(address.host):
        raise BadSettings(
            f"will not listen on {address}: the network could use it, and there is no API key",
            f"`allod keys add NAME` makes one; or listen on 127.0.0.1:{address.port} and reach it by `ssh -L`.",
        )


class Guard:
    """Middleware: 403 for a foreign Host or Origin, CORS headers for a known one, an answer to every preflight."""

    def __init__(self, app: ASGIApp, bind: str = "127.0.0.1", origins: tuple[str, ...] = ()) -> None:
        self.app = app
        self.loopback = is_loopback(bind)
        self.origins = tuple(pattern.lower() for pattern in (*ORIGINS, *origins))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through, or answers it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        CLIENT.set(client(scope, headers))
        origin = headers.get("origin")
        if self.loopback and not known_host(headers.get("host", "")):
            await bare(send, 403)
        elif origin is None:
            if scope["method"] == "OPTIONS":
                await bare(send, 204, allow=METHODS)
            else:
                await self.app(scope, receive, send)
        elif not self.known_origin(origin, headers.get("host", "")):
            await bare(send, 403)
        elif scope["method"] == "OPTIONS":
            await bare(
                send,
                204,
                access_control_allow_origin=origin,
                access_control_allow_methods=METHODS,
                access_control_allow_headers=REQUEST_HEADERS,
                access_control_max_age="43200",
                vary="Origin",
            )
        else:

            async def with_origin(message: Message) -> None:
                if message["type"] == "http.response.start":
                    answer = MutableHeaders(scope=message)
                    answer["access-control-allow-origin"] = origin
                    answer.add_vary_header("Origin")
                await send(message)

            await self.app(scope, receive, with_origin)

    def known_origin(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may ask: this server's own, one of this machine, or one the user named."""
        text = origin.lower()
        if text in (f"http://{host}".lower(), f"https://{host}".lower()):
            return True
        return any(fnmatch.fnmatchcase(text, pattern) for pattern in self.origins)


def client(scope: Scope, headers: Headers) -> str:
    """Who asks, as far as can be told: the machine, the program, the key. Turns are given out evenly among them."""
    host = (scope.get("client") or ("",))[0]
    key = headers.get("authorization", "") + headers.get("x-api-key", "")
    return hashlib.sha256("\n".join((host, headers.get("user-agent", ""), key)).encode()).hexdigest()


def known_host(header: str) -> bool:
    """Whether a Host header (with or without port) means this machine."""
    found = re.fullmatch(r"\[([^\]]*)\](?::\d*)?|([^:]*)(?::\d*)?", header.strip())
    host = (found[1] or found[2] or "" if found else header).lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host in ("", "localhost", own_hostname()) or host.endswith(NAME_SUFFIXES)
    # A browser sends an address as Host only for a URL with that address in it, so it cannot have been rebound.
    return address.is_loopback or address.is_private or address.is_unspecified


@cache
def own_hostname() -> str:
    """This machine's name, in lower case."""
    return socket.gethostname().lower()


async def bare(send: Send, status: int, **headers: str) -> None:
    """An answer without a body."""
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": [*raw, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
