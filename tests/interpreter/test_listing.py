"""Listings: what files hold is found, the code that reads them is tested code, and no file can break the look."""

import csv
import json
import os
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.listing import Found, Listing, held, shapes
from allod.interpreter.probe import finding, linking, results, walk
from allod.interpreter.sandbox import Limits
from allod.interpreter.session import Session
from allod.interpreter.workspace import Workspace, fonts


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "files"
    path.mkdir()
    monkeypatch.chdir(path)
    finding.NAMES.clear()
    return path


def look(task: str = "", names: int = 400) -> Listing:
    """The look, as it runs in the sandbox."""
    return msgspec.json.decode(walk.look(task, 20.0, names), type=Listing)


def one() -> Found:
    found = look().files
    assert len(found) == 1
    return found[0]


def load(found: Found) -> dict[str, Any]:
    """Runs the code that the listing gives."""
    import re

    import docx
    import pandas
    import pdfplumber
    from PIL import Image

    scope: dict[str, Any] = {"pd": pandas, "json": json, "re": re, "pdfplumber": pdfplumber, "sqlite3": sqlite3}
    scope |= {"Image": Image, "docx": docx}
    exec("\n".join(found.load), scope)
    return scope


def write_csv(path: str, rows: list[tuple[Any, ...]], **options: Any) -> None:
    with Path(path).open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows(rows)


ROWS = [("city", "day", "price"), *[(f"Köln{i % 3}", f"2024-01-{i + 1:02}", i * 1.5) for i in range(20)]]

# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv(folder: Path) -> None:
    write_csv("sales.csv", ROWS)
    found = one()
    assert found.load == ['sales = pd.read_csv("sales.csv", parse_dates=["day"])']
    assert "20 rows" in found.what
    assert "city (Köln0 | Köln1 | Köln2)" in found.what
    assert "day (dates 2024-01-01 to 2024-01-20), price (0 to 28.5)" in found.what
    assert len(load(found)["sales"]) == 20


@pytest.mark.parametrize(
    ("encoding", "delimiter", "argument"),
    [
        ("cp1252", ";", 'sep=";", encoding="cp1252"'),
        ("utf-16", "\t", 'sep="\\t", encoding="utf-16"'),
        ("utf-8-sig", "|", 'sep="|"'),
    ],
)
def test_separator_and_encoding(folder: Path, encoding: str, delimiter: str, argument: str) -> None:
    write_csv("a.csv", ROWS, encoding=encoding, delimiter=delimiter)
    found = one()
    assert argument in found.load[0]
    frame = load(found)[found.name]
    assert list(frame.columns) == ["city", "day", "price"]
    assert frame["city"][0] == "Köln0"


def test_decimal_commas(folder: Path) -> None:
    Path("umsatz.csv").write_text("Nr;Betrag\n1;1.234,50\n2;7,25\n3;12,00\n")
    found = one()
    assert load(found)["umsatz"]["Betrag"].sum() == 1253.75


def test_numbers_that_begin_with_a_zero_stay_text(folder: Path) -> None:
    Path("zips.csv").write_text("town,zip\nA,01067\nB,80331\n")
    assert list(load(one())["zips"]["zip"]) == ["01067", "80331"]


def test_lines_before_the_heading_and_no_heading(folder: Path) -> None:
    Path("report.csv").write_text("Report of May\n\n" + "".join(f"{a},{b},{c}\n" for a, b, c in ROWS))
    frame = load(one())["report"]
    assert list(frame.columns) == ["city", "day", "price"]
    Path("report.csv").write_text("1,2\n3,4\n")
    assert len(load(one())[one().name]) == 2


def test_damaged_rows_are_left_out_and_told(folder: Path) -> None:
    Path("a.csv").write_text("x,y\n1,2\n3,4,5,6\n7,8\n" + "9,9\n" * 20)
    found = one()
    assert found.lines[0] == "damaged: left_out lines with too many fields are not in it, 0 with too few are in it"
    assert load(found)["left_out"] == 1
    assert len(load(found)[found.name]) == 22


def test_words_among_numbers_are_empty_cells_and_told(folder: Path) -> None:
    Path("a.csv").write_text("x\n" + "".join(f"{'ERR' if i in (3, 7) else i}\n" for i in range(30)))
    found = one()
    assert 'of x 2 are none: "ERR", and empty now' in found.lines
    assert "x (0 to 29, 2 empty)" in found.what
    assert load(found)[found.name]["x"].sum() == sum(range(30)) - 10
    Path("a.csv").write_text("x\n" + "ERR\nOK\n" * 9)
    assert not one().lines


