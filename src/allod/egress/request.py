"""A request as it comes to the proxy, read strictly: what two readers might understand differently is refused."""

import asyncio
import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
TARGET = re.compile(r"[!-~]+")
# Meant for the next station only (RFC 9110, 7.6.1), besides those that Connection names.
HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "upgrade"}
CHUNK = 1 << 16


class BadHead(ValueError):
    """Not a request that is passed on; the text says why."""


class Head(Struct, frozen=True):
    """A request's line and headers."""

    method: str
    host: str
    port: int
    target: str  # path and query; empty for CONNECT
    headers: tuple[tuple[str, str], ...]
    length: int | None  # bytes of the body; None: it comes in chunks

    @property
    def place(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self.method == 'CONNECT' else 'http'}://{self.place}{self.target}"

    @property
    def recorded(self) -> str:
        """Its address for the ledger, of a length that a row should have."""
        return self.url.partition("?")[0][:1000]

    @property
    def named(self) -> set[str]:
        """The headers that Connection names."""
        values = ",".join(value for name, value in self.headers if name == "connection")
        return {token.strip().lower() for token in values.split(",")}

    def rewritten(self, authorization: str, *, whole: bool) -> bytes:
        """The head as it goes on: to the host itself, or ``whole`` to a proxy."""
        host = self.place if self.port != 80 else self.place.rpartition(":")[0]
        lines = [f"{self.method} {self.url if whole else self.target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers if name not in HOP | self.named | {"host"}]
        if whole and authorization:
            lines.append(f"Proxy-Authorization: {authorization}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def parse(data: bytes) -> Head:
    """A head, ``data`` with its empty line. Raises BadHead."""
    first, *rest = data[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadHead("not an HTTP/1.1 request")
    method, target, _ = parts
    if not TOKEN.fullmatch(method) or not TARGET.fullmatch(target):
        raise BadHead("not an HTTP/1.1 request")
    headers = tuple(header(line) for line in rest)
    if method == "CONNECT":
        host, port = authority(target)
        return Head(method, host, port, "", headers, 0)
    try:
        url = urlsplit(target)
        host, port = url.hostname, url.port
    except ValueError as error:
        raise BadHead("not an address") from error
    if url.scheme != "http" or not host or url.username is not None:
        raise BadHead("this is a proxy: it takes CONNECT, and http:// addresses")
    path = urlunsplit(("", "", url.path or "/", url.query, ""))
    head = Head(method, host, 80 if port is None else port, path, headers, length_of(headers))
    if head.named & {"content-length", "transfer-encoding", "host"}:
        raise BadHead("a body whose length is unclear")
    return head


def header(line: str) -> tuple[str, str]:
    """A header's name, in lower case, and value. Raises BadHead."""
    name, colon, value = line.partition(":")
    value = value.strip(" \t")
    if not colon or not TOKEN.fullmatch(name) or any(c in value for c in "\r\n\0"):
        raise BadHead("a header that cannot be read")
    return name.lower(), value


def authority(target: str) -> tuple[str, int]:
    """Host and port of a CONNECT. Raises BadHead."""
    try:
        url = urlsplit(f"//{target}")
        host, port = url.hostname, url.port
    except ValueError as error:
        raise BadHead("CONNECT takes host:port") from error
    if not host or port is None or url.path or url.query or url.username is not None or "#" in target:
        raise BadHead("CONNECT takes host:port")
    return host, port


def length_of(headers: tuple[tuple[str, str], ...]) -> int | None:
    """Bytes of a request's body, None for chunks. Raises BadHead where that can be understood in two ways."""
    lengths = [value for name, value in headers if name == "content-length"]
    coded = [value.lower() for name, value in headers if name == "transfer-encoding"]
    if coded:
        if lengths or coded != ["chunked"]:
            raise BadHead("a body whose length is unclear")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()) or len(lengths[0]) > 18:
        raise BadHead("a body whose length is unclear")
    return int(lengths[0])


async def forward_body(
    head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
) -> None:
    """Passes a request's body on and nothing that comes after it. Raises BadHead, EOFError, OSError."""

    async def exactly(size: int) -> None:
        while size:
            data = await reader.read(min(size, CHUNK))
            if not data:
                raise EOFError
            await put(data)
            size -= len(data)

    async def put(data: bytes) -> None:
        count(len(data))
        writer.write(data)
        await writer.drain()

    if head.length is not None:
        await exactly(head.length)
        return
    while True:
        line = await reader.readuntil(b"\r\n")
        size = re.fullmatch(rb"([0-9a-fA-F]{1,15})(;[^\r\n]*)?\r\n", line)
        if size is None:
            raise BadHead("a chunk that cannot be read")
        await put(size[1] + b"\r\n")
        if int(size[1], 16) == 0:
            break
        await exactly(int(size[1], 16))
        if await reader.readexactly(2) != b"\r\n":
            raise BadHead("a chunk that cannot be read")
        await put(b"\r\n")
    await put(b"\r\n")  # without trailers
