"""What people see of changed images, tables and things that will be run; and that hostile files do no harm to it."""

import io
import os
import struct
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workspace_tools import shell

from allod.home import Home
from allod.interpreter.workspace import Workspace, parquet, previews, sheets, tree
from allod.interpreter.workspace.overlay import Difference
from allod.interpreter.workspace.previews import Previews, image, look, separated

pytestmark = pytest.mark.anyio


def shown(folder: Path, name: str) -> str:
    with tree.opened(folder) as root:
        return look(name.encode(), root)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WebP", "TIFF"])
def test_images(form: str, tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    name = f"x.{form.lower()}"
    images.new("RGB", (123, 45), "red").save(tmp_path / name, form)
    assert shown(tmp_path, name) == f"{form}, 123 × 45 pixels"
    if form == "WebP":
        images.new("RGBA", (321, 54)).save(tmp_path / name, form, lossless=True)
        assert shown(tmp_path, name) == "WebP, 321 × 54 pixels"


def test_tables_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('name,price\n"Ann, the first",1\nBob,2\nCy,3\nDi,4\n')
    assert shown(tmp_path, "a.csv") == "4 rows × 2 columns\n  name | price\n  Ann, the first | 1\n  Bob | 2\n  Cy | 3"
    (tmp_path / "b.tsv").write_bytes("Größe\tx\n1\t2\n".encode("utf-16"))
    assert shown(tmp_path, "b.tsv") == "1 row × 2 columns\n  Größe | x\n  1 | 2"
    (tmp_path / "c.csv").write_bytes("\ufeffa;b;c\n1,5;2;3\n".encode())
    assert shown(tmp_path, "c.csv").startswith("1 row × 3 columns\n  a | b | c\n  1,5 | 2 | 3")
    (tmp_path / "d.csv").write_bytes(b"a,b\n\xe4\x1b[31mred,2\n")
    assert shown(tmp_path, "d.csv").endswith("ä\\x1b[31mred | 2")
    (tmp_path / "e.csv").write_text("")
    assert shown(tmp_path, "e.csv") == ""
    wide = ",".join(f"column {n}" for n in range(20))
    assert separated(f"{wide}\n{'x' * 100}\n".encode()).splitlines()[1].endswith("column 7 | …")


def test_spreadsheets(tmp_path: Path) -> None:
    books = pytest.importorskip("openpyxl")
    book = books.Workbook()
    sheet = book.active
    sheet.title = "Prices"
    for row in (("name", "price", "sold"), ("Ann", 1.5, True), ("Bob", 2, False), ("Ann", 3, None)):
        sheet.append(row)
    other = book.create_sheet("Other")
    other["C3"] = "alone"
    book.save(tmp_path / "a.xlsx")
    assert shown(tmp_path, "a.xlsx") == (
        "Prices: 3 rows × 3 columns\n  name | price | sold\n  Ann | 1.5 | TRUE\n  Bob | 2 | FALSE\n  Ann | 3\n"
        "Other: 0 rows × 3 columns\n   |  | alone"
    )


def test_spreadsheets_of_another_writer(tmp_path: Path) -> None:
    writer = pytest.importorskip("xlsxwriter")
    with writer.Workbook(str(tmp_path / "a.xlsx")) as book:
        sheet = book.add_worksheet("S")
        sheet.write_row(0, 0, ["a", "b"])
        sheet.write_row(1, 0, ["x", 2])
    assert shown(tmp_path, "a.xlsx") == "S: 1 row × 2 columns\n  a | b\n  x | 2"


def test_parquet(tmp_path: Path) -> None:
    tables = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    write_table(tables.table({"name": ["a", "b", "c"], "n": [1, 2, 3]}), tmp_path / "a.parquet")
    assert shown(tmp_path, "a.parquet") == "3 rows × 2 columns\n  name | n"


def footer(rows: int, *names: str) -> bytes:
    """A Parquet footer by hand: version, schema, num_rows."""

    def zigzag(value: int) -> bytes:
        value = value << 1 if value >= 0 else (-value << 1) - 1
        out = b""
        while value >= 0x80:
            out += bytes([value & 0x7F | 0x80])
            value >>= 7
        return out + bytes([value])

    root = b"\x48" + b"\x06schema" + b"\x15" + zigzag(len(names)) + b"\0"
    leaves = b"".join(b"\x15\x02\x38" + bytes([len(name)]) + name.encode() + b"\0" for name in names)
    meta = b"\x15\x02" + b"\x19" + bytes([len(names) + 1 << 4 | 12]) + root + leaves + b"\x16" + zigzag(rows) + b"\0"
    return b"PAR1" + meta + len(meta).to_bytes(4, "little") + b"PAR1"


def test_a_parquet_footer(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(footer(1234, "name", "price"))
    assert shown(tmp_path, "a.parquet") == "1,234 rows × 2 columns\n  name | price"


async def test_before_and_after(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.csv").write_text("n\n1\n")
    (folder / "gone.csv").write_text("n\n1\n")
    with Workspace.create(home, folder) as workspace:
        await shell(workspace, "printf 'n\\n1\\n2\\n' > a.csv; rm gone.csv; printf 'x,y\\n' > new.csv; echo hi > t.txt")
        found = {change.path: change.preview for change in workspace.changes()}
        assert found == {
            "a.csv": "before: 1 row × 1 column\n  n\n  1\nafter:  2 rows × 1 column\n  n\n  1\n  2",
            "gone.csv": "1 row × 1 column\n  n\n  1",
            "new.csv": "0 rows × 2 columns\n  x | y",
            "t.txt": "",
        }
        workspace.discard()


async def test_what_will_be_run_is_said(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    with Workspace.create(home, folder) as workspace:
        await shell(
            workspace,
            "mkdir -p .github/workflows .git/hooks sub; echo x | tee .bashrc .env .env.local .github/workflows/ci.yml"
            " Makefile sub/conftest.py tool notes.txt .git/hooks/pre-commit env.txt > run.sh; chmod +x tool",
        )
        notes = {change.path: change.note for change in workspace.changes()}
        assert notes == {
            ".bashrc": "your shell runs it",
            ".env": "programs take their settings from it",
            ".env.local": "programs take their settings from it",
            ".github/workflows/ci.yml": "CI runs it",
            "Makefile": "make runs it",
            "sub/conftest.py": "pytest runs it",
            "tool": "a program: it can be run",
            "run.sh": "a program that you may run",
            ".git/hooks/pre-commit": "git would run it",
            "notes.txt": "",
            "env.txt": "",
        }
        applied = workspace.apply()
        assert [change.path for change in applied.refused] == [".git/hooks/pre-commit"]
        workspace.discard()


# ── hostile files ───────────────────────────────────────────────────────────────────────────────────────────────────


def workbook(sheet: bytes, strings: bytes = b"<sst/>") -> bytes:
    space = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "xl/workbook.xml",
            b"<workbook "
            + space
            + b' xmlns:r="'
            + relations
            + b'"><sheets><sheet name="S" r:id="r1"/></sheets></workbook>',
        )
        archive.writestr("xl/_rels/workbook.xml.rels", b'<R><Relationship Id="r1" Target="worksheets/s.xml"/></R>')
        archive.writestr("xl/worksheets/s.xml", sheet)
        archive.writestr("xl/sharedStrings.xml", strings)
    return file.getvalue()


def test_bombs_have_no_preview(tmp_path: Path) -> None:
    laughs = (
        b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><worksheet><row><c><v>&b;</v></c></row></worksheet>'
    )
    zeros = b"<worksheet>" + b" " * (200 << 20) + b"</worksheet>"
    index = b'<worksheet><row><c t="s"><v>99999999999999</v></c><c t="s"><v>-1</v></c></row></worksheet>'
    far = b'<worksheet><row><c r="ZZZ1"><v>1</v></c></row></worksheet>'
    began = time.monotonic()
    for name, sheet, expected in (
        ("laughs", laughs, ""),
        ("zeros", zeros, ""),
        ("index", index, "S: 0 rows × 2 columns\n   | "),
        ("far", far, "S: 0 rows × 18,278 columns\n" + "  " + " | " * 7 + " | …"),
    ):
        (tmp_path / f"{name}.xlsx").write_bytes(workbook(sheet))
        assert shown(tmp_path, f"{name}.xlsx").rstrip() == expected.rstrip(), name
    assert time.monotonic() - began < 5


def test_what_is_no_file_has_no_preview(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to("/etc/passwd")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.csv", "link.csv", "folder.png", "missing.xlsx"):
        assert shown(tmp_path, name) == ""


def test_a_list_of_many_tables_ends_in_time(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n")
    with tree.opened(tmp_path) as root:
        d = Difference(b"a.csv", None, tree.node(root, b"a.csv"))
        assert Previews(seconds=10).of(d, root, root)
        assert Previews(seconds=-1).of(d, root, root) == ""


def test_large_tables_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(previews, "MOST", 10)
    (tmp_path / "a.csv").write_text("n\n1\n" * 10)
    assert shown(tmp_path, "a.csv") == ""


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([start for _, start, _ in previews.FORMATS]))
def test_broken_images_are_no_error(data: bytes, start: bytes) -> None:
    try:
        assert isinstance(image(start + data), str)
    except (struct.error, ValueError, IndexError):
        pass  # what `look` takes for a broken file


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_footers_are_no_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = bytearray(footer(5, "a", "b"))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(4, len(good) - 9))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "broken.parquet"
    path.write_bytes(good)
    with path.open("rb") as file:
        try:
            parquet.facts(file.fileno())
        except (ValueError, OSError):
            pass


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_broken_workbooks_are_no_error(data: bytes) -> None:
    try:
        sheets.read(workbook(b"<worksheet>" + data + b"</worksheet>"), 3)
    except ValueError:
        pass
