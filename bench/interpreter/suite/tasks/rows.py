"""Damaged rows and large files: jobs on tables that are not as one would wish."""

import gzip
import statistics
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task


class BrokenExport(Task):
    kind = "damaged-rows"
    prompts = (
        "The export readings.csv is damaged: some lines have too few or too many fields, and some values are no "
        "numbers. Use "
        "only the good lines. How many good lines are there, how many bad ones, and what is the mean value of each "
        "sensor?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        out, values, bad = ["time,sensor,value"], {}, 0
        for at in range(520):
            time, sensor, value = f"2024-03-{1 + at // 20:02d}T{at % 24:02d}:00", rng.choice("ABC"), rng.uniform(10, 30)
            line = f"{time},S-{sensor},{value:.2f}"
            if rng.random() < 0.09:
                bad += 1
                line = rng.choice(
                    [
                        f"{time},S-{sensor}",
                        f"{line},{rng.randint(1, 9)},x",
                        f"{time},S-{sensor},ERR",
                        f"{time},S-{sensor},--",
                        time,
                    ]
                )
            else:
                values.setdefault(f"S-{sensor}", []).append(round(value, 2))
            out.append(line)
        (folder / "readings.csv").write_text("\n".join(out) + "\n")
        return sum(map(len, values.values())), bad, {k: statistics.mean(v) for k, v in values.items()}

    def check(self, folder: Path, said: str, facts: Any) -> None:
        good, bad, means = facts
        answers.number(said, good, what="the number of good lines")
        answers.number(said, bad, what="the number of bad lines")
        answers.each(said, means, within=0.0051)

    solution = """
good, bad = {}, 0
with open("readings.csv") as file:
    next(file)
    for line in file:
        parts = line.strip().split(",")
        try:
            time, sensor, value = parts
            good.setdefault(sensor, []).append(float(value))
        except ValueError:
            bad += 1
print("good", sum(map(len, good.values())), "bad", bad)
for sensor, values in sorted(good.items()):
    print(sensor, round(sum(values) / len(values), 2))
"""
    wrong = (
        "# only the lines that pandas skips\nimport pandas as pd\n"
        "d = pd.read_csv('readings.csv', on_bad_lines='skip')\nd['value'] = pd.to_numeric(d.value, errors='coerce')\n"
        "print(len(d), 520 - len(d), d.groupby('sensor').value.mean())",
        "# first three fields of each\ng = {}\nfor x in open('readings.csv').read().split('\\n')[1:]:\n"
        "    p = x.split(',')\n    try: g.setdefault(p[1], []).append(float(p[2]))\n    except Exception: pass\n"
        "n = sum(map(len, g.values()))\nprint(n, 520 - n)\nfor s, v in g.items(): print(s, sum(v) / len(v))",
    )


class MessyDonations(Task):
    kind = "damaged-rows"
    prompts = (
        "donations.csv was typed in by many people, so the amounts are written like 25, 25 EUR, €25.00 or 1,200, "
        "some are "
        "empty or a word, and some lines are there twice (same receipt number). Clean it: save donations_clean.csv "
        "with "
        "receipt, name, amount as a plain number, without the lines that have no amount and each receipt once. What "
        "is the sum?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, clean = [], []
        for at, name in enumerate(files.people(rng, 110)):
            amount = rng.choice([5, 10, 20, 25, 50, 75, 120, 1200, 2500, 12.5, 37.5])
            forms = [f"{amount:g}", f"{amount:g} EUR", f"€{amount:.2f}", f"{amount:,.2f}", f" {amount:g}"]
            row = (f"Q{2000 + at}", name, rng.choice(forms))
            if rng.random() < 0.1:
                row = (row[0], name, rng.choice(["", "unknown", "-", "?"]))
            else:
                clean.append((row[0], name, float(amount)))
            rows += [row, row] if rng.random() < 0.12 else [row]
        rng.shuffle(rows)
        files.table(folder / "donations.csv", ("receipt", "name", "amount"), rows)
        return clean

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "donations_clean.csv", "receipt", "name", "amount"), facts)
        answers.number(said, sum(row[2] for row in facts), within=0.011, what="the sum")

    solution = """
import pandas as pd
d = pd.read_csv("donations.csv", dtype=str)
d["amount"] = pd.to_numeric(d.amount.str.replace(r"[^0-9.]", "", regex=True), errors="coerce")
d = d.dropna(subset=["amount"]).drop_duplicates("receipt")
d.to_csv("donations_clean.csv", index=False)
print(d.amount.sum())
"""
    wrong = (
        "# twice is twice\nimport pandas as pd\nd = pd.read_csv('donations.csv', dtype=str)\n"
        "d['amount'] = pd.to_numeric(d.amount.str.replace(r'[^0-9.]', '', regex=True), errors='coerce')\n"
        "d = d.dropna(subset=['amount'])\nd.to_csv('donations_clean.csv', index=False)\nprint(d.amount.sum())",
        "# only plain numbers\nimport pandas as pd\nd = pd.read_csv('donations.csv', dtype=str)\n"
        "d['amount'] = pd.to_numeric(d.amount, errors='coerce')\n"
        "d = d.dropna(subset=['amount']).drop_duplicates('receipt')\nd.to_csv('donations_clean.csv', index=False)\n"
        "print(d.amount.sum())",
    )


