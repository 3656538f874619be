"""HTTP/1.1 to a child process on loopback: few features, little time per token.

    pool = Pool("127.0.0.1", 41234, {"authorization": "Bearer …"})
    async with pool.open("POST", "/v1/chat/completions", body) as answer:
        async for data in answer.body: ...

Every token of every answer comes through here, so this is a reader over asyncio's streams and not a general client:
no redirects, proxies, cookies, compression or TLS. What it reads is bounded: heads to 64 KiB, chunk headers to 1 KiB, a
body read whole to what the caller allows. Leaving ``open`` before the body's end closes the connection, by which
llama.cpp sees that nobody listens any more and frees the slot. It knows nothing of JSON, models or runners; connections
to anything but a child go through ``allod.egress``.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, nullcontext

from allod.engine.gathering import Gathering
from allod.engine.runner import Answer

HEAD_LIMIT = 64 * 1024
CHUNK_HEADER_LIMIT = 1024
READ_SIZE = 256 * 1024
IDLE_LIMIT = 4.0  # seconds; llama.cpp's server closes idle connections after 5
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
LENGTH = re.compile(rb"[0-9]{1,18}")


class ConnectionLost(Exception):
    """The other side went away, or speaks no HTTP."""


class Dechunker:
    """Takes the framing off a chunked body (RFC 9112, section 7.1), however it is cut up on its way."""

    def __init__(self) -> None:
        self.done = False
        self._line = b""  # of the framing, until its end has come
        self._left = 0  # bytes of the chunk's data still to come
        self._after_data = False  # the line end that follows a chunk's data is due
        self._trailers = False

    def feed(self, data: bytes) -> bytes:
        """The payload within ``data``. Bytes after the last chunk are an error: nothing was asked for yet.

        Raises:
            ConnectionLost: this is no chunked body.
        """
        payload: list[bytes] = []
        at = 0
        while at < len(data):
            if self.done:
                raise ConnectionLost("bytes after the end of a chunked body")
            if self._left:
                piece = data[at : at + self._left]
                payload.append(piece)
                self._left -= len(piece)
                at += len(piece)
                self._after_data = not self._left
                continue
            end = data.find(b"\n", at)
            self._line += data[at : end if end >= 0 else len(data)]
            if len(self._line) > CHUNK_HEADER_LIMIT:
                raise ConnectionLost("an endless chunk header")
            if end < 0:
                break
            at = end + 1
            line, self._line = self._line, b""
            self._take(line)
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def _take(self, line: bytes) -> None:
        """One line of the framing, without its newline."""
        if not line.endswith(b"\r"):
            raise ConnectionLost("a chunked body with bare newlines")
        line = line[:-1]
        if self._trailers:
            self.done = not line
        elif self._after_data:
            if line:
                raise ConnectionLost("a chunk longer than it said")
            self._after_data = False
        elif match := CHUNK_SIZE.fullmatch(line):
            self._left = int(match[1], 16)
            self._trailers = not self._left
        else:
            raise ConnectionLost(f"no chunk size: {line[:40]!r}")


class Head:
    """Status line and headers of an answer."""

    def __init__(self, raw: bytes) -> None:
        first, *lines = raw.split(b"\r\n")
        parts = first.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not re.fullmatch(rb"[1-5][0-9]{2}", parts[1]):
            raise ConnectionLost(f"not an HTTP answer: {first[:40]!r}")
        self.status = int(parts[1])
        self.headers: dict[bytes, bytes] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()
        self.keep_alive = parts[0] != b"HTTP/1.0" and self.headers.get(b"connection", b"").lower() != b"close"

    @property
    def content_type(self) -> str:
        """As sent, or empty."""
        return self.headers.get(b"content-type", b"").decode("latin-1")


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.idle_since = 0.0
        self.clean = False  # the last answer was read to its end, another request may follow

    async def send(self, request: bytes, body: bytes) -> Head:
        """Sends a request and reads the head of its answer."""
        self.clean = False
        self.writer.write(request)
        if body:
            self.writer.write(body)
            await self.writer.drain()
        while True:
            try:
                raw = await self.reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise ConnectionLost("an endless answer head") from error
            except asyncio.IncompleteReadError as error:
                raise ConnectionLost("closed before the answer") from error
            head = Head(raw[:-4])
            if head.status >= 200:  # 100 Continue and the like come before the answer
                return head

    async def body(self, head: Head) -> AsyncGenerator[bytes]:
        """The answer's body as it comes, framing taken off."""
        if b"chunked" in head.headers.get(b"transfer-encoding", b"").lower():
            dechunker = Dechunker()
            # What is held back must not hold up the end, so only where the end closes the connection.
            with nullcontext() if head.keep_alive else Gathering(self.writer) as gathering:
                while not dechunker.done:
                    data = await self._read()
                    if gathering:
                        gathering.came(len(data))
                    if data := dechunker.feed(data):
                        yield data
        elif (length := head.headers.get(b"content-length")) is not None:
            if not LENGTH.fullmatch(length):
                raise ConnectionLost(f"no length: {length[:40]!r}")
            left = int(length)
            while left:
                data = await self._read(left)
                left -= len(data)
                yield data
        elif head.status not in (204, 304):
            head.keep_alive = False
            while data := await self.reader.read(READ_SIZE):  # to the end of the connection
                yield data
        self.clean = head.keep_alive

    async def _read(self, most: int = READ_SIZE) -> bytes:
        try:
            data = await self.reader.read(min(most, READ_SIZE))
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        if not data:
            raise ConnectionLost("closed in the middle of an answer")
        return data

    def close(self) -> None:
        """At once, without waiting for the other side."""
        self.writer.transport.abort()


class Pool:
    """Connections to one address, kept and used again. ``headers`` go with every request."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self.host = host
        self.port = port
        self._headers = f"host: {host}:{port}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
        self._idle: list[Connection] = []
        self._closed = False

    @asynccontextmanager
    async def open(self, method: str, path: str, body: bytes = b"", stream: bool = False) -> AsyncGenerator[Answer]:
        """One request; ``body`` is JSON. Left early, it is cancelled.

        The pieces of a ``stream`` may come a few at a time when they come fast; its connection is not used again.

        Raises:
            ConnectionLost: the other side went away before or during the answer.
        """
        request = f"{method} {path} HTTP/1.1\r\n{self._headers}content-length: {len(body)}\r\n"
        request += "content-type: application/json\r\n"
        request += "connection: close\r\n\r\n" if stream else "\r\n"
        connection, head = await self._send(request.encode("latin-1"), body)
        data = connection.body(head)
        try:
            yield Answer(head.status, head.content_type, data)
        finally:
            await data.aclose()
            if connection.clean and not self._closed:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.close()

    async def _send(self, request: bytes, body: bytes) -> tuple[Connection, Head]:
        """Over an idle connection if there is one, else a new one. An idle one may just have been closed by the other
        side: then nothing of the request was looked at, and it is sent again."""
        while True:
            connection = self._take()
            fresh = connection is None
            try:
                connection = connection or Connection(
                    *await asyncio.open_connection(self.host, self.port, limit=HEAD_LIMIT)
                )
                return connection, await connection.send(request, body)
            except BaseException as error:
                if connection:
                    connection.close()
                if not isinstance(error, OSError | ConnectionLost):
                    raise
                if fresh:
                    raise ConnectionLost(str(error)) from error

    def _take(self) -> Connection | None:
        """An idle connection that is still good, the last used first."""
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since < IDLE_LIMIT and not connection.reader.at_eof():
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Closes what is idle; what is in use closes when its request ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
