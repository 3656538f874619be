"""Runs and their events in the database, numbered as clients saw them, so that they are there after a restart.

A conversation keeps the same events joined, for people and exports; these are for who was reading when the line broke.
They go with their conversation when that is deleted. Bodies are JSON already.
"""

import secrets
from collections.abc import Sequence

from msgspec import Struct

from allod.errors import NotFound
from allod.home import Home
from allod.interpreter.conversations.database import now, reading, writing


class Entry(Struct, frozen=True):
    """A run as it was written down. ``status`` is empty where it has not ended, or its server was killed."""

    id: str
    conversation: str
    task: str
    status: str
    reason: str
    begun_at: str
    ended_at: str | None


def begin(home: Home, conversation: str, task: str) -> Entry:
    """A new run. Raises ReadOnly."""
    entry = Entry(secrets.token_hex(12), conversation, task, "", "", now(), None)
    with writing(home) as db:
        db.execute(
            "INSERT INTO run(id, conversation, task, begun_at) VALUES (?,?,?,?)",
            (entry.id, conversation, task, entry.begun_at),
        )
    return entry


def add(home: Home, run: str, first: int, bodies: Sequence[bytes]) -> None:
    """Events from number ``first`` on. Raises ReadOnly."""
    with writing(home) as db:
        db.executemany(
            "INSERT INTO run_event(run, number, body) VALUES (?,?,?)",
            [(run, first + n, body.decode()) for n, body in enumerate(bodies)],
        )


def end(home: Home, run: str, status: str, reason: str) -> None:
    """How it ended. Raises ReadOnly."""
    with writing(home) as db:
        db.execute("UPDATE run SET status = ?, reason = ?, ended_at = ? WHERE id = ?", (status, reason, now(), run))


def get(home: Home, run: str) -> Entry:
    """Raises NotFound."""
    with reading(home) as db:
        row = db.execute("SELECT * FROM run WHERE id = ?", (run,)).fetchone()
    if row is None:
        raise NotFound("there is no such run", "The answer that began it has its id.")
    return Entry(**{key: row[key] for key in Entry.__struct_fields__})


def of(home: Home, conversation: str) -> list[Entry]:
    """The runs of a conversation, first to last."""
    with reading(home) as db:
        rows = db.execute("SELECT * FROM run WHERE conversation = ? ORDER BY begun_at, rowid", (conversation,))
        return [Entry(**{key: row[key] for key in Entry.__struct_fields__}) for row in rows]


def events(home: Home, run: str, after: int) -> list[tuple[int, bytes]]:
    """The events of a run with numbers above ``after``."""
    with reading(home) as db:
        rows = db.execute(
            "SELECT number, body FROM run_event WHERE run = ? AND number > ? ORDER BY number", (run, after)
        )
        return [(row["number"], row["body"].encode()) for row in rows]


def last(home: Home, run: str) -> int:
    """The number of its last event."""
    with reading(home) as db:
        return db.execute("SELECT coalesce(max(number), 0) FROM run_event WHERE run = ?", (run,)).fetchone()[0]
