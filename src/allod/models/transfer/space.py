"""A file that fills piece by piece in any order, and is walked in order while it fills.

`Run` is what all threads of one transfer share: a condition to wait on, the first failure, the pieces in memory.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from allod.errors import Cancelled
from allod.models.disk import disk_error
from allod.models.transfer.journal import Journal, sample
from allod.models.transfer.plan import PIECE


class Torn(Exception):
    """What the journal says is there is not: the disk lost it. Not an error of the source."""


class Run:
    """One transfer's threads: whether they should go on, and how many pieces they keep in memory."""

    def __init__(self, stop: threading.Event, window: int) -> None:
        self.stop = stop
        self.changed = threading.Condition()
        self.failure: BaseException | None = None
        self.done = False  # the walk reached the end
        self._room = window
        self._spare: list[bytearray] = []

    def fail(self, error: BaseException) -> None:
        """Ends the run; the first failure counts."""
        with self.changed:
            if self.failure is None:
                self.failure = error
            self.changed.notify_all()

    def check(self) -> None:
        """Returns while the run goes on.

        Raises:
            Cancelled: it was stopped, or failed elsewhere.
        """
        if self.stop.is_set() or self.failure is not None:
            raise Cancelled("the transfer was stopped")

    def announce(self) -> None:
        """Wakes whoever waits for a piece."""
        with self.changed:
            self.changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Waits that long, or until the run is over. Raises Cancelled where it was stopped or failed."""
        with self.changed:
            self.changed.wait_for(lambda: self.done or self.stop.is_set() or self.failure is not None, seconds)
        self.check()

    def buffer(self) -> bytearray:
        """Memory for one piece; used ones come back."""
        with self.changed:
            return self._spare.pop() if self._spare else bytearray(PIECE)

    def release(self, buffer: bytearray, held: bool = False) -> None:
        """Takes memory back, and where the piece was held for the walk, its room."""
        with self.changed:
            self._spare.append(buffer)
            self._room += held

    def hold(self) -> bool:
        """Room to keep one more piece in memory, where there is some."""
        with self.changed:
            if self._room == 0:
                return False
            self._room -= 1
            return True


class Space:
    """A partial file of known size and its journal, made at first use.

    Everything that touches the disk raises DiskFull, ReadOnly or Disk.
    """

    def __init__(self, path: Path, key: bytes, size: int, run: Run) -> None:
        self.path = path
        self.size = size
        self.run = run
        self.reread = 0  # bytes that the walk had to read back from the disk
        self._key = key
        self._held: dict[int, bytearray] = {}
        self._file = -1
        self._journal: Journal | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    @property
    def journal(self) -> Journal:
        """The journal, opened with its file."""
        with self._opening:
            if self._journal is None:
                try:
                    if not self.path.exists():
                        journal_of(self.path).unlink(missing_ok=True)
                    self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                    os.ftruncate(self._file, self.size)
                    self._journal = Journal(journal_of(self.path), self._key, self.size)
                except OSError as error:
                    raise disk_error(error, "write", self.path) from error
            return self._journal

    def gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is missing between two positions; makes no file."""
        if self._journal is None and not self.path.exists():
            return [(start, end)] if start < end else []
        return self.journal.gaps(start, end)

    def missing(self) -> int:
        """Bytes missing in all."""
        return sum(last - first for first, last in self.gaps(0, self.size))

    def close(self) -> None:
        """Closes the files; they stay."""
        with self._opening:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def remove(self) -> None:
        """Closes and removes the files."""
        self.close()
        remove(self.path)

    def put(self, start: int, buffer: bytearray, length: int) -> None:
        """Writes a finished piece, notes it, and keeps its memory for the walk if there is room."""
        journal = self.journal
        data = memoryview(buffer)[:length]
        self.write(start, data)
        held = self.run.hold()
        if held:
            self._held[start] = buffer  # before the record, which the walk goes by
        self.note(journal, start, data)
        self.run.announce()
        if not held:
            self.run.release(buffer)

    def store(self, start: int, data: memoryview) -> None:
        """Writes and notes a stretch that the walk itself made."""
        journal = self.journal
        self.write(start, data)
        self.note(journal, start, data)

    def write(self, start: int, data: memoryview) -> None:
        """Writes a stretch."""
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(self._file, data[done:], start + done)
        except OSError as error:
            raise disk_error(error, "write", self.path) from error

    def note(self, journal: Journal, start: int, data: memoryview) -> None:
        """Records a stretch that is written."""
        try:
            journal.add(start, len(data), sample(data))
        except OSError as error:
            raise disk_error(error, "write", journal_of(self.path)) from error

    def walk(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes between two positions in order, waiting for those that are on their way.

        Raises:
            Cancelled: the run ended before they came.
            Torn: the disk does not hold what the journal says.
        """
        while start < end:
            begin, length, mark = self.await_stretch(start)
            last = min(begin + length, end)
            buffer = self._held.get(begin)
            data = memoryview(buffer) if buffer is not None else memoryview(self.read_back(begin, length, mark))
            yield data[start - begin : last - begin]
            if buffer is not None and last == begin + length:
                data.release()
                with self.run.changed:
                    del self._held[begin]
                self.run.release(buffer, held=True)
            start = last

    def await_stretch(self, position: int) -> tuple[int, int, int]:
        """The recorded stretch at a position, as soon as there is one. Raises Cancelled."""
        while True:
            found = self.journal.find(position)
            if found:
                return found
            with self.run.changed:
                if self.journal.find(position) is None:
                    self.run.check()
                    self.run.changed.wait(1.0)

    def read_back(self, start: int, length: int, mark: int) -> bytes:
        """A stretch from the disk. Raises Torn."""
        try:
            data = os.pread(self._file, length, start)
        except OSError as error:
            raise disk_error(error, "read", self.path) from error
        if len(data) != length or sample(data) != mark:
            raise Torn(f"{self.path} at {start}")
        self.reread += length
        return data

    def sweep(self) -> None:
        """Drops the record of every stretch that the disk does not hold."""
        for start, length, mark in self.journal.stretches():
            try:
                self.read_back(start, length, mark)
            except Torn:
                self.journal.drop(start)

    def forget(self, start: int, end: int) -> None:
        """Drops the records that lie between two positions."""
        for begin, length, _ in self.journal.stretches():
            if begin < end and begin + length > start:
                self.journal.drop(begin)


def journal_of(path: Path) -> Path:
    """The journal beside a partial file."""
    return path.with_name(path.name + ".journal")


def remove(path: Path) -> None:
    """Removes a partial file and its journal, if they are there."""
    for file in (path, journal_of(path)):
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, "remove", file) from error
