"""SQLite databases: jobs on several tables that no file viewer opens."""

import contextlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


def database(path: Path, made: Mapping[str, tuple[str, Iterable[Sequence[Any]]]]) -> None:
    """A database of these tables: name -> (columns, rows)."""
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        for name, (columns, rows) in made.items():
            base.execute(f"create table {name} ({columns})")
            base.executemany(f"insert into {name} values ({','.join('?' * (columns.count(',') + 1))})", rows)


class BestReaders(Task):
    kind = "database"
    prompts = (
        "library.db is the SQLite database of our library. Which five readers borrowed the most books in 2023? Save "
        "their "
        "names and the number of loans, most first, as readers.csv (name, loans).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = files.people(rng, 30)
        loans, count = [], dict.fromkeys(names, 0)
        for at, name in enumerate(names):
            # each has another number of loans in 2023, so that there is no tie
            for year, many in ((2023, at + 2), (2022, rng.randint(0, 40)), (2024, rng.randint(0, 9))):
                for _ in range(many):
                    day = f"{year}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
                    loans.append((at + 1, rng.randint(1, 80), day, rng.choice([None, f"{day[:4]}-12-30"])))
            count[name] = at + 2
        rng.shuffle(loans)
        database(
            folder / "library.db",
            {
                "readers": (
                    "id integer primary key, name text, city text",
                    [(i, n, "Linz") for i, n in enumerate(names, 1)],
                ),
                "books": ("id integer primary key, title text", [(i, files.prose(rng, 3)) for i in range(1, 81)]),
                "loans": (
                    "id integer primary key, reader_id integer, book_id integer, borrowed text, returned text",
                    [(i, *loan) for i, loan in enumerate(loans, 1)],
                ),
            },
        )
        return sorted(count.items(), key=lambda pair: -pair[1])[:5]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "readers.csv", "name|reader", "loans|count"), facts, ordered=True)

    solution = """
import pandas as pd, sqlite3
d = pd.read_sql('''select name, count(*) as loans from loans join readers on readers.id = reader_id
    where borrowed like '2023-%' group by readers.id order by loans desc limit 5''', sqlite3.connect("library.db"))
d.to_csv("readers.csv", index=False)
print(d)
"""
    wrong = (
        "# all years\nimport pandas as pd, sqlite3\n"
        "pd.read_sql('select name, count(*) as loans from loans join readers on readers.id = reader_id group by "
        "readers.id "
        "order by loans desc limit 5', sqlite3.connect('library.db')).to_csv('readers.csv', index=False)",
        "# joined with the wrong column\nimport pandas as pd, sqlite3\n"
        'pd.read_sql("select name, count(*) as loans from loans join readers on readers.id = loans.id where '
        "borrowed like "
        "'2023-%' group by readers.id order by loans desc limit 5\", sqlite3.connect('library.db'))"
        ".to_csv('readers.csv', index=False)",
    )