def test_house_numbers_stay_text(folder: Path) -> None:
    Path("a.csv").write_text("x\n" + "12a\n" + "7\n3\n" * 9)
    found = one()
    assert 'x (text: numbers, but 1 is none: "12a"; pd.to_numeric(…, errors="coerce"))' in found.what
    assert load(found)[found.name]["x"][0] == "12a"


@pytest.mark.parametrize(
    ("days", "first", "arguments"),
    [
        (["03.04.2024", "05.06.2024"], "2024-04-03", 'parse_dates=["day"], dayfirst=True'),
        (["03/04/2024", "25/06/2024"], "2024-04-03", 'parse_dates=["day"], dayfirst=True'),
        (["03/04/2024", "06/25/2024"], "2024-03-04", 'parse_dates=["day"]'),
        (["03.04.2024 07:30", "", "05.06.2024 08:00"], "2024-04-03", 'parse_dates=["day"], dayfirst=True'),
        (["03/04/2024", "05/06/2024"], "", ""),
        (["03.04.2024", "soon"], "", ""),
        (["99.99.2024"], "", ""),
    ],
)
def test_dates_with_the_day_or_the_month_first(folder: Path, days: list[str], first: str, arguments: str) -> None:
    Path("a.csv").write_text("n,day\n" + "".join(f"{i},{day}\n" for i, day in enumerate(days)))
    found = one()
    assert (arguments or "a.csv") in found.load[0]
    day = load(found)[found.name]["day"][0]
    assert f"{day:%Y-%m-%d}" == first if first else day == days[0]
    assert ("parse_dates" in found.load[0]) is bool(first)


def test_text_that_is_a_table(folder: Path) -> None:
    write_csv("cities.txt", ROWS, delimiter="\t")
    assert len(load(one())["cities"]) == 20


def book(path: str, sheets: dict[str, list[list[Any]]]) -> None:
    import openpyxl

    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for title, rows in sheets.items():
        sheet = workbook.create_sheet(title)
        for row in rows:
            sheet.append(row)
    workbook.save(path)


def test_workbook_with_a_title_above_its_heading(folder: Path) -> None:
    book("grades.xlsx", {"A": [["Class 7b"], [], ["Name", "Maths"], ["Ali", 2], ["Bea", 1]]})
    found = one()
    assert found.load == ['grades = pd.read_excel("grades.xlsx", header=2)']
    assert list(load(found)["grades"].columns) == ["Name", "Maths"]


def test_sheets_with_the_same_columns_become_one(folder: Path) -> None:
    book("year.xlsx", {m: [["Item", "Units"], ["a", 1], ["b", 2]] for m in ("Jan", "Feb's", "Mar")})
    frame = load(one())["year"]
    assert len(frame) == 6
    assert list(frame["Sheet"].unique()) == ["Jan", "Feb's", "Mar"]


def test_sheets_that_differ(folder: Path) -> None:
    book("b.xlsx", {"Info": [["Budget"], ["made by Jo"]], "Costs": [["Item", "Price"], ["x", 2.5]]})
    found = one()
    assert any('b["Costs"]: 1 rows, columns: Item' in line for line in found.lines)
    assert list(load(found)["b"]) == ["Info", "Costs"]


def test_database(folder: Path) -> None:
    connection = sqlite3.connect("shop.db")
    connection.execute("CREATE TABLE customers (id INTEGER, name TEXT)")
    connection.executemany("INSERT INTO customers VALUES (?, ?)", [(1, "Ann"), (2, "Bo")])
    connection.commit()
    connection.close()
    found = one()
    assert "customers is a DataFrame" in found.lines[0]
    assert list(load(found)["customers"]["name"]) == ["Ann", "Bo"]


# ── documents, text, logs, JSON, media ──────────────────────────────────────────────────────────────────────────────


def test_the_films(folder: Path) -> None:
    Path("films.pdf").write_bytes((Path(__file__).parents[2] / "examples" / "films" / "films.pdf").read_bytes())
    found = one()
    assert found.about == "PDF, 1 page"
    assert "12 rows" in found.what
    frame = load(found)["films"]
    assert list(frame.columns) == ["Title", "Year", "Director", "Minutes"]
    assert frame["Minutes"].max() == 207
    assert "Amélie" in list(frame["Title"])


