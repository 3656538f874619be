"""The record of every request this platform made, in the home's database.

A row is written before the first byte goes out, brought up to date once a second and closed at the end, so that a
killed process has left its rows too. Where the record cannot be written no connection is made.
"""

import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

from allod.errors import AllodError, DiskFull, ReadOnly
from allod.home import Home

EVERY = 1.0  # seconds between updates of a running row

Outcome = Literal["open", "done", "cut", "refused", "failed"]
Way = Literal["sent", "received"]


class Ledger:
    """The table ``ledger`` of one home; safe to use from several threads."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._db: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def begin(self, purpose: str, method: str, url: str, loopback: bool, via: str = "") -> int:
        """Writes a row before the first byte goes out; returns its id. The URL's query is left out.

        Raises:
            ReadOnly, DiskFull: it cannot be written, so the request must not be made.
        """
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        cursor = self.execute(
            "INSERT INTO ledger"
            "(at, purpose, scheme, host, port, loopback, method, path, sent, received, status, outcome, via)"
            " VALUES (?,?,?,?,?,?,?,?,0,0,NULL,'open',?)",
            datetime.now(UTC).isoformat(timespec="milliseconds"),
            purpose,
            parts.scheme,
            parts.hostname or "",
            port,
            loopback,
            method,
            parts.path,
            via,
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def update(self, row: int, sent: int, received: int, status: int | None, outcome: Outcome) -> None:
        """Writes a row's counts and state. Raises ReadOnly or DiskFull."""
        self.execute(
            "UPDATE ledger SET sent=?, received=?, status=?, outcome=? WHERE id=?", sent, received, status, outcome, row
        )

    def rows(self, limit: int = -1) -> list[dict[str, object]]:
        """The rows, newest first."""
        with self._lock:
            found = self._open().execute("SELECT * FROM ledger ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        return [dict(row) for row in found]

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        """Runs one statement; an unwritable database is told in words."""
        with self._lock:
            try:
                return self._open().execute(statement, values)
            except sqlite3.OperationalError as error:
                raise self.unwritable(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self.home.db()
            # Survives a kill of the process at any moment; a power cut may lose the last rows, and no fsync a request.
            self._db.execute("PRAGMA synchronous=NORMAL")
        return self._db

    def unwritable(self, error: sqlite3.OperationalError) -> AllodError:
        """The error for a ledger that takes no rows."""
        message = f"no connection is made, as the ledger {self.home.data / 'allod.db'} cannot be written: {error}"
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            return DiskFull(message, "Free some space and try again.")
        return ReadOnly(message, "Check the file's permissions and the disk, or set ALLOD_HOME to another folder.")


class Entry:
    """One row while its request runs, or the several requests for parts of one file. Safe in several threads."""

    def __init__(
        self, ledger: Ledger, purpose: str, method: str, url: str, loopback: bool = False, via: str = ""
    ) -> None:
        self.ledger = ledger
        self.status: int | None = None
        self.sent = 0
        self.received = 0
        self.row = ledger.begin(purpose, method, url, loopback, via)
        self._written = time.monotonic()
        self._lock = threading.Lock()

    def add(self, way: Way, count: int) -> None:
        """Counts bytes; writes them down once a second."""
        with self._lock:
            if way == "sent":
                self.sent += count
            else:
                self.received += count
            now = time.monotonic()
            due = now - self._written >= EVERY
            if due:
                self._written = now
        if due:
            self.ledger.update(self.row, self.sent, self.received, self.status, "open")

    def close(self, outcome: Outcome) -> None:
        """Writes the row's last state. Refused: nothing was sent."""
        sent = 0 if outcome == "refused" else self.sent
        self.ledger.update(self.row, sent, self.received, self.status, outcome)


def request_head(method: str, target: str, headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a request's line and headers on the wire, HTTP/1.1."""
    return len(method) + len(target) + 12 + sum(len(k) + len(v) + 4 for k, v in headers) + 2


def answer_head(headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a status line and headers on the wire, to within the length of the reason phrase."""
    return 17 + sum(len(k) + len(v) + 4 for k, v in headers) + 2
