"""An answer on its way in: status, headers, and a body that is counted, bounded and read once."""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Generator
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from allod.egress.ledger import Entry
from allod.errors import Cancelled, Network, Unreachable

if TYPE_CHECKING:
    from allod.egress.door import Door

DRAIN = 64 << 10  # bytes of an unread answer worth reading to keep its connection

Origin = tuple[str, str, int]  # scheme, host, port


class Answer:
    """A status, headers, and a body to be read once, by one thread."""

    def __init__(
        self,
        door: "Door",
        url: str,
        place: Origin,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        entry: Entry,
        key: tuple[str, str],
        method: str,
    ) -> None:
        self.door = door
        self.url = url
        self.status = response.status
        self._place = place
        self._connection = connection
        self._response = response
        self._entry = entry
        self._key = key
        self.length = body_length(response, method)  # None: until the connection or the chunks end
        self._left = self.length
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def header(self, name: str) -> str:
        """A header's value, empty where it is missing."""
        return self._response.headers.get(name, "")

    def headers(self) -> list[tuple[str, str]]:
        """All headers, in order."""
        return self._response.getheaders()

    def read(self, size: int) -> bytes:
        """What has come, at most ``size`` bytes; waits for the first of them; empty at the end of the body.

        Raises:
            Unreachable: the connection broke, was still for too long, or ended before the body did.
            Cancelled: the door was shut.
        """
        if self._left == 0:
            return b""
        with self._breaks():
            data = self._response.read1(size if self._left is None else min(size, self._left))
        self._came(len(data))
        return data

    def read_into(self, buffer: memoryview) -> int:
        """`read` without a copy: fills the start of ``buffer`` with what has come; 0 at the end of the body."""
        if self._left is None:
            data = self.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        if self._left == 0:
            return 0
        with self._breaks():
            count = self._response.fp.readinto1(buffer[: self._left])
        self._came(count)
        return count

    @contextlib.contextmanager
    def _breaks(self) -> Generator[None]:
        """Tells in allod's errors what goes wrong while reading."""
        try:
            yield
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: http.client, reading chunks of a connection that was closed under it.
            if self.door.stopped:
                raise Cancelled("the transfer was stopped") from error
            raise broken(self._place[1], error) from error

    def _came(self, count: int) -> None:
        """Counts bytes of the body; none before its end is a break. Raises Unreachable, Cancelled."""
        if self._left is not None:
            self._left -= count
        elif not count:
            self._left = 0
        if not count and self._left:
            if self.door.stopped:
                raise Cancelled("the transfer was stopped")
            raise Unreachable(f"{self._place[1]} broke off {self._left} bytes before the end")
        self._entry.add("received", count)

    def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            Network: it is larger than ``limit`` bytes.
            Unreachable, Cancelled: as for `read`.
        """
        parts: list[bytes] = []
        size = 0
        while data := self.read(1 << 18):
            parts.append(data)
            size += len(data)
            if size > limit:
                raise Network(f"{self._place[1]} sends more than {limit} bytes for {urlsplit(self.url).path}")
        return b"".join(parts)

    def close(self) -> None:
        """Gives the connection back where the body was read, or is soon; closes it otherwise."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Unreachable, Cancelled):
            if self._left and self._left <= DRAIN and self.length is not None:
                while self.read(DRAIN):
                    pass
        whole = self._left == 0
        if whole:
            self.door.settle(self._key, "done")
        self._response.close()
        if whole and not self._response.will_close:
            self.door.give(self._place, self._connection)
        else:
            self.door.drop(self._connection)


def origin(url: str) -> Origin:
    """The scheme, host and port of an ``http(s)://`` URL.

    Raises:
        Network: it is none.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Network(f"{url[:200]!r} is not an http:// or https:// address")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def body_length(response: http.client.HTTPResponse, method: str) -> int | None:
    """Bytes of the body, None where only its end tells."""
    if method == "HEAD" or response.status in (204, 304):
        return 0
    return response.length


def broken(host: str, error: Exception) -> Network:
    """The error for a connection that could not be made or broke."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Network(
            f"{host} shows a certificate that does not hold: {error.verify_message}",
            "Check the clock; a company's own authority goes into SSL_CERT_FILE.",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(f"{host} sent nothing for too long")
    if isinstance(error, socket.gaierror):
        return Unreachable(f"the name {host} cannot be resolved: {error.strerror}")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreachable(f"{host}: {reason or type(error).__name__}")