def pdf(path: str, tables: list[list[list[str]]], text: str = "") -> None:
    reportlab = pytest.importorskip("reportlab.platypus")
    from reportlab.lib.styles import getSampleStyleSheet

    style = ("GRID", (0, 0), (-1, -1), 0.5, "black")
    story: list[Any] = [reportlab.Paragraph(text, getSampleStyleSheet()["Normal"])] if text else []
    for rows in tables:
        story += [reportlab.Table(rows, style=[style], repeatRows=1), reportlab.Spacer(1, 20)]
    reportlab.SimpleDocTemplate(path).build(story)


def test_pdf_table_over_several_pages(folder: Path) -> None:
    pdf("stock.pdf", [[["Part", "Pieces"], *[[f"P{i}", str(i)] for i in range(120)]]])
    frame = load(one())["stock"]
    assert len(frame) == 120
    assert frame["Pieces"].sum() == sum(range(120))


def test_pdf_with_different_tables_and_with_none(folder: Path) -> None:
    pdf("two.pdf", [[["A", "B"], ["x", "1"]], [["C", "D", "E"], ["y", "2", "3"]]])
    found = one()
    assert [list(f.columns) for f in load(found)["two"]] == [["A", "B"], ["C", "D", "E"]]
    Path("two.pdf").unlink()
    pdf("letter.pdf", [], text="Dear Ann, we met on Monday.")
    assert "we met on Monday" in load(one())["letter"]


def test_word(folder: Path) -> None:
    import docx

    document = docx.Document()
    document.add_paragraph("Meeting of May")
    for rows in ([("Task", "Hours"), ("Sweep", "2"), ("Mow", "3")], [("a", "a"), ("b", "c")]):
        table = document.add_table(len(rows), 2)
        for at, row in enumerate(rows):
            for place, text in enumerate(row):
                table.cell(at, place).text = text
    document.save("minutes.docx")
    found = one()
    assert found.lines[0] == "text: Meeting of May"
    assert found.lines[1] == (
        'minutes_tables[0] is a DataFrame of a table in it, 2 rows, columns: Task (text, e.g. "Sweep"), Hours (2 to 3)'
    )
    tables = load(found)["minutes_tables"]
    assert tables[0]["Hours"].sum() == 5
    assert list(tables[1].columns) == ["a", "a"]
    assert load(found)["minutes"].paragraphs[0].text == "Meeting of May"


def test_text(folder: Path) -> None:
    Path("notes.txt").write_text("Grüße von Ann\n\nzweite Zeile\n", encoding="cp1252")
    found = one()
    assert found.lines == ["Grüße von Ann", "zweite Zeile"]
    assert load(found)["notes"].startswith("Grüße")


def test_table_in_markdown(folder: Path) -> None:
    Path("prices.md").write_text(
        "# Prices\n\n| Item | Price |\n|------|------:|\n| Tea | 2.50 |\n| Cake | 4 |\n\nThanks\n"
    )
    found = one()
    assert load(found)["prices"].to_dict("list") == {"Item": ["Tea", "Cake"], "Price": [2.5, 4.0]}
    assert found.lines == ["# Prices", "Thanks"]
    Path("prices.md").write_text("| a | b |\n|---|\n| 1 | 2 | 3 |\n")
    assert load(one())["prices"].startswith("| a")


WEB = '10.0.0.{} - - [01/May/2024:10:00:0{} +0000] "GET /a?b={} HTTP/1.1" {} {} "-" "Mozilla/5.0 (X11)"\n'


def test_log_of_a_web_server(folder: Path) -> None:
    lines = [WEB.format(i % 5, i % 10, i, 404 if i % 3 else 200, "-" if i == 4 else i * 10) for i in range(60)]
    Path("access.log").write_text("".join(lines))
    frame = load(one())["access"]
    assert {"ip", "time", "method", "path", "status", "size"} <= set(frame.columns)
    assert (frame["status"] == 404).sum() == 40
    assert frame["size"].sum() == sum(i * 10 for i in range(60) if i != 4)
    assert frame["time"][0].year == 2024


def test_log_with_levels_and_free_messages(folder: Path) -> None:
    text = "".join(
        f"2024-05-02 1{i % 10}:00:00 [{'ERROR' if i % 4 else 'INFO'}] w{i % 3}: disk {i}% full\n" for i in range(40)
    )
    Path("app.log").write_text(text + "2024-05-02 23:00:00 [INFO] w1: bye\n")
    frame = load(one())["app"]
    assert len(frame) == 41
    assert (frame["level"] == "ERROR").sum() == 30
    assert frame["message"][3] == "disk 3% full"
    assert frame["time"].dt.hour.max() == 23


