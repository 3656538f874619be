"""What jobs wrote into the user's folders, and taking it back.

history(home)            newest first: what was applied, undone, or left pending by a job that ended early
undo(home, folder)       takes back the latest that was applied there
"""

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from allod.errors import Conflict
from allod.home import Home
from allod.interpreter.workspace import jobs, transaction, tree
from allod.interpreter.workspace.changes import Applied, Change
from allod.interpreter.workspace.journal import Journal, Op
from allod.interpreter.workspace.overlay import printable
from allod.interpreter.workspace.tree import Node

Place = tuple[int, bytes]  # one of a journal's folders and a path in it


class Record(Struct, frozen=True):
    """One line of the history."""

    id: str
    folder: str  # the job's own
    at: str  # RFC 3339, UTC
    state: Literal["applied", "undone", "pending"]  # pending: a job that ended without applying or discarding
    paths: tuple[str, ...] = ()  # below the folder, or whole where they lie in a further one
    more: tuple[str, ...] = ()  # further folders that it wrote into


def history(home: Home, folder: Path | None = None) -> list[Record]:
    """What was done, newest first. Finishes what a killed process was applying, so that it tells the truth."""
    jobs.recover(home)
    found: list[Record] = []
    for path in jobs.all_jobs(home):
        journals = [(record, jobs.journal_of(record)) for record in jobs.records(path)]
        done = [(record, journal) for record, journal in journals if journal is not None and journal.state == "done"]
        undone = {journal.undoes for _, journal in done}
        for record, journal in done:
            if journal.undoes:
                continue
            paths = tuple(change.place for change in changes_of(record, journal))
            state = "undone" if record.name in undone else "applied"
            own, *more = (os.fsdecode(folder) for folder in journal.folders)
            found.append(Record(f"{path.name}/{record.name}", own, journal.at, state, paths, tuple(more)))
        job = jobs.read(path)
        if job is not None and not jobs.in_use(path) and any(part.touched() for part in jobs.parts_of(home, path, job)):
            found.append(Record(path.name, os.fsdecode(job.folder), job.at, "pending"))
    if folder is not None:
        here = str(folder.expanduser().resolve())
        found = [record for record in found if here in (record.folder, *record.more)]
    return sorted(found, key=lambda record: (record.at, record.id), reverse=True)


def undo(home: Home, folder: Path | None = None, *, overwrite: bool = False) -> Applied | None:
    """Takes back the latest that was applied (in ``folder``, or anywhere); None where there is nothing to take back.

    ``overwrite``: also files that were changed since; what they held stays among the backups of the job.

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
        targets = [Path(os.fsdecode(folder)) for folder in journal.folders]
        now = present(targets, journal)
        if not overwrite:
            check(journal, now)
        done = changes_of(record, journal)
        back = [Op(op.path, now[op.place] if overwrite else op.after, op.before, root=op.root) for op in journal.ops]
        names = {op.place: op.name for op in journal.ops if op.before is not None}
        with tree.opened(record / "backup") as backup:
            new = jobs.new_record(record.parent.parent)
            transaction.run(targets, new, back, lambda op: from_backup(backup, names[op.place]), undoes=record.name)
    return Applied(last.id, last.folder, tuple(reverse_of(change) for change in done))


def present(folders: list[Path], journal: Journal) -> dict[Place, Node | None]:
    """What is at each path of a journal now; raises Conflict where a folder itself is gone."""
    found: dict[Place, Node | None] = {}
    for n, folder in enumerate(folders):
        try:
            with tree.opened(folder) as root:
                found |= {op.place: tree.node(root, op.path) for op in journal.ops if op.root == n}
        except OSError as error:
            raise Conflict(
                f"{folder} cannot be read: {error.strerror}", "Bring the folder back, then undo again."
            ) from error
    return found


def check(journal: Journal, now: dict[Place, Node | None]) -> None:
    """Raises Conflict unless every path is as applying left it."""
    final = {op.place: op.after for op in journal.ops if op.after is not None}
    moved = [shown(journal, place) for place, there in now.items() if not tree.alike(final.get(place), there)]
    if moved:
        more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
        raise Conflict(
            f"changed in {os.fsdecode(journal.folder)} since the job: {', '.join(sorted(moved)[:5])}{more}",
            "Nothing was undone. Keep copies of these files, then undo again, overwriting them.",
        )


def shown(journal: Journal, place: Place) -> str:
    """A path of a journal for people: from the job's folder, or whole where it lies in a further one."""
    root, path = place
    return printable(journal.folders[root] + b"/" + path if root else path)


def from_backup(backup: int, name: str) -> contextlib.AbstractContextManager[tuple[int, bytes]]:
    """A file's bytes as they were, for the transaction."""
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
                folder=printable(journal.folders[op.root]) if op.root else "",
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
    return Change(change.path, kinds[change.kind], change.after, change.before, folder=change.folder)
