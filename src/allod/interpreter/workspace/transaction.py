"""Writes many paths of one or more folders as one step: all or none, whatever the moment at which allod is killed.

    stage     every new file is written whole into a hidden folder of its target's, every old one is kept as a backup
    commit    the journal says "committed": from here the step is finished, if not now, then by ``recover``
    perform   removals, then renames; each can be repeated
    done      the journal says "done" and stays, with the backups, for undo

Before the commit nothing of the folders has changed, and ``recover`` throws the stage away. A step that fails while
performing is rolled back from the backups. Undo is a step of the same kind whose new files are the backups of another.

It writes below open folders with ``tree``, so it follows no link, and knows nothing of overlays or sandboxes.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from allod.errors import Conflict, Disk, DiskFull, ReadOnly
from allod.interpreter.workspace import tree
from allod.interpreter.workspace.journal import Journal, Op, State
from allod.interpreter.workspace.overlay import printable
from allod.interpreter.workspace.tree import Node

SYNC_EACH = 200  # up to so many files are synced one by one, more at once

# What a new file's bytes are read from: an open folder and a name in it.
Source = Callable[[Op], "contextlib.AbstractContextManager[tuple[int, bytes]]"]


def checkpoint(name: str) -> None:
    """Called between any two steps that change the disk. Tests replace it, to be killed there."""


@contextlib.contextmanager
def exclusively(jobs: Path) -> Generator[None]:
    """One writer at a time over all jobs of a home, across processes."""
    jobs.mkdir(parents=True, exist_ok=True)
    with (jobs / "apply.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(folders: Sequence[Path], record: Path, ops: Iterable[Op], source: Source, undoes: str = "") -> Journal:
    """Does it. ``record`` is a new folder for journal and backups; the caller holds ``exclusively``.

    Raises:
        Conflict: something else is at a path than what the op says was there.
        DiskFull, ReadOnly, Disk: it cannot be written; nothing has changed.
    """
    record.mkdir(parents=True)
    (record / "backup").mkdir()
    named = [msgspec.structs.replace(op, name=str(n)) for n, op in enumerate(ops)]
    first, *more = (os.fsencode(folder) for folder in folders)
    journal = Journal(
        folder=first,
        stage=f".allod-{record.parent.parent.name}-{record.name}".encode(),
        at=datetime.now(UTC).isoformat(timespec="microseconds"),
        ops=named,
        undoes=undoes,
        more=more,
    )
    with mended(folders), all_opened(journal.folders) as roots:
        journal.write(record)
        try:
            check_space(folders, named)
            stage(roots, record, journal, source)
            journal.state = "committed"
            journal.write(record)
            checkpoint("committed")
            perform(roots, journal)
        except BaseException:
            roll_back(roots, record, journal)
            raise
        finish(roots, record, journal)
    return journal


@contextlib.contextmanager
def all_opened(folders: Iterable[bytes], at: Sequence[int] = ()) -> Generator[list[int]]:
    """Several open folders; with ``at``, each by its name in one of those."""
    with contextlib.ExitStack() as stack:
        if at:
            yield [stack.enter_context(tree.opened(name, fd)) for name, fd in zip(folders, at, strict=True)]
        else:
            yield [stack.enter_context(tree.opened(folder)) for folder in folders]


def check_space(folders: Sequence[Path], ops: list[Op]) -> None:
    """Raises DiskFull before anything is written, where it would not fit."""
    needed: dict[int, int] = {}
    devices = [os.stat(folder).st_dev for folder in folders]
    for op in ops:
        if op.after is not None and op.after.kind == "file":
            needed[devices[op.root]] = needed.get(devices[op.root], 0) + op.after.size
    for folder, device in zip(folders, devices, strict=True):
        free = shutil.disk_usage(folder).free
        if needed.get(device, 0) > free:
            raise DiskFull(
                f"applying needs {needed[device]:,} bytes, and the disk of {folder} has {free:,} free",
                "Free some space and apply again; nothing has changed.",
            )


# ── stage ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def stage(roots: list[int], record: Path, journal: Journal, source: Source) -> None:
    """Writes new files and backups; afterwards the ops hold the staged files' own inodes and times."""
    for root in roots:
        os.mkdir(journal.stage, 0o700, dir_fd=root)
        checkpoint("stage made")
    sync = len(journal.ops) <= SYNC_EACH
    with stages(roots, journal) as staging, tree.opened(record / "backup") as backup:
        for n, op in enumerate(journal.ops):
            root, staged = roots[op.root], staging[op.root]
            if op.before is not None and op.before.kind in ("file", "link"):
                with tree.parent_of(root, op.path) as (at, name):
                    keep(at, name, backup, op.name, sync)
            if op.after is not None and op.after.kind in ("file", "link"):
                with source(op) as (at, name):
                    if journal.undoes:  # the very file that was there, owner and all, where links reach
                        keep(at, name, staged, op.name, sync)
                    else:
                        bring(root, op, at, name, staged, sync)
                after = tree.node_at(staged, op.name.encode())
                journal.ops[n] = msgspec.structs.replace(op, after=after)
            checkpoint(f"staged {op.name}")
        for each in (*staging, *roots, backup):
            os.fsync(each)
        if not sync:
            for each in {os.fstat(fd).st_dev: fd for fd in (*staging, backup)}.values():
                tree.sync_disk(each)


