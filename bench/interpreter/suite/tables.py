"""Tables in files: CSV with any separator and encoding, every sheet of an Excel file. Each function raises Wrong.

Headings are compared by their letters and digits; columns may be in any order, with others beside them (an index).
"""

import csv
import datetime
import io
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from suite.task import Wrong

Row = tuple[Any, ...]


def there(path: Path) -> Path:
    """The path, where there is such a file."""
    if not path.is_file():
        raise Wrong(f"there is no {path.name}")
    return path


def text(path: Path) -> str:
    """A text file, whatever it is encoded in."""
    data = there(path).read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def utf8(path: Path) -> str:
    """A text file that has to be UTF-8."""
    try:
        return there(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Wrong(f"{path.name} is not UTF-8") from None


def lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones and blanks at the ends."""
    return [line.strip() for line in text(path).splitlines() if line.strip()]


def grids(path: Path) -> list[list[list[Any]]]:
    """Every table of a file, row by row."""
    there(path)
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        import openpyxl

        try:
            book = openpyxl.load_workbook(path, data_only=True)
        except Exception as error:  # noqa: BLE001 - whatever a file that is none raises
            raise Wrong(f"{path.name} does not open: {error}") from None
        return [[list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets]
    whole = text(path)
    first = whole.partition("\n")[0]
    separator = max(",;\t|", key=first.count)
    return [list(csv.reader(io.StringIO(whole, newline=""), delimiter=separator))]


def columns(path: Path, *names: str) -> list[Row]:
    """The rows under these headings, in this order; ``total|sum`` takes either. Empty rows are left out."""
    for grid in grids(path):
        for at, head in enumerate(grid[:6]):
            known = [_key(cell) for cell in head]
            found = [next((known.index(_key(n)) for n in name.split("|") if _key(n) in known), -1) for name in names]
            if -1 not in found:
                rows = [tuple(row[i] if i < len(row) else None for i in found) for row in grid[at + 1 :]]
                return [row for row in rows if any(cell not in (None, "") for cell in row)]
    raise Wrong(f"{path.name} has no columns {', '.join(name.partition('|')[0] for name in names)}")


def rows(got: Sequence[Row], want: Sequence[Row], *, ordered: bool = False, within: float = 0.0051) -> None:
    """The same rows; floats may differ by ``within``, whole numbers not."""
    if len(got) != len(want):
        raise Wrong(f"{len(got)} rows instead of {len(want)}")
    if ordered:
        for at, (one, other) in enumerate(zip(got, want, strict=True), 1):
            if not _same_row(one, other, within):
                raise Wrong(f"row {at} is {_said(one)}, not {_said(other)}")
        return
    left = list(got)
    for other in want:
        at = next((i for i, one in enumerate(left) if _same_row(one, other, within)), -1)
        if at < 0:
            raise Wrong(f"the row {_said(other)} is missing or wrong")
        del left[at]


def descending(got: Sequence[Row], column: int, *, key: Callable[[Any], Any] = lambda cell: _cell(cell)) -> None:
    """Sorted by one column, highest first."""
    values = [key(row[column]) for row in got]
    if values != sorted(values, reverse=True):
        raise Wrong("the rows are not sorted as asked")


def _said(row: Row) -> str:
    return " | ".join(str(_cell(cell)) for cell in row)


def _key(heading: Any) -> str:
    return "".join(c for c in str(heading if heading is not None else "").casefold() if c.isalnum())


def _same_row(one: Row, other: Row, within: float) -> bool:
    return all(same(a, b, within) for a, b in zip(one, other, strict=True))


def same(got: Any, want: Any, within: float = 0.0051) -> bool:
    """Whether two cells hold the same."""
    one, other = _cell(got), _cell(want)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= (within if isinstance(want, float) else 1e-6)
    return type(one) is type(other) and one == other


def _cell(value: Any) -> str | float:
    """A cell made comparable: numbers as float, dates as 2024-05-01, text folded."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).casefold()
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (datetime.date, datetime.time)):
        value = value.isoformat()
    said = re.sub(r"\s+", " ", str(value)).strip()
    if said.casefold() in ("nan", "none", "null", "nat", "n/a"):
        return ""
    said = re.sub(r"^(\d{4}-\d\d-\d\d)[T ]00:00:00(?:\.0+)?$", r"\1", said)
    plain = said.replace(",", "") if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", said) else said
    return float(plain) if re.fullmatch(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", plain) else said.casefold()
