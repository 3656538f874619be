"""The folders of jobs under a home: one for each workspace, with its layers, output and what it applied.

    <data>/jobs/<id>/job.json        which folder it is about, since when
                     lock            held for as long as a process works in it
                     layers/         upper, work, home, tmp: what the code wrote
                     seen, seen-<n>  how the files of each folder were when the job began
                     given           digests of files that came with the job and are no changes of it
                     output/         what each run printed, whole
                     applied/<n>/    journal and backups of each time that changes were applied, or undone
    <data>/jobs/apply.lock           held while a folder of the user's is written

The layers lie elsewhere where the folder holds the data folder itself, or the data's disk cannot hold an overlay.
"""

import contextlib
import fcntl
import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from allod.errors import AllodError, Conflict
from allod.home import Home
from allod.interpreter.workspace import transaction, tree
from allod.interpreter.workspace.folders import hidden
from allod.interpreter.workspace.journal import Journal
from allod.interpreter.workspace.part import Part

KEEP_UNDO = timedelta(days=30)  # backups of what was applied
KEEP_PENDING = timedelta(days=7)  # changes of a job that ended without applying or discarding them


class Job(Struct, frozen=True):
    """job.json."""

    id: str
    folder: bytes
    layers: bytes
    at: str
    began: int  # time.time_ns() when the layers were made
    pid: int
    more: tuple[bytes, ...] = ()  # further folders
    copied: bool = False  # whether the layers are copies of the folders, as no overlay could be had


def jobs_folder(home: Home) -> Path:
    """Where the jobs of a home are."""
    return home.folder("jobs")


def new_id() -> str:
    """A job's name: the time, to sort by, and a random part."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S%f}-{secrets.token_hex(2)}"


def is_id(text: str) -> bool:
    """Whether a text is a job's name, and so no path to somewhere else."""
    return re.fullmatch(r"[0-9]{8}-[0-9]{12}-[0-9a-f]{4}", text, re.ASCII) is not None


def write(path: Path, job: Job) -> None:
    """Writes job.json."""
    (path / "job.json").write_bytes(msgspec.json.encode(job))


def read(path: Path) -> Job | None:
    """Reads job.json; None where there is none, or half of one."""
    try:
        return msgspec.json.decode((path / "job.json").read_bytes(), type=Job)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def all_jobs(home: Home) -> list[Path]:
    """Every job's folder, newest first."""
    return sorted((path for path in jobs_folder(home).iterdir() if path.is_dir()), reverse=True)


def records(job: Path) -> list[Path]:
    """What a job applied and undid, oldest first."""
    folder = job / "applied"
    return sorted(folder.iterdir(), key=lambda path: int(path.name)) if folder.is_dir() else []


def parts_of(home: Home, path: Path, job: Job) -> list[Part]:
    """The folders of a job with their layers, its own first."""
    layers = Path(os.fsdecode(job.layers))
    folders = [Path(os.fsdecode(folder)) for folder in (job.folder, *job.more)]
    return [
        Part(n, folder, layers, hidden(home, folder), path / (f"seen-{n}" if n else "seen"), job.copied)
        for n, folder in enumerate(folders)
    ]


def new_record(job: Path) -> Path:
    """The folder of the next one; not made yet."""
    done = records(job)
    return job / "applied" / str(int(done[-1].name) + 1 if done else 1)


def lock(job: Path) -> BinaryIO:
    """Marks a job as worked in by this process, until the file is closed."""
    file = (job / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Conflict(f"the job {job.name} is in use by another process", "Wait until it ends.") from error
    return file


def in_use(job: Path) -> bool:
    """Whether a process works in it."""
    try:
        lock(job).close()
    except Conflict:
        return True
    except OSError:
        return False
    return False


def clear(path: Path) -> None:
    """Removes a job's layers; and the job itself, if it applied nothing that can be undone."""
    with contextlib.suppress(OSError):  # what cannot be removed now goes when the job's time is over
        if (job := read(path)) is not None:
            tree.remove_tree(Path(os.fsdecode(job.layers)))
        if not any(journal_of(record) is not None for record in records(path)):
            tree.remove_tree(path)


def journal_of(record: Path) -> Journal | None:
    """A record's journal; None where it never got as far as one."""
    try:
        return Journal.read(record)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def recover(home: Home) -> list[Path]:
    """Finishes or takes back what a killed process was applying, and drops jobs past their time. Returns the records
    it had to finish."""
    finished: list[Path] = []
    jobs = jobs_folder(home)
    with transaction.exclusively(jobs):
        for path in all_jobs(home):
            for record in records(path):
                journal = journal_of(record)
                if journal is not None and journal.state in ("staging", "committed", "rolling back"):
                    with contextlib.suppress(AllodError):  # its folder is gone, or cannot be written now: next time
                        transaction.recover(record)
                        finished.append(record)
            job = read(path)
            age = datetime.now(UTC) - datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if in_use(path) or (job is None and age < timedelta(minutes=5)):
                continue
            if age > (KEEP_UNDO if records(path) else KEEP_PENDING):
                with contextlib.suppress(OSError):
                    if job is not None:
                        tree.remove_tree(Path(os.fsdecode(job.layers)))
                    tree.remove_tree(path)
    return finished
