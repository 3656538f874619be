"""Responses that are kept, so that a later request may go on from one (``previous_response_id``) or read it again.

Each belongs to the API key that asked for it (``access.KEY``), and to others it is not there.

A row holds what one request added: its own items and the answer. A conversation is the chain of rows by ``previous``.
What was used least recently goes first; going on from a response uses the whole chain before it. Bodies are JSON.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from allod.errors import BadRequest, NotFound
from allod.home import Home
from allod.interpreter.conversations.database import now, reading, writing
from allod.server.access import KEY
from allod.server.state import echo

MOST = 10_000  # responses
ROOM = 256 * 2**20  # bytes of all
LARGEST = 32 * 2**20  # bytes of one
DAYS = 30  # that one is kept unused

CHAIN = """
    WITH RECURSIVE chain(id, previous, input, body, depth) AS (
        SELECT id, previous, input, body, 0 FROM response WHERE id = ? AND owner = ?
        UNION ALL
        SELECT r.id, r.previous, r.input, r.body, depth + 1 FROM response r JOIN chain ON r.id = chain.previous
    )
"""


def put(home: Home, ident: str, previous: str, items: Sequence[dict[str, Any]], body: bytes) -> None:
    """Keeps a response, and lets go of those that there is no room for.

    Raises:
        ReadOnly: it cannot be written.
    """
    data = msgspec.json.encode(items)
    size = len(data) + len(body)
    with writing(home) as db:
        db.execute(
            "INSERT INTO response(id, previous, used_at, size, input, body, owner) VALUES (?,?,?,?,?,?,?)",
            (ident, previous, now(), size, data.decode(), body.decode(), owner()),
        )
        db.execute("DELETE FROM response WHERE julianday(used_at) < julianday('now') - ?", (DAYS,))
        db.execute(
            """DELETE FROM response WHERE id IN (
                   SELECT id FROM (SELECT id, row_number() OVER newest AS number, sum(size) OVER newest AS total
                                   FROM response WINDOW newest AS (ORDER BY used_at DESC, rowid DESC))
                   WHERE number > ? OR total > ?)""",
            (MOST, ROOM),
        )


def owner() -> str:
    """Whose responses the current request may see and make."""
    return KEY.get().digest


def check_size(size: int) -> None:
    """Raises BadRequest for a request that is too large to be kept."""
    if size > LARGEST:
        raise BadRequest(
            f"the request is larger than the {LARGEST // 2**20} MB that are kept of one", 'Say "store": false.'
        )


def get(home: Home, ident: str) -> bytes:
    """The response, as it was answered. Raises NotFound."""
    with reading(home) as db:
        row = db.execute("SELECT body FROM response WHERE id = ? AND owner = ?", (ident, owner())).fetchone()
    if row is None:
        raise missing(ident)
    return row["body"].encode()


def inputs(home: Home, ident: str) -> list[dict[str, Any]]:
    """The items of its request, first to last. Raises NotFound."""
    with reading(home) as db:
        row = db.execute("SELECT input FROM response WHERE id = ? AND owner = ?", (ident, owner())).fetchone()
    if row is None:
        raise missing(ident)
    return msgspec.json.decode(row["input"], type=list[dict[str, Any]])


def delete(home: Home, ident: str) -> None:
    """Forgets it. What went on from it cannot be gone on from any more. Raises NotFound."""
    with writing(home) as db:
        if not db.execute("DELETE FROM response WHERE id = ? AND owner = ?", (ident, owner())).rowcount:
            raise missing(ident)


def history(home: Home, ident: str) -> list[dict[str, Any]]:
    """Every item up to a response and of it, first to last.

    Raises:
        NotFound: it is not kept, or one that it went on from is not any more.
    """
    with writing(home) as db:
        rows = db.execute(CHAIN + "SELECT * FROM chain ORDER BY depth DESC", (ident, owner())).fetchall()
        if not rows:
            raise missing(ident)
        if rows[0]["previous"]:
            raise missing(rows[0]["previous"])
        db.execute(
            CHAIN + "UPDATE response SET used_at = ? WHERE id IN (SELECT id FROM chain)", (ident, owner(), now())
        )
    found: list[dict[str, Any]] = []
    for row in rows:
        found += msgspec.json.decode(row["input"], type=list[dict[str, Any]])
        found += msgspec.json.decode(row["body"], type=Output).output
    return found


class Output(msgspec.Struct):
    """Of a response, what the next request needs."""

    output: list[dict[str, Any]]


def missing(ident: str) -> NotFound:
    """The error for a response that is not kept."""
    return NotFound(
        f"response '{echo(ident)}' not found",
        f"Responses are kept unless the request says store: false, {DAYS} days from their last use.",
    )
