"""JSON, foreign encodings, large files: jobs on what other programs exported."""

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task


class WeatherStations(Task):
    kind = "json"
    prompts = (
        "stations.json holds the readings of our weather stations. Make hottest.csv with the columns station, day, "
        "temperature: the hottest day of each station, by the name of the station.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        stations, hottest = [], []
        for name in ("Lake", "Airport", "Peak", "Forest", "Harbour"):
            values = rng.sample([each / 10 for each in range(-40, 330)], 31)
            readings = [
                {"day": f"2024-07-{day:02d}", "values": {"temperature": value, "wind": rng.randint(0, 60)}}
                for day, value in enumerate(values, 1)
            ]
            stations.append({"id": rng.randint(100, 999), "name": name, "readings": readings})
            hottest.append((name, f"2024-07-{values.index(max(values)) + 1:02d}", max(values)))
        (folder / "stations.json").write_text(json.dumps({"source": "club", "stations": stations}, indent=1))
        return sorted(hottest)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "hottest.csv", "station", "day", "temperature")
        tables.rows(got, facts, ordered=True)

    solution = """
import json, pandas as pd
rows = []
for station in json.load(open("stations.json"))["stations"]:
    best = max(station["readings"], key=lambda r: r["values"]["temperature"])
    rows.append((station["name"], best["day"], best["values"]["temperature"]))
pd.DataFrame(sorted(rows), columns=["station", "day", "temperature"]).to_csv("hottest.csv", index=False)
"""
    wrong = (
        "# the windiest\nimport json, pandas as pd\nr = []\nfor s in json.load(open('stations.json'))['stations']:\n"
        "    b = max(s['readings'], key=lambda x: x['values']['wind'])\n"
        "    r.append((s['name'], b['day'], b['values']['temperature']))\n"
        "pd.DataFrame(sorted(r), columns=['station', 'day', 'temperature']).to_csv('hottest.csv', index=False)",
        "# not sorted\nimport json, pandas as pd\nr = []\nfor s in json.load(open('stations.json'))['stations']:\n"
        "    b = max(s['readings'], key=lambda x: x['values']['temperature'])\n"
        "    r.append((s['name'], b['day'], b['values']['temperature']))\n"
        "pd.DataFrame(r, columns=['station', 'day', 'temperature']).to_csv('hottest.csv', index=False)",
    )


class WebOrders(Task):
    kind = "json"
    prompts = (
        "orders.json comes from our web shop. Make customers.csv with the columns customer, total: what each customer "
        "ordered in all (quantity times price), the highest total first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        names, orders = files.people(rng, 8), []
        total: dict[str, float] = {}
        for at in range(60):
            name = rng.choice(names)
            items = [
                {"article": f"A{rng.randint(10, 99)}", "quantity": rng.randint(1, 5), "price": rng.randint(3, 400) / 4}
                for _ in range(rng.randint(1, 4))
            ]
            orders.append(
                {"order": 9000 + at, "customer": {"name": name, "city": rng.choice(["Ulm", "Graz"])}, "items": items}
            )
            total[name] = total.get(name, 0) + sum(item["quantity"] * item["price"] for item in items)
        (folder / "orders.json").write_text(json.dumps(orders, indent=1))
        return sorted(total.items(), key=lambda pair: -pair[1])

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "customers.csv", "customer|name", "total"), facts, ordered=True)

    solution = """
import json, pandas as pd
total = {}
for order in json.load(open("orders.json")):
    name = order["customer"]["name"]
    total[name] = total.get(name, 0) + sum(i["quantity"] * i["price"] for i in order["items"])
rows = sorted(total.items(), key=lambda pair: -pair[1])
pd.DataFrame(rows, columns=["customer", "total"]).to_csv("customers.csv", index=False)
"""
    wrong = (
        "# prices only\nimport json, pandas as pd\nt = {}\nfor o in json.load(open('orders.json')):\n"
        "    n = o['customer']['name']\n    t[n] = t.get(n, 0) + sum(i['price'] for i in o['items'])\n"
        "pd.DataFrame(sorted(t.items(), key=lambda p: -p[1]), columns=['customer', 'total']).to_csv('customers.csv')",
        "# by name\nimport json, pandas as pd\nt = {}\nfor o in json.load(open('orders.json')):\n"
        "    n = o['customer']['name']\n    t[n] = t.get(n, 0) + sum(i['quantity'] * i['price'] for i in o['items'])\n"
        "pd.DataFrame(sorted(t.items()), columns=['customer', 'total']).to_csv('customers.csv', index=False)",
    )


