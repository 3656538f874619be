"""XML, web pages and settings files: what is told of them reaches what they hold, and the code is tested code."""

import configparser
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from allod.interpreter.listing import Found, Listing
from allod.interpreter.probe import finding, markup, walk

CATALOGUE = """<?xml version="1.0" encoding="utf-8"?>
<catalogue><shop name="Köln"/><books>
  <book id="1"><title lang="en">Apples</title><authors><author>Ann</author><author>Bo</author></authors></book>
  <book id="2" old="yes"><title lang="de">Birnen</title><authors><author>Cy</author></authors><note>rare</note></book>
</books></catalogue>"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finding.NAMES.clear()


def one(task: str = "") -> Found:
    found = msgspec.json.decode(walk.look(task, 20.0, 10), type=Listing).files
    assert len(found) == 1
    return found[0]


def load(found: Found) -> dict[str, Any]:
    scope: dict[str, Any] = {"pd": pd, "ET": ET, "configparser": configparser, "tomllib": tomllib}
    exec("\n".join(found.load), scope)
    return scope


def reached(path: str, name: str) -> dict[str, list[Any]]:
    """What the calls that are told give when they are run: each expression with its values, in loops all of them."""
    root = ET.parse(path).getroot()
    code: list[str] = []
    for line in markup.within([root], name, "", 0):
        said = line.strip().partition(" = ")[0]
        call = f"got.setdefault({said!r}, []).append({said})"
        code.append(line if said.startswith("for ") else line[: len(line) - len(line.lstrip())] + call)
    scope: dict[str, Any] = {name: root, "got": {}}
    exec("\n".join(code), scope)
    return scope["got"]


def test_xml_with_rows_is_a_table() -> None:
    Path("catalogue.xml").write_text(CATALOGUE)
    found = one()
    books = load(found)["books"]
    assert list(books.columns) == ["id", "old", "title", "lang", "authors", "note"]
    assert list(books["id"]) == [1, 2]
    assert list(books["authors"]) == [["Ann", "Bo"], ["Cy"]]
    assert found.lines[0].startswith("books is a DataFrame of it, 2 rows, columns: id (1 to 2), old (")
    assert "authors (lists, e.g. ['Ann', 'Bo']; .str.join(\"; \") makes text of them)" in found.lines[0]
    assert found.lines[1] == 'catalogue.find("shop").get("name") = "Köln"'


def test_rows_within_rows_are_a_table_of_their_own() -> None:
    items = '<items><item id="x{0}"><n>{0}</n></item><item id="y{0}"><n>5</n></item></items>'
    orders = "".join(f'<order id="{i}"><who>W{i}</who>{items.format(i)}</order>' for i in (1, 2))
    Path("orders.xml").write_text(f"<orders>{orders}</orders>")
    found = load(one())
    assert found["orders_1"].to_dict("list") == {"id": [1, 2], "who": ["W1", "W2"]}
    assert found["items"].to_dict("list") == {
        "order.id": [1, 1, 2, 2],
        "who": ["W1", "W1", "W2", "W2"],
        "id": ["x1", "y1", "x2", "y2"],
        "n": [1, 5, 2, 5],
    }


def test_xml_is_told_as_the_code_that_reaches_it() -> None:
    Path("catalogue.xml").write_text(CATALOGUE)
    got = reached("catalogue.xml", "catalogue")
    assert got['catalogue.find("shop").get("name")'] == ["Köln"]
    assert got['book.get("id")'] == ["1", "2"]
    assert got['book.findtext("title")'] == ["Apples", "Birnen"]
    assert got['book.find("title").get("lang")'] == ["en", "de"]
    assert got["author.text"] == ["Ann", "Bo", "Cy"]
    lines = markup.within([ET.parse("catalogue.xml").getroot()], "catalogue", "", 0)
    assert 'for book in catalogue.findall("books/book"):  # 2' in lines
    assert '    for author in book.findall("authors/author"):  # 1 to 2' in lines
    assert '    book.findtext("note") = "rare"  # in 1 of 2' in lines


def test_xml_without_rows_is_told_by_calls() -> None:
    Path("app.xml").write_text("<app><name>Ännchen</name><size w='3'>7</size></app>")
    assert one().lines == [
        'app.findtext("name") = "Ännchen"',
        'app.findtext("size") = "7"',
        'app.find("size").get("w") = "3"',
    ]


def test_xml_in_a_namespace() -> None:
    entry = '<entry><title>{0}</title><link href="{0}.html"/></entry>'
    inner = "".join(entry.format(name) for name in "ab")
    Path("feed.xml").write_text(f'<feed xmlns="http://www.w3.org/2005/Atom"><title>News</title>{inner}</feed>')
    assert load(one())["entries"].to_dict("list") == {"title": ["a", "b"], "href": ["a.html", "b.html"]}
    assert reached("feed.xml", "feed")['entry.find("{*}link").get("href")'] == ["a.html", "b.html"]


@pytest.mark.parametrize(
    "text",
    [
        "<a><b></a>",
        "<a>" * 20_000,
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
        "no xml",
    ],
)
def test_xml_that_is_none_or_hostile_is_told_as_text(text: str) -> None:
    Path("x.xml").write_text(text)
    assert one().kind == "text"


def test_deep_xml_is_told_in_few_lines() -> None:
    deep = "".join(f"<a{i}><x/><x/>" for i in range(100)) + "".join(f"</a{i}>" for i in reversed(range(100)))
    Path("deep.xml").write_text(f"<root>{deep}</root>")
    assert len(one().lines) <= 40


def test_tables_of_a_web_page() -> None:
    table = "<table><tr><th>town</th><th>people</th></tr><tr><td>Köln</td><td>5</td></tr></table>"
    Path("page.html").write_text(f"<html><meta charset='utf-8'><body>{table}</body></html>", encoding="utf-8")
    found = one()
    assert "1 rows, columns: town" in found.what
    assert list(load(found)["page"]["town"]) == ["Köln"]
    Path("page.html").write_text(f"<html><body>{table}<p>and</p>{table}</body></html>", encoding="cp1252")
    found = one()
    assert found.about == "web page, 2 tables"
    assert [list(each["town"]) for each in load(found)["page"]] == [["Köln"], ["Köln"]]


def test_a_web_page_without_tables_is_text() -> None:
    Path("page.html").write_text("<html><p>Hello</p></html>")
    assert one().kind == "text"


def test_ini() -> None:
    Path("servers.ini").write_text("; ours\n[alpha]\nHost = a.example\nport=80\n[beta]\nrate = 5%\n")
    found = one()
    assert load(found)["servers"] == {"alpha": {"Host": "a.example", "port": "80"}, "beta": {"rate": "5%"}}
    assert 'servers["alpha"]["Host"] = "a.example"' in found.lines


def test_toml() -> None:
    Path("app.toml").write_text('[a]\nb = 1\nc = ["x", "y"]\n')
    assert load(one())["app"] == {"a": {"b": 1, "c": ["x", "y"]}}


@pytest.mark.parametrize("text", ["just words\n", "[a\nb", "[a]\nx=1\n[a]\nx=2\n", "\x01\x02"])
def test_settings_that_are_none_are_text(text: str) -> None:
    Path("x.cfg").write_text(text)
    assert one().kind in ("text", "file")
    Path("x.cfg").rename("x.toml")
    assert one().kind in ("text", "file")


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        ("Set port to 81 in servers.ini", "text"),
        ("set port to 81", "text"),
        ("Make servers.json out of servers.ini, numbers changed to numbers", "settings"),
        ("Which servers are in servers.ini?", "settings"),
    ],
)
def test_what_is_to_be_changed_in_place_is_read_as_text(task: str, kind: str) -> None:
    Path("servers.ini").write_text("[alpha]\nport=80\n")
    assert one(task).kind == kind
