"""What jobs wrote into the user's folders, and taking it back.

history(home)            newest first: what was applied, undone, or left pending by a job that ended early
undo(home, folder)       takes back the latest that was applied there
"""

import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from allod.errors import Conflict
from allod.home import Home
from allod.interpreter import jobs, transaction, tree
from allod.interpreter.changes import Applied, Change
from allod.interpreter.overlay import printable
from allod.interpreter.transaction import Journal, Op


class Record(Struct, frozen=True):
    """One line of the history."""

    id: str
    folder: str
    at: str  # RFC 3339, UTC
    state: Literal["applied", "undone", "pending"]  # pending: a job that ended without applying or discarding
    paths: tuple[str, ...] = ()


def history(home: Home, folder: Path | None = None) -> list[Record]:
    """What was done, newest first. Finishes what a killed process was applying, so that it tells the truth."""
    jobs.recover(home)
    found: list[Record] = []
    for path in jobs.all_jobs(home):
        for record in jobs.records(path):
            journal = jobs.journal_of(record)
            if journal is None or journal.state != "done" or journal.undoes:
                continue
            paths = tuple(change.path for change in changes_of(record, journal))
            state = "undone" if journal.undone else "applied"
            found.append(Record(f"{path.name}/{record.name}", os.fsdecode(journal.folder), journal.at, state, paths))
        job = jobs.read(path)
        if job is not None and not jobs.in_use(path) and any((Path(os.fsdecode(job.layers)) / "upper").glob("*")):
            found.append(Record(path.name, os.fsdecode(job.folder), job.at, "pending"))
    if folder is not None:
        here = str(folder.expanduser().resolve())
        found = [record for record in found if record.folder == here]
    return sorted(found, key=lambda record: (record.at, record.id), reverse=True)


def undo(home: Home, folder: Path | None = None) -> Applied | None:
    """Takes back the latest that was applied (in ``folder``, or anywhere); None where there is nothing to take back.

    Raises:
        Conflict: a file is not as it was left; nothing is changed.
        ReadOnly, DiskFull, Disk: the folder cannot be written; nothing is changed.
    """
    last = next((record for record in history(home, folder) if record.state == "applied"), None)
    if last is None:
        return None
    root = jobs.jobs_folder(home)
    record = root / last.id.split("/")[0] / "applied" / last.id.split("/")[1]
    with transaction.exclusively(root):
        journal = Journal.read(record)
        target = Path(os.fsdecode(journal.folder))
        check(target, journal)
        done = changes_of(record, journal)
        back = [Op(op.path, op.after, op.before, op.name) for op in journal.ops]
        names = {op.path: op.name for op in journal.ops if op.before is not None}
        with tree.opened(record / "backup") as backup:
            new = jobs.new_record(record.parent.parent)
            transaction.run(target, new, back, lambda op: from_backup(backup, names[op.path]), undoes=record.name)
        journal.undone = True
        journal.write(record)
    return Applied(last.id, last.folder, tuple(reverse_of(change) for change in done))


def check(folder: Path, journal: Journal) -> None:
    """Raises Conflict unless every path is as applying left it."""
    final = {op.path: op.after for op in journal.ops if op.after is not None}
    moved: list[str] = []
    try:
        with tree.opened(folder) as root:
            for path in {op.path for op in journal.ops}:
                now, left = tree.node(root, path), final.get(path)
                if not (now is None if left is None else left.same(now) if now else False):
                    moved.append(printable(path))
    except OSError as error:
        raise Conflict(
            f"{folder} cannot be read: {error.strerror}", "Bring the folder back, then undo again."
        ) from error
    if moved:
        more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
        raise Conflict(
            f"changed in {folder} after the job: {', '.join(sorted(moved)[:5])}{more}",
            "Nothing was undone. The files as they were before the job are in the job's folder: allod undo --list.",
        )


def from_backup(backup: int, name: str):
    """A file's bytes as they were, for the transaction."""
    import contextlib

    return contextlib.nullcontext((backup, name.encode()))


def changes_of(record: Path, journal: Journal) -> tuple[Change, ...]:
    """What was shown when it was applied; from the journal alone where allod was killed before it wrote that down."""
    try:
        return msgspec.json.decode((record / "changes.json").read_bytes(), type=tuple[Change, ...])
    except (OSError, msgspec.DecodeError):
        return tuple(
            Change(
                printable(op.path),
                "created" if op.before is None else "deleted" if op.after is None else "changed",
                op.before.size if op.before else None,
                op.after.size if op.after else None,
            )
            for op in journal.ops
        )


def reverse_of(change: Change) -> Change:
    """The same change seen backwards; without its diff."""
    kinds: dict[str, Literal["created", "changed", "deleted"]] = {
        "created": "deleted",
        "deleted": "created",
        "changed": "changed",
    }
    return Change(change.path, kinds[change.kind], change.after, change.before)
