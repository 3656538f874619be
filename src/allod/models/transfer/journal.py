"""Which stretches of a partial file are there: a small file beside it, appended to after each piece.

    header   magic, SHA-256 of what the file will be, its size, CRC32 of these
    records  start u64, length u32, sample of the data u32, CRC32 of these and the header's u32; little-endian

The data is written before its record, so what a record names is in the file whatever kills the process. A record that
was cut short or altered ends the reading. What a power cut took (the disk loses whole sectors, never single bits) shows
in the sample. Length 0 takes back what was recorded at that start. Stretches never overlap; they need not lie on any
grid, so one source goes on where another with other seams left off.
"""

import bisect
import os
import struct
import threading
import zlib
from pathlib import Path

MAGIC = b"ALLODJ1\n"
SECTOR = 512
HEADER = struct.Struct("<8s32sQI")
RECORD = struct.Struct("<QIII")


def sample(data: bytes | memoryview) -> int:
    """A CRC32 of one byte of each sector: lost sectors show, for a hundredth of what a CRC of all bytes costs."""
    return zlib.crc32(memoryview(data)[::SECTOR].tobytes(), len(data))


class Journal:
    """The stretches of one file of ``size`` bytes known by ``key`` (32 bytes). Safe in several threads."""

    def __init__(self, path: Path, key: bytes, size: int) -> None:
        """Opens or starts a journal; one of another file, or damaged at its head, is started anew. Raises OSError."""
        self.path = path
        self.size = size
        self._lock = threading.Lock()
        self._records: dict[int, tuple[int, int]] = {}
        self._starts: list[int] = []
        head = HEADER.pack(MAGIC, key, size, 0)[: HEADER.size - 4]
        self._seed = zlib.crc32(head)
        header = head + struct.pack("<I", self._seed)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        content = read_all(self._file)
        self._end = HEADER.size
        if content[: HEADER.size] == header:
            for start, length, mark in records(content, self._seed, size):
                self._note(start, length, mark)
                self._end += RECORD.size
        else:
            os.pwrite(self._file, header, 0)
        os.ftruncate(self._file, self._end)

    def add(self, start: int, length: int, mark: int) -> None:
        """Records that a stretch is in the file. Raises OSError."""
        with self._lock:
            self._append(start, length, mark)

    def drop(self, start: int) -> None:
        """Takes back the record at ``start``. Raises OSError."""
        with self._lock:
            self._append(start, 0, 0)

    def find(self, position: int) -> tuple[int, int, int] | None:
        """(start, length, sample) of the stretch that holds the byte at ``position``."""
        with self._lock:
            i = bisect.bisect_right(self._starts, position) - 1
            if i < 0:
                return None
            start = self._starts[i]
            length, mark = self._records[start]
            return (start, length, mark) if position < start + length else None

    def stretches(self) -> list[tuple[int, int, int]]:
        """(start, length, sample) of each, in order."""
        with self._lock:
            return [(start, *self._records[start]) for start in self._starts]

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """The (start, end) of what is missing between two positions."""
        missing: list[tuple[int, int]] = []
        for begin, length, _ in self.stretches():
            if begin + length <= start:
                continue
            if begin >= end:
                break
            if begin > start:
                missing.append((start, begin))
            start = begin + length
        if start < end:
            missing.append((start, end))
        return missing

    def missing(self, start: int, end: int) -> int:
        """Bytes missing between two positions."""
        return sum(b - a for a, b in self.gaps(start, end))

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _append(self, start: int, length: int, mark: int) -> None:
        record = RECORD.pack(start, length, mark, 0)[:-4]
        written = os.pwrite(self._file, record + struct.pack("<I", zlib.crc32(record, self._seed)), self._end)
        if written != RECORD.size:
            raise OSError(28, os.strerror(28))  # the disk took a part: full
        self._end += RECORD.size
        self._note(start, length, mark)

    def _note(self, start: int, length: int, mark: int) -> None:
        if start in self._records:
            del self._records[start]
            self._starts.remove(start)
        if length:
            self._records[start] = (length, mark)
            bisect.insort(self._starts, start)


def records(content: bytes, seed: int, size: int) -> list[tuple[int, int, int]]:
    """The records after the header, up to the first that is cut short, altered or out of bounds."""
    found: list[tuple[int, int, int]] = []
    for offset in range(HEADER.size, len(content) - RECORD.size + 1, RECORD.size):
        start, length, mark, check = RECORD.unpack_from(content, offset)
        if zlib.crc32(content[offset : offset + RECORD.size - 4], seed) != check or start + length > size:
            break
        found.append((start, length, mark))
    return found


def bytes_recorded(path: Path) -> int:
    """Bytes that another process's journal has, for showing its progress; 0 where there is none."""
    try:
        content = path.read_bytes()
        magic, _, size, seed = HEADER.unpack_from(content)
    except (OSError, struct.error):
        return 0
    if magic != MAGIC:
        return 0
    lengths = {start: length for start, length, _ in records(content, seed, size)}
    return sum(lengths.values())


def read_all(file: int) -> bytes:
    """The content of an open file. Raises OSError."""
    return os.pread(file, os.fstat(file).st_size, 0)
