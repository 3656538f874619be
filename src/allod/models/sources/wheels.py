"""Where in a wheel a member's bytes are, found out without fetching the wheel.

A zip file's directory stands at its end (PKWARE APPNOTE 4.3): one range shows which members there are, where, how they
are packed and with which CRC32. The members then come by ranges too, and are never on this disk as a wheel. A server
without ranges is read through once for the directory, and once more by the transfer.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

from allod.egress.answer import origin
from allod.egress.door import Door
from allod.errors import Network, Unreachable
from allod.models.transfer.plan import Segment
from allod.models.transfer.streams import CONTENT_RANGE, TRANSIENT

BLOCK = 16 << 10  # bytes read at once around what is asked for
EDGE = 1 << 20  # bytes kept from either end of a file that comes without ranges; most of ``before`` and ``after``
LARGEST_DIRECTORY = 8 << 20  # bytes read in all to find a member
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
ENCRYPTED = 0x1


class Wheel(Struct, frozen=True):
    """A wheel as its index tells of it. ``size`` 0: not told; ``sha256`` empty: not told."""

    url: str
    filename: str
    sha256: str = ""
    size: int = 0


class RemoteFile(io.RawIOBase):
    """A file on a server, read here and there by ranges; as much of it as `zipfile` wants to see."""

    def __init__(self, door: Door, url: str, headers: dict[str, str], size: int) -> None:
        self.door = door
        self.url = url
        self.headers = headers
        self.fetched = 0
        self.position = 0
        self.blocks: list[tuple[int, bytes]] = []  # (offset, bytes), the latest first
        self.size = size or self.ask_size()
        self.fetch(max(0, self.size - BLOCK), self.size)

    def ask_size(self) -> int:
        """The file's size, by its server: of a HEAD, or of a range where that is not answered. Raises Network."""
        with self.door.open(self.url, self.headers, "HEAD") as answer:
            length = answer.header("content-length")
            if answer.status == 200 and length.isdigit():
                return int(length)
        with self.door.open(self.url, {**self.headers, "Range": "bytes=0-0"}) as answer:
            found = CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
            if answer.status == 206 and found and found[3] != "*":
                return int(found[3])
        raise Network(f"{origin(self.url)[1]} does not say how large {self.url} is ({answer.status})")

    def fetch(self, first: int, end: int) -> None:
        """Gets a range. Raises Network, Unreachable."""
        if self.fetched > LARGEST_DIRECTORY:
            raise Network(f"the directory of {self.url} is too large")
        with self.door.open(self.url, {**self.headers, "Range": f"bytes={first}-{end - 1}"}) as answer:
            if answer.status == 200:
                self.read_through(answer.read)
                return
            found = CONTENT_RANGE.fullmatch(answer.header("content-range").strip())
            if answer.status in TRANSIENT:
                raise Unreachable(f"{origin(self.url)[1]} answered {answer.status} for {self.url}")
            if answer.status != 206 or not found or int(found[1]) != first:
                raise Network(f"{origin(self.url)[1]} answered {answer.status} for {self.url}")
            if found[3] != "*" and int(found[3]) != self.size:
                raise Network(f"{origin(self.url)[1]} says that {self.url} has {found[3]} bytes instead of {self.size}")
            data = answer.body(end - first)
        self.fetched += len(data)
        self.blocks.insert(0, (first, data))

    def read_through(self, read: Callable[[int], bytes]) -> None:
        """Keeps both ends of a file that comes whole."""
        head, tail, size = bytearray(), bytearray(), 0
        while data := read(1 << 18):
            size += len(data)
            if size > self.size:
                break
            head += data[: max(0, EDGE - len(head))]
            tail += data
            del tail[: max(0, len(tail) - EDGE)]
        if size != self.size:
            raise Network(f"{origin(self.url)[1]} says that {self.url} has {size} bytes instead of {self.size}")
        self.fetched = LARGEST_DIRECTORY + 1  # what is not at the ends is not to be had
        self.blocks = [(0, bytes(head)), (size - len(tail), bytes(tail))]

    # ── what zipfile calls ──────────────────────────────────────────────────────────────────────────────────────────

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self.position

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves; whence as `io` has it. Raises OSError before the start, as `zipfile` expects."""
        position = offset + (0, self.position, self.size)[whence]
        if position < 0:
            raise OSError("a position before the start of the file")
        self.position = position
        return position

    def read(self, size: int = -1, /) -> bytes:
        """The bytes from here on. Raises Network, Unreachable."""
        end = self.size if size < 0 else min(self.size, self.position + size)
        data = self.slice(self.position, end)
        self.position = max(self.position, end)
        return data

    def slice(self, first: int, end: int) -> bytes:
        """Bytes from the blocks that are here, fetched where they are not. Raises Network, Unreachable."""
        if first >= end:
            return b""
        for _ in range(2):
            for offset, data in self.blocks:
                if offset <= first and end <= offset + len(data):
                    return data[first - offset : end - offset]
            self.fetch(first, min(self.size, max(end, first + BLOCK)))
        raise Network(f"{origin(self.url)[1]} sends too few bytes of {self.url}")


def members(door: Door, wheel: Wheel, headers: dict[str, str], pattern: str) -> list[Segment]:
    """The members of a wheel whose path matches a glob (``*`` crosses no ``/``), by name, as segments of one blob.

    Raises:
        Network: there is none, or the wheel is not one that can be read.
        Unreachable, Offline, Refused, Cancelled.
    """
    remote = RemoteFile(door, wheel.url, headers, wheel.size)
    try:
        with zipfile.ZipFile(remote) as archive:  # pyright: ignore[reportArgumentType] - a RawIOBase will do
            listed = archive.infolist()
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, NotImplementedError, zlib.error) as error:
        raise Network(f"{wheel.filename} is not a wheel that can be read: {error}") from error
    matching = matcher(pattern)
    chosen = [info for info in listed if matching.fullmatch(info.filename) and info.file_size]
    chosen.sort(key=lambda info: info.filename)
    if not chosen:
        raise Network(f"{wheel.filename} has no file {pattern}")
    found = [locate(remote, wheel, info) for info in chosen]
    return with_rest(remote, wheel, found)


def locate(remote: RemoteFile, wheel: Wheel, info: zipfile.ZipInfo) -> Segment:
    """Where a member's bytes are. Raises Network for one that cannot be had this way."""
    if info.flag_bits & ENCRYPTED or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Network(f"{wheel.filename}: {info.filename} is packed in a way that is not understood")
    header = remote.slice(info.header_offset, min(remote.size, info.header_offset + LOCAL_HEADER.size))
    if len(header) < LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise Network(f"{wheel.filename}: {info.filename} is not where the directory says")
    *_, name_length, extra_length = LOCAL_HEADER.unpack(header)
    start = info.header_offset + LOCAL_HEADER.size + name_length + extra_length
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    if start + info.compress_size > remote.size or (not deflated and info.compress_size != info.file_size):
        raise Network(f"{wheel.filename}: the directory tells of bytes of {info.filename} that are not there")
    return Segment(
        url=wheel.url,
        start=start,
        length=info.compress_size,
        size=info.file_size,
        total=remote.size,
        deflated=deflated,
        crc32=info.CRC,
    )


def with_rest(remote: RemoteFile, wheel: Wheel, found: list[Segment]) -> list[Segment]:
    """The segments with what stands around them, so that the whole wheel's sha256 can be checked as they pass by.

    Left out where the index tells none, or where the rest is large or the members are not in order: then it is the
    members' CRC32 and the blob's own digest alone that are checked.
    """
    ends = [0, *(segment.start + segment.length for segment in found)]
    gaps = list(zip(ends, [*(segment.start for segment in found), remote.size], strict=True))
    if not wheel.sha256 or any(first > end for first, end in gaps) or sum(end - first for first, end in gaps) > EDGE:
        return found
    around = [remote.slice(first, end) for first, end in gaps]
    whole: list[Segment] = []
    for i, segment in enumerate(found):
        after = around[-1] if i == len(found) - 1 else None
        whole.append(msgspec.structs.replace(segment, sha256=wheel.sha256, before=around[i], after=after))
    return whole


def matcher(pattern: str) -> re.Pattern[str]:
    """A glob over paths in a wheel: ``*`` and ``?`` stay within one name."""
    return re.compile("".join({"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char)) for char in pattern))
