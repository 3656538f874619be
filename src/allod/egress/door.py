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
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self
from urllib.parse import urljoin, urlsplit

from allod.egress.answer import Answer, Origin, broken, origin
from allod.egress.ledger import Entry, Outcome, answer_head, request_head
from allod.egress.policy import is_loopback
from allod.egress.proxy import Proxy, proxy_for
from allod.errors import Cancelled, Network, Refused, Unreachable

if TYPE_CHECKING:
    from allod.egress.policy import Egress

HOPS = 10  # redirects followed
REDIRECTS = {301, 302, 303, 307, 308}
SECRETS = {"authorization", "cookie"}


class Unconnected(Unreachable):
    """No connection could be made at all: no such name, refused, or no answer. Less likely to go away than a break."""


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


def wake(sock: socket.socket) -> None:
    """Ends a blocked read in another thread. Not the method of SSLSocket, which takes the TLS state away from it."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
