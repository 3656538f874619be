"""Conversations are kept whole as they happen, found by words, gone on with in order, and branched."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allod import home as home_module
from allod.chat import Message
from allod.errors import BadRequest, NotFound, ReadOnly
from allod.home import Home
from allod.interpreter.conversations import Conversation, recorder, search
from allod.interpreter.conversations.finding import index
from allod.interpreter.events import (
    Answer,
    Code,
    CodeOpened,
    CodeText,
    Ended,
    Error,
    Event,
    Output,
    Prose,
    Started,
    decode,
)


def begin(home: Home, folder: Path, title: str = "") -> Conversation:
    return Conversation.begin(home, folder, "m", title)


def say(conversation: Conversation, task: str, answer: str, *events: Event) -> None:
    """A whole turn."""
    conversation.record(Started(task, "m", conversation.folder), *events, Prose(answer), Answer(answer), Ended("done"))
    said = [Message("user", f"Job: {task}"), Message("assistant", answer)]
    conversation.add([*conversation.messages, *said], [*conversation.blocks, f"x = {task!r}"], [])


def kept(home: Home) -> list[Event]:
    return [decode(row["body"]) for row in home.db().execute("SELECT body FROM event ORDER BY id")]


# ── what was said ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_said_comes_back_in_order(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path, "Total   the\ninvoices")
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
    assert (again.id, again.model, again.title) == (conversation.id, "m", "Total the invoices")
    parents = [r["parent"] for r in home.db().execute("SELECT parent FROM message ORDER BY id")]
    assert parents == [None, 1, 2]
    assert [turn.parent for turn in again.turns()] == [None, again.turns()[0].id]


def test_the_last_one_of_a_folder(home: Home, tmp_path: Path) -> None:
    assert Conversation.last(home, tmp_path) is None
    old = begin(home, tmp_path, "old")
    begin(home, tmp_path, "new")
    begin(home, tmp_path / "other", "elsewhere")
    time.sleep(0.002)  # times are in milliseconds
    old.add([Message("user", "again")], [], [])
    found = Conversation.last(home, tmp_path)
    assert found is not None
    assert found.id == old.id
    assert [each.title for each in Conversation.list(home)] == ["old", "elsewhere", "new"]
    assert [each.title for each in Conversation.list(home, tmp_path)] == ["old", "new"]
    assert [each.title for each in Conversation.list(home, limit=1)] == ["old"]


def test_one_is_found_by_the_beginning_of_its_id(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    assert Conversation.get(home, conversation.id[:5]).id == conversation.id
    for wrong in (conversation.id[:3], "", "nothing", "%", "\x1b[31m", conversation.id + "0"):
        with pytest.raises(NotFound) as caught:
            Conversation.get(home, wrong)
        assert "\x1b" not in caught.value.message
    home.db().execute(
        "INSERT INTO conversation(id, title, folder, model, created_at, updated_at) VALUES (?,'','','','','')",
        (conversation.id[:5] + "x",),
    )
    with pytest.raises(BadRequest, match="2 conversations begin with"):
        Conversation.get(home, conversation.id[:5])


def test_its_first_task_is_its_title(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    say(conversation, "Sort the\n  films", "Sorted.")
    say(conversation, "Now the books", "Done.")
    assert Conversation.get(home, conversation.id).title == "Sort the films"
    (summary,) = Conversation.list(home)
    assert (summary.turns, summary.status) == (2, "done")
    conversation.rename(" My  films ")
    assert Conversation.get(home, conversation.id).title == "My films"
    with pytest.raises(BadRequest):
        conversation.rename("  ")


# ── while it happens ────────────────────────────────────────────────────────────────────────────────────────────────


def test_pieces_are_joined_and_what_is_said_again_is_kept_once(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    conversation.add(
        [],
        [],
        [
            Started("t", "m", "/f"),
            Prose("Look "),
            Prose("first."),
            CodeOpened("python"),
            CodeText("print("),
            CodeText("1)\n"),
            Code("print(1)\n"),
            Output("1"),
            Output("\n2\n"),
            Output("oh\n", "stderr"),
            Output("", "picture", b"\x89PNG"),
            Prose("It "),
            Prose("is 1."),
            Answer("It is 1."),
            Ended("done"),
        ],
    )
    assert kept(home) == [
        Started("t", "m", "/f"),
        Prose("Look first."),
        Code("print(1)\n"),
        Output("1\n2\n"),
        Output("oh\n", "stderr"),
        Output("", "picture", b"\x89PNG"),
        Answer("It is 1."),
        Ended("done"),
    ]


def test_the_same_however_often_it_is_written(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "PAUSE", 0.0)  # after every piece
    test_pieces_are_joined_and_what_is_said_again_is_kept_once(home, tmp_path)


def test_a_block_that_was_declined_stays(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    conversation.record(Started("t", "m", "/f"), CodeOpened("python"), CodeText("rm()\n"), Ended("declined"))
    assert kept(home)[1:] == [CodeOpened("python"), CodeText("rm()\n"), Ended("declined")]
    assert Conversation.list(home)[0].status == "declined"


KILLED = """
import os, signal, sys
from pathlib import Path
from allod.home import Home
from allod.interpreter.conversations import Conversation, recorder
from allod.interpreter.events import *
recorder.PAUSE = 0.0
c = Conversation.begin(Home.open(), Path(sys.argv[1]), "m")
c.record(Started("Count the films", "m", sys.argv[1]), Prose("I will "), Prose("count."), Code("n = 7"), Output("7"))
c.record(Prose("There are se"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_what_was_said_and_the_next_job_knows_of_it(home: Home, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    conversation = Conversation.last(home, tmp_path)
    assert conversation is not None
    assert (conversation.title, Conversation.list(home)[0].status) == ("Count the films", "")
    (turn,) = conversation.turns()
    assert turn.events == (
        Started("Count the films", "m", str(tmp_path)),
        Prose("I will count."),
        Code("n = 7"),
        Output("7"),
        Prose("There are se"),
    )
    user, assistant = conversation.messages
    assert (user.role, user.text) == ("user", "Job: Count the films")
    assert assistant.text == "I will count.\n\n```python\nn = 7\n```\n\nThere are se\n\n(This was interrupted.)"
    say(conversation, "And the books?", "Two.")
    again = Conversation.get(home, conversation.id)
    assert [m.role for m in again.messages] == ["user", "assistant"] * 2
    assert again.messages[-1].text == "Two."


def test_a_database_that_cannot_be_written_is_said(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    home.db().execute("DROP TABLE event")
    with pytest.raises(ReadOnly, match="cannot be kept"):
        conversation.record(Started("t", "m", "/f"), Ended("done"))


def test_an_event_of_another_version_is_passed_over(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    say(conversation, "t", "a")
    home.db().execute("UPDATE event SET body = '{\"type\":\"dance\"}' WHERE body LIKE '%ended%'")
    assert [type(event) for event in conversation.turns()[0].events] == [Started, Answer]
    assert [found.id for found in search(home, "t")] == [conversation.id]


def test_conversations_of_before_are_one_turn(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = next(n for n, script in enumerate(home_module.MIGRATIONS) if "CREATE TABLE turn" in script)
    with monkeypatch.context() as patch:
        patch.setattr(home_module, "MIGRATIONS", home_module.MIGRATIONS[:at])
        db = home.db()
        db.execute("INSERT INTO conversation VALUES ('abcd', 'Films', '/f', 'm', '2026', '2026', '[\"x = 1\"]')")
        db.execute("INSERT INTO message VALUES (1, 'abcd', NULL, 'user', 'Job: films', '2026')")
        db.execute('INSERT INTO event VALUES (1, \'abcd\', 1, \'2026\', \'{"type":"answer","text":"Seven"}\')')
        db.close()
    conversation = Conversation.get(home, "abcd")
    assert [m.text for m in conversation.messages] == ["Job: films"] and conversation.blocks == ["x = 1"]
    assert conversation.turns()[0].events == (Answer("Seven"),)


# ── branches ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_saying_something_else_makes_a_branch(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    for task in ("one", "two", "three"):
        say(conversation, task, f"{task}!")
    second = conversation.turns()[1]
    assert conversation.branch(second.messages[0].id, "zwei") == "zwei"
    assert conversation.branch(second.messages[1].id) == "two"
    assert [m.text for m in conversation.messages] == ["Job: one", "one!"]
    assert conversation.blocks == ["x = 'one'"]
    say(conversation, "zwei", "zwei!")
    again = Conversation.get(home, conversation.id)
    assert [turn.task for turn in again.turns()] == ["one", "zwei"]
    assert again.blocks == ["x = 'one'", "x = 'zwei'"]
    assert [turn.task for turn in again.tree().values()] == ["one", "two", "three", "zwei"]
    parents = {row["id"]: row["parent"] for row in home.db().execute("SELECT id, parent FROM message")}
    new = again.turns()[1].messages[0].id
    assert parents[new] == again.turns()[0].messages[-1].id
    third = next(turn for turn in again.tree().values() if turn.task == "three")
    again.switch(third.id)
    assert [turn.task for turn in again.turns()] == ["one", "two", "three"]
    with pytest.raises(NotFound):
        again.branch(999, "x")
    with pytest.raises(NotFound):
        again.switch(999)


def test_going_back_to_the_beginning(home: Home, tmp_path: Path) -> None:
    conversation = begin(home, tmp_path)
    assert conversation.back() is None
    say(conversation, "one", "one!")
    turn = conversation.back()
    assert turn is not None and turn.task == "one"
    assert conversation.messages == [] and conversation.back() is None
    say(conversation, "uno", "uno!")
    assert [turn.parent for turn in conversation.tree().values()] == [None, None]


def test_deleting_leaves_nothing(home: Home, tmp_path: Path) -> None:
    one, other = begin(home, tmp_path), begin(home, tmp_path)
    for conversation in (one, other):
        say(conversation, "pears and plums", "both", Output("printed\n"))
    one.branch(one.turns()[0].messages[0].id)
    say(one, "apples", "red")
    one.figures.mkdir(parents=True)
    (one.figures / "figure-1.png").write_bytes(b"x")
    assert {found.id for found in search(home, "plums")} == {one.id, other.id}
    one.delete()
    assert not one.figures.exists()
    db = home.db()
    for table in ("turn", "message", "event", "words"):
        assert {row[0] for row in db.execute(f"SELECT DISTINCT conversation FROM {table}")} == {other.id}
    assert [found.id for found in search(home, "plums")] == [other.id]
    with pytest.raises(NotFound):
        Conversation.get(home, one.id)


# ── search ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["fts5", "none"])
def some(request: pytest.FixtureRequest, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three conversations; with SQLite's index and without."""
    if request.param == "none":
        monkeypatch.setattr("allod.interpreter.conversations.finding.index", lambda db: False)
    else:
        try:
            sqlite3.connect(":memory:").execute("CREATE VIRTUAL TABLE t USING fts5(x)")
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no FTS5")
    films, books = begin(home, tmp_path / "a"), begin(home, tmp_path / "b")
    say(films, "Sort the films", "Sorted by length.", Code("frame.sort_values('minutes')"), Output("Nausicaä 117\n"))
    say(books, "Sort the books", '100% sorted, "all" of them.', Error("KeyError", "'isbn'", "KeyError: 'isbn'"))
    return home


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("films", ["Sort the films"]),
        ("FILMS", ["Sort the films"]),
        ("sort", ["Sort the books", "Sort the films"]),
        ("sort length", ["Sort the films"]),  # in a task and in an answer
        ("sort_values", ["Sort the films"]),
        ("nausicaä", ["Sort the films"]),
        ("isbn", ["Sort the books"]),
        ("len", ["Sort the films"]),  # the beginning of a word
        ("ength", []),
        ('"by length"', ["Sort the films"]),
        ('"length by"', []),
        ("length isbn", []),
        ("100%", ["Sort the books"]),
        ("%", []),
        ("_", []),
        ("", []),
        ('"', []),
        ("' OR 1=1 --", []),
        ('" NEAR/3 (', []),
        ("* : ^ - +", []),
        ("\0", []),
    ],
)
def test_words_find_conversations(some: Home, words: str, found: list[str]) -> None:
    assert [each.title for each in search(some, words)] == found


def test_what_was_found_is_quoted(some: Home, tmp_path: Path) -> None:
    (found,) = search(some, "isbn")
    assert found.excerpt == "KeyError: 'isbn'"
    assert search(some, "sort", folder=tmp_path / "a")[0].title == "Sort the films"
    assert len(search(some, "sort", limit=1)) == 1


def test_what_is_changed_after_it_was_indexed_is_found_anew(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "PAUSE", 0.0)
    conversation = begin(home, tmp_path)
    conversation.record(Started("t", "m", "/f"), Prose("pea"))
    assert index(home.db())
    conversation.record(Prose("nuts "))
    assert [each.id for each in search(home, "peanuts")] == [conversation.id]
    conversation.record(Prose("and pears"), Answer("peanuts and pears"), Ended("done"))
    assert [each.id for each in search(home, "pears")] == [conversation.id]
    rows = home.db().execute("SELECT count(*) FROM words WHERE text LIKE '%peanuts%'").fetchone()[0]
    assert rows == 1
