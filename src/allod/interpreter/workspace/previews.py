"""What a changed image or table holds, in a few lines: size and format; rows, columns and the first rows.

Files that code left behind are read here with the standard library's parsers alone, in bounded portions, and nothing of
them is executed or unpacked to more than a bound. What needs more than that has no preview.
"""

import contextlib
import csv
import io
import struct
import time
import zipfile
from collections.abc import Callable

from allod.interpreter.workspace import parquet, sheets, tree
from allod.interpreter.workspace.overlay import Difference, printable

MOST = 16 << 20  # bytes of a table that is counted through
HEAD = 256 << 10  # bytes of an image whose header is looked for
ROWS = 3  # first rows shown
COLUMNS = 8
CELL = 24  # characters
SECONDS = 2.0  # for all previews of one list
TABLES = (".csv", ".tsv", ".xlsx", ".xlsm", ".parquet")

Rows = list[list[str]]


class Previews:
    """Makes the previews of one list of changes, until its time is over."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._until = time.monotonic() + seconds

    def of(self, d: Difference, folder: int, upper: int) -> str:
        """The preview of a change; empty where there is nothing to show."""
        if time.monotonic() > self._until:
            return ""
        now = look(d.path, upper) if d.after is not None and d.after.kind == "file" else ""
        was = look(d.path, folder) if d.before is not None and d.before.kind == "file" else ""
        if not now or not was or now == was:
            return now or was
        return f"before: {was}\nafter:  {now}"


def look(path: bytes, root: int) -> str:
    """What a file below an open folder holds; empty where it is neither an image nor a table, or a broken one."""
    name = path.lower()
    try:
        if name.endswith(tuple(end.encode() for end in TABLES)):
            return table(path, root)
        return image(tree.head(root, path, HEAD))
    except (OSError, ValueError, KeyError, IndexError, csv.Error, zipfile.BadZipFile, RuntimeError, struct.error):
        return ""


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(path: bytes, root: int) -> str:
    """Rows and columns of a table, and its first rows."""
    name = path.lower()
    if name.endswith(b".parquet"):
        with tree.parent_of(root, path) as (at, last), tree.reading(at, last) as fd:
            rows, names = parquet.facts(fd)
        return sized(rows, len(names), [names])
    data = tree.head(root, path, MOST + 1)
    if len(data) > MOST:
        return ""
    if name.endswith((b".xlsx", b".xlsm")):
        return "\n".join(
            f"{printable(sheet.name.encode())}: {sized(sheet.rows, sheet.columns, sheet.first)}"
            for sheet in sheets.read(data, ROWS + 1)
        )
    return separated(data)


def separated(data: bytes) -> str:
    """A CSV or TSV file."""
    text = decoded(data)
    first = text.partition("\n")[0]
    delimiter = max(",;\t|", key=first.count)
    rows, columns = 0, 0
    shown: Rows = []
    for row in csv.reader(io.StringIO(text), delimiter=delimiter):
        if not row:
            continue
        rows += 1
        columns = max(columns, len(row))
        if len(shown) <= ROWS:
            shown.append(row)
    return sized(max(0, rows - 1), columns, shown) if rows else ""


def decoded(data: bytes) -> str:
    """The text of a table."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    with contextlib.suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    return data.decode("latin-1")


def sized(rows: int, columns: int, first: Rows) -> str:
    """``12 rows × 3 columns`` and the first rows, cells cut short."""
    lines = [f"{rows:,} row{'' if rows == 1 else 's'} × {columns:,} column{'' if columns == 1 else 's'}"]
    for row in first[: ROWS + 1]:
        cells = [cell(text) for text in row[:COLUMNS]]
        lines.append("  " + " | ".join(cells) + (" | …" if len(row) > COLUMNS else ""))
    return "\n".join(lines)


def cell(text: str) -> str:
    """A value of one line."""
    text = printable(" ".join(text.split()).encode("utf-8", "replace"))
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


# ── images ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def image(data: bytes) -> str:
    """Format and size of an image, from its header; empty where it is none."""
    for form, start, measure in FORMATS:
        if data.startswith(start):
            width, height = measure(data)
            return f"{form}, {width:,} × {height:,} pixels" if 0 < width < 1 << 24 and 0 < height < 1 << 24 else ""
    return ""


def png(data: bytes) -> tuple[int, int]:
    """Of a PNG."""
    if data[12:16] != b"IHDR":
        return 0, 0
    return struct.unpack(">II", data[16:24])


def gif(data: bytes) -> tuple[int, int]:
    """Of a GIF."""
    return struct.unpack("<HH", data[6:10])


def bmp(data: bytes) -> tuple[int, int]:
    """Of a BMP; its height may count downwards."""
    width, height = struct.unpack("<ii", data[18:26])
    return abs(width), abs(height)


def webp(data: bytes) -> tuple[int, int]:
    """Of a WebP: lossy, lossless or extended."""
    kind = data[12:16] if data[8:12] == b"WEBP" else b""
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def jpeg(data: bytes) -> tuple[int, int]:
    """Of a JPEG: in the first frame header, behind the other segments."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def tiff(data: bytes) -> tuple[int, int]:
    """Of a TIFF: in its first directory."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[start : start + 2])
    found: dict[int, int] = {}
    for n in range(min(count, 100)):
        tag, kind, _, value = struct.unpack(order + "HHI4s", data[start + 2 + n * 12 : start + 14 + n * 12])
        if tag in (256, 257):
            found[tag] = struct.unpack(order + ("H" if kind == 3 else "I"), value[: 2 if kind == 3 else 4])[0]
    return found.get(256, 0), found.get(257, 0)


FORMATS: tuple[tuple[str, bytes, Callable[[bytes], tuple[int, int]]], ...] = (
    ("PNG", b"\x89PNG\r\n\x1a\n", png),
    ("JPEG", b"\xff\xd8\xff", jpeg),
    ("GIF", b"GIF87a", gif),
    ("GIF", b"GIF89a", gif),
    ("BMP", b"BM", bmp),
    ("WebP", b"RIFF", webp),
    ("TIFF", b"II*\0", tiff),
    ("TIFF", b"MM\0*", tiff),
)
