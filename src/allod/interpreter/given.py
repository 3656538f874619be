"""Files that go with a job: `Given.at(path, folder)`, or `Given(name, data)` for bytes that came over the wire.

A file of the job's folder is named where it is. Any other lands in the workspace, beside the folder's own files and
never in the place of one, and counts as no change of the job's as long as it is as it came. A name is only ever a name.
"""

import asyncio
import hashlib
import os
import secrets
import shutil
import stat
from pathlib import Path

import msgspec
from msgspec import Struct

from allod.chat import ImagePart
from allod.errors import BadRequest, BodyTooLarge, SandboxFailed
from allod.interpreter.kernels.outputs import Stream
from allod.interpreter.session import Session

LARGEST = 100 << 20  # bytes of one file
LONGEST = 200  # bytes of a name
SIGNATURES = ((b"\x89PNG\r\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))

# Run in the sandbox, so that the host never follows a path that code made.
MOVE = """
def _land(source, name):
    import json, os, shutil, tempfile
    stem, dot = os.path.splitext(name)
    number = 1
    while os.path.lexists(name):
        number += 1
        name = f"{{stem}}-{{number}}{{dot}}"
    shutil.move(os.path.join(tempfile.gettempdir(), source), name)
    print(json.dumps(name))
_land({source!r}, {name!r})
del _land
"""


class Given(Struct, frozen=True):
    """``data`` is None for a file that is in the folder already; ``name`` is its path there then."""

    name: str
    data: bytes | None

    @property
    def picture(self) -> ImagePart | None:
        """The file as a model sees it; None where it is no picture."""
        kind = media_type(self.data or b"")
        return ImagePart(self.data or b"", kind) if kind else None

    @classmethod
    def named(cls, name: str, data: bytes) -> "Given":
        """Bytes under a name. Raises BadRequest for what is no plain file name, BodyTooLarge."""
        try:
            long = len(name.encode()) > LONGEST
        except UnicodeEncodeError:
            long = True
        if long or not name.strip() or name in (".", "..") or "/" in name or "\\" in name or not name.isprintable():
            raise BadRequest(
                f"{name[:80]!r} is no name for a file", "Give a name without folders, of at most 200 bytes."
            )
        if len(data) > LARGEST:
            raise BodyTooLarge(f"{name} is larger than {LARGEST >> 20} MB", "Put it into the folder instead.")
        return cls(name, data)

    @classmethod
    def at(cls, path: Path, folder: Path) -> "Given":
        """A file of this machine. Raises BadRequest where it cannot be read."""
        try:
            real = path.expanduser().resolve(strict=True)
            if not real.is_file():
                raise BadRequest(f"{path} is not a file", "Give one file at a time.")
            with real.open("rb") as file:
                start = file.read(12)
            inside = real.is_relative_to(folder)
            if media_type(start) and real.stat().st_size <= LARGEST:
                data = real.read_bytes()
                return Seen(str(real.relative_to(folder)), None, data) if inside else cls.named(real.name, data)
            if inside:
                return cls(str(real.relative_to(folder)), None)
            return Copied(cls.named(real.name, b"").name, b"", real)
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise BadRequest(f"cannot read {str(path)[:200]}: {why}", "Give the path of a file there is.") from error


class Seen(Given, frozen=True):
    """A picture that is in the folder already."""

    shown: bytes = b""

    @property
    def picture(self) -> ImagePart | None:
        """The file as a model sees it."""
        return Given(self.name, self.shown).picture


class Copied(Given, frozen=True):
    """A file of this machine that is no picture, of any size: read where it lies, when the job begins."""

    source: Path = Path()


def media_type(data: bytes) -> str:
    """What kind of picture begins so; empty where it is none."""
    kind = next((kind for start, kind in SIGNATURES if data.startswith(start)), "")
    return "" if kind == "image/webp" and data[8:12] != b"WEBP" else kind


async def land(session: Session, file: Given) -> tuple[str, bytes]:
    """Puts a file where code sees it: its path from the folder, and the digest of what it holds.

    Raises:
        SandboxFailed: it cannot be written there.
    """
    token = f"given-{secrets.token_hex(8)}"
    place = session.workspace.layers / "tmp" / token
    digest = await asyncio.to_thread(write, place, file)
    outputs = await session.hidden(MOVE.format(source=token, name=file.name))
    printed = "".join(output.text for output in outputs if isinstance(output, Stream))
    try:
        return msgspec.json.decode(printed, type=str), digest
    except msgspec.MsgspecError:
        place.unlink(missing_ok=True)
        raise SandboxFailed(
            f"{file.name} could not be put into the workspace", "Put it into the folder instead."
        ) from None


def write(path: Path, file: Given) -> bytes:
    """Makes a file that was not there; a link that code put there is not followed. Returns the digest of its bytes."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w+b") as target:
        if isinstance(file, Copied):
            with file.source.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        else:
            target.write(file.data or b"")
        target.seek(0)
        return hashlib.file_digest(target, "sha256").digest()


def unchanged(upper: Path, name: str, digest: bytes) -> bool:
    """Whether the file of that name in a layer is a plain file with that content."""
    try:
        handle = os.open(upper / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as file:
        return stat.S_ISREG(os.fstat(handle).st_mode) and hashlib.file_digest(file, "sha256").digest() == digest
