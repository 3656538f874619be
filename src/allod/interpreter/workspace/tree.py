"""Files by name below an open folder, never following a link: the ground for reading and writing what code left behind.

Every path is relative, in bytes (a name on disk need not be text), and is walked one component at a time with
O_NOFOLLOW from a file descriptor of the root. So no hostile tree leads outside, nor one that
changes meanwhile.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

Kind = Literal["file", "folder", "link", "other"]

FICLONE = 0x40049409  # ioctl_ficlone(2): share the blocks where the filesystem can
CHUNK = 1 << 20


class Node(Struct, frozen=True):
    """What is at a path. Times are in nanoseconds."""

    kind: Kind
    mode: int  # permission bits
    size: int
    mtime: int
    ctime: int
    inode: int
    device: int
    target: bytes = b""  # where a link points
    whiteout: bool = False  # overlayfs's mark for "deleted"

    def same(self, other: "Node | None") -> bool:
        """Whether nothing was done to it since ``other`` was taken.

        Not by ctime, which a hard link made for a backup changes; and folders are the same whatever is in them.
        """
        if other is None or self.kind != other.kind:
            return False
        if self.kind == "folder":
            return True
        mine = (self.inode, self.mode, self.size, self.mtime, self.target)
        return mine == (other.inode, other.mode, other.size, other.mtime, other.target)


def alike(one: Node | None, other: Node | None) -> bool:
    """Whether two looks at a path saw the same thing, or nothing."""
    return other is None if one is None else one.same(other)


@contextlib.contextmanager
def opened(path: str | bytes | Path, at: int | None = None) -> Generator[int]:
    """An open folder. With ``at``, ``path`` is a name (or ``.``) in that open folder and no link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if at is not None else 0)
    fd = os.open(path, flags, dir_fd=at)
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def parent_of(root: int, path: bytes) -> Generator[tuple[int, bytes]]:
    """The open folder that holds ``path``, and its last name.

    Raises:
        OSError: a folder on the way is missing, or is a link (ELOOP or ENOTDIR).
    """
    *parts, name = path.split(b"/")
    if not all(part not in (b"", b".", b"..") for part in (*parts, name)):
        raise OSError(errno.EINVAL, "not a path below the folder", os.fsdecode(path))
    fd = os.dup(root)
    try:
        for part in parts:
            down = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = down
        yield fd, name
    finally:
        os.close(fd)


def node_at(at: int, name: bytes) -> Node | None:
    """What ``name`` is in an open folder; None where there is nothing."""
    try:
        st = os.stat(name, dir_fd=at, follow_symlinks=False)
        target = os.readlink(name, dir_fd=at) if stat.S_ISLNK(st.st_mode) else b""
    except FileNotFoundError:
        return None
    return node_of(st, target)


def node_of(st: os.stat_result, target: bytes = b"") -> Node:
    """The same from a stat."""
    kinds: dict[int, Kind] = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return Node(
        kind=kinds.get(stat.S_IFMT(st.st_mode), "other"),
        mode=stat.S_IMODE(st.st_mode),
        size=st.st_size,
        mtime=st.st_mtime_ns,
        ctime=st.st_ctime_ns,
        inode=st.st_ino,
        device=st.st_dev,
        target=target,
        whiteout=stat.S_ISCHR(st.st_mode) and st.st_rdev == 0,
    )


def node(root: int, path: bytes) -> Node | None:
    """What is at ``path`` below an open folder; None where there is nothing, or no folder on the way to it."""
    try:
        with parent_of(root, path) as (at, name):
            return node_at(at, name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def names(at: int) -> list[bytes]:
    """The names in an open folder, sorted."""
    return sorted(os.fsencode(name) for name in os.listdir(at))


@contextlib.contextmanager
def reading(at: int, name: bytes) -> Generator[int]:
    """A regular file opened for reading; a pipe, device or link in its place is an OSError, never a wait."""
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(name))
        yield fd
    finally:
        os.close(fd)