class KassenbuchExport(Task):
    kind = "encoding"
    prompts = (
        "kasse.csv is an old export from Germany: umlauts look wrong when I open it, and the amounts have a comma. "
        "Save it "
        "as kasse_utf8.csv in UTF-8 with the same columns, the amounts with a point, and tell me the sum of the "
        "amounts.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        what = ("Büromöbel", "Schlüssel", "Getränke", "Blumensträuße", "Äpfel", "Porto")
        rows = [(at, rng.choice(what), rng.randint(150, 250_000) / 100) for at in range(1, 121)]
        written = [(at, name, f"{amount:.2f}".replace(".", ",")) for at, name, amount in rows]
        files.table(folder / "kasse.csv", ("Beleg", "Zweck", "Betrag"), written, sep=";", encoding="cp1252")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.utf8(folder / "kasse_utf8.csv")
        tables.rows(tables.columns(folder / "kasse_utf8.csv", "Beleg", "Zweck", "Betrag"), facts)
        answers.number(said, sum(row[2] for row in facts), within=0.0051, what="the sum")

    solution = """
import pandas as pd
d = pd.read_csv("kasse.csv", sep=";", decimal=",", encoding="cp1252")
d.to_csv("kasse_utf8.csv", index=False)
print(round(d.Betrag.sum(), 2))
"""
    wrong = (
        "# still in the old encoding\nimport pandas as pd\n"
        "d = pd.read_csv('kasse.csv', sep=';', decimal=',', encoding='cp1252')\n"
        "d.to_csv('kasse_utf8.csv', index=False, encoding='cp1252')\nprint(round(d.Betrag.sum(), 2))",
        "# letters lost\nimport pandas as pd\n"
        "d = pd.read_csv('kasse.csv', sep=';', decimal=',', encoding='utf-8', encoding_errors='replace')\n"
        "d.to_csv('kasse_utf8.csv', index=False)\nprint(round(d.Betrag.sum(), 2))",
    )


class PhoneExport(Task):
    kind = "encoding"
    prompts = (
        "calls.txt comes from our telephone system and opens as gibberish in most programs. Save it as calls.csv in "
        "UTF-8, with commas and the same columns, and tell me how many minutes were called in all.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows = [
            (
                f"2024-10-{rng.randint(1, 31):02d}",
                rng.choice(["Zoë", "Łukasz", "Jürgen", "Søren", "Inès"]),
                rng.randint(1, 95),
            )
            for _ in range(140)
        ]
        files.table(folder / "calls.txt", ("date", "caller", "minutes"), rows, sep="\t", encoding="utf-16")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        if "," not in tables.utf8(folder / "calls.csv").partition("\n")[0]:
            tables.columns(folder / "calls.csv", "with commas")
        tables.rows(tables.columns(folder / "calls.csv", "date", "caller", "minutes"), facts)
        answers.number(said, sum(row[2] for row in facts), what="the sum")

    solution = """
import pandas as pd
d = pd.read_csv("calls.txt", sep="\\t", encoding="utf-16")
d.to_csv("calls.csv", index=False)
print(d.minutes.sum())
"""
    wrong = (
        "# tabs\nimport pandas as pd\nd = pd.read_csv('calls.txt', sep='\\t', encoding='utf-16')\n"
        "d.to_csv('calls.csv', index=False, sep='\\t')\nprint(d.minutes.sum())",
        "# the number of calls\nimport pandas as pd\nd = pd.read_csv('calls.txt', sep='\\t', encoding='utf-16')\n"
        "d.to_csv('calls.csv', index=False)\nprint(len(d))",
    )


class TaxiRides(Task):
    kind = "large-file"
    prompts = (
        "rides.csv.gz has all rides of our taxis. Which taxi took the most money in all, how much was it, and how many "
        "rides were longer than 30 km?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        weights = rng.sample(range(20, 60), 30)
        taxis = rng.choices([f"TX-{number}" for number in range(401, 431)], weights, k=150_000)
        total: dict[str, int] = {}
        long, lines = 0, ["ride,taxi,km,cents"]
        for at, taxi in enumerate(taxis):
            km, cents = rng.randint(5, 420) / 10, rng.randint(500, 8000)
            lines.append(f"{at},{taxi},{km},{cents}")
            total[taxi] = total.get(taxi, 0) + cents
            long += km > 30
        (folder / "rides.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode(), 6, mtime=0))
        best = max(total, key=lambda taxi: total[taxi])
        return best, total[best], long

    def check(self, folder: Path, said: str, facts: Any) -> None:
        best, cents, long = facts
        answers.word(said, best)
        answers.number(said, cents, cents / 100, what="the money")
        answers.number(said, long, what="the number of long rides")

    solution = """
import pandas as pd
d = pd.read_csv("rides.csv.gz")
money = d.groupby("taxi").cents.sum()
print(money.idxmax(), money.max() / 100, (d.km > 30).sum())
"""
    wrong = (
        "# the most rides\nimport pandas as pd\nd = pd.read_csv('rides.csv.gz')\nn = d.taxi.value_counts()\n"
        "print(n.idxmax(), n.max(), (d.km > 30).sum())",
        "# 30 km and more\nimport pandas as pd\nd = pd.read_csv('rides.csv.gz')\nm = d.groupby('taxi').cents.sum()\n"
        "print(m.idxmax(), m.max() / 100, (d.km >= 30).sum())",
    )


class TillReceipts(Task):
    kind = "large-file"
    prompts = (
        "receipts.tsv has all receipts of our shop. In which hour of the day (the two digits before the colon) do we "
        "take "
        "the most money in all, how much is that, and how many receipts were paid by card?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        hours = rng.choices(range(8, 20), rng.sample(range(10, 40), 12), k=180_000)
        total: dict[int, int] = {}
        card, lines = 0, ["receipt\ttime\tpaid\tcents"]
        for at, hour in enumerate(hours):
            cents, paid = rng.randint(99, 9900), rng.choice(["cash", "card", "voucher"])
            lines.append(f"{at}\t{hour:02d}:{at % 60:02d}\t{paid}\t{cents}")
            total[hour] = total.get(hour, 0) + cents
            card += paid == "card"
        (folder / "receipts.tsv").write_text("\n".join(lines) + "\n")
        best = max(total, key=lambda hour: total[hour])
        return best, total[best], card

    def check(self, folder: Path, said: str, facts: Any) -> None:
        best, cents, card = facts
        answers.number(said, best, what="the hour")
        answers.number(said, cents, cents / 100, what="the money")
        answers.number(said, card, what="the number of receipts paid by card")

    solution = """
import pandas as pd
d = pd.read_csv("receipts.tsv", sep="\\t")
money = d.groupby(d.time.str[:2]).cents.sum()
print(money.idxmax(), money.max() / 100, (d.paid == "card").sum())
"""
    wrong = (
        "# the most receipts\nimport pandas as pd\nd = pd.read_csv('receipts.tsv', sep='\\t')\n"
        "n = d.time.str[:2].value_counts()\nprint(n.idxmax(), n.max(), (d.paid == 'card').sum())",
        "# whatever is not cash\nimport pandas as pd\nd = pd.read_csv('receipts.tsv', sep='\\t')\n"
        "m = d.groupby(d.time.str[:2]).cents.sum()\nprint(m.idxmax(), m.max() / 100, (d.paid != 'cash').sum())",
    )
