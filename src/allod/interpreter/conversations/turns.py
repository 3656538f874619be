"""The turns of a conversation, as a tree: reading them, and the way from the first one to the head."""

import sqlite3
from typing import cast

import msgspec
from msgspec import Struct

from allod.chat import Message, Role
from allod.interpreter.events import Answer, Code, CodeText, Error, Event, Output, Prose, decode


class Said(Struct, frozen=True):
    """One message, as the model was told it or said it."""

    id: int
    role: Role
    text: str


class Turn(Struct, frozen=True):
    """One job. ``status`` is how it ended, as in ``Ended``; empty where it has not, or was cut off by a kill."""

    id: int
    parent: int | None  # the turn it went on from
    task: str
    status: str
    begun_at: str
    ended_at: str | None
    blocks: tuple[str, ...] = ()  # code that ran without an error
    messages: tuple[Said, ...] = ()
    events: tuple[Event, ...] = ()

    def remembered(self) -> list[Message]:
        """Its messages; of one that was cut off, what is known of it, so that the next one can refer to it."""
        if self.messages:
            return [Message(said.role, said.text) for said in self.messages]
        told: list[str] = []
        for event in self.events:
            match event:
                case Prose(text) | Answer(text):
                    told.append(text.strip())
                case Code(code, _, author) if author != "allod":
                    told.append(f"```python\n{code.strip()}\n```")
                case _:
                    pass
        told.append("(This was interrupted.)")
        return [Message("user", f"Job: {self.task}"), Message("assistant", "\n\n".join(told))]


def tree(db: sqlite3.Connection, conversation: str, *, events: bool = True) -> dict[int, Turn]:
    """All turns of a conversation by id, in the order of their beginning. Without ``events`` only cut-off ones have."""
    said: dict[int, list[Said]] = {}
    happened: dict[int, list[Event]] = {}
    rows = db.execute("SELECT id, turn, role, content FROM message WHERE conversation = ? ORDER BY id", (conversation,))
    for id_, turn, role, content in rows:
        said.setdefault(turn, []).append(Said(id_, cast(Role, role), content))
    some = "" if events else " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.turn = event.turn)"
    rows = db.execute(f"SELECT turn, body FROM event WHERE conversation = ?{some} ORDER BY id", (conversation,))
    for turn, body in rows:
        if (event := read(body)) is not None:
            happened.setdefault(turn, []).append(event)
    turns: dict[int, Turn] = {}
    for row in db.execute("SELECT * FROM turn WHERE conversation = ? ORDER BY id", (conversation,)):
        turns[row["id"]] = Turn(
            row["id"],
            row["parent"],
            row["task"],
            row["status"],
            row["begun_at"],
            row["ended_at"],
            tuple(msgspec.json.decode(row["blocks"], type=list[str])),
            tuple(said.get(row["id"], ())),
            tuple(happened.get(row["id"], ())),
        )
    return turns


def read(body: str) -> Event | None:
    """A kept event; None for one that another version of allod wrote and this one does not know."""
    try:
        return decode(body)
    except msgspec.MsgspecError:
        return None


def line_to(turns: dict[int, Turn], head: int | None) -> list[Turn]:
    """The turns from the first one to ``head``."""
    line: list[Turn] = []
    while head is not None and head in turns:
        line.append(turns[head])
        head = turns[head].parent
    return line[::-1]


def words_of(event: Event | None) -> str:
    """What of an event a person may search for."""
    match event:
        case Prose(text) | Answer(text) | CodeText(text):
            return text
        case Code(code):
            return code
        case Output(text):
            return text
        case Error(_, _, output):
            return output
        case _:
            return ""
