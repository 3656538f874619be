"""The only door to the network.

    async with egress.client("pull") as http:      # an httpx.AsyncClient
        await http.get("https://registry.ollama.ai/v2/…")

Every request is asked of the policy first and written to the ledger: when, for what purpose, to which host, how many
bytes each way. Loopback is always allowed, and in the ledger marked as such. Not through here go the pipes and
loopback sockets between allod and its own child processes.

There is no telemetry and no update check; nothing else in allod opens a connection.
"""

import fnmatch
import ipaddress
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Literal

import httpx

from allod.errors import Offline, Refused
from allod.home import Action, EgressRule, Home

# Who may be asked for what without a further question: the user typed the command that does it.
BUILT_IN_RULES = (EgressRule(action="allow", purpose="pull"), EgressRule(action="allow", purpose="push"))
LEDGER_EVERY = 1.0  # seconds between updates of a running transfer's row, so that a killed pull is in it too

Outcome = Literal["open", "done", "cut", "refused", "failed"]
Way = Literal["sent", "received"]
Asker = Callable[[str, str], bool]  # (purpose, host) → may it?


def is_loopback(host: str) -> bool:
    """Whether a host name or address cannot leave this machine. Names are not resolved."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def tls() -> ssl.SSLContext:
    """The system's certificate authorities (and SSL_CERT_FILE's); httpx's bundled ones where the system has none."""
    context = ssl.create_default_context()
    if not context.get_ca_certs() and not ssl.get_default_verify_paths().capath:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


class Egress:
    """Policy and ledger of one home. ``asker`` is called where the policy says ``ask``; without one, that is a no."""

    def __init__(self, home: Home, asker: Asker | None = None) -> None:
        self.home = home
        self.asker = asker
        self.rules = (*home.settings.egress.rules, *BUILT_IN_RULES)
        self.ledger = Ledger(home)
        self._answers: dict[tuple[str, str], bool] = {}

    def decide(self, purpose: str, host: str) -> Action:
        """What the rules say, first match first; offline mode is looked at elsewhere."""
        for rule in self.rules:
            if fnmatch.fnmatch(purpose, rule.purpose) and fnmatch.fnmatch(host.lower(), rule.host.lower()):
                return rule.action
        return self.home.settings.egress.default

    def check(self, purpose: str, host: str) -> None:
        """Returns where a connection may be made.

        Raises:
            Offline: offline mode, and ``host`` is not loopback.
            Refused: a rule, or the user, said no.
        """
        if is_loopback(host):
            return
        if self.home.settings.offline:
            raise Offline(
                f"offline mode: no connection to {host} ({purpose})",
                "Unset ALLOD_OFFLINE and remove `offline = true` from config.toml to allow it.",
            )
        action = self.decide(purpose, host)
        if action == "ask":
            key = (purpose, host)
            if key not in self._answers:
                self._answers[key] = self.asker is not None and self.asker(purpose, host)
            action = "allow" if self._answers[key] else "deny"
        if action == "deny":
            raise Refused(
                f"the egress policy refuses {host} for {purpose}",
                f'Allow it in config.toml: [[egress.rules]] action = "allow", purpose = "{purpose}", host = "{host}".',
            )

    def client(self, purpose: str, timeout: httpx.Timeout | None = None) -> httpx.AsyncClient:
        """An httpx client for one purpose. Follows redirects, each hop checked and recorded on its own."""
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        return httpx.AsyncClient(
            transport=EgressTransport(self, purpose, httpx.AsyncHTTPTransport(verify=tls(), limits=limits, retries=1)),
            timeout=timeout or httpx.Timeout(30, connect=10),
            follow_redirects=True,
            trust_env=False,  # proxies and .netrc would send bytes to hosts that the policy never saw
            headers={"user-agent": "allod"},
        )


