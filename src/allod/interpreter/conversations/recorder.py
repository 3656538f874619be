"""Writes the events of a turn into the database as they come, so that a kill loses a second of them at most.

Pieces of the same thing are joined into one event. What a later event says whole is not kept twice: the pieces of a
block go when its Code comes, prose goes when it is the Answer. A block that was never run stays in its pieces.
"""

import time

import msgspec

from allod.home import Home
from allod.interpreter.conversations.database import now, writing
from allod.interpreter.conversations.finding import forget
from allod.interpreter.events import PIECES, Answer, Code, CodeOpened, CodeText, Event, Output, Prose, encode

PAUSE = 1.0  # seconds between writes of something that goes on


class Recorder:
    """For one turn. ``close`` writes what is left."""

    def __init__(self, home: Home, conversation: str, turn: int) -> None:
        self.home = home
        self.conversation = conversation
        self.turn = turn
        self._open: list[Event] = []  # what may still grow: one event, or an opened block and its text
        self._rows: list[int] = []  # where those of it that were written are
        self._due: list[Event] = []  # complete, and not written
        self._gone: list[int] = []  # rows that were said again
        self._grown = False  # the open ones are not as they were written
        self._written = time.monotonic()

    def take(self, event: Event) -> None:
        """Keeps one event. Raises ReadOnly."""
        if joined := join(self._open, event):
            self._open = joined
            self._grown = True
        else:
            if whole(self._open, event):
                self._gone += self._rows
                self._open, self._rows = [], []
            self._settle()
            if grows(event):
                self._open, self._grown = [event], True
            else:
                self._due.append(event)
        if self._due or time.monotonic() - self._written > PAUSE:
            self._write()

    def close(self) -> None:
        """Writes what is left."""
        self._settle()
        self._write()

    def _settle(self) -> None:
        """What was open is complete."""
        if self._rows and self._grown:
            self._write()
        self._due += self._open[len(self._rows) :]
        self._open, self._rows, self._grown = [], [], False

    def _write(self) -> None:
        if not (self._due or self._gone or self._grown):
            return
        with writing(self.home) as db:
            forget(db, [*self._gone, *self._rows])
            db.executemany("DELETE FROM event WHERE id = ?", [(row,) for row in self._gone])
            for row, event in zip(self._rows, self._open, strict=False):
                db.execute("UPDATE event SET body = ? WHERE id = ?", (encode(event), row))
            rows: list[int] = []
            for event in [*self._due, *self._open[len(self._rows) :]]:
                added = db.execute(
                    "INSERT INTO event(conversation, turn, at, body) VALUES (?,?,?,?)",
                    (self.conversation, self.turn, now(), encode(event)),
                )
                rows.append(added.lastrowid or 0)
        self._rows += rows[len(self._due) :]
        self._due, self._gone, self._grown = [], [], False
        self._written = time.monotonic()


def grows(event: Event) -> bool:
    """Whether more of the same may follow."""
    return isinstance(event, PIECES) or (isinstance(event, Output) and not event.png)


def join(before: list[Event], event: Event) -> list[Event]:
    """``before`` with the event added to it, where it goes on with it; else nothing."""
    if not before:
        return []
    last = before[-1]
    if isinstance(last, CodeOpened):
        return [last, event] if isinstance(event, CodeText) else []
    same = type(last) is type(event) and getattr(last, "kind", "") == getattr(event, "kind", "")
    if not same or not grows(event) or isinstance(event, CodeOpened):
        return []
    return [*before[:-1], msgspec.structs.replace(last, text=getattr(last, "text", "") + getattr(event, "text", ""))]


def whole(before: list[Event], event: Event) -> bool:
    """Whether the event says again all that ``before`` said."""
    if isinstance(event, Code):
        return bool(before) and isinstance(before[0], CodeOpened | CodeText)
    return isinstance(event, Answer) and any(isinstance(e, Prose) and e.text.strip() == event.text for e in before)
