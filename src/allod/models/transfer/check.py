"""The walk: one thread follows the pieces in order, hashes them, inflates what came deflated, and compares.

The digest is known when the last byte is: nothing is read a second time but what an earlier run left on the disk.
"""

import hashlib
import zlib
from collections.abc import Iterator
from typing import Protocol

from allod.errors import AllodError, Cancelled, DigestMismatch
from allod.models.transfer.plan import PIECE, Plan, Segment
from allod.models.transfer.space import Run, Space, Torn

SLICE = 256 << 10  # deflated bytes given to zlib at once


class Hasher(Protocol):
    """As hashlib makes them."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


class Part:
    """A segment at its place in the blob. ``spool`` holds its raw bytes where these have to be inflated."""

    def __init__(self, segment: Segment, at: int, spool: Space | None) -> None:
        self.segment = segment
        self.at = at
        self.spool = spool

    @property
    def end(self) -> int:
        """The first position in the blob after it."""
        return self.at + self.segment.size


class Check:
    """The walk over one plan's parts. `run` is the body of its thread."""

    def __init__(self, plan: Plan, parts: list[Part], target: Space, run: Run) -> None:
        self.plan = plan
        self.parts = parts
        self.target = target
        self.shared = run
        self.at = 0  # the part that the walk is in
        self._blob = hashlib.sha256()
        self._files: dict[str, Hasher | None] = {}  # by the remote file's sha256; None: cannot be told

    def run(self) -> None:
        """Walks to the end; what goes wrong becomes the run's failure."""
        try:
            self.walk()
        except Cancelled:
            self.shared.announce()
        except (AllodError, Torn) as error:
            self.shared.fail(error)
        except BaseException as error:  # noqa: BLE001 - a bug must end the run, and be seen in the thread that waits
            self.shared.fail(error)
        else:
            self.shared.done = True
            self.shared.announce()

    def walk(self) -> None:
        """Hashes every part.

        Raises:
            DigestMismatch: of a remote file, with its part taken back; or of the blob.
            Cancelled, Torn, DiskFull, ReadOnly, Disk.
        """
        for i, part in enumerate(self.parts):
            self.at = i
            self.shared.announce()  # streams may begin with parts that were too far ahead
            try:
                self.part(part)
            except DigestMismatch:
                self.target.forget(part.at, part.end)
                if part.spool:
                    part.spool.forget(0, part.spool.size)
                raise
            if part.spool:
                part.spool.remove()
        found = f"sha256:{self._blob.hexdigest()}"
        if found != self.plan.digest:
            raise DigestMismatch(f"{self.plan.source} gave bytes of the digest {found} instead of {self.plan.digest}")

    def part(self, part: Part) -> None:
        """Hashes one part, and its remote file so far."""
        segment = part.segment
        file = self.file(part)
        if file and segment.before:
            file.update(segment.before)
        crc = 0
        for data in self.inflated(part, file) if part.spool else self.target.walk(part.at, part.end):
            self._blob.update(data)
            if segment.crc32 is not None:
                crc = zlib.crc32(data, crc)
            if file and not part.spool:
                file.update(data)
        if segment.crc32 is not None and crc != segment.crc32:
            raise DigestMismatch(f"{segment.url} holds a file whose CRC32 is {crc:08x} instead of {segment.crc32:08x}")
        if file and segment.after is not None:
            file.update(segment.after)
            if file.hexdigest() != segment.sha256:
                raise DigestMismatch(
                    f"{segment.url} has the sha256 {file.hexdigest()} instead of {segment.sha256}, as its index says"
                )

    def file(self, part: Part) -> Hasher | None:
        """The running hash of the remote file that a part is of; None where not all of its bytes come by."""
        segment = part.segment
        if not segment.sha256:
            return None
        if segment.deflated and part.spool is None:  # inflated by an earlier run, which checked it
            self._files[segment.sha256] = None
        elif segment.sha256 not in self._files:
            self._files[segment.sha256] = hashlib.sha256()
        return self._files[segment.sha256]

    def inflated(self, part: Part, file: Hasher | None) -> Iterator[memoryview]:
        """A deflated part's bytes, each written to the target before it is given on."""
        assert part.spool is not None
        position = part.at
        for data in inflate(self.raw(part.spool, file), part.segment):
            for start, end in self.target.journal.gaps(position, position + len(data)):
                self.target.store(start, data[start - position : end - position])
            yield data
            position += len(data)

    def raw(self, spool: Space, file: Hasher | None) -> Iterator[memoryview]:
        """A part's bytes as they came."""
        for data in spool.walk(0, spool.size):
            if file:
                file.update(data)
            yield data


def inflate(raw: Iterator[memoryview], segment: Segment) -> Iterator[memoryview]:
    """Inflates a zip member in blocks of 4 MiB; never more bytes than were announced.

    Raises:
        DigestMismatch: not DEFLATE, or not the announced number of bytes on either side.
    """
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    block = bytearray()
    made = 0
    try:
        for view in raw:
            for offset in range(0, len(view), SLICE):
                data: bytes | memoryview = view[offset : offset + SLICE]
                more = True
                while more:
                    block += engine.decompress(data, PIECE - len(block))
                    data = engine.unconsumed_tail
                    if made + len(block) > segment.size:
                        raise DigestMismatch(f"{segment.url} inflates to more than the {segment.size} bytes announced")
                    more = len(block) == PIECE and not engine.eof  # else zlib gave all it could make of ``data``
                    if len(block) == PIECE:
                        yield memoryview(block)
                        made += len(block)
                        block = bytearray()
                if engine.unused_data or (engine.eof and offset + SLICE < len(view)):
                    raise DigestMismatch(f"{segment.url} has bytes after the end of its deflated stream")
        if block:
            yield memoryview(block)
            made += len(block)
    except zlib.error as error:
        raise DigestMismatch(f"{segment.url} cannot be inflated: {error}") from error
    if made != segment.size or not engine.eof:
        raise DigestMismatch(f"{segment.url} inflates to {made} bytes instead of {segment.size}")
