"""Finding words in what was said, written and printed, in all conversations.

SQLite's full-text index (FTS5) where this Python has it, brought up to date before each search; else every event is
looked through. Both find conversations in which all the words occur, words in quotes as they stand, and a word's
beginning as the whole of it.
"""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from allod.home import Home
from allod.interpreter.conversations.database import reading, writing
from allod.interpreter.conversations.turns import read, words_of

LONGEST = 20_000  # characters of one event that are searched
AROUND = 40  # characters on each side of what was found
TOKENS = re.compile(r'"([^"]+)"|(\S+)')
WORD = re.compile(r"\w+")


class Found(Struct, frozen=True):
    """A conversation in which the words occur, with the place of one of them."""

    id: str
    title: str
    folder: str
    updated_at: str
    excerpt: str


def search(home: Home, words: str, *, folder: Path | None = None, limit: int = 20) -> list[Found]:
    """The conversations in which all the words occur, those gone on with latest first. No words find nothing."""
    wanted = terms(words)
    if not wanted:
        return []
    with writing(home) as db:
        fast = index(db)
    with reading(home) as db:
        found: list[Found] = []
        rows = db.execute(
            "SELECT id, title, folder, updated_at FROM conversation WHERE ? IN ('', folder)"
            " ORDER BY updated_at DESC, rowid DESC",
            (str(folder) if folder is not None else "",),
        ).fetchall()
        ids = matching(db, wanted) if fast else None
        for row in rows:
            if ids is not None and row["id"] not in ids:
                continue
            if excerpt := excerpt_of(texts_of(db, row["id"], row["title"]), wanted):
                found.append(Found(row["id"], row["title"], row["folder"], row["updated_at"], excerpt))
                if len(found) == limit:
                    break
    return found


def terms(words: str) -> list[str]:
    """What is searched for: words, and phrases that stood in quotes. Characters that no word has part words."""
    found = ["".join(match.groups("")) for match in TOKENS.finditer(words)]
    return [term for text in found if (term := " ".join(WORD.findall(text.casefold())))]


# ── the index ───────────────────────────────────────────────────────────────────────────────────────────────────────


def index(db: sqlite3.Connection) -> bool:
    """Makes the index and brings it up to date; False where this SQLite has none."""
    try:
        db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(text, conversation UNINDEXED)")
        new = db.execute(
            "SELECT id, conversation, body FROM event WHERE id NOT IN (SELECT rowid FROM words)"
        ).fetchall()
    except sqlite3.OperationalError:
        return False
    db.executemany(
        "INSERT INTO words(rowid, text, conversation) VALUES (?,?,?)",
        [(row["id"], words_of(read(row["body"]))[:LONGEST], row["conversation"]) for row in new],
    )
    return True


def forget(db: sqlite3.Connection, events: Iterable[int]) -> None:
    """Takes events out of the index that are about to be changed or deleted."""
    rows = [(event,) for event in events]
    if rows and db.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone():
        try:
            db.executemany("DELETE FROM words WHERE rowid = ?", rows)
        except sqlite3.OperationalError:  # made by a Python that has FTS5, used by one that has not
            pass


def matching(db: sqlite3.Connection, wanted: list[str]) -> set[str]:
    """The conversations that have each of the terms somewhere, in title, task or events."""
    left: set[str] | None = None
    for term in wanted:
        query = f'"{term}"*'
        rows = db.execute("SELECT DISTINCT conversation FROM words WHERE words MATCH ?", (query,))
        having = {row[0] for row in rows}
        for id_, text in db.execute("SELECT conversation, task FROM turn UNION ALL SELECT id, title FROM conversation"):
            if occurs(term, text) is not None:
                having.add(id_)
        left = having if left is None else left & having
    return left or set()


# ── without it, and for what is shown ───────────────────────────────────────────────────────────────────────────────


def texts_of(db: sqlite3.Connection, conversation: str, title: str) -> list[str]:
    """Everything that is searched in a conversation."""
    tasks = db.execute("SELECT task FROM turn WHERE conversation = ? ORDER BY id", (conversation,))
    bodies = db.execute("SELECT body FROM event WHERE conversation = ? ORDER BY id", (conversation,))
    return [title, *(row[0] for row in tasks), *(words_of(read(row[0]))[:LONGEST] for row in bodies)]


def occurs(term: str, text: str) -> re.Match[str] | None:
    """Where the words of a term stand next to one another in a text, the last of them perhaps as a beginning."""
    return re.search(r"(?<!\w)" + r"\W+".join(map(re.escape, term.split())), text, re.I)


def excerpt_of(texts: list[str], wanted: list[str]) -> str:
    """What stands around the first of the terms; empty where one of them is nowhere."""
    if not all(any(occurs(term, text) for text in texts) for term in wanted):
        return ""
    for text in texts:
        if match := occurs(wanted[0], text):
            start, end = max(match.start() - AROUND, 0), match.end() + AROUND
            cut = " ".join(text[start:end].split())
            return f"{'…' if start else ''}{cut}{'…' if end < len(text) else ''}"
    return ""
