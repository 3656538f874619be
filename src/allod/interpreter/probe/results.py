"""Looks at the files that a job wrote: tables with their columns, first rows and order. Runs in the job's Python."""

import contextlib
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from allod.interpreter.probe import tables, texts
from allod.interpreter.probe.encodings import encoding_of
from allod.interpreter.probe.finding import library, short
from allod.interpreter.probe.walk import inspect

MOST = 12  # files
ROWS = 3  # shown of a table


@dataclasses.dataclass
class Result:
    """One file. ``order``: column → how it goes; a column that is not in order is left out. ``repeated``:
    rows, or lines of a text, that are there a second time. ``digest``: the same for files that hold the same, however
    they are written; of what is neither table nor text, only its kind.
    """

    path: str
    about: str
    columns: list[str] = dataclasses.field(default_factory=list[str])
    rows: int = 0
    order: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    repeated: int = 0
    first: list[str] = dataclasses.field(default_factory=list[str])
    digest: str = ""


def results(paths: list[str], columns: list[str], ordered: bool) -> str:
    """The results as a JSON list; what cannot be read has only its size.

    ``columns``: a table that has them all is digested by them alone. ``ordered``: whether it matters how rows go.
    """
    found: list[Result] = []
    for path in paths[:MOST]:
        size = Path(path).stat().st_size if Path(path).is_file() else 0
        finding = inspect(path, size)
        result = Result(path, finding.about or f"{size} bytes", digest=finding.kind)
        with contextlib.suppress(Exception):  # a file that only looks like what it is called
            if finding.kind == "table":
                whole = hashlib.sha256()
                for frame in frames(Path(path)):
                    describe(frame, result)
                    whole.update(plain(asked(frame, columns), ordered).encode())
                result.digest = whole.hexdigest()
            elif finding.kind == "text":
                lines = [line for line in texts.read(Path(path))[0].splitlines() if line.strip()]
                result.first = [short(line, 110) for line in lines[:ROWS]]
                result.repeated = len(lines) - len(set(lines))
                result.digest = hashlib.sha256("\n".join(" ".join(line.split()) for line in lines).encode()).hexdigest()
        found.append(result)
    return json.dumps([dataclasses.asdict(result) for result in found])


def frames(path: Path) -> list[Any]:
    """The tables of a file; of a workbook the first sheets."""
    pandas = library("pandas")
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        return list(pandas.read_excel(path, sheet_name=None, nrows=50_000).values())[:6]
    with path.open("rb") as file:
        data = file.read(tables.WHOLE)
    separator = tables.shape(data.decode(encoding_of(data), "replace")[:200_000])[0] or ","
    return [pandas.read_csv(path, sep=separator, encoding=encoding_of(data), nrows=50_000)]


def describe(frame: Any, result: Result) -> None:
    """Adds one table's columns, order and first rows."""
    result.columns += [str(name) for name in frame.columns]
    result.rows += len(frame)
    result.repeated += int(frame.astype(str).duplicated().sum())
    for name in frame.columns:
        way = order(frame[name])
        if way:
            result.order[str(name)] = way
    if not result.first:
        rows = frame.head(ROWS).astype(str).to_numpy().tolist()
        result.first = [short(", ".join(row), 120) for row in rows]


def asked(frame: Any, columns: list[str]) -> Any:
    """The columns that were asked for, in that order; the whole table where some are not there."""
    by_key = {key(name): name for name in frame.columns}
    found = [by_key[key(name)] for name in columns if key(name) in by_key]
    return frame[found] if columns and len(found) == len(columns) else frame


def key(name: object) -> str:
    """A column's name by its letters and digits."""
    return re.sub(r"[\W_]", "", str(name).casefold())


def plain(frame: Any, ordered: bool) -> str:
    """A table as text in which it does not matter how its numbers, dates, headings and index were written."""
    kept = frame.drop(columns=[name for name in frame.columns if str(name).startswith("Unnamed: 0")])
    columns: list[list[str]] = []
    for name in kept.columns:
        series = kept[name]
        if pandas_types().is_numeric_dtype(series) and not pandas_types().is_bool_dtype(series):
            values = ["" if value != value else f"{float(value):.4g}" for value in series.tolist()]
        else:
            values = ["" if value != value else " ".join(str(value).split()) for value in series.tolist()]
        columns.append([key(name), *values])
    head, *rows = ["\t".join(row) for row in zip(*columns, strict=True)] or [""]
    return "\n".join([head, *(rows if ordered else sorted(rows))])


def order(series: Any) -> str:
    """How the values go: "up" or "down" for numbers and dates, "a-z" or "z-a" for text, "same" if all alike, or ""."""
    kept = series.dropna()
    text = not pandas_types().is_numeric_dtype(kept) and not pandas_types().is_datetime64_any_dtype(kept)
    try:
        if kept.nunique() < 2:
            return "same"
        up, down = kept.is_monotonic_increasing, kept.is_monotonic_decreasing
    except TypeError:  # values that do not compare
        return ""
    return ("a-z" if text else "up") if up else ("z-a" if text else "down") if down else ""


def pandas_types() -> Any:
    """pandas's tests of what a column holds."""
    return library("pandas").api.types
