"""CSV and its like, Excel workbooks, SQLite databases. Runs in the job's Python."""

import csv
import io
import re
import sqlite3
from pathlib import Path
from typing import Any

from allod.interpreter.probe.encodings import encoding_of
from allod.interpreter.probe.finding import Finding, columns, library, no_numbers, quoted, ran, told, variable

TABLES = 12  # of a database
MOST_ROWS = 100_000  # of a table of a database that is read
WHOLE = 30_000_000  # bytes of a table that are read whole; of a larger one the first rows
SEPARATORS = ",;\t|"
COMMA_DECIMAL = re.compile(r"-?\d{1,3}(?:\.\d{3})*,\d+|-?\d+,\d+")
DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?")
DOTTED = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2\d{4}(?: \d\d:\d\d(?::\d\d)?)?")
ZERO_FIRST = re.compile(r"0\d+")
NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*%?")


def shape(text: str) -> tuple[str, int, list[list[str]]]:
    """Separator, lines of junk before the table, and its first rows; ("", 0, []) where it is no table."""
    best: tuple[float, str, int, list[list[str]]] = (0, "", 0, [])
    lines = text.splitlines()[:60]
    for separator in SEPARATORS:
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=separator))
        widths = [len(row) for row in rows if row]
        if not widths:
            continue
        width = max(set(widths), key=widths.count)
        share = widths.count(width) / len(widths)
        if width > 1 and share >= 0.6:
            start = next(i for i, row in enumerate(rows) if len(row) == width)
            best = max(best, (share + width / 1000, separator, start, rows[start:]), key=lambda b: b[0])
    return best[1:]


def comma_separated(path: Path, finding: Finding) -> None:
    """A text table: separator, encoding, decimal comma, heading, columns."""
    with path.open("rb") as file:
        data = file.read(WHOLE)
    encoding = encoding_of(data)
    text = data.decode(encoding, "replace")
    separator, start, rows = shape(text[:200_000])
    if not separator and path.suffix.lower() == ".csv" and len(text.splitlines()) > 1:
        separator, rows = ",", [[line] for line in text.splitlines()[:60]]
    if not separator:
        raise ValueError("no table")
    arguments = [quoted(finding.path)]
    if separator != ",":
        arguments.append('sep="\\t"' if separator == "\t" else f'sep="{separator}"')
    if encoding not in ("utf-8", "utf-8-sig"):
        arguments.append(f'encoding="{encoding}"')
    if start:
        arguments.append(f"skiprows={start}")
    arguments += cell_arguments(separator, rows)
    if read_csv(finding, arguments, len(data) == WHOLE):
        long, few = damage(text, separator, start)
        finding.load.append(f"left_out = {long}  # lines of {finding.path} with too many fields")
        finding.lines.append(
            f"damaged: left_out lines with too many fields are not in it, {few} with too few are in it"
        )
    if encoding != "utf-8":
        finding.about += f", {encoding}"


def cell_arguments(separator: str, rows: list[list[str]]) -> list[str]:
    """What the cells ask for: no heading, decimal commas, dates, numbers that begin with a zero."""
    head = [cell.strip() for cell in rows[0]]
    if any(NUMBER.fullmatch(cell) for cell in head):
        return ["header=None"]
    arguments: list[str] = []
    cells = [cell.strip() for row in rows[1:] for cell in row]
    if separator != "," and any(COMMA_DECIMAL.fullmatch(cell) for cell in cells):
        arguments.append('decimal=","')
        if any("." in cell and COMMA_DECIMAL.fullmatch(cell) for cell in cells):
            arguments.append('thousands="."')
    by_column = {name: [row[at].strip() for row in rows[1:] if len(row) > at] for at, name in enumerate(head)}
    dates = [n for n, values in by_column.items() if any(values) and all(map(DATE.fullmatch, filter(None, values)))]
    zeros = [name for name, values in by_column.items() if any(map(ZERO_FIRST.fullmatch, values))]
    ways = {name: written(list(filter(None, values))) for name, values in by_column.items()}
    if not dates and len(set(filter(None, ways.values()))) == 1:  # one argument says how all of them are written
        dates = [name for name, way in ways.items() if way]
    if dates:
        arguments.append(f"parse_dates=[{', '.join(map(quoted, dates))}]")
        arguments += ["dayfirst=True"] if ways[dates[0]] == "day" else []
    if zeros:
        arguments.append(f"dtype={{{', '.join(f'{quoted(name)}: str' for name in zeros)}}}")
    return arguments


def written(values: list[str]) -> str:
    """Whether dates have the day or the month first, with dots always the day; empty where it is unclear, or none."""
    found = [match for value in values if (match := DOTTED.fullmatch(value))]
    if not values or len(found) < len(values):
        return ""
    first, second = (max(int(match[at]) for match in found) for at in (1, 3))
    if second <= 12 and (first > 12 or all(match[2] == "." for match in found)):
        return "day" if first <= 31 else ""
    return "month" if first <= 12 < second <= 31 else ""


def damage(text: str, separator: str, start: int) -> tuple[int, int]:
    """How many lines have too many fields, which pandas leaves out, and how many too few, which it fills up."""
    widths = [len(row) for row in csv.reader(io.StringIO(text), delimiter=separator) if row][start:]
    return sum(width > widths[0] for width in widths), sum(width < widths[0] for width in widths)


