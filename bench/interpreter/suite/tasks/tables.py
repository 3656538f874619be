"""Group-by, join, pivot, splitting and merging: jobs on tables in CSV files."""

import statistics
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


class ApplePrices(Task):
    kind = "group-by"
    prompts = ("What is the median price (Preis) of each sort (Sorte) of apples in aepfel.csv?",)

    def make(self, folder: Path, rng: Random) -> Any:
        found: dict[str, list[float]] = {}
        rows = []
        sorts = rng.sample(["Boskoop", "Elstar", "Gala", "Jonagold", "Topaz"] * 34, 170)
        for at, sort in enumerate(sorts):
            price = (2 * rng.randint(65, 250) + (at // 2) % 2 + (80 if sort == "Topaz" else 0)) / 100
            found.setdefault(sort, []).append(price)
            rows.append(
                (f"{1 + at % 28:02d}.10.2023", f"Markt {rng.randint(1, 9)}", sort, f"{price:.2f}".replace(".", ","))
            )
        files.table(folder / "aepfel.csv", ("Datum", "Händler", "Sorte", "Preis"), rows, sep=";", encoding="cp1252")
        return {sort: statistics.median(prices) for sort, prices in found.items()}

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.each(said, facts, within=0.0051)

    solution = """
import pandas as pd
d = pd.read_csv("aepfel.csv", sep=";", decimal=",", encoding="cp1252")
print(d.groupby("Sorte").Preis.median())
"""
    wrong = (
        "# the mean\nimport pandas as pd\nd = pd.read_csv('aepfel.csv', sep=';', decimal=',', encoding='cp1252')\n"
        "print(d.groupby('Sorte').Preis.mean())",
        "# the medians in another order\nimport pandas as pd\n"
        "d = pd.read_csv('aepfel.csv', sep=';', decimal=',', encoding='cp1252')\n"
        "m = d.groupby('Sorte').Preis.median()\nprint(dict(zip(reversed(m.index), m.values)))",
    )


class Couriers(Task):
    kind = "group-by"
    prompts = (
        "deliveries.tsv is about our couriers. For each courier I need the number of deliveries and the longest time "
        "(minutes) among those that were not cancelled. Just tell me.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        count: dict[str, int] = {}
        longest: dict[str, float] = {}
        rows = []
        for at in range(410):
            who, state = (
                rng.choice(["Amira", "Björn", "Chloé", "Dragan"]),
                rng.choice(["ok", "ok", "late", "cancelled"]),
            )
            minutes = round(rng.uniform(8, 95) + (60 if state == "cancelled" else 0), 1)
            rows.append((7000 + at, who, rng.choice(["north", "south", "centre"]), state, minutes))
            if state != "cancelled":
                count[who] = count.get(who, 0) + 1
                longest[who] = max(longest.get(who, 0), minutes)
        files.table(folder / "deliveries.tsv", ("id", "courier", "area", "status", "minutes"), rows, sep="\t")
        return count, longest

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.each(said, facts[0])
        answers.each(said, facts[1], within=0.01)

    solution = """
import pandas as pd
d = pd.read_csv("deliveries.tsv", sep="\\t")
print(d[d.status != "cancelled"].groupby("courier").minutes.agg(["count", "max"]))
"""
    wrong = (
        "# with the cancelled ones\nimport pandas as pd\nd = pd.read_csv('deliveries.tsv', sep='\\t')\n"
        "print(d.groupby('courier').minutes.agg(['count', 'max']))",
        "# only those that are ok\nimport pandas as pd\nd = pd.read_csv('deliveries.tsv', sep='\\t')\n"
        "print(d[d.status == 'ok'].groupby('courier').minutes.agg(['count', 'max']))",
    )


class PlantBeds(Task):
    kind = "join"
    prompts = (
        "plants.csv says what was planted in which bed, beds.csv how large each bed is and who looks after it. How "
        "many "
        "plants does each gardener have? Beds without a gardener don't matter. Save it as gardeners.csv (gardener, "
        "plants), the most plants first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        beds = {f"B{n:02d}": rng.choice(["Olga", "Piet", "Rosa", "Sven", ""]) for n in range(1, 31)}
        files.table(
            folder / "beds.csv",
            ("bed", "square_metres", "gardener"),
            [(b, rng.randint(2, 20), g) for b, g in beds.items()],
        )
        total: dict[str, int] = {}
        rows = []
        for _ in range(220):
            bed, number = rng.choice([*beds, "B77", "B78"]), rng.randint(1, 40)
            rows.append((bed, rng.choice(["tulip", "leek", "rose", "mint", "kale"]), number))
            if beds.get(bed):
                total[beds[bed]] = total.get(beds[bed], 0) + number
        files.table(folder / "plants.csv", ("bed_id", "plant", "number"), rows)
        return sorted(total.items(), key=lambda pair: -pair[1])

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "gardeners.csv", "gardener", "plants|number|total"), facts, ordered=True)

    solution = """
import pandas as pd
d = pd.read_csv("plants.csv").merge(pd.read_csv("beds.csv"), left_on="bed_id", right_on="bed")
t = d.groupby("gardener", as_index=False).number.sum().rename(columns={"number": "plants"})
t.sort_values("plants", ascending=False).to_csv("gardeners.csv", index=False)
print(t)
"""
    wrong = (
        "# counts rows\nimport pandas as pd\n"
        "d = pd.read_csv('plants.csv').merge(pd.read_csv('beds.csv'), left_on='bed_id', right_on='bed')\n"
        "d.gardener.value_counts().reset_index(name='plants').to_csv('gardeners.csv', index=False)",
        "# fewest first\nimport pandas as pd\n"
        "d = pd.read_csv('plants.csv').merge(pd.read_csv('beds.csv'), left_on='bed_id', right_on='bed')\n"
        "d.groupby('gardener').number.sum().sort_values().reset_index(name='plants').to_csv('gardeners.csv', "
        "index=False)",
    )


class MusicLessons(Task):
    kind = "join"
    prompts = (
        "Our music school keeps lessons.csv, teachers.csv (what a teacher earns an hour). Work out what we owe each "
        "teacher for May 2024 and write pay.csv with teacher and pay, sorted by name. Lessons of teachers who are "
        "not in "
        "teachers.csv are to be left out.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names = files.people(rng, 9)
        wage = {f"T{i}": (name, rng.choice([24.5, 28, 31.75, 36])) for i, name in enumerate(names, 11)}
        files.table(folder / "teachers.csv", ("id", "name", "per_hour"), [(k, *v) for k, v in wage.items()])
        pay: dict[str, float] = {}
        rows = []
        for at in range(260):
            month, day = rng.choice([4, 5, 5, 6]), rng.randint(1, 28)
            teacher, minutes = rng.choice([*wage, "T90", "T91"]), rng.choice([30, 45, 60])
            rows.append((f"2024-{month:02d}-{day:02d}", teacher, f"pupil {at % 37}", minutes))
            if month == 5 and teacher in wage:
                name, hourly = wage[teacher]
                pay[name] = pay.get(name, 0) + hourly * minutes / 60
        files.table(folder / "lessons.csv", ("date", "teacher_id", "pupil", "minutes"), rows)
        return sorted(pay.items())

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "pay.csv", "teacher|name", "pay"), facts, ordered=True, within=0.011)

    solution = """
import pandas as pd
d = pd.read_csv("lessons.csv", parse_dates=["date"])
d = d[(d.date.dt.year == 2024) & (d.date.dt.month == 5)]
d = d.merge(pd.read_csv("teachers.csv"), left_on="teacher_id", right_on="id")
d["pay"] = d.minutes / 60 * d.per_hour
t = d.groupby("name").pay.sum().rename_axis("teacher").reset_index()
t.to_csv("pay.csv", index=False)
"""
    wrong = (
        "# all months\nimport pandas as pd\n"
        "d = pd.read_csv('lessons.csv').merge(pd.read_csv('teachers.csv'), left_on='teacher_id', right_on='id')\n"
        "d['pay'] = d.minutes / 60 * d.per_hour\n"
        "d.groupby('name').pay.sum().rename_axis('teacher').reset_index().to_csv('pay.csv', index=False)",
        "# minutes taken for hours\nimport pandas as pd\nd = pd.read_csv('lessons.csv')\n"
        "d = d[d.date.str.startswith('2024-05')].merge(pd.read_csv('teachers.csv'), left_on='teacher_id', "
        "right_on='id')\n"
        "d['pay'] = d.minutes * d.per_hour\n"
        "d.groupby('name').pay.sum().rename_axis('teacher').reset_index().to_csv('pay.csv', index=False)",
    )


class RainTable(Task):
    kind = "pivot"
    prompts = (
        "rain.csv lists the rain of each month and town, one below the other. Make a table with a row for each town "
        "and a "
        "column for each month (in the order of the year), plus a column year with the sum, and save it as "
        "rain_table.csv.",
    )

    MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

    def make(self, folder: Path, rng: Random) -> Any:
        towns = ("Bergen", "Cork", "Genova", "Nantes", "Split", "Vigo")
        rain = {(town, month): round(rng.uniform(4, 260), 1) for town in towns for month in self.MONTHS}
        rows = [(month, town, mm) for (town, month), mm in rain.items()]
        rng.shuffle(rows)
        files.table(folder / "rain.csv", ("month", "town", "mm"), rows)
        wide = [[rain[town, month] for month in self.MONTHS] for town in towns]
        return [(town, *row, sum(row)) for town, row in zip(towns, wide, strict=True)]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        path = folder / "rain_table.csv"
        tables.rows(tables.columns(path, "town", *self.MONTHS, "year|sum|total"), facts)
        head = [str(cell) for cell in tables.grids(path)[0][0]]
        if [cell for cell in head if cell in self.MONTHS] != list(self.MONTHS):
            raise Wrong("the months are not in the order of the year")

    solution = """
import pandas as pd
d = pd.read_csv("rain.csv")
t = d.pivot(index="town", columns="month", values="mm")["Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()]
t["year"] = t.sum(axis=1)
t.to_csv("rain_table.csv")
"""
    wrong = (
        "# months by the alphabet\nimport pandas as pd\nt = pd.read_csv('rain.csv').pivot(index='town', "
        "columns='month', "
        "values='mm')\nt['year'] = t.sum(axis=1)\nt.to_csv('rain_table.csv')",
        "# without the sum\nimport pandas as pd\nt = pd.read_csv('rain.csv').pivot(index='town', columns='month', "
        "values='mm')\nt['Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split()].to_csv('rain_table.csv')",
    )


class VisitorsLong(Task):
    kind = "pivot"
    prompts = (
        "visitors.xlsx has a row for each museum and a column for each year. I need it the other way for our "
        "statistics "
        "program: visitors_long.csv with the columns museum, year, visitors, one row for each museum and year, "
        "without the "
        "years that are empty, by museum and then by year.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        museums = ("Bread Museum", "City Gallery", "Glass House", "Old Mint", "Ship Hall", "Tram Depot", "Zoo Archive")
        years = list(range(2015, 2024))
        rows, long = [], []
        for museum in rng.sample(museums, len(museums)):
            values = [rng.randint(900, 90_000) if rng.random() < 0.85 else None for _ in years]
            rows.append((museum, *values))
            long += [(museum, year, value) for year, value in zip(years, values, strict=True) if value]
        files.workbook(folder / "visitors.xlsx", {"visitors": [("museum", *years), *rows]})
        return sorted(long)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "visitors_long.csv", "museum", "year", "visitors"), facts, ordered=True)

    solution = """
import pandas as pd
d = pd.read_excel("visitors.xlsx").melt("museum", var_name="year", value_name="visitors").dropna()
d["visitors"] = d.visitors.astype(int)
d.sort_values(["museum", "year"]).to_csv("visitors_long.csv", index=False)
"""
    wrong = (
        "# with empty years\nimport pandas as pd\nd = pd.read_excel('visitors.xlsx').melt('museum', var_name='year', "
        "value_name='visitors')\nd.sort_values(['museum', 'year']).to_csv('visitors_long.csv', index=False)",
        "# by year\nimport pandas as pd\nd = pd.read_excel('visitors.xlsx').melt('museum', var_name='year', "
        "value_name='visitors').dropna()\nd.sort_values(['year', 'museum']).to_csv('visitors_long.csv', index=False)",
    )


