"""One conversation: its turns in the database, and what of them is gone on with.

It owns its rows and nothing else. Who does the jobs tells it what happened; who shows it reads ``turns``.
"""

import secrets
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from allod.chat import Message
from allod.errors import BadRequest, NotFound
from allod.home import Home
from allod.interpreter.conversations.database import now, reading, writing
from allod.interpreter.conversations.finding import forget, search
from allod.interpreter.conversations.recorder import Recorder
from allod.interpreter.conversations.turns import Turn, line_to, tree
from allod.interpreter.events import Ended, Event, Started

TITLE = 80  # characters
SHORTEST = 4  # letters of an id that stand for it


class Summary(Struct, frozen=True):
    """A conversation in a list. ``status`` is that of its last turn, empty where that has not ended."""

    id: str
    title: str
    folder: str
    model: str
    profile: str
    created_at: str
    updated_at: str
    turns: int
    status: str


class Conversation:
    """``messages`` and ``blocks`` (code that ran without an error) are those of the branch that is gone on with."""

    def __init__(self, home: Home, row: sqlite3.Row, line: Sequence[Turn] = ()) -> None:
        self.home = home
        self.id: str = row["id"]
        self.title: str = row["title"]
        self.folder: str = row["folder"]
        self.model: str = row["model"]
        self.profile: str = row["profile"]
        self.head: int | None = row["head"]
        self.job: str = row["job"]  # the workspace's, where it is kept
        self.messages: list[Message] = []
        self.blocks: list[str] = []
        self._recorder: Recorder | None = None
        self._take_up(line)

    def _take_up(self, line: Sequence[Turn]) -> None:
        self.messages = [message for turn in line for message in turn.remembered()]
        self.blocks = [block for turn in line for block in turn.blocks]

    # ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def begin(cls, home: Home, folder: Path, model: str, title: str = "", profile: str = "") -> Self:
        """A new one, empty. Without a title its first task becomes it.

        Raises:
            ReadOnly: the database cannot be written.
        """
        id_ = secrets.token_hex(8)
        with writing(home) as db:
            db.execute(
                "INSERT INTO conversation(id, title, folder, model, profile, created_at, updated_at)"
                " VALUES (?,?,?,?,?,?,?)",
                (id_, titled(title), str(folder), model, profile, now(), now()),
            )
        return cls.get(home, id_)

    @classmethod
    def get(cls, home: Home, id_: str) -> Self:
        """The one with that id, of which the beginning is enough where no other begins so.

        Raises:
            NotFound: there is none.
            BadRequest: there are several.
        """
        with reading(home) as db:
            rows = db.execute(
                "SELECT * FROM conversation WHERE id = ? OR (length(?) >= ? AND substr(id, 1, length(?)) = ?)",
                (id_, id_, SHORTEST, id_, id_),
            ).fetchall()
            if not rows:
                shown = "".join(char if char.isprintable() else "?" for char in id_[:40])
                raise NotFound(f"there is no conversation '{shown}'", "`allod conversations list` shows them.")
            if len(rows) > 1:
                raise BadRequest(f"{len(rows)} conversations begin with '{id_}'", "Give more letters of the id.")
            return cls(home, rows[0], line_to(tree(db, rows[0]["id"], events=False), rows[0]["head"]))

    @classmethod
    def last(cls, home: Home, folder: Path) -> Self | None:
        """The one that was gone on with latest in that folder; None where there is none."""
        found = cls.list(home, folder, 1)
        return cls.get(home, found[0].id) if found else None

    @classmethod
    def list(cls, home: Home, folder: Path | None = None, limit: int = 50) -> list[Summary]:
        """Those that were gone on with latest, of all folders or one."""
        with reading(home) as db:
            rows = db.execute(
                "SELECT c.*, (SELECT count(*) FROM turn t WHERE t.conversation = c.id) AS turns,"
                " coalesce((SELECT status FROM turn t WHERE t.id = c.head), '') AS status"
                " FROM conversation c WHERE ? IN ('', folder) ORDER BY updated_at DESC, rowid DESC LIMIT ?",
                (str(folder) if folder is not None else "", limit),
            )
            return [Summary(**{key: row[key] for key in Summary.__struct_fields__}) for row in rows]

    search = staticmethod(search)

    # ── a turn ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, *events: Event) -> None:
        """Keeps events as they come. Started begins a turn; whatever becomes of it, what was recorded stays.

        Raises:
            ReadOnly: the database cannot be written.
        """
        for event in events:
            if self._recorder is None or isinstance(event, Started):
                self._begin_turn(event.task if isinstance(event, Started) else "")
            assert self._recorder is not None
            self._recorder.take(event)
            if isinstance(event, Ended):
                self._recorder.close()
                with writing(self.home) as db:
                    db.execute(
                        "UPDATE turn SET status = ?, ended_at = ? WHERE id = ?",
                        (event.status, now(), self._recorder.turn),
                    )

    def _begin_turn(self, task: str) -> None:
        self.leave()
        with writing(self.home) as db:
            turn = db.execute(
                "INSERT INTO turn(conversation, parent, task, begun_at) VALUES (?,?,?,?)",
                (self.id, self.head, task, now()),
            ).lastrowid
            self.title = self.title or titled(task)
            db.execute(
                "UPDATE conversation SET head = ?, updated_at = ?, title = ? WHERE id = ?",
                (turn, now(), self.title, self.id),
            )
        assert turn is not None
        self.head = turn
        self._recorder = Recorder(self.home, self.id, turn)

    def leave(self) -> None:
        """Ends the recording of a turn that broke off, as it is so far. Raises ReadOnly."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()

    def add(self, messages: Sequence[Message], blocks: Sequence[str], events: Sequence[Event]) -> None:
        """What a job added; the turn is over. ``events`` are those that were not recorded as they came.

        ``messages`` and ``blocks`` are those of the whole conversation, as the agent has them.

        Raises:
            ReadOnly: the database cannot be written.
        """
        new, ran = list(messages)[len(self.messages) :], list(blocks)[len(self.blocks) :]
        self.record(*events)
        if self._recorder is None:
            self._begin_turn(next((message.text for message in new if message.role == "user"), ""))
        self.leave()
        with writing(self.home) as db:
            parent = self._last_message(db)
            for message in new:
                parent = db.execute(
                    "INSERT INTO message(conversation, turn, parent, role, content, at) VALUES (?,?,?,?,?,?)",
                    (self.id, self.head, parent, message.role, message.text, now()),
                ).lastrowid
            db.execute(
                "UPDATE turn SET blocks = ?, ended_at = coalesce(ended_at, ?) WHERE id = ?",
                (msgspec.json.encode(ran).decode(), now(), self.head),
            )
            db.execute("UPDATE conversation SET updated_at = ? WHERE id = ?", (now(), self.id))
        self.messages += new
        self.blocks += ran

    def _last_message(self, db: sqlite3.Connection) -> int | None:
        """The message before those of the turn at the head: the last one of the turns above it."""
        above = line_to(tree(db, self.id, events=False), self.head)[:-1]
        return next((turn.messages[-1].id for turn in reversed(above) if turn.messages), None)

    # ── the tree ────────────────────────────────────────────────────────────────────────────────────────────────────

    def turns(self) -> Sequence[Turn]:
        """The turns of the branch that is gone on with, first to last."""
        return line_to(self.tree(), self.head)

    def tree(self) -> dict[int, Turn]:
        """All turns by id, those of other branches too."""
        with reading(self.home) as db:
            return tree(db, self.id)

    def branch(self, message: int, text: str = "") -> str:
        """Goes back to before the turn of that message, and gives the task to do there: ``text``, else the turn's own.

        The turn and what followed it stay as another branch.

        Raises:
            NotFound: no such message is in this conversation.
        """
        found = next((t for t in self.tree().values() if any(said.id == message for said in t.messages)), None)
        if found is None:
            raise NotFound(f"there is no message {message} in this conversation", "Give the id of one that is there.")
        self.switch(found.parent)
        return text or found.task

    def back(self) -> Turn | None:
        """Goes back by one turn, which stays as another branch. Returns it; None where there is none."""
        line = self.turns()
        if not line:
            return None
        self.switch(line[-1].parent)
        return line[-1]

    def switch(self, turn: int | None) -> None:
        """Makes a turn the one that is gone on from; None for the beginning.

        Raises:
            NotFound: it is not in this conversation.
        """
        turns = self.tree()
        if turn is not None and turn not in turns:
            raise NotFound(f"there is no turn {turn} in this conversation", "Give the id of one that is there.")
        self.leave()
        with writing(self.home) as db:
            db.execute("UPDATE conversation SET head = ?, updated_at = ? WHERE id = ?", (turn, now(), self.id))
        self.head = turn
        self._take_up(line_to(turns, turn))

    @property
    def figures(self) -> Path:
        """The folder of the figures that code showed without saving them."""
        return self.home.data / "figures" / self.id

    def rename(self, title: str) -> None:
        """Gives it another title. Raises BadRequest for an empty one."""
        if not titled(title):
            raise BadRequest("a title has at least one letter", "Give it one.")
        with writing(self.home) as db:
            db.execute("UPDATE conversation SET title = ? WHERE id = ?", (titled(title), self.id))
        self.title = titled(title)

    def work_in(self, job: str) -> None:
        """Notes the job whose workspace holds what is not applied; empty where none does. Raises ReadOnly."""
        with writing(self.home) as db:
            db.execute("UPDATE conversation SET job = ? WHERE id = ?", (job, self.id))
        self.job = job

    def delete(self) -> None:
        """Deletes it with all that was said in it. Files that it wrote, and undoing them, are not touched."""
        with writing(self.home) as db:
            forget(db, [row[0] for row in db.execute("SELECT id FROM event WHERE conversation = ?", (self.id,))])
            db.execute("UPDATE conversation SET head = NULL WHERE id = ?", (self.id,))
            db.execute("DELETE FROM event WHERE conversation = ?", (self.id,))
            db.execute("DELETE FROM message WHERE conversation = ?", (self.id,))
            db.execute("DELETE FROM turn WHERE conversation = ?", (self.id,))
            db.execute("DELETE FROM conversation WHERE id = ?", (self.id,))
        shutil.rmtree(self.figures, ignore_errors=True)


def titled(text: str) -> str:
    """A title: one line, not too long."""
    return " ".join(text.split())[:TITLE]