class WarehouseStock(Task):
    kind = "database"
    prompts = (
        "Our warehouse is in stock.sqlite: products, and movements (pieces in are positive, pieces out negative). "
        "Which products "
        "are below their minimum? Write them to reorder.csv with product, stock, minimum, by name. Products that "
        "never moved "
        "have a stock of 0.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        looks, things = ("Blue", "Red", "Small", "Large", "Round"), ("box", "jar", "lamp", "tray", "vase")
        names = [f"{look} {thing}" for look in looks for thing in things]
        products = [(at, name, rng.choice([0, 5, 20, 50])) for at, name in enumerate(names, 1)]
        rng.shuffle(products)
        stock = {product[0]: 0 for product in products}
        moves = []
        for at in range(300):
            product, pieces = rng.choice(products[:20])[0], rng.randint(-14, 17)
            stock[product] += pieces
            moves.append((at + 1, product, f"2024-0{1 + at // 60}-{1 + at % 28:02d}", pieces))
        database(
            folder / "stock.sqlite",
            {
                "products": ("id integer primary key, name text, minimum integer", products),
                "movements": ("id integer primary key, product_id integer, day text, pieces integer", moves),
            },
        )
        return sorted((name, stock[at], least) for at, name, least in products if stock[at] < least)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        names = ("product|name|product_name", "stock", "minimum")
        tables.rows(tables.columns(folder / "reorder.csv", *names), facts, ordered=True)

    solution = """
import pandas as pd, sqlite3
d = pd.read_sql('''select name as product, coalesce(sum(pieces), 0) as stock, minimum from products
    left join movements on product_id = products.id group by products.id having stock < minimum order by name''',
    sqlite3.connect("stock.sqlite"))
d.to_csv("reorder.csv", index=False)
"""
    wrong = (
        "# without those that never moved\nimport pandas as pd, sqlite3\n"
        "pd.read_sql('select name as product, sum(pieces) as stock, minimum from products join movements on "
        "product_id = "
        "products.id group by products.id having stock < minimum order by name', sqlite3.connect('stock.sqlite'))"
        ".to_csv('reorder.csv', index=False)",
        "# at the minimum too, not sorted\nimport pandas as pd, sqlite3\n"
        "pd.read_sql('select name as product, coalesce(sum(pieces), 0) as stock, minimum from products left join "
        "movements "
        "on product_id = products.id group by products.id having stock <= minimum', sqlite3.connect('stock.sqlite'))"
        ".to_csv('reorder.csv', index=False)",
    )


class SensorDatabase(Task):
    kind = "database"
    prompts = (
        "Make an SQLite database weather.db out of stations.csv and readings.csv, with a table for each file named "
        "like the "
        "file. Then tell me the name of the station with the highest average temperature, and that average (one "
        "decimal).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = ("Almsee", "Bruckner Hof", "Dachstein", "Ebental", "Feldkirch", "Gosau")
        stations = [(f"ST{n}", name, rng.randint(90, 2400)) for n, name in enumerate(names, 1)]
        base = {station: rng.uniform(-4, 9) for station, _, _ in stations}
        rows = []
        for at in range(400):
            station = rng.choice(stations)[0]
            rows.append(
                (station, f"2024-01-{1 + at // 13:02d} {at % 13:02d}:00", round(base[station] + rng.gauss(0, 5), 1))
            )
        files.table(folder / "stations.csv", ("id", "name", "height"), stations)
        files.table(folder / "readings.csv", ("station", "time", "temperature"), rows)
        mean = {name: sum(t := [row[2] for row in rows if row[0] == station]) / len(t) for station, name, _ in stations}
        return stations, rows, max(mean.items(), key=lambda pair: pair[1])

    def check(self, folder: Path, said: str, facts: Any) -> None:
        stations, rows, (name, mean) = facts
        try:
            with contextlib.closing(sqlite3.connect(tables.there(folder / "weather.db"))) as base:
                got = base.execute("select id, name, height from stations").fetchall()
                many = base.execute("select station, time, temperature from readings").fetchall()
        except sqlite3.Error as error:
            raise Wrong(f"weather.db: {error}") from None
        tables.rows(got, stations)
        tables.rows(many, rows, within=0.001)
        answers.word(said, name)
        answers.number(said, mean, within=0.051, what="the average")

    solution = """
import pandas as pd, sqlite3
base = sqlite3.connect("weather.db")
for name in ("stations", "readings"):
    pd.read_csv(name + ".csv").to_sql(name, base, index=False)
print(base.execute('''select name, round(avg(temperature), 1) as t from readings join stations on id = station
    group by id order by t desc limit 1''').fetchone())
base.close()
"""
    wrong = (
        "# no database\nimport pandas as pd\nd = pd.read_csv('readings.csv').merge(pd.read_csv('stations.csv'), "
        "left_on='station', right_on='id')\nprint(d.groupby('name').temperature.mean().sort_values().tail(1))",
        "# the highest reading\nimport pandas as pd, sqlite3\nb = sqlite3.connect('weather.db')\n"
        "for n in ('stations', 'readings'): pd.read_csv(n + '.csv').to_sql(n, b, index=False)\n"
        "print(b.execute('select name, max(temperature) from readings join stations on id = station').fetchone())\n"
        "b.close()",
    )


class TidyTickets(Task):
    kind = "database"
    prompts = (
        "tickets.db has a table tickets with the tickets of our help desk. Please save an Excel file tickets.xlsx "
        "with one row "
        "for each person in charge (agent): how many tickets are open, how many closed, and the average number of "
        "days from "
        "opened to closed of the closed ones. Columns: agent, open, closed, days.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        import datetime

        rows, found = [], {}
        for at in range(260):
            agent = rng.choice(["Ines", "Jonas", "Kira", "Luis", "Mara"])
            opened, took = datetime.date(2024, 1, 1) + datetime.timedelta(rng.randrange(120)), rng.randint(0, 25)
            closed = rng.random() < 0.7
            rows.append(
                (
                    at + 1,
                    files.prose(rng, 4),
                    agent,
                    str(opened),
                    str(opened + datetime.timedelta(took)) if closed else None,
                )
            )
            found.setdefault(agent, ([], []))[closed].append(took)
        database(
            folder / "tickets.db", {"tickets": ("id integer, subject text, agent text, opened text, closed text", rows)}
        )
        return [(agent, len(left), len(done), sum(done) / len(done)) for agent, (left, done) in found.items()]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "tickets.xlsx", "agent", "open", "closed", "days"), facts, within=0.051)

    solution = """
import pandas as pd, sqlite3
d = pd.read_sql("select * from tickets", sqlite3.connect("tickets.db"), parse_dates=["opened", "closed"])
d["days"] = (d.closed - d.opened).dt.days
g = d.groupby("agent")
pd.DataFrame({"open": g.closed.apply(lambda c: c.isna().sum()), "closed": g.closed.count(), "days": g.days.mean()}
    ).reset_index().to_excel("tickets.xlsx", index=False)
"""
    wrong = (
        "# all for open\nimport pandas as pd, sqlite3\n"
        "d = pd.read_sql('select * from tickets', sqlite3.connect('tickets.db'), parse_dates=['opened', 'closed'])\n"
        "d['days'] = (d.closed - d.opened).dt.days\n"
        "d.groupby('agent').agg(open=('id', 'count'), closed=('closed', 'count'), days=('days', 'mean'))"
        ".to_excel('tickets.xlsx')",
        "# open ones take no days\nimport pandas as pd, sqlite3\n"
        "d = pd.read_sql('select * from tickets', sqlite3.connect('tickets.db'), parse_dates=['opened', 'closed'])\n"
        "d['days'] = (d.closed - d.opened).dt.days.fillna(0)\ng = d.groupby('agent')\n"
        "pd.DataFrame({'open': g.closed.apply(lambda c: c.isna().sum()), 'closed': g.closed.count(), 'days': "
        "g.days.mean()})"
        ".to_excel('tickets.xlsx')",
    )
