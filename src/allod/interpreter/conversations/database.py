"""The database as the conversations use it: all of a change or nothing, and one kind of error."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from allod.errors import ReadOnly
from allod.home import Home


@contextmanager
def reading(home: Home) -> Generator[sqlite3.Connection]:
    """The database, to be read. Raises ReadOnly."""
    try:
        with closing(home.db()) as db:
            yield db
    except sqlite3.Error as error:
        raise ReadOnly(
            f"the conversations cannot be read: {error}", f"Check {home.data / 'allod.db'} and the free space."
        ) from error


@contextmanager
def writing(home: Home) -> Generator[sqlite3.Connection]:
    """The database within a transaction. Raises ReadOnly."""
    try:
        with closing(home.db()) as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise ReadOnly(
            f"the conversation cannot be kept: {error}", f"Check {home.data / 'allod.db'} and the free space."
        ) from error


def now() -> str:
    """The time as the database has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
