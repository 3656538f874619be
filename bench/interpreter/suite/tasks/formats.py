"""JSON, XML, HTML, settings files, odd encodings: jobs that turn one form of data into another."""

import html
import json
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


class Playlists(Task):
    kind = "json"
    prompts = (
        "playlists.json is an export of my music. I'd like it as songs.csv with one line a song: playlist, artist, "
        "title, "
        "seconds, and rating (leave it empty where a song has none).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, lists = [], []
        for name in ("Morning", "Running", "Dinner", "Rainy days", "Road trip"):
            songs = []
            for _ in range(rng.randint(4, 12)):
                artist, title = rng.choice(files.LAST), f"{rng.choice(files.WORDS)} {rng.choice(files.WORDS)}".title()
                seconds, rating = rng.randint(95, 420), rng.choice([None, 1, 2, 3, 4, 5])
                song = {
                    "title": title,
                    "artist": {"name": artist, "id": rng.randint(1, 999)},
                    "length": {"seconds": seconds},
                }
                songs.append(song | ({"rating": rating} if rating else {}))
                rows.append((name, artist, title, seconds, rating))
            lists.append({"name": name, "public": rng.random() < 0.5, "songs": songs})
        (folder / "playlists.json").write_text(json.dumps({"user": "me", "version": 3, "playlists": lists}, indent=2))
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        names = ("playlist|playlist_name", "artist|artist_name", "title", "seconds|length", "rating")
        tables.rows(tables.columns(folder / "songs.csv", *names), facts)

    solution = """
import csv, json
with open("songs.csv", "w", newline="") as file:
    out = csv.writer(file)
    out.writerow(["playlist", "artist", "title", "seconds", "rating"])
    for each in json.load(open("playlists.json"))["playlists"]:
        for song in each["songs"]:
            artist, seconds, rating = song["artist"]["name"], song["length"]["seconds"], song.get("rating", "")
            out.writerow([each["name"], artist, song["title"], seconds, rating])
"""
    wrong = (
        "# dicts in cells\nimport json, pandas as pd\n"
        "d = [dict(s, playlist=p['name'], seconds=s['length']) for p in json.load(open('playlists.json'))['playlists'] "
        "for s in p['songs']]\npd.DataFrame(d).to_csv('songs.csv', index=False)",
        "# a song without rating is left out\nimport json, pandas as pd\n"
        "d = [(p['name'], s['artist']['name'], s['title'], s['length']['seconds'], s['rating']) "
        "for p in json.load(open('playlists.json'))['playlists'] for s in p['songs'] if 'rating' in s]\n"
        "pd.DataFrame(d, columns='playlist artist title seconds rating'.split()).to_csv('songs.csv', index=False)",
    )


class SensorLines(Task):
    kind = "json"
    prompts = (
        "events.jsonl has one JSON object on each line. Write a CSV file sensors.csv with the columns time, room, "
        "temperature, humidity from the events of the type reading. The other types are not needed.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, out = [], []
        for at in range(170):
            time, room = f"2024-05-{1 + at // 24:02d}T{at % 24:02d}:30:00", rng.choice(["cellar", "kitchen", "attic"])
            kind = rng.choice(["reading", "reading", "reading", "battery", "restart"])
            event: dict[str, Any] = {
                "type": kind,
                "time": time,
                "device": {"room": room, "serial": f"x{rng.randint(1, 9)}"},
            }
            if kind == "reading":
                warm, damp = round(rng.uniform(8, 26), 1), rng.randint(30, 80)
                event["values"] = {"temperature": warm, "humidity": damp}
                rows.append((time, room, warm, damp))
            elif kind == "battery":
                event["values"] = {"volt": 2.9}
            out.append(json.dumps(event))
        (folder / "events.jsonl").write_text("\n".join(out) + "\n")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "sensors.csv", "time", "room", "temperature", "humidity")
        tables.rows([(str(time).replace(" ", "T"), *rest) for time, *rest in got], facts, within=0.001)

    solution = """
import json, pandas as pd
rows = []
for line in open("events.jsonl"):
    e = json.loads(line)
    if e["type"] == "reading":
        rows.append([e["time"], e["device"]["room"], e["values"]["temperature"], e["values"]["humidity"]])
pd.DataFrame(rows, columns=["time", "room", "temperature", "humidity"]).to_csv("sensors.csv", index=False)
print(len(rows))
"""
    wrong = (
        "# every type\nimport json, pandas as pd\nd = pd.json_normalize([json.loads(x) for x in "
        "open('events.jsonl')])\n"
        "d.columns = [c.split('.')[-1] for c in d.columns]\n"
        "d[['time', 'room', 'temperature', 'humidity']].to_csv('sensors.csv', index=False)",
        "# names with dots\nimport json, pandas as pd\nd = pd.json_normalize([json.loads(x) for x in "
        "open('events.jsonl')])\n"
        "d[d.type == 'reading'].to_csv('sensors.csv', index=False)",
    )


class ClubPage(Task):
    kind = "xml-html"
    prompts = (
        "fixtures.html is a page I saved from our club's website. Get the table of matches out of it into "
        "matches.csv (date, "
        "home, away, goals_home, goals_away); the result is written like 3:1. Matches that are still to be played "
        "have no "
        "result and should be left out.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        clubs = ("SV Au & Berg", "FC Moor", "TSV Linden", "Rot-Weiß Tal", "SC Hafen", "1. FC Forst")
        rows, cells = [], []
        for at in range(34):
            home, away = rng.sample(clubs, 2)
            goals = (rng.randint(0, 5), rng.randint(0, 4)) if at < 25 else None
            day = f"2024-{3 + at // 12:02d}-{1 + at % 28:02d}"
            if goals:
                rows.append((day, home, away, *goals))
            result = f"{goals[0]}:{goals[1]}" if goals else "-:-"
            cells.append("".join(f"<td>{html.escape(cell)}</td>" for cell in (day, home, away, result)))
        body = "\n".join(f'<tr class="{"even" if i % 2 else "odd"}">{each}</tr>' for i, each in enumerate(cells))
        (folder / "fixtures.html").write_text(
            "<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>Fixtures</title><style>td {padding: "
            "2px}</style></head>"
            "<body>\n<h1>Season 2024</h1><table id='nav'><tr><td>News</td><td>Team</td><td>Contact</td></tr></table>\n"
            "<p>All dates may change.</p>\n<table "
            "id='matches'><tr><th>Date</th><th>Home</th><th>Away</th><th>Result</th></tr>\n"
            f"{body}\n</table><p>&copy; the club</p></body></html>\n",
            encoding="utf-8",
        )
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        names = ("date", "home", "away", "goals_home", "goals_away")
        tables.rows(tables.columns(folder / "matches.csv", *names), facts)

    solution = """
import pandas as pd
d = pd.read_html("fixtures.html")[1]
d = d[d.Result.str.fullmatch(r"\\d+:\\d+")]
d[["goals_home", "goals_away"]] = d.Result.str.split(":", expand=True).astype(int)
d = d.rename(columns=str.lower).drop(columns="result")
d.to_csv("matches.csv", index=False)
"""
    wrong = (
        "# the result in one column\nimport pandas as pd\npd.read_html('fixtures.html')[1].to_csv('matches.csv', "
        "index=False)",
        "# with the matches to come\nimport pandas as pd\nd = "
        "pd.read_html('fixtures.html')[1].rename(columns=str.lower)\n"
        "d[['goals_home', 'goals_away']] = d.result.str.split(':', expand=True)\nd.to_csv('matches.csv', index=False)",
    )


class BookCatalogue(Task):
    kind = "xml-html"
    prompts = (
        "Please turn catalogue.xml into catalogue.csv: isbn, title, authors (several authors separated by a "
        "semicolon and a "
        "space), year, price. Only the books that are in print (available is yes).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, out = [], ["<?xml version='1.0' encoding='UTF-8'?>", "<catalogue>"]
        for at in range(46):
            authors = files.people(rng, rng.choice([1, 1, 2, 3]))
            title = f"{rng.choice(files.WORDS)} & {rng.choice(files.WORDS)}".title()
            isbn, year, price = (
                f"978-{at + 10}-{rng.randint(1000, 9999)}-X",
                rng.randint(1975, 2023),
                rng.randint(600, 4900) / 100,
            )
            there = rng.random() < 0.7
            names = "".join(f"<author>{name}</author>" for name in authors)
            out.append(
                f"  <book isbn='{isbn}' "
                f"available='{'yes' if there else 'no'}'><title>{html.escape(title)}</title><authors>"
                f"{names}</authors><published><year>{year}</year></published><price "
                f"currency='EUR'>{price}</price></book>"
            )
            if there:
                rows.append((isbn, title, "; ".join(authors), year, price))
        (folder / "catalogue.xml").write_text("\n".join([*out, "</catalogue>"]) + "\n")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        names = ("isbn", "title", "authors|author", "year", "price")
        tables.rows(tables.columns(folder / "catalogue.csv", *names), facts)

    solution = """
import csv, xml.etree.ElementTree as ET
with open("catalogue.csv", "w", newline="") as file:
    out = csv.writer(file)
    out.writerow(["isbn", "title", "authors", "year", "price"])
    for book in ET.parse("catalogue.xml").getroot():
        if book.get("available") == "yes":
            authors = "; ".join(a.text for a in book.iter("author"))
            year, price = book.findtext("published/year"), book.findtext("price")
            out.writerow([book.get("isbn"), book.findtext("title"), authors, year, price])
"""
    wrong = (
        "# the first author\nimport pandas as pd, xml.etree.ElementTree as ET\n"
        "d = [(b.get('isbn'), b.findtext('title'), b.find('authors/author').text, b.find('published/year').text, "
        "b.findtext('price')) for b in ET.parse('catalogue.xml').getroot() if b.get('available') == 'yes']\n"
        "pd.DataFrame(d, columns='isbn title authors year price'.split()).to_csv('catalogue.csv', index=False)",
        "# all books, by pandas\nimport pandas as pd\nd = pd.read_xml('catalogue.xml')\nd['year'] = 2000\n"
        "d.to_csv('catalogue.csv', index=False)",
    )


class ShopSettings(Task):
    kind = "settings"
    prompts = (
        "Merge base.toml and local.toml into settings.json: what is in local.toml takes precedence, also inside "
        "sections, and "
        "what is only in base.toml stays.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        port, cents, days = rng.randint(3000, 9000), rng.randint(300, 900), rng.randint(3, 30)
        (folder / "base.toml").write_text(
            f'title = "Shop"\ndebug = false\nlanguages = ["en", "de", "fr"]\n\n[server]\nhost = "0.0.0.0"\nport = '
            f"80\nworkers = 4\n"
            f"\n[shipping]\nfree_from = 50.0\n\n[shipping.cost]\nhome = {cents}\nabroad = {cents * 2}\n\n[returns]\n"
            f"days = {days}\n"
        )
        (folder / "local.toml").write_text(
            f'debug = true\nlanguages = ["en"]\n\n[server]\nport = {port}\n\n[shipping.cost]\nabroad = {cents * 3}\n'
            f'\n[mail]\nfrom = "a@example.org"\n'
        )
        return {
            "title": "Shop",
            "debug": True,
            "languages": ["en"],
            "server": {"host": "0.0.0.0", "port": port, "workers": 4},
            "shipping": {"free_from": 50.0, "cost": {"home": cents, "abroad": cents * 3}},
            "returns": {"days": days},
            "mail": {"from": "a@example.org"},
        }

    def check(self, folder: Path, said: str, facts: Any) -> None:
        same_json(folder / "settings.json", facts)

    solution = """
import json, tomllib
def merge(base, local):
    out = dict(base)
    for key, value in local.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out
base, local = (tomllib.load(open(n, "rb")) for n in ("base.toml", "local.toml"))
json.dump(merge(base, local), open("settings.json", "w"), indent=2)
"""
    wrong = (
        "# whole sections\nimport json, tomllib\na, b = (tomllib.load(open(n, 'rb')) for n in ('base.toml', "
        "'local.toml'))\n"
        "json.dump({**a, **b}, open('settings.json', 'w'))",
        "# one level down\nimport json, tomllib\na, b = (tomllib.load(open(n, 'rb')) for n in ('base.toml', "
        "'local.toml'))\n"
        "for k, v in b.items():\n    a[k] = {**a.get(k, {}), **v} if isinstance(v, dict) else v\n"
        "json.dump(a, open('settings.json', 'w'))",
    )


class ServersIni(Task):
    kind = "settings"
    prompts = (
        "servers.ini describes our servers, a section each. Make servers.json out of it: an object with the section "
        "names as "
        "keys, numbers as numbers, yes/no as true/false, and lists (values with commas) as arrays of strings.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        out, want = ["; our servers"], {}
        for name in ("alpha", "beta", "gamma", "delta"):
            port, memory, on = rng.randint(1000, 9999), rng.choice([4, 8, 16.5, 32]), rng.random() < 0.5
            roles = rng.sample(["web", "mail", "backup", "dns", "files"], rng.randint(2, 4))
            out += [f"[{name}]", f"host = {name}.example.net", f"port = {port}", f"memory_gb = {memory}"]
            out += [f"active = {'yes' if on else 'no'}", f"roles = {', '.join(roles)}", ""]
            want[name] = {
                "host": f"{name}.example.net",
                "port": port,
                "memory_gb": memory,
                "active": on,
                "roles": roles,
            }
        (folder / "servers.ini").write_text("\n".join(out))
        return want

    def check(self, folder: Path, said: str, facts: Any) -> None:
        same_json(folder / "servers.json", facts)

    solution = """
import configparser, json
ini = configparser.ConfigParser()
ini.read("servers.ini")
def typed(v):
    if v in ("yes", "no"):
        return v == "yes"
    if "," in v:
        return [x.strip() for x in v.split(",")]
    for kind in (int, float):
        try:
            return kind(v)
        except ValueError:
            pass
    return v
json.dump({s: {k: typed(v) for k, v in ini[s].items()} for s in ini.sections()}, open("servers.json", "w"), indent=1)
"""
    wrong = (
        "# all as text\nimport configparser, json\ni = configparser.ConfigParser()\ni.read('servers.ini')\n"
        "json.dump({s: dict(i[s]) for s in i.sections()}, open('servers.json', 'w'))",
        "# yes stays yes\nimport configparser, json\ni = configparser.ConfigParser()\ni.read('servers.ini')\n"
        "f = lambda v: v.split(', ') if ',' in v else float(v) if v.replace('.', '').isdigit() else v\n"
        "json.dump({s: {k: f(v) for k, v in i[s].items()} for s in i.sections()}, open('servers.json', 'w'))",
    )


def same_json(path: Path, want: Any) -> None:
    """The file holds this value."""
    try:
        got = json.loads(tables.text(path))
    except ValueError:
        raise Wrong(f"{path.name} is no JSON") from None
    if kinds(got) != kinds(want):
        raise Wrong(f"{path.name} holds something else: {json.dumps(got)[:120]}")


def kinds(value: Any) -> Any:
    """The value, with true told from 1 and 16 like 16.0."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [kinds(each) for each in value]
    return (isinstance(value, bool), value)


class Rechnungen(Task):
    kind = "encoding"
    prompts = (
        "rechnungen.csv comes from our old accounting program, the umlauts look broken in everything I open it with. "
        "Please "
        "save it as a proper UTF-8 file rechnungen_utf8.csv with commas between the columns and points in the "
        "numbers, and tell "
        "me the sum of the amounts (Betrag).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        towns = ("Köln", "Düsseldorf", "Fürth", "Görlitz", "Münster", "Würzburg", "Gießen", "Bad Tölz", "Zürich")
        rows = []
        for at in range(64):
            first, last = ("Jürgen", "Käthe", "Sören", "Bärbel", "Günther"), ("Groß", "Müller", "Schäfer", "Böhm")
            name = f"{rng.choice(first)} {rng.choice(last)}"
            rows.append((f"R-{at + 301}", name, rng.choice(towns), rng.randint(900, 480_000) / 100))
        german = [(*row[:3], f"{row[3]:,.2f}".translate({44: ".", 46: ","})) for row in rows]
        files.table(folder / "rechnungen.csv", ("Nummer", "Kunde", "Ort", "Betrag"), german, sep=";", encoding="cp850")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        path = folder / "rechnungen_utf8.csv"
        if tables.utf8(path).partition("\n")[0].count(",") < 3:
            raise Wrong("there are no commas between the columns")
        tables.rows(tables.columns(path, "Nummer", "Kunde", "Ort", "Betrag"), facts)
        answers.number(said, sum(row[3] for row in facts), within=0.011, what="the sum")

    solution = """
import pandas as pd
d = pd.read_csv("rechnungen.csv", sep=";", encoding="cp850", decimal=",", thousands=".")
d.to_csv("rechnungen_utf8.csv", index=False, encoding="utf-8")
print(d.Betrag.sum())
"""
    wrong = (
        "# taken for Windows\nimport pandas as pd\n"
        "d = pd.read_csv('rechnungen.csv', sep=';', encoding='cp1252', encoding_errors='replace', decimal=',', "
        "thousands='.')\n"
        "d.to_csv('rechnungen_utf8.csv', index=False)\nprint(d.Betrag.sum())",
        "# numbers as they were\nimport pandas as pd\nd = pd.read_csv('rechnungen.csv', sep=';', encoding='cp850')\n"
        "d.to_csv('rechnungen_utf8.csv', index=False)\nprint(sum(float(x.replace('.', '').replace(',', '.')) for x "
        "in d.Betrag))",
    )


class JapaneseStock(Task):
    kind = "encoding"
    prompts = (
        "zaiko.csv is a stock list from our Japanese supplier and shows only garbage characters. Convert it to UTF-8 "
        "as "
        "stock.csv with the same columns and tell me how many different products (商品) there are and the total "
        "quantity (数量).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        goods = (
            "鉛筆",
            "消しゴム",
            "ノート",
            "はさみ",
            "定規",
            "のり",
            "万年筆",
            "封筒",
            "付箋",
            "画用紙",
            "クレヨン",
            "絵の具",
        )
        rows = [(f"K{at + 100}", rng.choice(goods), rng.choice(("東京", "大阪", "福岡", "札幌")), rng.randint(5, 900))
                for at in range(75)]  # fmt: skip
        files.table(folder / "zaiko.csv", ("番号", "商品", "倉庫", "数量"), rows, encoding="shift_jis")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.utf8(folder / "stock.csv")
        tables.rows(tables.columns(folder / "stock.csv", "番号", "商品", "倉庫", "数量"), facts)
        answers.number(said, len({row[1] for row in facts}), what="the number of products")
        answers.number(said, sum(row[3] for row in facts), what="the quantity")

    solution = """
import pandas as pd
d = pd.read_csv("zaiko.csv", encoding="shift_jis")
d.to_csv("stock.csv", index=False, encoding="utf-8")
print(d["商品"].nunique(), d["数量"].sum())
"""
    wrong = (
        "# garbage in UTF-8\nimport pandas as pd\nd = pd.read_csv('zaiko.csv', encoding='latin1')\n"
        "d.to_csv('stock.csv', index=False)\nprint(d.iloc[:, 1].nunique(), d.iloc[:, 3].sum())",
        "# not told\nimport pandas as pd\npd.read_csv('zaiko.csv', encoding='shift_jis').to_csv('stock.csv', "
        "index=False)",
    )
