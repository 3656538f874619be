"""Conversations about a folder, kept in the home's database: what was said, what happened, which code ran.

    conversation = Conversation.begin(home, folder, "qwen2.5-coder:1.5b", "Total the invoices")
    conversation.add(agent.history, agent.codes, events)      # after each job
    Conversation.last(home, folder)                            # what `allod do --continue` goes on with

Messages form a tree by ``parent``; here it is a line, as only the page will edit and branch. Nothing said is changed.
"""

import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, cast

import msgspec

from allod.chat import Message, Role
from allod.home import Home
from allod.interpreter.events import PIECES, Event, encode

TITLE = 80  # characters


class Conversation:
    """One row of the database with its messages. ``blocks`` is the code that ran without an error."""

    def __init__(self, home: Home, id_: str, messages: list[Message], blocks: list[str], model: str) -> None:
        self.home = home
        self.id = id_
        self.messages = messages
        self.blocks = blocks
        self.model = model

    @classmethod
    def begin(cls, home: Home, folder: Path, model: str, title: str) -> Self:
        """A new one, empty. Raises ReadOnly where the database cannot be written."""
        id_ = secrets.token_hex(8)
        line = " ".join(title.split())[:TITLE]
        with closing(home.db()) as db:
            db.execute(
                "INSERT INTO conversation(id, title, folder, model, created_at, updated_at) VALUES (?,?,?,?,?,?)",
                (id_, line, str(folder), model, now(), now()),
            )
        return cls(home, id_, [], [], model)

    @classmethod
    def last(cls, home: Home, folder: Path) -> Self | None:
        """The one that was gone on with latest in that folder; None where there is none."""
        with closing(home.db()) as db:
            row = db.execute(
                "SELECT * FROM conversation WHERE folder = ? ORDER BY updated_at DESC, rowid DESC LIMIT 1",
                (str(folder),),
            ).fetchone()
            if row is None:
                return None
            found = db.execute("SELECT role, content FROM message WHERE conversation = ? ORDER BY id", (row["id"],))
            messages = [Message(cast(Role, role), content) for role, content in found]
        return cls(home, row["id"], messages, msgspec.json.decode(row["blocks"], type=list[str]), row["model"])

    def add(self, messages: Sequence[Message], blocks: Sequence[str], events: Sequence[Event]) -> None:
        """What a job added. ``messages`` and ``blocks`` are those of the whole conversation, as the agent has them.

        Raises:
            ReadOnly: the database cannot be written.
        """
        new = list(messages)[len(self.messages) :]
        with closing(self.home.db()) as db, Transaction(db):
            parent = db.execute("SELECT max(id) FROM message WHERE conversation = ?", (self.id,)).fetchone()[0]
            for message in new:
                parent = db.execute(
                    "INSERT INTO message(conversation, parent, role, content, at) VALUES (?,?,?,?,?)",
                    (self.id, parent, message.role, message.text, now()),
                ).lastrowid
            for event in events:
                if not isinstance(event, PIECES):
                    db.execute(
                        "INSERT INTO event(conversation, message, at, body) VALUES (?,?,?,?)",
                        (self.id, parent, now(), encode(event)),
                    )
            db.execute(
                "UPDATE conversation SET updated_at = ?, blocks = ? WHERE id = ?",
                (now(), msgspec.json.encode(list(blocks)).decode(), self.id),
            )
        self.messages += new
        self.blocks = list(blocks)


class Transaction:
    """All of it or nothing."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def __enter__(self) -> None:
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.db.execute("ROLLBACK" if kind else "COMMIT")


def now() -> str:
    """The time as the database has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