class EgressTransport(httpx.AsyncBaseTransport):
    """Asks, counts and records around another transport."""

    def __init__(self, egress: Egress, purpose: str, inner: httpx.AsyncBaseTransport) -> None:
        self.egress = egress
        self.purpose = purpose
        self.inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One hop: refused, or sent and counted to the last byte."""
        entry = Entry(self.egress.ledger, self.purpose, request)
        try:
            self.egress.check(self.purpose, request.url.host)
        except Refused:
            entry.close("refused")
            raise
        if isinstance(request.stream, httpx.AsyncByteStream):
            request.stream = CountedStream(request.stream, entry, "sent")
        try:
            response = await self.inner.handle_async_request(request)
        except BaseException:
            entry.close("failed")
            raise
        entry.status = response.status_code
        entry.received += 15 + sum(len(k) + len(v) + 4 for k, v in response.headers.raw)
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = CountedStream(response.stream, entry, "received")
        return response

    async def aclose(self) -> None:
        """Closes the connections."""
        await self.inner.aclose()


class CountedStream(httpx.AsyncByteStream):
    """Passes bytes on and adds them up; a response's row is closed with its stream."""

    def __init__(self, inner: httpx.AsyncByteStream, entry: "Entry", way: Way) -> None:
        self.inner = inner
        self.entry = entry
        self.way: Way = way
        self.whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self.inner:
            self.entry.add(self.way, len(data))
            yield data
        self.whole = True

    async def aclose(self) -> None:
        """Closes the stream, and the row where this was the answer."""
        try:
            await self.inner.aclose()
        finally:
            if self.way == "received":
                self.entry.close("done" if self.whole else "cut")


class Entry:
    """One row of the ledger while its request runs."""

    def __init__(self, ledger: "Ledger", purpose: str, request: httpx.Request) -> None:
        self.ledger = ledger
        self.status: int | None = None
        head = len(request.method) + len(request.url.raw_path) + 12
        self.sent = head + sum(len(k) + len(v) + 4 for k, v in request.headers.raw)
        self.received = 0
        if isinstance(request.stream, httpx.SyncByteStream) and not isinstance(request.stream, httpx.AsyncByteStream):
            self.sent += int(request.headers.get("content-length", 0))
        self.row = ledger.begin(purpose, request)
        self._written = time.monotonic()

    def add(self, way: Way, count: int) -> None:
        """Counts bytes; writes them down once a second."""
        setattr(self, way, getattr(self, way) + count)
        now = time.monotonic()
        if now - self._written >= LEDGER_EVERY:
            self._written = now
            self.ledger.update(self.row, self.sent, self.received, self.status, "open")

    def close(self, outcome: Outcome) -> None:
        """Writes the row's last state. Refused: nothing was sent."""
        sent = 0 if outcome == "refused" else self.sent
        self.ledger.update(self.row, sent, self.received, self.status, outcome)


class Ledger:
    """Every connection this platform made, in the home's database."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._db: sqlite3.Connection | None = None

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, opened at first use."""
        if self._db is None:
            self._db = self.home.db()
        return self._db

    def begin(self, purpose: str, request: httpx.Request) -> int:
        """Writes a row before the first byte goes out; returns its id."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        cursor = self.db.execute(
            "INSERT INTO ledger"
            "(at, purpose, scheme, host, port, loopback, method, path, sent, received, status, outcome)"
            " VALUES (?,?,?,?,?,?,?,?,0,0,NULL,'open')",
            (
                datetime.now(UTC).isoformat(timespec="milliseconds"),
                purpose,
                url.scheme,
                url.host,
                port,
                is_loopback(url.host),
                request.method,
                url.path,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def update(self, row: int, sent: int, received: int, status: int | None, outcome: Outcome) -> None:
        """Writes a row's counts and state."""
        self.db.execute(
            "UPDATE ledger SET sent=?, received=?, status=?, outcome=? WHERE id=?",
            (sent, received, status, outcome, row),
        )

    def rows(self, limit: int = -1) -> list[dict[str, object]]:
        """The rows, newest first."""
        found = self.db.execute("SELECT * FROM ledger ORDER BY id DESC LIMIT ?", (limit,))
        return [dict(row) for row in found]
