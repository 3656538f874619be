"""Snapshots: what models computed of the beginnings of prompts, kept on disk from one start to the next.

    snapshots = Snapshots.open(home)      # None: switched off, or the cache folder cannot be written
    name = snapshots.fetch(key)           # a copy in ``snapshots.work``, for llama.cpp to read; None: there is none
    snapshots.store(key, name)            # what llama.cpp wrote there is kept under that key

llama.cpp may crash on a file that it did not write itself, so it is only ever shown copies that were checked: each file
begins with the digest of its key and the SHA-256 of what follows, and one that is cut off, damaged or another's is
removed. Files come into being under a name of their own and are renamed, so several processes may do all this at once.
The least recently used go when the limit is reached.

Which tokens a snapshot holds, when it is made and when it is used, is ``prefix``'s. All of this blocks.
"""

import os
import shutil
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from struct import Struct as Layout
from typing import BinaryIO, Self

import msgspec
from msgspec import Struct

from allod.home import Home
from allod.models.memory import parse_bytes

FOLDER = "snapshots"
SUFFIX = ".snapshot"
MAGIC = b"ALLODKV1"
HEADER = Layout("<8s32s32sQ")  # magic, digest of the key, SHA-256 of the rest, bytes of the rest
CHUNK = 1 << 20
RESERVE = 1 << 30  # bytes that stay free on the disk
FORGOTTEN = 3600.0  # seconds after which what a process left in the work folder is nobody's any more


class Key(Struct, frozen=True, kw_only=True):
    """Everything that decides what a model computes of a prefix, and whether llama.cpp can read it back."""

    engine: str  # the build of llama.cpp
    weights: tuple[str, ...]  # digests
    adapters: tuple[tuple[str, float], ...]  # (digest, scale)
    context: int  # tokens a slot
    slots: int  # llama.cpp reads only what was saved among as many
    batch: int
    ubatch: int
    gpu_layers: int
    tokens: str  # SHA-256 of the ids

    def digest(self) -> bytes:
        """32 bytes that no other key has."""
        return sha256(msgspec.json.encode(self)).digest()


class Snapshots:
    """One folder of them. ``limit`` is in bytes, ``reserve`` those that must stay free on the disk."""

    def __init__(self, folder: Path, limit: int, reserve: int = RESERVE) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.limit = limit
        self.reserve = reserve

    @classmethod
    def open(cls, home: Home) -> Self | None:
        """The folder of this home, made if missing.

        Raises:
            BadSettings: ``engine.snapshots`` is no size.
        """
        limit = parse_bytes(home.settings.engine.snapshots, "engine.snapshots")
        if not limit:
            return None
        snapshots = cls(home.cache / FOLDER, limit)
        return snapshots if snapshots.prepare() else None

    def prepare(self) -> bool:
        """Makes the folders, for this user alone, and clears what killed processes left; whether they can be used."""
        try:
            for folder in (self.folder, self.work):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in self.work.iterdir():
                if time.time() - left.stat().st_mtime > FORGOTTEN:
                    left.unlink(missing_ok=True)
        except OSError:
            return False
        return os.access(self.work, os.W_OK | os.X_OK)

    def path(self, key: Key) -> Path:
        """Where a key's snapshot is, if there is one."""
        return self.folder / (key.digest().hex()[:40] + SUFFIX)

    def fresh(self) -> str:
        """A name in the work folder that nobody has."""
        return token_hex(16)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, key: Key) -> str | None:
        """The name, in the work folder, of a checked copy that is the caller's to remove; None where there is none."""
        path, name = self.path(key), self.fresh()
        try:
            with path.open("rb") as file, private(self.work / name) as copy:
                whole = unpack(file, copy, key)
            if not whole:
                path.unlink(missing_ok=True)
                self.remove(name)
                return None
            os.utime(path)
        except OSError:  # not there, or gone this moment, or no room for the copy
            self.remove(name)
            return None
        return name

    def remove(self, name: str) -> None:
        """Removes a file of the work folder."""
        with suppress(OSError):
            (self.work / name).unlink()

    def drop(self, key: Key) -> None:
        """Removes a snapshot that turned out to be no good."""
        with suppress(OSError):
            self.path(key).unlink()

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def room(self) -> bool:
        """Whether the disk has space to spare."""
        try:
            return shutil.disk_usage(self.work).free >= self.reserve
        except OSError:
            return False

    def store(self, key: Key, name: str) -> bool:
        """Keeps a file of the work folder under a key; the file is gone then, kept or not. Whether it is kept.

        Raises:
            OSError: the folder cannot be written any more, or is full.
        """
        packed = self.fresh()
        try:
            with (self.work / name).open("rb") as file, private(self.work / packed) as out:
                size = pack(file, out, key)
            if size > self.limit:
                return False
            (self.work / packed).replace(self.path(key))
        finally:
            self.remove(name)
            self.remove(packed)
        self.evict()
        return True

    def evict(self) -> None:
        """Removes the least recently used until the limit holds."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("*" + SUFFIX):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        excess = sum(size for _, size, _ in found) - self.limit
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            with suppress(OSError):
                path.unlink()
            excess -= size


def private(path: Path) -> BinaryIO:
    """A new file for this user alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def pack(file: BinaryIO, out: BinaryIO, key: Key) -> int:
    """Writes a snapshot of ``file``; the bytes it has."""
    out.write(bytes(HEADER.size))
    digest, size = sha256(), 0
    while data := file.read(CHUNK):
        digest.update(data)
        out.write(data)
        size += len(data)
    out.seek(0)
    out.write(HEADER.pack(MAGIC, key.digest(), digest.digest(), size))
    return HEADER.size + size


def unpack(file: BinaryIO, copy: BinaryIO, key: Key) -> bool:
    """Copies what a snapshot holds; False where it is not this key's, or not as it was written."""
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return False
    magic, owner, expected, size = HEADER.unpack(head)
    if magic != MAGIC or owner != key.digest() or os.fstat(file.fileno()).st_size != HEADER.size + size:
        return False
    digest = sha256()
    while data := file.read(CHUNK):
        digest.update(data)
        copy.write(data)
    return digest.digest() == expected
