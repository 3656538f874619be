"""Conversations are kept whole, per folder, and gone on with in order."""

from pathlib import Path

from allod.chat import Message
from allod.home import Home
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Answer, Ended, Prose, Started, decode


def test_what_was_said_comes_back_in_order(home: Home, tmp_path: Path) -> None:
    conversation = Conversation.begin(home, tmp_path, "m", "Total   the\ninvoices")
    first = [Message("user", "Total?"), Message("assistant", "It is 7 \N{EURO SIGN}.")]
    conversation.add(first, ["x = 7"], [])
    conversation.add([*first, Message("user", "Twice?")], ["x = 7", "x *= 2"], [])
    again = Conversation.last(home, tmp_path)
    assert again is not None
    assert [(m.role, m.text) for m in again.messages] == [
        ("user", "Total?"),
        ("assistant", "It is 7 \N{EURO SIGN}."),
        ("user", "Twice?"),
    ]
    assert again.blocks == ["x = 7", "x *= 2"]
    assert (again.id, again.model) == (conversation.id, "m")
    row = home.db().execute("SELECT title FROM conversation").fetchone()
    assert row["title"] == "Total the invoices"
    parents = [r["parent"] for r in home.db().execute("SELECT parent FROM message ORDER BY id")]
    assert parents == [None, 1, 2]


def test_events_are_kept_but_not_their_pieces(home: Home, tmp_path: Path) -> None:
    conversation = Conversation.begin(home, tmp_path, "m", "t")
    events = [Started("t", "m", "/f"), Prose("It "), Prose("is."), Answer("It is."), Ended("done")]
    conversation.add([], [], events)
    kept = [decode(row["body"]) for row in home.db().execute("SELECT body FROM event ORDER BY id")]
    assert kept == [events[0], events[3], events[4]]


def test_the_last_one_of_a_folder(home: Home, tmp_path: Path) -> None:
    assert Conversation.last(home, tmp_path) is None
    old = Conversation.begin(home, tmp_path, "m", "old")
    Conversation.begin(home, tmp_path, "m", "new")
    Conversation.begin(home, tmp_path / "other", "m", "elsewhere")
    old.add([Message("user", "again")], [], [])
    found = Conversation.last(home, tmp_path)
    assert found is not None
    assert found.id == old.id