class BikeTrips(Task):
    kind = "large-file"
    prompts = (
        "trips.csv has all trips of our rental bikes. From which station do most trips start, how many are these, "
        "and what is "
        "the average duration in minutes of the trips longer than a minute (duration is in seconds)?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        stations = [f"Station {n:03d}" for n in range(1, 90)]
        weights = [1 + (n * 37 % 11) for n in range(len(stations))]
        starts = rng.choices(stations, weights, k=240_000)
        seconds = [rng.randint(5, 5400) for _ in starts]
        rows = (
            f"{at},{start},{stations[at % 89]},{took}\n"
            for at, (start, took) in enumerate(zip(starts, seconds, strict=True))
        )
        with (folder / "trips.csv").open("w") as file:
            file.write("trip,start,end,duration\n")
            file.writelines(rows)
        first = statistics.mode(starts)
        return first, starts.count(first), statistics.fmean(s for s in seconds if s > 60) / 60

    def check(self, folder: Path, said: str, facts: Any) -> None:
        station, count, mean = facts
        answers.each(said, {station: count})
        answers.number(said, mean, within=0.0051, what="the average")

    solution = """
import pandas as pd
d = pd.read_csv("trips.csv")
print(d.start.value_counts().head(1))
print(d[d.duration > 60].duration.mean() / 60)
"""
    wrong = (
        "# where they end\nimport pandas as pd\nd = pd.read_csv('trips.csv')\nprint(d.end.value_counts().head(1))\n"
        "print(d[d.duration > 60].duration.mean() / 60)",
        "# with the short ones\nimport pandas as pd\nd = pd.read_csv('trips.csv')\n"
        "print(d.start.value_counts().head(1))\n"
        "print(d.duration.mean() / 60)",
    )


class MeterArchive(Task):
    kind = "large-file"
    prompts = (
        "meters.csv.gz (zipped with gzip) holds the hourly readings of many meters. Make top10.csv with the ten "
        "meters that "
        "used the most energy in total: meter and kwh (two decimals), highest first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        meters = [f"M{rng.randint(10_000, 99_999)}" for _ in range(400)]
        total: dict[str, int] = {}
        out = ["hour,meter,watt_hours\n"]
        for at in range(200_000):
            meter = meters[int(rng.random() ** 1.5 * len(meters))]
            used = int(rng.random() * 3900)
            total[meter] = total.get(meter, 0) + used
            out.append(f"{at // 400},{meter},{used}\n")
        (folder / "meters.csv.gz").write_bytes(gzip.compress("".join(out).encode(), 1, mtime=0))
        best = sorted(total.items(), key=lambda pair: -pair[1])[:10]
        return [(meter, used / 1000) for meter, used in best]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "top10.csv", "meter", "kwh|total_kwh"), facts, ordered=True, within=0.0051)

    solution = """
import pandas as pd
d = pd.read_csv("meters.csv.gz")
t = (d.groupby("meter").watt_hours.sum() / 1000).sort_values(ascending=False).head(10).round(2)
t.rename("kwh").reset_index().to_csv("top10.csv", index=False)
"""
    wrong = (
        "# watt hours\nimport pandas as pd\nt = pd.read_csv('meters.csv.gz').groupby('meter').watt_hours.sum()\n"
        "t.sort_values(ascending=False).head(10).rename('kwh').reset_index().to_csv('top10.csv', index=False)",
        "# the ten highest readings\nimport pandas as pd\nd = pd.read_csv('meters.csv.gz').nlargest(10, 'watt_hours')\n"
        "d['kwh'] = d.watt_hours / 1000\nd[['meter', 'kwh']].to_csv('top10.csv', index=False)",
    )