def test_json_becomes_tables(folder: Path) -> None:
    orders = [
        {"id": i, "who": {"name": f"N{i}"}, "items": [{"sku": f"{i}-{k}", "n": k} for k in range(2)]} for i in range(5)
    ]
    Path("shop.json").write_text(json.dumps({"shop": "x", "orders": orders}))
    scope = load(one())
    assert len(scope["orders"]) == 5
    assert list(scope["items"].columns) == ["sku", "n", "id", "who.name"]
    assert len(scope["items"]) == 10


def test_json_that_is_no_table(folder: Path) -> None:
    Path("config.json").write_text(json.dumps({"a": {"b": [1, 2, 3]}, "c": None}))
    found = one()
    assert 'config["a"]["b"] = [1, 2, 3]  # 3 items' in found.lines
    assert load(found)["config"]["c"] is None


def test_json_lines(folder: Path) -> None:
    Path("events.jsonl").write_text("".join(json.dumps({"t": i, "u": {"id": i % 3}}) + "\n" for i in range(9)))
    scope = load(one())
    assert len(scope["events"]) == 9
    assert list(scope["rows"].columns) == ["t", "u.id"]


def test_pictures_and_archives(folder: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 48)).save("a.png")
    assert one().about == "picture, 64x48 pixels, PNG, RGB"
    assert load(one())["a"].size == (64, 48)
    Path("a.png").unlink()
    with zipfile.ZipFile("b.zip", "w") as archive:
        archive.writestr("x.csv", "a,b\n")
    assert "x.csv (4 bytes)" in one().about


# ── hostile and odd ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_file_breaks_the_look(folder: Path) -> None:
    names = ["a.xlsx", "b.pdf", "c.json", "d.csv", "e.db", "f.png", "g.zip", "h.docx", "i.log", "j.txt", "k.tar.gz"]
    for i, name in enumerate(names):
        Path(name).write_bytes([b"PK\x03\x04 half", b"%PDF-1.4\n%%EOF", b"\xff\xfe\0", b"\0\1\2" * 999][i % 4])
        Path("empty" + name).touch()
    Path("deep.json").write_text("[" * 100_000)
    Path("wide.json").write_text("{" + '"k": ' * 3 + "1}")
    Path("broken.csv").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe.csv")
    Path("new\nline.csv").write_text("a,b\n1,2\n")
    Path("quote\"'.csv").write_text("a,b\n1,2\n")
    found = look("quote\"'.csv and new\nline.csv")
    assert {f.path for f in found.files} >= {"a.xlsx", "quote\"'.csv", "new\nline.csv"}
    assert next(f for f in found.files if f.path == "a.xlsx").lines[0].startswith("cannot be read as xlsx")
    for each in found.files:
        if each.path in ("new\nline.csv", "quote\"'.csv"):
            assert len(load(each)[each.name]) == 1
    assert "\nline" not in Listing([], found.names).text("", [], 4000)


def test_a_large_file_is_looked_at_in_part(folder: Path) -> None:
    with Path("big.csv").open("w") as file:
        file.write("a,b\n")
        file.writelines("1,2222222222222222222222222222222222222222\n" for _ in range(800_000))
    assert "more than 20000 rows" in one().what


def test_many_files_and_deep_folders(folder: Path) -> None:
    for i in range(60):
        Path(f"photos/y{i % 3}").mkdir(parents=True, exist_ok=True)
        Path(f"photos/y{i % 3}/IMG_{1000 + i}.jpg").touch()
    Path("photos/y0/cover.png").touch()
    Path("node_modules").mkdir()
    Path("node_modules/x.js").touch()
    found = look("rename the photos", names=50)
    assert found.more
    assert len(found.names) == 50
    text = look("rename the photos").text("rename the photos", [], 1200)
    assert "photos/y0/: 21 files: cover.png, IMG_1000.jpg (20 like this)" in text
    assert "node_modules" not in text


def test_named_files_come_first_and_are_read(folder: Path) -> None:
    for name in "abcdefgh":
        write_csv(f"{name}.csv", ROWS)
    write_csv("zz sales.csv", ROWS)
    task = "Total the ZZ Sales.csv please"
    found = look(task)
    assert found.files[0].path == "zz sales.csv"
    assert [f.path for f in found.wanted(task)] == ["zz sales.csv"]
    assert look("Total the stem zz sales").wanted("Total the stem zz sales")[0].path == "zz sales.csv"
    assert found.wanted("something else") == []