def read_csv(finding: Finding, arguments: list[str], large: bool) -> bool:
    """Runs the very line that the job is given, and says what came of it; whether rows had to be left out."""
    pandas = library("pandas")
    limit = ["nrows=20000"] if large else []
    damaged = False
    try:
        frame = eval(f"pd.read_csv({', '.join(arguments + limit)})", {"pd": pandas})
    except pandas.errors.ParserError:
        damaged = True
        arguments.append('on_bad_lines="skip"')
        frame = eval(f"pd.read_csv({', '.join(arguments + limit)})", {"pd": pandas})
    finding.kind = "table"
    finding.about = "table of more than 20000 rows" if large else f"table of {len(frame)} rows"
    finding.name = variable(finding.path)
    finding.load = [f"{finding.name} = pd.read_csv({', '.join(arguments)})", *numbers(finding, frame)]
    finding.what = f"a DataFrame, {finding.about.removeprefix('table of ')}, columns: {columns(frame)}"
    return damaged


def numbers(finding: Finding, frame: Any) -> list[str]:
    """Code that makes columns numeric, in ``frame`` too, in which some cells are words such as "ERR" or "n/a".

    Cells with digits, such as the house number 12a, may mean something: such a column stays text.
    """
    lines: list[str] = []
    for name in frame.columns:
        odd = no_numbers(frame[name].dropna())
        if odd and not any(re.search(r"\d", value) for value in odd):
            frame[name] = library("pandas").to_numeric(frame[name], errors="coerce")
            cell = f"{finding.name}[{quoted(str(name))}]"
            lines.append(f'{cell} = pd.to_numeric({cell}, errors="coerce")')
            finding.lines.append(f"of {name} {told(odd)}, and empty now")
    return lines


def workbook(path: Path, finding: Finding) -> None:
    """Every sheet with its heading row found, and code that reads them: at once where all have the same columns."""
    pandas = library("pandas")
    book = library("openpyxl").load_workbook(path, read_only=True, data_only=True)
    heads: dict[str, int] = {}
    for sheet in book.worksheets:
        top = [list(row) for row in sheet.iter_rows(max_row=12, values_only=True)]
        heads[sheet.title] = heading_row(top)
    book.close()
    frames = {
        title: pandas.read_excel(path, sheet_name=title, header=max(head, 0)).dropna(how="all")
        for title, head in list(heads.items())[:30]
    }
    finding.kind = "table"
    finding.about = f"Excel, {len(heads)} sheet{'s' * (len(heads) > 1)}: " + ", ".join(map(quoted, list(heads)[:8]))
    name = finding.name = variable(finding.path)
    if len({tuple(frame.columns) for frame in frames.values()}) == 1 and len(set(heads.values())) == 1:
        finding.load = [one_frame(finding.path, name, heads)]
        frame = ran(finding.load, pd=pandas)[name]
        of = f" of the {len(heads)} sheets" if len(heads) > 1 else ""
        finding.what = f"a DataFrame, {len(frame)} rows{of}, columns: {columns(frame)}"
        return
    finding.what = "a dict of DataFrames, one a sheet"
    for title, frame in frames.items():
        finding.lines.append(f"{name}[{quoted(title)}]: {len(frame)} rows, columns: {columns(frame)}")
    rows = {title: head for title, head in heads.items() if head > 0}
    finding.load = [f"{name} = pd.read_excel({quoted(finding.path)}, sheet_name=None)"]
    for title, head in rows.items():
        place = f"{quoted(finding.path)}, sheet_name={quoted(title)}, header={head}"
        finding.load.append(f"{name}[{quoted(title)}] = pd.read_excel({place})")


def one_frame(path: str, name: str, heads: dict[str, int]) -> str:
    """The line that reads sheets with the same columns into one DataFrame."""
    head = next(iter(heads.values()))
    header = f", header={head}" if head > 0 else ""
    if len(heads) == 1:
        return f"{name} = pd.read_excel({quoted(path)}{header})"
    sheets = f"pd.read_excel({quoted(path)}, sheet_name=None{header}).items()"
    return f"{name} = pd.concat([part.assign(Sheet=sheet) for sheet, part in {sheets}], ignore_index=True)"


def heading_row(rows: list[list[Any]]) -> int:
    """The first row as wide as the widest of the first rows, all of it text; -1: there is none."""
    filled = [[cell for cell in row if cell is not None] for row in rows]
    width = max((len(row) for row in filled), default=0)
    for at, row in enumerate(filled):
        if len(row) == width and all(isinstance(cell, str) for cell in row):
            return at
    return -1


def database(path: Path, finding: Finding) -> None:
    """The tables of an SQLite file, each read into a DataFrame where it is not huge."""
    pandas = library("pandas")
    name = finding.name = variable(finding.path)
    finding.load = [f"{name} = sqlite3.connect({quoted(finding.path)})"]
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        listed = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
        tables = [str(row[0]) for row in listed if not str(row[0]).startswith("sqlite_")]
        for table in tables[:TABLES]:
            escaped = table.replace('"', '""')
            count = connection.execute(f'SELECT count(*) FROM "{escaped}"').fetchone()[0]
            frame = pandas.read_sql(f'SELECT * FROM "{escaped}" LIMIT {MOST_ROWS}', connection)
            held = f"{count} rows, columns: {columns(frame)}"
            if count <= MOST_ROWS:
                own = variable(f"{finding.path}/{table}")
                query = f'SELECT * FROM "{escaped}"'
                finding.load.append(f"{own} = pd.read_sql({query!r}, {name})")
                finding.lines.append(f"{own} is a DataFrame of its table {table}, {held}")
            else:
                finding.lines.append(f"its table {table}, not read: {held}")
    finally:
        connection.close()
    finding.kind = "database"
    finding.about = f"SQLite database, tables {', '.join(tables[:20])}"
    finding.what = "an SQLite connection"
