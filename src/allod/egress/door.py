"""The way through for bulk: HTTP/1.1 on blocking sockets, for threads that move gigabytes.

    with egress.door("pull") as door:
        with door.open(url, {"Range": "bytes=0-4194303"}) as answer:
            while data := answer.read(1 << 18):
                …

A door keeps its idle connections, counts all requests for one URL into one row of the ledger (a model comes in hundreds
of ranges) and can be shut from another thread, which wakes every read. Redirects are followed hop by hop, each asked of
the policy; what is meant for one host (Authorization, Cookie) never goes to another. Retries are its user's business.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

from allod.egress.ledger import Entry, Outcome, answer_head, request_head
from allod.egress.policy import is_loopback
from allod.egress.proxy import Proxy, proxy_for
from allod.errors import Cancelled, Network, Refused, Unreachable

if TYPE_CHECKING:
    from allod.egress.policy import Egress

HOPS = 10  # redirects followed
REDIRECTS = {301, 302, 303, 307, 308}
SECRETS = {"authorization", "cookie"}
DRAIN = 64 << 10  # bytes of an unread answer worth reading to keep its connection

Origin = tuple[str, str, int]  # scheme, host, port


class Unconnected(Unreachable):
    """No connection could be made at all: no such name, refused, or no answer. Less likely to go away than a break."""


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


class Door:
    """Connections and rows for one purpose. Safe in several threads; close it at the end."""

    def __init__(self, egress: "Egress", purpose: str, *, connect: float, stall: float) -> None:
        self.egress = egress
        self.purpose = purpose
        self.connect = connect
        self.stall = stall
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = {}
        self._sockets: set[socket.socket] = set()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}
        self.stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> "Answer":
        """Sends a request and follows redirects; ``answer.url`` is where it ended. Any status comes back as it is.

        Raises:
            Offline, Refused: the policy said no to a host on the way.
            Unconnected: no connection could be made.
        Unreachable: it broke before the answer; worth trying again.
            Network: a redirect that must not be followed, a certificate that does not fit.
            Cancelled: the door was shut.
        """
        headers = dict(headers or {})
        for _ in range(HOPS):
            answer = self.hop(url, headers, method)
            target = answer.header("location")
            if answer.status not in REDIRECTS or not target:
                return answer
            answer.close()
            further = urljoin(url, target)
            check_redirect(origin(url), origin(further))
            if origin(further) != origin(url):
                headers = {name: value for name, value in headers.items() if name.lower() not in SECRETS}
            url = further
        raise Network(f"{origin(url)[1]} redirects more than {HOPS} times")

    def hop(self, url: str, headers: Mapping[str, str], method: str) -> "Answer":
        """One request, no redirect followed."""
        place = origin(url)
        proxy = proxy_for(url)
        key = (method, url.partition("?")[0])
        entry = self.entry(key, url, proxy)
        try:
            self.egress.check(self.purpose, place[1])
            if proxy:
                self.egress.check_proxy(self.purpose, proxy.host)
        except Refused:
            self.settle(key, "refused")
            raise
        self.settle(key, "failed")  # until an answer is there
        sent = {"User-Agent": "allod", "Accept-Encoding": "identity", **headers}
        target = request_target(url)
        if proxy and place[0] == "http":
            target = url.partition("#")[0]
            if proxy.authorization:
                sent["Proxy-Authorization"] = proxy.authorization
        connection, response = self.exchange(place, proxy, method, target, sent)
        entry.add("sent", request_head(method, target, encoded(sent)))
        entry.status = response.status
        entry.add("received", answer_head(encoded(dict(response.getheaders()))))
        self.settle(key, "cut")  # until its body is there
        return Answer(self, url, place, connection, response, entry, key, method)

    def exchange(
        self, place: Origin, proxy: Proxy | None, method: str, target: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Sends the request on an idle or a new connection; an idle one that its server has closed is replaced."""
        while True:
            connection, fresh = self.take(place, proxy)
            try:
                if fresh:
                    self.establish(place, connection)
                connection.request(method, target, headers=dict(headers))
                return connection, connection.getresponse()
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.drop(connection)
                if self.stopped:
                    raise Cancelled("the transfer was stopped") from error
                if fresh or isinstance(error, TimeoutError):
                    raise broken(place[1], error) from error
            except BaseException:
                self.drop(connection)
                raise

    def establish(self, place: Origin, connection: http.client.HTTPConnection) -> None:
        """Connects. Raises Unconnected, and Network for a certificate that does not fit."""
        try:
            connection.connect()
        except (OSError, http.client.HTTPException, ValueError) as error:
            failure = broken(place[1], error)
            raise Unconnected(failure.message) if isinstance(failure, Unreachable) else failure from error
        connection.sock.settimeout(self.stall)
        self.watch(connection.sock)

    def take(self, place: Origin, proxy: Proxy | None) -> tuple[http.client.HTTPConnection, bool]:
        """An idle connection to a place, or a new one that is yet to be connected (then True)."""
        with self._lock:
            if self.stopped:
                raise Cancelled("the transfer was stopped")
            if idle := self._idle.get(place):
                return idle.pop(), False
        host, port = (proxy.host, proxy.port) if proxy else place[1:]
        if place[0] == "http":
            return http.client.HTTPConnection(host, port, timeout=self.connect), True
        connection = http.client.HTTPSConnection(host, port, timeout=self.connect, context=self.egress.tls)
        if proxy:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            connection.set_tunnel(place[1], place[2], headers)
        return connection, True

    def give(self, place: Origin, connection: http.client.HTTPConnection) -> None:
        """Takes back a connection whose answer was read to its end."""
        with self._lock:
            if not self.stopped and connection.sock:
                self._idle.setdefault(place, []).append(connection)
                return
        self.drop(connection)

    def drop(self, connection: http.client.HTTPConnection) -> None:
        """Closes a connection."""
        with self._lock:
            self._sockets.discard(connection.sock)
        with contextlib.suppress(OSError):
            connection.close()

    def watch(self, sock: socket.socket) -> None:
        """Remembers an open socket, so that `shut` can wake who reads it."""
        with self._lock:
            self._sockets.add(sock)
            if self.stopped:
                wake(sock)

    def shut(self) -> None:
        """Wakes every thread that reads or is about to: they get Cancelled."""
        with self._lock:
            self.stopped = True
            for sock in self._sockets:
                wake(sock)

    def close(self) -> None:
        """Closes the connections and the rows."""
        self.shut()
        with self._lock:
            idle = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for connection in idle:
            self.drop(connection)
        for key, entry in self._entries.items():
            entry.close(self._outcomes[key])
        self._entries.clear()

    # ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────

    def entry(self, key: tuple[str, str], url: str, proxy: Proxy | None) -> Entry:
        """The row of a URL, written at its first request. Raises ReadOnly or DiskFull where it cannot be."""
        with self._lock:
            if key not in self._entries:
                via = proxy.address if proxy else ""
                loopback = is_loopback(origin(url)[1])
                self._entries[key] = Entry(self.egress.ledger, self.purpose, key[0], url, loopback, via)
            return self._entries[key]

    def settle(self, key: tuple[str, str], outcome: Outcome) -> None:
        """How the latest request of a row went; written when the door closes."""
        self._outcomes[key] = outcome


class Answer:
    """A status, headers, and a body to be read once, by one thread."""

    def __init__(
        self,
        door: Door,
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


def check_redirect(here: Origin, there: Origin) -> None:
    """Returns where a redirect may be followed.

    Raises:
        Network: out of TLS, or from a host elsewhere to this machine or its link (routers, cloud metadata).
    """
    if here[0] == "https" and there[0] == "http":
        raise Network(f"{here[1]} redirects from https:// to http://{there[1]}, which is not followed")
    if is_near(there[1]) and not is_near(here[1]):
        raise Network(f"{here[1]} redirects to this machine's own {there[1]}, which is not followed")


def is_near(host: str) -> bool:
    """Whether a host is this machine or on its link, by address."""
    try:
        return is_loopback(host) or ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def request_target(url: str) -> str:
    """The path and query that a request line carries."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as bytes, for counting."""
    return [(name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in headers.items()]


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


def wake(sock: socket.socket) -> None:
    """Ends a blocked read in another thread. Not the method of SSLSocket, which takes the TLS state away from it."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
