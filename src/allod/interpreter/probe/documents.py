"""PDF and Word files: their text and their tables. Runs in the job's Python."""

import time
from pathlib import Path
from typing import Any

from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, short, variable

PAGES = 40  # pages of a PDF that are looked at
SECONDS = 8.0  # spent on one PDF


def pdf(path: Path, finding: Finding) -> None:
    """Pages, first lines of text, tables; code that reads the tables into one DataFrame."""
    started = time.monotonic()
    tables: list[list[list[Any]]] = []
    with library("pdfplumber").open(path) as document:
        count = len(document.pages)
        finding.kind = "document"
        finding.about = f"PDF, {count} page{'s' * (count > 1)}"
        lines: list[str] = []
        for page in document.pages[:PAGES]:
            if len(lines) < 40:
                lines += [line for line in (page.extract_text() or "").splitlines() if line.strip()]
            tables += [table for table in page.extract_tables() if len(table) > 1 and len(table[0]) > 1]
            page.close()
            if time.monotonic() - started > SECONDS:
                finding.about += ", looked at in part"
                break
    inside = {" ".join(" ".join(str(c or "") for c in row).split()) for table in tables for row in table}
    prose = [line for line in lines if " ".join(line.split()) not in inside]
    if not lines:
        finding.lines.append("no text: scanned pictures")
    if prose and not tables:
        finding.lines.append("text: " + " / ".join(short(line, 70) for line in prose[:8]))
    pdf_tables(finding, tables)
    if not tables and lines:
        finding.name = variable(finding.path)
        finding.what = f"its text (str), {count} page{'s' * (count > 1)}"
        finding.load = [
            f"with pdfplumber.open({quoted(finding.path)}) as pdf:",
            f'    {finding.name} = "\\n".join(page.extract_text() for page in pdf.pages)',
        ]


def pdf_tables(finding: Finding, tables: list[list[list[Any]]]) -> None:
    """Tables with the same heading, or that go on without one, are one table over several pages."""
    if not tables:
        return
    open_pdf = f"with pdfplumber.open({quoted(finding.path)}) as pdf:"
    each = "for page in pdf.pages for table in page.extract_tables()"
    name = finding.name = variable(finding.path)
    head = tables[0][0]
    scope = {"pd": library("pandas"), "pdfplumber": library("pdfplumber")}
    if all(len(table[0]) == len(head) for table in tables) and (len(tables) == 1 or repeated(tables)):
        body = [row for table in tables for row in table if row != head]
        finding.load = [
            open_pdf,
            f"    rows = [row {each} for row in table]",
            f"{name} = pd.DataFrame([row for row in rows if row != rows[0]], columns=rows[0])",
            *numeric_lines(name, head, body),
        ]
        frame = ran(finding.load, **scope)[name]
        finding.what = f"a DataFrame of the table in it, {len(frame)} rows, columns: {columns(frame)}"
        return
    finding.load = [
        open_pdf,
        f"    tables = [table {each}]",
        f"{name} = [pd.DataFrame(table[1:], columns=table[0]) for table in tables]",
    ]
    for at, table in enumerate(tables):
        finding.load += numeric_lines(f"{name}[{at}]", table[0], table[1:])
    found = ran(finding.load, **scope)[name]
    finding.what = f"a list of DataFrames, the {len(found)} tables in it"
    finding.lines += [f"{name}[{at}]: {len(f)} rows, columns: {columns(f)}" for at, f in enumerate(found[:6])]


def repeated(tables: list[list[list[Any]]]) -> bool:
    """Whether the tables are parts of one: each begins with the same heading, or no other one has a heading."""
    head = tables[0][0]
    if all(table[0] == head for table in tables):
        return True
    kinds = [[numeric(cell) for cell in row] for row in (tables[0][1], *(table[0] for table in tables[1:]))]
    return any(kinds[0]) and all(kind == kinds[0] for kind in kinds)


def numeric(cell: object) -> bool:
    """Whether pandas.to_numeric takes it."""
    try:
        float(str(cell))
    except ValueError:
        return False
    return True


def numeric_lines(name: str, head: list[Any], body: list[list[Any]]) -> list[str]:
    """The line that turns the columns that hold numbers into numbers."""
    found = [str(title) for at, title in enumerate(head) if all(numeric(row[at]) for row in body if len(row) > at)]
    if not found or not body:
        return []
    listed = ", ".join(f'"{title}"' for title in found).replace("\n", "\\n")
    return [f"{name}[[{listed}]] = {name}[[{listed}]].apply(pd.to_numeric)"]


def word(path: Path, finding: Finding) -> None:
    """Paragraphs and tables of a .docx; its tables become DataFrames too."""
    document = library("docx").Document(path)
    lines = [paragraph.text for paragraph in document.paragraphs if paragraph.text.strip()]
    finding.kind = "document"
    finding.about = f"Word, {len(lines)} paragraphs, {len(document.tables)} tables"
    if lines:
        finding.lines.append("text: " + " / ".join(short(line, 70) for line in lines[:4]))
    finding.name = variable(finding.path)
    finding.what = "its python-docx Document"
    finding.load = [f"{finding.name} = docx.Document({quoted(finding.path)})"]
    if document.tables:
        word_tables(document, finding)


def word_tables(document: Any, finding: Finding) -> None:
    """Adds code that makes a DataFrame of each table, the first row as its heading, and says what they hold."""
    pandas = library("pandas")
    own = variable(f"{finding.path}/{finding.name}_tables")
    text = "[cell.text.strip() for cell in {}.cells]"
    rows = f"[{text.format('row')} for row in table.rows[1:]]"
    frame = f"pd.DataFrame({rows}, columns={text.format('table.rows[0]')})"
    made = f"{own} = [{frame} for table in {finding.name}.tables]"
    found: list[Any] = ran([made], pd=pandas, **{finding.name: document})[own]
    finding.load.append(made)
    for at, table in enumerate(found[:4]):
        head = [str(name) for name in table.columns]
        if len(set(head)) == len(head):
            finding.load += numeric_lines(f"{own}[{at}]", head, table.to_numpy().tolist())
    found = ran(finding.load[1:], pd=pandas, **{finding.name: document})[own]
    for at, table in enumerate(found[:4]):
        unique = len(set(table.columns)) == len(table.columns)
        held = columns(table) if unique else ", ".join(map(short, table.columns))
        finding.lines.append(f"{own}[{at}] is a DataFrame of a table in it, {len(table)} rows, columns: {held}")