def stages(roots: list[int], journal: Journal) -> "contextlib.AbstractContextManager[list[int]]":
    """The open stage of each folder."""
    return all_opened([journal.stage] * len(roots), roots)


def keep(at: int, name: bytes, backup: int, to: str, sync: bool) -> None:
    """A backup of a file or link: the same inode where backups are on its disk, else a copy."""
    try:
        os.link(name, to, src_dir_fd=at, dst_dir_fd=backup, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        copy(at, name, backup, to, sync=sync)


def bring(root: int, op: Op, at: int, name: bytes, staged: int, sync: bool) -> None:
    """A new file or link in the stage, with the mode and times it shall have and the owner of what it replaces."""
    assert op.after is not None
    copy(at, name, staged, op.name, mode=op.after.mode & 0o777, sync=sync)
    if op.before is None or op.before.kind != "file" or op.after.kind != "file":
        return
    with contextlib.suppress(OSError), tree.parent_of(root, op.path) as (old_at, old):
        was = os.stat(old, dir_fd=old_at, follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(op.name, was.st_uid, was.st_gid, dir_fd=staged, follow_symlinks=False)
            os.chmod(op.name, op.after.mode & 0o777, dir_fd=staged)
        with tree.reading(old_at, old) as before, tree.reading(staged, op.name.encode()) as after:
            for attribute in os.listxattr(before):
                if not attribute.startswith(("user.overlay.", "trusted.", "security.")):
                    os.setxattr(after, attribute, os.getxattr(before, attribute))


def copy(at: int, name: bytes, to_folder: int, to: str, *, mode: int | None = None, sync: bool) -> None:
    """A copy of a file or link with its times; of a file also its mode, or another."""
    was = os.stat(name, dir_fd=at, follow_symlinks=False)
    node = tree.node_of(was)
    if node.kind == "link":
        os.symlink(os.readlink(name, dir_fd=at), to, dir_fd=to_folder)
    else:
        fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=to_folder)
        try:
            with tree.reading(at, name) as source:
                tree.copy_bytes(source, fd)
            os.fchmod(fd, node.mode if mode is None else mode)
            os.utime(fd, ns=(was.st_atime_ns, was.st_mtime_ns))
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
    os.utime(to, ns=(was.st_atime_ns, was.st_mtime_ns), dir_fd=to_folder, follow_symlinks=False)


# ── perform ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def perform(roots: list[int], journal: Journal) -> None:
    """Brings every path from before to after. Can be broken off anywhere and done again."""
    ops = journal.ops
    for op in sorted(ops, key=lambda op: op.depth):
        if op.before is not None and op.before.kind == "folder" and op.before.mode & 0o700 != 0o700:
            set_mode(roots[op.root], op.path, op.before.mode | 0o700)
    final = {op.place: op.after for op in ops if op.after is not None}
    for op in sorted(ops, key=lambda op: -op.depth):
        if op.before is not None and (op.after is None or (op.after.kind == "folder") != (op.before.kind == "folder")):
            remove(roots[op.root], op, final.get(op.place))
            checkpoint(f"removed {op.name}")
    with stages(roots, journal) as staging:
        for op in sorted(ops, key=lambda op: op.depth):
            if op.after is not None:
                place(roots[op.root], op, staging[op.root])
                checkpoint(f"placed {op.name}")
    for op in sorted(ops, key=lambda op: -op.depth):
        if op.after is not None and op.after.kind == "folder":
            set_mode(roots[op.root], op.path, op.after.mode & 0o777)
    checkpoint("performed")


def set_mode(root: int, path: bytes, mode: int) -> None:
    """Sets the mode of a folder, if there is one."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), contextlib.ExitStack() as stack:
        at, name = stack.enter_context(tree.parent_of(root, path))
        os.fchmod(stack.enter_context(tree.opened(name, at)), mode)


def remove(root: int, op: Op, final: Node | None) -> None:
    """Takes away what was there, unless ``final`` is there already.

    A folder that somebody put something into meanwhile stays.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), tree.parent_of(root, op.path) as (at, name):
        now = tree.node_at(at, name)
        if now is None or (final is not None and now.same(final)):
            return
        if not now.same(op.before):
            raise changed(op.path)
        try:
            if now.kind == "folder":
                os.rmdir(name, dir_fd=at)
            else:
                os.unlink(name, dir_fd=at)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise


def place(root: int, op: Op, staged: int) -> None:
    """Puts what shall be there in its place."""
    assert op.after is not None
    with tree.parent_of(root, op.path) as (at, name):
        now = tree.node_at(at, name)
        if op.after.kind == "folder":
            if now is None:
                os.mkdir(name, 0o700, dir_fd=at)
                belong(at, name)
            elif now.kind != "folder":
                raise changed(op.path)
            return
        if tree.node_at(staged, op.name.encode()) is None:
            return  # done before we were killed
        if now is not None and not now.same(op.before):
            raise changed(op.path)
        if op.before is None:
            belong(at, name, staged, op.name)
        os.rename(op.name, name, src_dir_fd=staged, dst_dir_fd=at)


def belong(folder: int, name: bytes, at: int | None = None, path: str | bytes = b"") -> None:
    """Where root writes into somebody's folder, what is new there is theirs."""
    owner = os.fstat(folder)
    if os.geteuid() == 0 and owner.st_uid != 0:
        where, what = (folder, name) if at is None else (at, path)
        os.chown(what, owner.st_uid, owner.st_gid, dir_fd=where, follow_symlinks=False)


def changed(path: bytes) -> Conflict:
    """The error for a path that is not as it was."""
    return Conflict(
        f"{printable(path)} changed meanwhile",
        "Nothing was written. Look at the file, then try again.",
    )


def finish(roots: list[int], record: Path, journal: Journal) -> None:
    """Says that it is done, then clears up."""
    for root, folder in {(op.root, os.path.dirname(op.path)) for op in journal.ops}:
        with contextlib.suppress(OSError), tree.parent_of(roots[root], folder + b"/x" if folder else b"x") as (at, _):
            os.fsync(at)
    with contextlib.suppress(OSError):  # the folders are as they shall be; ``recover`` writes down what could not be
        for root in roots:
            tree.remove_at(root, journal.stage)
            checkpoint("cleared")
        journal.state = "done"
        journal.write(record)
        checkpoint("done")


