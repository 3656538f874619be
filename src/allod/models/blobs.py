"""Blobs: files named by the SHA-256 of their bytes, as Ollama keeps them in ``blobs/sha256-<hex>``.

    with blobs.lock(digest):                 one process at a time brings a blob
        partial = blobs.partial(digest)      written to, resumed…
        blobs.commit(digest, partial)        …checked by the caller, then made a blob

It knows nothing of manifests and names. allod's own files (partial downloads, locks, notes about linked files) are in
``.allod/`` beside ``blobs/``, where Ollama, which clears unknown files out of ``blobs/`` at its start, leaves them be.

**Linked files.** A local file is taken in without copying: as a copy-on-write clone where the filesystem has them, else
as a hard link, else as a copy. A hard link is the user's own file under a second name: if he edits it in place, the
blob changes with it. So size and time of change are noted when a link is made, and ``check_linked`` finds out before
the blob is used; a changed time over the same bytes (Ollama touches blobs) is noted anew.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from allod.errors import BadRequest, Conflict, DigestMismatch, NotFound
from allod.models import disk
from allod.models.manifest import DIGEST, Layer, canonical, digest_of, missing_blob
from allod.models.progress import Count


class Linked(Struct, frozen=True):
    """A note about a hard-linked blob: what the file was when it was hashed."""

    source: str
    size: int
    mtime_ns: int


class Blobs:
    """The blobs of one store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "blobs"

    @property
    def state(self) -> Path:
        """allod's own folder, on the filesystem of the blobs even where ``blobs`` is a symlink to another disk."""
        return self.folder.resolve().parent / ".allod"

    def blob(self, digest: str) -> Path:
        """The path of a blob, there or not. Raises BadName for anything but a digest."""
        return self.folder / canonical(digest).replace(":", "-")

    def has(self, digest: str) -> bool:
        """Whether the blob is there, whole and checked. Raises BadName."""
        return disk.is_file(self.blob(digest))

    def partial(self, digest: str) -> Path:
        """Where a download of the blob is put together; its folder is made. Raises BadName, ReadOnly, DiskFull."""
        path = self.state / "partial" / canonical(digest).replace(":", "-")
        disk.make_folder(path.parent)
        return path

    def lock(self, digest: str, waiting: Callable[[], None] | None = None) -> AbstractContextManager[None]:
        """Holds a blob against all other processes and threads; see ``disk.lock``."""
        return disk.lock(self.state / "locks" / canonical(digest).replace(":", "-"), waiting)

    def commit(self, digest: str, partial: Path) -> Path:
        """Makes a finished file the blob ``digest``; the caller has checked that its bytes hash to it.

        Raises:
            BadName, DiskFull, ReadOnly, Disk.
        """
        path = self.blob(digest)
        disk.make_folder(self.folder)
        with disk.disk_errors("write", path):
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            try:
                disk.settle(partial, path)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with disk.temporary(self.folder) as draft:  # blobs/ is a mount of its own
                    disk.copy(partial, draft)
                    disk.settle(draft, path)
                partial.unlink()
        self.forget(digest)
        return path

    # ── adding ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def add_bytes(self, data: bytes, media_type: str) -> Layer:
        """Stores bytes, unless they are there. Raises DiskFull, ReadOnly, Disk."""
        digest = digest_of(data)
        path = self.blob(digest)
        if not (disk.is_file(path) and path.stat().st_size == len(data)):
            disk.write_atomically(path, data)
        return Layer(media_type, digest, len(data))

    def add_file(
        self, path: Path, media_type: str, *, counted: Count | None = None, digest: str = "", name: str = ""
    ) -> Layer:
        """Takes a local file in without copying it where that is possible (see above).

        Args:
            counted: told the bytes hashed so far.
            digest: the file must have this one.
            name: the layer's name.

        Raises:
            NotFound: no such file.
            BadRequest: not a regular file.
            DigestMismatch: not the bytes that ``digest`` says.
            Conflict: the file changed while it was read.
            DiskFull, ReadOnly, Disk: it cannot be read, or the store cannot be written.
        """
        adding = self.adding_file(path, media_type, digest, name)
        while True:
            try:
                done = next(adding)
            except StopIteration as end:
                return end.value
            if counted is not None:
                counted(done)

    def adding_file(self, path: Path, media_type: str, digest: str = "", name: str = "") -> Generator[int, None, Layer]:
        """``add_file`` step by step: yields the bytes hashed so far, returns the layer."""
        with disk.disk_errors("read", path):
            source = path.resolve(strict=True)
            before = source.stat()
            if not source.is_file():
                raise BadRequest(f"{path} is not a regular file", "Give a file.")
            if source.parent == self.folder.resolve() and DIGEST.fullmatch(source.name):
                found = canonical(source.name)  # a blob of this store, under another name
            else:
                found = yield from hashing(source, before.st_size)
                unchanged(path, before, source.stat())
        if digest and found != canonical(digest):
            raise DigestMismatch(f"{path} has the digest {found}, not {digest}", "Get the file again.")
        if not self.has(found):
            self.take(source, before, found)
        return Layer(media_type, found, before.st_size, name=name)

    def take(self, source: Path, before: os.stat_result, digest: str) -> None:
        """Clones, links or copies a hashed file to be the blob ``digest``."""
        path = self.blob(digest)
        disk.make_folder(self.folder)
        with disk.disk_errors("write", path), disk.temporary(self.folder) as draft:
            if disk.clone(source, draft):
                disk.settle(draft, path)
            elif disk.link(source, draft):
                draft.replace(path)
                disk.sync_folder(self.folder)
                self.note(digest, Linked(str(source), before.st_size, before.st_mtime_ns))
            else:
                draft.touch()
                disk.copy(source, draft)
                disk.settle(draft, path)
        with disk.disk_errors("read", source):
            try:
                unchanged(source, before, source.stat())
            except Conflict:
                self.remove(digest)
                raise

    # ── linked files ────────────────────────────────────────────────────────────────────────────────────────────────

    def note_path(self, digest: str) -> Path:
        """Where the note about a linked blob is."""
        return self.state / "linked" / canonical(digest).replace(":", "-")

    def note(self, digest: str, linked: Linked) -> None:
        """Writes a note about a linked blob."""
        disk.write_atomically(self.note_path(digest), msgspec.json.encode(linked))

    def forget(self, digest: str) -> None:
        """Drops the note about a blob, if there is one."""
        with contextlib.suppress(OSError):
            self.note_path(digest).unlink()

    def linked(self, digest: str) -> Linked | None:
        """The note about a blob, None where it is allod's own file."""
        try:
            return msgspec.json.decode(self.note_path(digest).read_bytes(), type=Linked)
        except (OSError, msgspec.DecodeError):
            return None

    def check_linked(self, digest: str) -> None:
        """Returns where a blob is what it was when it was taken in. Hashes it only if its size or time changed.

        Raises:
            Conflict: it was edited in place through its other name.
            NotFound: there is no such blob.
        """
        linked = self.linked(digest)
        if linked is None:
            return
        path = self.blob(digest)
        try:
            now = path.stat()
        except FileNotFoundError:
            raise missing_blob(digest) from None
        if (now.st_size, now.st_mtime_ns) == (linked.size, linked.mtime_ns):
            return
        with disk.disk_errors("read", path):
            found = hash_file(path) if now.st_size == linked.size else ""
        if found != canonical(digest):
            raise Conflict(
                f"{linked.source} was changed after it was linked into the store",
                "Remove the model (`allod rm`) and create it again from the file as it is now.",
            )
        with contextlib.suppress(NotFound):
            self.note(digest, msgspec.structs.replace(linked, mtime_ns=now.st_mtime_ns))

    # ── removing ────────────────────────────────────────────────────────────────────────────────────────────────────

    def remove(self, digest: str) -> int:
        """Removes a blob; returns its bytes, 0 where it was not there. Raises ReadOnly, Disk."""
        path = self.blob(digest)
        with disk.disk_errors("remove", path):
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                return 0
        self.forget(digest)
        return size


def hashing(path: Path, size: int) -> Generator[int, None, str]:
    """Hashes the ``size`` bytes of a file in 4 MiB pieces: yields the bytes done so far, returns the canonical digest.

    Stops at ``size``, as a file that is being written to may grow faster than it is read. Raises OSError.
    """
    state = hashlib.sha256()
    buffer = bytearray(disk.CHUNK)
    view = memoryview(buffer)
    done = 0
    with path.open("rb", buffering=0) as file:
        while done < size and (count := file.readinto(view[: size - done])):
            state.update(view[:count])
            done += count
            yield done
    return f"sha256:{state.hexdigest()}"


def hash_file(path: Path) -> str:
    """A file's canonical digest. Raises OSError."""
    steps = hashing(path, path.stat().st_size)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def unchanged(path: Path, before: os.stat_result, now: os.stat_result) -> None:
    """Raises Conflict where a file was written to or replaced between two looks."""
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (now.st_ino, now.st_size, now.st_mtime_ns):
        raise Conflict(f"{path} changed while it was read", "Wait until it is written, then try again.")
