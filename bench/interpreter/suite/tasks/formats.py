"""JSON, XML, HTML: jobs that turn one form of data into another."""

import html
import json
from pathlib import Path
from random import Random
from typing import Any

from suite import files, tables
from suite.task import Task


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