def head(root: int, path: bytes, size: int) -> bytes:
    """The first ``size`` bytes of a file."""
    with parent_of(root, path) as (at, name), reading(at, name) as fd:
        parts: list[bytes] = []
        while size > 0 and (data := os.read(fd, min(size, CHUNK))):
            parts.append(data)
            size -= len(data)
    return b"".join(parts)


def same_bytes(one: int, other: int) -> bool:
    """Whether two open files hold the same bytes; both are read from where they stand."""
    while True:
        a, b = os.read(one, CHUNK), os.read(other, CHUNK)
        if a != b:
            return False
        if not a:
            return True


def copy_bytes(source: int, target: int) -> None:
    """Copies a whole open file into an empty one: shared blocks, else within the kernel, else by hand.

    Holes stay holes, as a file of a few bytes may have the size of a disk.
    """
    with contextlib.suppress(OSError):
        fcntl.ioctl(target, FICLONE, source)
        return
    for start, end in extents(source):
        copy_range(source, target, start, end)
    os.ftruncate(target, os.fstat(source).st_size)


def extents(fd: int) -> Iterator[tuple[int, int]]:
    """Where a file holds data."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from there on
                return
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            yield end, os.fstat(fd).st_size  # a filesystem that does not tell
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def copy_range(source: int, target: int, start: int, end: int) -> None:
    """Copies some bytes to the same place of another file, as far as there still are so many."""
    try:
        while start < end and (done := os.copy_file_range(source, target, end - start, start, start)):
            start += done
        return
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    while start < end and (data := os.pread(source, min(CHUNK, end - start), start)):
        start += os.pwrite(target, data, start)


def sync_disk(fd: int) -> None:
    """Writes out all that waits to be written to the disk of an open file, and not to the others where that goes."""
    import ctypes

    syncfs = getattr(ctypes.CDLL(None), "syncfs", None)
    if syncfs is None or syncfs(fd):
        os.sync()


def remove_tree(path: Path) -> None:
    """Removes a folder whatever the modes inside; nothing where there is nothing. Links are removed, not followed."""
    try:
        with opened(path.parent) as at:
            remove_at(at, os.fsencode(path.name))
    except FileNotFoundError:
        pass


def remove_at(at: int, name: bytes) -> None:
    """Removes one thing in an open folder, with all below it.

    A tree may be deeper than this process may open files: what lies deep is first moved to the top.
    """
    deep: list[bytes] = [name]
    while deep:
        remove_down(at, deep.pop(), at, 0, deep)
        if not deep and node_at(at, name) is not None:
            deep.append(name)  # its deep parts were moved out; now it can go


def remove_down(at: int, name: bytes, top: int, depth: int, deep: list[bytes]) -> None:
    """Removes one thing and what is below it, down to a depth; the names of what was moved out go to ``deep``."""
    try:
        os.unlink(name, dir_fd=at)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=at)
        return
    with contextlib.suppress(OSError):
        allow(at, name)
    with opened(name, at) as inner:
        for each in names(inner):
            if depth < 64:
                remove_down(inner, each, top, depth + 1, deep)
            else:
                out = f".allod-deep-{os.getpid()}-{time.monotonic_ns()}".encode()
                os.rename(each, out, src_dir_fd=inner, dst_dir_fd=top)
                deep.append(out)
    os.rmdir(name, dir_fd=at)


def allow(at: int, name: bytes) -> None:
    """Lets the owner into a folder whatever its mode; a link in its place is an OSError."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        os.chmod(f"/proc/self/fd/{fd}", 0o700)
    finally:
        os.close(fd)


def disk_use(folder: Path) -> int:
    """Bytes that a folder takes up on its disk, as far as it can be read."""
    total = 0
    with contextlib.suppress(OSError, RecursionError):
        for _, _, files, at in os.fwalk(folder):
            for name in files:
                with contextlib.suppress(OSError):
                    total += os.stat(name, dir_fd=at, follow_symlinks=False).st_blocks * 512
    return total