def test_few_data_files_are_read_unnamed(folder: Path) -> None:
    write_csv("a.csv", ROWS)
    write_csv("b.csv", ROWS)
    Path("readme.txt").write_text("hello")
    assert [f.name for f in look().wanted("put them together")] == ["a", "b"]


def test_names_of_variables_hide_nothing(folder: Path) -> None:
    for name in ("json.csv", "list.csv", "2024.csv", "class.csv", "pd.csv", "Sales 2.csv", "sub/sales_2.csv", "é.csv"):
        Path(name).parent.mkdir(exist_ok=True)
        write_csv(name, ROWS)
    names = [f.name for f in look().files]
    assert len(set(names)) == 8
    assert not {"json", "list", "class", "pd"} & set(names)
    assert all(name.isidentifier() for name in names)


def test_the_texts_keep_their_limits(folder: Path) -> None:
    write_csv("wide.csv", [tuple(f"column number {i}" for i in range(300)), tuple(range(300))])
    found = look("wide.csv")
    assert sum(map(len, held(found.files, 800))) < 1000
    many = [("x" * 200 + str(i) + ".txt", 1) for i in range(500)]
    assert len(Listing([], many).text("", [], 1000)) < 5000
    assert Listing().text("", [], 1000) == "The folder is empty."


def test_names_of_one_shape_are_said_once() -> None:
    assert shapes(["a.txt", "b.txt"]) == "a.txt, b.txt"
    assert shapes([f"IMG_{i}.jpg" for i in range(40)] + ["map.jpg"]) == "41 files: IMG_0.jpg (40 like this), map.jpg"


# ── results, and all of it inside a real sandbox ────────────────────────────────────────────────────────────────────


def test_results(folder: Path) -> None:
    write_csv("out.csv", [("n", "v"), ("a", 3), ("b", 2), ("b", 2)])
    Path("out.txt").write_text("b\na\na\n")
    Path("bad.xlsx").write_bytes(b"no")
    found = json.loads(results.results(["out.csv", "out.txt", "bad.xlsx", "gone.csv"], [], True))
    assert found[0]["columns"] == ["n", "v"]
    assert (found[0]["rows"], found[0]["order"], found[0]["repeated"]) == (3, {"n": "a-z", "v": "down"}, 1)
    assert (found[1]["first"], found[1]["repeated"]) == (["b", "a", "a"], 1)
    assert found[2]["columns"] == []


def digest(rows: list[tuple[Any, ...]], columns: list[str], ordered: bool) -> str:
    write_csv("out.csv", rows)
    return json.loads(results.results(["out.csv"], columns, ordered))[0]["digest"]


def test_tables_are_the_same_by_what_was_asked_for(folder: Path) -> None:
    rows = [("City", "Total units", "note"), ("Ulm", 7, "x"), ("Bonn", 5, "y")]
    fewer = [("total_units", "city"), (7, "Ulm"), (5.0, "Bonn")]
    asked = ["city", "total units"]
    assert digest(rows, asked, True) == digest(fewer, asked, True)
    assert digest(rows, [], True) != digest(fewer, [], True)
    assert digest(rows, ["city", "price"], True) != digest(fewer, ["city", "price"], True)  # one is in neither
    assert digest(rows, asked, True) != digest([fewer[0], (8, "Ulm"), (5, "Bonn")], asked, True)
    turned = [rows[0], rows[2], rows[1]]
    assert digest(rows, [], False) == digest(turned, [], False)
    assert digest(rows, [], True) != digest(turned, [], True)
    assert digest(rows, [], False) != digest([rows[0], ("Ulm", 5, "x"), ("Bonn", 7, "y")], [], False)


LOG = {
    "status": [200, 404, 200, 301] * 5,
    "size": list(range(190, 210)),
    "city": ["Lyon", "Bad Ems"] * 10,
    "from": ["Lyon", "Nice"] * 10,
    "kind": ["404", "x"] * 10,
}