# ── back ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def roll_back(roots: list[int], record: Path, journal: Journal) -> None:
    """Brings every path back to before. What somebody else changed meanwhile stays as they left it."""
    if journal.state in ("committed", "rolling back"):
        # Durable before the first step back, as a step back cannot be told from one that was never made.
        journal.state = "rolling back"
        journal.write(record)
        checkpoint("rolling back")
        for op in sorted(journal.ops, key=lambda op: -op.depth):
            if op.after is not None:
                take_back(roots[op.root], op)
                checkpoint(f"took back {op.name}")
        for root in roots:
            if tree.node_at(root, journal.stage) is None:
                os.mkdir(journal.stage, 0o700, dir_fd=root)
        with stages(roots, journal) as staging, tree.opened(record / "backup") as backup:
            for op in sorted(journal.ops, key=lambda op: op.depth):
                if op.before is not None:
                    give_back(roots[op.root], op, staging[op.root], backup)
                    checkpoint(f"gave back {op.name}")
            for op in sorted(journal.ops, key=lambda op: -op.depth):
                if op.before is not None and op.before.kind == "folder":
                    set_mode(roots[op.root], op.path, op.before.mode)
    for root in roots:
        tree.remove_at(root, journal.stage)
        checkpoint("stage cleared")
    journal.state = "rolled back"
    journal.write(record)
    tree.remove_tree(record / "backup")


def take_back(root: int, op: Op) -> None:
    """Removes what we placed, where nothing was before or something of another kind."""
    assert op.after is not None
    if op.before is not None and op.before.kind != "folder" and op.after.kind != "folder":
        return  # give_back replaces it in one rename
    with contextlib.suppress(OSError), tree.parent_of(root, op.path) as (at, name):
        now = tree.node_at(at, name)
        if now is None or (now.kind != "folder" and not now.same(op.after)):
            return
        if op.after.kind == "folder":
            if op.before is None or op.before.kind != "folder":
                os.rmdir(name, dir_fd=at)
        else:
            os.unlink(name, dir_fd=at)


def give_back(root: int, op: Op, staged: int, backup: int) -> None:
    """Puts back what was there."""
    assert op.before is not None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), tree.parent_of(root, op.path) as (at, name):
        now = tree.node_at(at, name)
        if op.before.kind == "folder":
            if now is None:
                os.mkdir(name, 0o700, dir_fd=at)
        elif now is None or now.same(op.after):
            again = f"back-{op.name}"
            tree.remove_at(staged, again.encode())
            keep(backup, op.name.encode(), staged, again, sync=True)
            os.rename(again, name, src_dir_fd=staged, dst_dir_fd=at)


def recover(record: Path) -> State:
    """Finishes a step that was broken off, or takes it back. The caller holds ``exclusively``."""
    journal = Journal.read(record)
    if journal.state in ("done", "rolled back"):
        return journal.state
    with mended([Path(os.fsdecode(folder)) for folder in journal.folders]), all_opened(journal.folders) as roots:
        if journal.state in ("staging", "rolling back"):
            roll_back(roots, record, journal)
            return journal.state
        try:
            # The stages are cleared when all is in place: where one is gone, nothing is left to do.
            if all(tree.node_at(root, journal.stage) is not None for root in roots):
                perform(roots, journal)
        except (Conflict, OSError):
            roll_back(roots, record, journal)
            return journal.state
        finish(roots, record, journal)
        return journal.state


@contextlib.contextmanager
def mended(folders: Sequence[Path]) -> Generator[None]:
    """Turns the system's errors into ours."""
    try:
        yield
    except OSError as error:
        folder = " or ".join(str(folder) for folder in folders)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(f"no space left on the disk of {folder}", "Free some space and try again.") from error
        what = f"{folder} cannot be written: {error.strerror}" + (f" ({error.filename!s})" if error.filename else "")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise ReadOnly(what, "Check the permissions of the folder and its files; nothing has changed.") from error
        raise Disk(what, "Nothing has changed.") from error
