"""Files written so that a crash leaves the old state or the new one, and disk troubles told in one line.

Knows nothing of models. Everything is written to a temporary file in the same folder, flushed to the disk and renamed.
"""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

from allod.errors import AllodError, Disk, DiskFull, NotFound, ReadOnly

CHUNK = 4 << 20  # bytes a read
FICLONE = 0x40049409  # linux/fs.h: share a file's extents, copy on write
DRAFT = ".allod-"  # how the names of files that are not finished begin
POLL = 0.05  # seconds between two looks at a lock that another process holds


def disk_error(error: OSError, doing: str, path: Path) -> AllodError:
    """The error to raise for ``error``; ``doing`` as in "write"."""
    shown = f"cannot {doing} {path}: {error.strerror or error}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFull(shown, "Free some space (`allod rm` drops a model) and try again.")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ReadOnly(shown, "Check the permissions, or set ALLOD_MODELS to a folder you can write.")
        case errno.ENOENT:
            return NotFound(shown, "Check the path.")
        case _:
            return Disk(shown, "Check the disk and the path.")


@contextlib.contextmanager
def disk_errors(doing: str, path: Path) -> Generator[None]:
    """Turns the OSErrors of its body into allod's."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, doing, path) from error


def is_file(path: Path) -> bool:
    """Whether a regular file is there; no for whatever cannot be looked at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def make_folder(path: Path) -> None:
    """Makes a folder and its parents. Raises ReadOnly, DiskFull or Disk."""
    with disk_errors("make the folder", path):
        path.mkdir(parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Makes renames in a folder last through a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def temporary(folder: Path) -> Generator[Path]:
    """A new name in ``folder`` for a file that will be renamed; what is left under it at the end is removed."""
    descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces ``path``, making its folder. Raises DiskFull, ReadOnly or Disk; the old file is kept then."""
    make_folder(path.parent)
    with disk_errors("write", path), temporary(path.parent) as draft:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        settle(draft, path)


def settle(draft: Path, path: Path) -> None:
    """Gives a finished, synced file its name and Ollama's mode. Raises OSError."""
    draft.chmod(0o644)
    draft.replace(path)
    sync_folder(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copies the bytes of ``source`` into the existing file ``target`` and syncs it. Raises OSError."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())


def clone(source: Path, target: Path) -> bool:
    """Makes the existing, empty file ``target`` share ``source``'s extents, where the filesystem can (btrfs, XFS…)."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
        except OSError:
            return False
        os.fsync(writer.fileno())
        return True


def link(source: Path, target: Path) -> bool:
    """Replaces ``target`` by a second name of ``source``'s file, where they share a filesystem that allows it."""
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Generator[None]:
    """Holds the lock file ``path`` against every other process and thread; it is removed at the end.

    ``waiting`` is called while another one has it, about 20 times a second; it may raise to give up.

    Raises:
        ReadOnly, DiskFull, Disk: the lock file cannot be made.
    """
    make_folder(path.parent)
    with disk_errors("lock", path):
        descriptor = acquire(path, waiting)
    try:
        yield
    finally:
        # Unlinked while still held: whoever waits on this inode sees that the name is gone and opens a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def acquire(path: Path, waiting: Callable[[], None] | None) -> int:
    """Opens and locks ``path``; returns a descriptor of the file that has this name. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            wait_for(descriptor, waiting)
            held = os.fstat(descriptor)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(held, path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def wait_for(descriptor: int, waiting: Callable[[], None] | None) -> None:
    """Locks an open file, telling ``waiting`` while that has to wait."""
    if waiting is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            waiting()
            time.sleep(POLL)