@pytest.mark.parametrize(
    ("task", "columns", "lines"),
    [
        ("Which page got most 404 answers, and how many bytes had status 200?", ["status", "size"],
         ["404 and 200 are values of status"]),
        ("How many in bad ems or Nice?", ["city", "from"], ["bad ems is a value of city", "Nice is a value of from"]),
        ("How many in Lyon?", ["city", "from"], []),  # of which of the two?
        ("How many 404?", ["status", "kind"], []),
        ("Take those of 3.404, 1404, 404.5 and IMG_404.jpg", ["status"], []),
        ("What is the size of status?", ["status", "size"], []),
        ("", ["status"], []),
    ],
)  # fmt: skip
def test_words_of_a_task_that_are_values(task: str, columns: list[str], lines: list[str]) -> None:
    frame = pd.DataFrame({name: LOG[name] for name in columns})
    assert json.loads(linking.values(task, ["log"], {"log": frame})) == lines


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["playlist", "artist", "seconds"],
         ['songs has them so: songs.rename(columns={"playlist.name": "playlist", "artist.name": "artist", '
          '"length.seconds": "seconds"})']),
        (["artist", "seconds", "rating"],
         ['songs has them so: songs.rename(columns={"artist.name": "artist", "length.seconds": "seconds"})']),
        (["title", "rating"], []),
        (["colour"], []),
        ([], []),
    ],
)  # fmt: skip
def test_columns_that_are_there_under_a_longer_name(asked: list[str], line: list[str]) -> None:
    names = ["title", "artist.name", "artist.id", "length.seconds", "rating", "playlist.name", "playlist.public"]
    songs = pd.DataFrame([[0] * len(names)], columns=names)
    told = json.loads(linking.columns(asked, ["raw", "songs"], {"raw": {}, "songs": songs}))
    assert [parts(each) for each in told] == [parts(each) for each in line]


def parts(line: str) -> set[str]:
    return set(line.removeprefix("songs has them so: songs.rename(columns={").removesuffix("})").split(", "))


def test_names_of_what_is_around_rows_say_of_what(folder: Path) -> None:
    songs = [{"title": "A", "length": {"seconds": 3}}, {"title": "B", "length": {"seconds": 4}}]
    Path("music.json").write_text(json.dumps({"playlists": [{"name": n, "songs": songs} for n in ("x", "y")]}))
    frame = load(one())["songs"]
    assert list(frame.columns) == ["title", "length.seconds", "playlist.name"]
    assert list(frame["playlist.name"]) == ["x", "x", "y", "y"]


def test_values_are_looked_for_in_any_table() -> None:
    there = {
        "gaps": pd.DataFrame({"code": [7.0, 12.0, None] * 9, "each": [["a"], ["b"], ["c"]] * 9}),
        "empty": pd.DataFrame(),
        "twice": pd.DataFrame([[1, 2]] * 9, columns=["a", "a"]),
        "text": "12",
    }
    assert json.loads(linking.values("code 12?", [*there, "gone"], there)) == ["12 is a value of code"]
    assert json.loads(linking.values("12" * 50_000, ["gaps"], there)) == []


@pytest.mark.anyio
async def test_the_look_happens_inside_the_sandbox(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch, make_nothing: Callable[..., Any]
) -> None:
    monkeypatch.setattr(fonts, "make", make_nothing)
    write_csv("sales.csv", ROWS)
    workspace = Workspace.create(home, folder)
    try:
        async with Kernel.start(workspace, Limits(wall=60)) as kernel:
            session = Session(workspace, kernel)
            await session.begin()
            found = await session.look("sales.csv")
            assert found.files[0].name == "sales"
            assert session.names == {"sales.csv"}
            assert await session.read(found.files[0])
            lines = await session.variables()
            assert lines[0].startswith("sales is a DataFrame, 20 rows")
            assert not any("allod" in line for line in lines)
            await session.hidden("sales.head(2).to_csv('top.csv', index=False)")
            written, looked = await session.results("")
            assert written == "New file top.csv: 2 rows, columns city, day, price"
            assert looked[0].rows == 2
            await session.hidden("import os; os.remove('sales.csv')")
            assert (await session.results(""))[0] == "Gone: sales.csv"
            assert session.names == {"top.csv"}
    finally:
        workspace.discard()
    assert sorted(p.name for p in folder.iterdir()) == ["sales.csv"]


@pytest.fixture
def make_nothing() -> Callable[..., Any]:
    async def nothing(*_: object) -> None: ...

    return nothing


def test_codes_are_listed_and_measures_have_a_range() -> None:
    frame = pd.DataFrame(
        {"status": [200, 404] * 30, "year": [2012.0, 2013.0] * 30, "n": range(60), "f": [0.5, 1.5] * 30}
    )
    assert finding.columns(frame) == "status (200 | 404), year (2012 | 2013), n (0 to 59), f (0.5 to 1.5)"
    assert finding.columns(frame.head(4)) == "status (200 to 404), year (2012 to 2013), n (0 to 3), f (0.5 to 1.5)"
