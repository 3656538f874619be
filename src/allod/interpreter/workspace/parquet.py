"""How many rows and which columns a Parquet file says it has, from its footer (Thrift's compact protocol).

Only what is needed is read: FileMetaData's schema (2) and num_rows (3)
(https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift). The file may be hostile: what is
nested, long or cut off is a ValueError.
"""

import os

LARGEST = 4 << 20  # bytes of a footer
DEEPEST = 16
MOST = 10_000  # columns


def facts(fd: int) -> tuple[int, list[str]]:
    """Rows, and the names of the columns. Raises ValueError, OSError."""
    size = os.fstat(fd).st_size
    end = os.pread(fd, 8, max(0, size - 8))
    if len(end) < 8 or end[4:] != b"PAR1":
        raise ValueError("not a Parquet file")
    length = int.from_bytes(end[:4], "little")
    if length > min(LARGEST, size - 12):
        raise ValueError("a footer that is too long")
    rows, names = 0, list[str]()
    thrift = Compact(os.pread(fd, length, size - 8 - length))
    for field, kind in thrift.fields():
        if field == 2 and kind == 9:
            names = thrift.schema()
        elif field == 3 and kind == 6:
            rows = thrift.integer()
        else:
            thrift.skip(kind)
    return rows, names


class Compact:
    """Reads one struct."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """The next byte."""
        if self.at >= len(self.data):
            raise ValueError("cut off")
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        """An unsigned number of up to ten bytes."""
        value = 0
        for n in range(10):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * n
            if byte < 0x80:
                return value
        raise ValueError("a number that is too long")

    def integer(self) -> int:
        """A signed number."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        """A string."""
        length = self.varint()
        if length > len(self.data) - self.at:
            raise ValueError("cut off")
        self.at += length
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def fields(self):
        """Number and type of each field of a struct; the caller reads or skips its value."""
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 0x0F

    def items(self) -> tuple[int, int]:
        """How many items a list has, and their type."""
        head = self.byte()
        count = head >> 4 if head >> 4 != 15 else self.varint()
        if count > len(self.data):
            raise ValueError("a list that is too long")
        return count, head & 0x0F

    def schema(self) -> list[str]:
        """The names of the leaves of a list of SchemaElement: name (4), num_children (5)."""
        names: list[str] = []
        count, kind = self.items()
        if kind != 12 or count > MOST:
            raise ValueError("not a schema")
        for _ in range(count):
            name, children = "", 0
            for field, kind in self.fields():
                if field == 4 and kind == 8:
                    name = self.text()
                elif field == 5 and kind == 5:
                    children = self.integer()
                else:
                    self.skip(kind)
            if not children:
                names.append(name)
        return names

    def skip(self, kind: int, depth: int = 0) -> None:
        """Passes over a value."""
        if depth > DEEPEST:
            raise ValueError("nested too deep")
        if kind in (1, 2):  # true and false are in the type
            return
        if kind == 3:
            self.byte()
        elif kind in (4, 5, 6):
            self.varint()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            self.text()
        elif kind in (9, 10):
            count, inner = self.items()
            for _ in range(count):
                self.skip(3 if inner in (1, 2) else inner, depth + 1)
        elif kind == 11:
            if count := self.varint():
                kinds = self.byte()
                for _ in range(min(count, len(self.data))):
                    self.skip(kinds >> 4, depth + 1)
                    self.skip(kinds & 0x0F, depth + 1)
        elif kind == 12:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise ValueError("not Thrift")