class ClubMembers(Task):
    kind = "split-merge"
    prompts = (
        "Split members.csv by club: one CSV file for each club, named like the club in small letters (chess.csv and "
        "so on), "
        "in a new folder clubs, with the same columns.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found: dict[str, list[tuple[Any, ...]]] = {}
        rows = []
        for at, name in enumerate(files.people(rng, 90)):
            club = rng.choice(["Chess", "Rowing", "Choir", "Judo", "Radio"])
            rows.append((300 + at, name, club, rng.randint(1990, 2023)))
            found.setdefault(club.lower(), []).append(rows[-1])
        files.table(folder / "members.csv", ("id", "name", "club", "since"), rows)
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        for club, rows in facts.items():
            tables.rows(tables.columns(folder / "clubs" / f"{club}.csv", "id", "name", "club", "since"), rows)
        if extra := {path.name for path in (folder / "clubs").iterdir()} - {f"{club}.csv" for club in facts}:
            raise Wrong(f"clubs/{extra.pop()} should not be there")

    solution = """
import os, pandas as pd
os.makedirs("clubs", exist_ok=True)
for club, rows in pd.read_csv("members.csv").groupby("club"):
    rows.to_csv(f"clubs/{club.lower()}.csv", index=False)
    print(club, len(rows))
"""
    wrong = (
        "# capital letters\nimport os, pandas as pd\nos.makedirs('clubs')\n"
        "for c, rows in pd.read_csv('members.csv').groupby('club'): rows.to_csv(f'clubs/{c}.csv', index=False)",
        "# no folder\nimport pandas as pd\n"
        "for c, rows in pd.read_csv('members.csv').groupby('club'): rows.to_csv(f'{c.lower()}.csv', index=False)",
    )


class BranchSales(Task):
    kind = "split-merge"
    prompts = (
        "The folder branches has a CSV file from each of our branches. Put them together into all.csv with one more "
        "column, "
        "branch, that holds the name of the file without .csv. Sort by date and tell me how many rows there are.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows = []
        for branch in ("airport", "harbour", "main_street", "old_town", "station"):
            own = [
                (
                    f"2024-{rng.randint(1, 6):02d}-{rng.randint(1, 28):02d}",
                    f"R{rng.randint(1000, 9999)}",
                    rng.randint(2, 400),
                )
                for _ in range(rng.randint(15, 45))
            ]
            head, order = ("date", "receipt", "amount"), (0, 1, 2)
            if branch in ("harbour", "station"):
                head, order = ("receipt", "amount", "date"), (1, 2, 0)
            files.table(folder / "branches" / f"{branch}.csv", head, [[row[i] for i in order] for row in own])
            rows += [(*row, branch) for row in own]
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "all.csv", "date", "receipt", "amount", "branch")
        tables.rows(got, facts)
        if [str(row[0]) for row in got] != sorted(str(row[0]) for row in got):
            raise Wrong("all.csv is not sorted by date")
        answers.number(said, len(facts), what="the number of rows")

    solution = """
import pandas as pd
from pathlib import Path
d = pd.concat(pd.read_csv(p).assign(branch=p.stem) for p in sorted(Path("branches").glob("*.csv")))
d.sort_values("date").to_csv("all.csv", index=False)
print(len(d), "rows")
"""
    wrong = (
        "# lines pasted together\nfrom pathlib import Path\nrows = ['date,receipt,amount,branch']\n"
        "for p in Path('branches').glob('*.csv'):\n    rows += [x + ',' + p.stem for x in "
        "p.read_text().split('\\n')[1:] if x]\n"
        "Path('all.csv').write_text('\\n'.join(rows[:1] + sorted(rows[1:])))\nprint(len(rows) - 1)",
        "# not sorted\nimport pandas as pd\nfrom pathlib import Path\n"
        "d = pd.concat(pd.read_csv(p).assign(branch=p.name) for p in Path('branches').glob('*.csv'))\n"
        "d.to_csv('all.csv', index=False)\nprint(len(d))",
    )
