"""The sheets of an .xlsx file: name, rows and columns, and the first rows. Nothing of it is computed or run.

The file may be hostile: each part is inflated to a bound and no further, and XML that declares entities is refused.
"""

import io
import re
import zipfile
from xml.parsers import expat

from msgspec import Struct

MOST_SHEETS = 5
LARGEST = 32 << 20  # bytes of one part, inflated
MOST_STRINGS = 200_000
CELL = re.compile(r"([A-Z]{1,3})(\d{1,7})")


class Sheet(Struct):
    """One sheet. ``rows`` do not count the first one, which names the columns."""

    name: str
    rows: int
    columns: int
    first: list[list[str]]


def read(data: bytes, rows: int) -> list[Sheet]:
    """The first sheets with their first rows. Raises ValueError, KeyError or BadZipFile for what is no such file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names, files = sheets_of(archive)
        readers: list[Reader] = []
        for file in files[:MOST_SHEETS]:
            reader = Reader(rows)
            reader.parse(part(archive, file))
            readers.append(reader)
        wanted = {int(text) for each in readers for kind, text in each.values() if kind == "s" and text.isdigit()}
        strings = shared(archive, max(wanted, default=-1)) if wanted else []
    return [
        Sheet(name, max(0, each.count - 1), each.columns, each.table(strings))
        for name, each in zip(names, readers, strict=False)
    ]


def part(archive: zipfile.ZipFile, name: str) -> bytes:
    """One part, inflated. Raises ValueError where it is too large, KeyError where there is none."""
    with archive.open(name) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("too large")
    return data


def parser() -> expat.XMLParserType:
    """A parser that takes no declarations: entities can make a small file large."""

    def refuse(*_: object) -> None:
        raise ValueError("declarations")

    made = expat.ParserCreate(namespace_separator=" ")
    made.StartDoctypeDeclHandler = refuse
    made.EntityDeclHandler = refuse
    made.buffer_text = True
    return made


def run(made: expat.XMLParserType, data: bytes) -> None:
    """Parses; what is not well formed is a ValueError."""
    try:
        made.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error


def sheets_of(archive: zipfile.ZipFile) -> tuple[list[str], list[str]]:
    """The names of the sheets and the parts that hold them, in order."""
    found: list[tuple[str, str]] = []
    targets: dict[str, str] = {}

    def sheet(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(" ")[2] == "sheet":
            id_ = next((value for key, value in attributes.items() if key.endswith("/relationships id")), "")
            found.append((attributes.get("name", ""), id_))

    def relation(tag: str, attributes: dict[str, str]) -> None:
        if tag.rpartition(" ")[2] == "Relationship":
            target = attributes.get("Target", "")
            targets[attributes.get("Id", "")] = target[1:] if target.startswith("/") else f"xl/{target}"

    for name, handler in (("xl/workbook.xml", sheet), ("xl/_rels/workbook.xml.rels", relation)):
        made = parser()
        made.StartElementHandler = handler
        run(made, part(archive, name))
    known = [(name, targets[id_]) for name, id_ in found if id_ in targets]
    return [name for name, _ in known], [target for _, target in known]


def shared(archive: zipfile.ZipFile, last: int) -> list[str]:
    """The shared strings up to a number."""
    texts: list[str] = []
    open_: list[list[str]] = []
    inside = [False]

    def start(tag: str, _: dict[str, str]) -> None:
        kind = tag.rpartition(" ")[2]
        if kind == "si":
            open_.append([])
        inside[0] = kind == "t"

    def end(tag: str) -> None:
        if tag.rpartition(" ")[2] == "si" and open_ and len(texts) <= min(last, MOST_STRINGS):
            texts.append("".join(open_.pop()))
        inside[0] = False

    def characters(text: str) -> None:
        if inside[0] and open_ and len(texts) <= last:
            open_[-1].append(text)

    made = parser()
    made.StartElementHandler, made.EndElementHandler, made.CharacterDataHandler = start, end, characters
    run(made, part(archive, "xl/sharedStrings.xml"))
    return texts


class Reader:
    """Counts the rows and columns of one sheet that hold something, and keeps the first rows."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self.count = 0
        self.columns = 0
        self.kept: list[dict[int, tuple[str, str]]] = []  # column → (type, text)
        self._row: dict[int, tuple[str, str]] = {}
        self._column = 0
        self._kind = ""
        self._text: list[str] = []
        self._reading = False

    def parse(self, data: bytes) -> None:
        """Reads the sheet's part."""
        made = parser()
        made.StartElementHandler, made.EndElementHandler = self._start, self._end
        made.CharacterDataHandler = self._characters
        run(made, data)

    def values(self) -> list[tuple[str, str]]:
        """Type and text of every cell that was kept."""
        return [value for row in self.kept for value in row.values()]

    def table(self, strings: list[str]) -> list[list[str]]:
        """The first rows, with their shared strings put in."""

        def text(kind: str, value: str) -> str:
            if kind == "s":
                return strings[int(value)] if value.isdigit() and int(value) < len(strings) else ""
            return {"0": "FALSE", "1": "TRUE"}.get(value, value) if kind == "b" else value

        return [[text(*row.get(n, ("", ""))) for n in range(min(max(row, default=-1) + 1, 64))] for row in self.kept]

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rpartition(" ")[2]
        if kind == "row":
            self._row, self._column = {}, -1
        elif kind == "c":
            place = CELL.fullmatch(attributes.get("r", ""))
            self._column = column_of(place[1]) if place else self._column + 1
            self._kind, self._text = attributes.get("t", ""), []
        self._reading = kind in ("v", "t")

    def _characters(self, text: str) -> None:
        if self._reading:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        kind = tag.rpartition(" ")[2]
        self._reading = False
        if kind == "c" and self._text:
            self._row[self._column] = (self._kind, "".join(self._text))
        elif kind == "row" and self._row:
            self.count += 1
            self.columns = max(self.columns, max(self._row) + 1)
            if len(self.kept) < self.keep:
                self.kept.append(self._row)


def column_of(letters: str) -> int:
    """The number of a column, from 0: A is 0, AA is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1
