"""Totals of groups, files put together and taken apart, things that are there twice: jobs on whole tables."""

import datetime
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


class PoolVisits(Task):
    kind = "group-by"
    prompts = (
        "visits.csv counts the visitors of our swimming pool day by day. On which day of the week do most people come "
        "on "
        "average, and how many is that on average?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        base = rng.sample([180, 210, 240, 260, 310, 350, 420], 7)
        found: dict[int, list[int]] = {}
        rows = []
        for at in range(300):
            day = datetime.date(2023, 2, 1) + datetime.timedelta(at)
            if rng.random() < 0.15:
                continue
            count = base[day.weekday()] + rng.randint(-60, 60)
            rows.append((day.strftime("%d/%m/%Y"), count, rng.choice(["sun", "rain", "clouds"])))
            found.setdefault(day.weekday(), []).append(count)
        files.table(folder / "visits.csv", ("date", "visitors", "weather"), rows)
        means = {day: sum(counts) / len(counts) for day, counts in found.items()}
        best = max(means, key=lambda day: means[day])
        return ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")[best], means[best]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.word(said, facts[0])
        answers.number(said, facts[1], round(facts[1]), within=0.051, what="the average")

    solution = """
import pandas as pd
d = pd.read_csv("visits.csv")
day = pd.to_datetime(d.date, format="%d/%m/%Y").dt.day_name()
mean = d.groupby(day).visitors.mean()
print(mean.idxmax(), round(mean.max(), 1))
"""
    wrong = (
        "# days and months swapped\nimport pandas as pd\nd = pd.read_csv('visits.csv')\n"
        "day = pd.to_datetime(d.date, format='%m/%d/%Y', errors='coerce').dt.day_name()\n"
        "m = d.groupby(day).visitors.mean()\nprint(m.idxmax(), m.max())",
        "# the sum\nimport pandas as pd\nd = pd.read_csv('visits.csv')\n"
        "day = pd.to_datetime(d.date, format='%d/%m/%Y').dt.day_name()\n"
        "m = d.groupby(day).visitors.sum()\nprint(m.idxmax(), m.max())",
    )


class VendingMachines(Task):
    kind = "group-by"
    prompts = (
        "vending.csv has all sales of our vending machines. Which product brought in the most money in May, over all "
        "machines, and how much was it?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        products = dict(
            zip(("Apple juice", "Crisps", "Gum", "Peanuts", "Water"), (2.2, 1.9, 1.1, 2.6, 1.4), strict=True)
        )
        weights = rng.sample([3, 4, 5, 6, 9], 5)
        total: dict[str, float] = {}
        rows = []
        for at in range(520):
            product = rng.choices([*products], weights)[0]
            month, pieces = rng.randint(4, 6), rng.randint(1, 4)
            rows.append(
                (at, f"{rng.randint(1, 28)}.{month}.2024", f"M{rng.randint(1, 6)}", product, pieces, products[product])
            )
            if month == 5:
                total[product] = total.get(product, 0) + pieces * products[product]
        files.table(folder / "vending.csv", ("no", "day", "machine", "product", "pieces", "price"), rows, sep=";")
        best = max(total, key=lambda product: total[product])
        return best, total[best]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.word(said, facts[0])
        answers.number(said, facts[1], within=0.0051, what="the money")

    solution = """
import pandas as pd
d = pd.read_csv("vending.csv", sep=";")
d = d[pd.to_datetime(d.day, format="%d.%m.%Y").dt.month == 5]
money = (d.pieces * d.price).groupby(d["product"]).sum()
print(money.idxmax(), round(money.max(), 2))
"""
    wrong = (
        "# all months\nimport pandas as pd\nd = pd.read_csv('vending.csv', sep=';')\n"
        "m = (d.pieces * d.price).groupby(d['product']).sum()\nprint(m.idxmax(), m.max())",
        "# pieces\nimport pandas as pd\nd = pd.read_csv('vending.csv', sep=';')\n"
        "d = d[d.day.str.contains('.5.2024', regex=False)]\nm = d.groupby('product').pieces.sum()\n"
        "print(m.idxmax(), m.max())",
    )


class ShopSheets(Task):
    kind = "split-merge"
    prompts = (
        "shops.xlsx has a sheet for each of our shops. Put them together into shops.csv with the columns shop, date, "
        "takings, where shop is the name of the sheet, and tell me the takings of all shops together.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        sheets: dict[str, list[tuple[Any, ...]]] = {}
        rows = []
        for shop in ("Bakery", "Flowers", "Kiosk", "Shoes"):
            sheets[shop] = [("date", "takings")]
            for day in range(1, rng.randint(18, 29)):
                row = (f"2024-09-{day:02d}", round(rng.uniform(90, 1900), 2))
                sheets[shop].append(row)
                rows.append((shop, *row))
        files.workbook(folder / "shops.xlsx", sheets)
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "shops.csv", "shop", "date", "takings"), facts)
        answers.number(said, sum(row[2] for row in facts), within=0.0051, what="the sum")

    solution = """
import pandas as pd
sheets = pd.read_excel("shops.xlsx", sheet_name=None)
d = pd.concat(sheet.assign(shop=name) for name, sheet in sheets.items())[["shop", "date", "takings"]]
d.to_csv("shops.csv", index=False)
print(round(d.takings.sum(), 2))
"""
    wrong = (
        "# the first sheet\nimport pandas as pd\nd = pd.read_excel('shops.xlsx').assign(shop='Bakery')\n"
        "d.to_csv('shops.csv', index=False)\nprint(d.takings.sum())",
        "# no column for the shop\nimport pandas as pd\n"
        "d = pd.concat(pd.read_excel('shops.xlsx', sheet_name=None).values())\n"
        "d.to_csv('shops.csv', index=False)\nprint(d.takings.sum())",
    )


class YearFiles(Task):
    kind = "split-merge"
    prompts = (
        "Split harvest.csv by year: harvest_2021.csv, harvest_2022.csv and so on, each with the same columns, and tell "
        "me how many kg were harvested in the best year.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found: dict[int, list[tuple[Any, ...]]] = {}
        rows = []
        for _ in range(170):
            year = rng.randint(2020, 2023)
            day = f"{year}-{rng.randint(5, 10):02d}-{rng.randint(1, 28):02d}"
            row = (day, rng.choice(["plum", "pear", "fig"]), rng.randint(5, 90))
            rows.append(row)
            found.setdefault(year, []).append(row)
        files.table(folder / "harvest.csv", ("date", "fruit", "kg"), rows)
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        for year, rows in facts.items():
            tables.rows(tables.columns(folder / f"harvest_{year}.csv", "date", "fruit", "kg"), rows)
        answers.number(said, max(sum(row[2] for row in rows) for rows in facts.values()), what="the best year's kg")

    solution = """
import pandas as pd
d = pd.read_csv("harvest.csv")
year = d.date.str[:4]
for name, rows in d.groupby(year):
    rows.to_csv(f"harvest_{name}.csv", index=False)
print(d.groupby(year).kg.sum().max())
"""
    wrong = (
        "# by fruit\nimport pandas as pd\nd = pd.read_csv('harvest.csv')\n"
        "for n, rows in d.groupby('fruit'): rows.to_csv(f'harvest_{n}.csv', index=False)\n"
        "print(d.groupby('fruit').kg.sum().max())",
        "# the largest single harvest\nimport pandas as pd\nd = pd.read_csv('harvest.csv')\n"
        "for n, rows in d.groupby(d.date.str[:4]): rows.to_csv(f'harvest_{n}.csv', index=False)\nprint(d.kg.max())",
    )


class ContactsTwice(Task):
    kind = "duplicates"
    prompts = (
        "Some people are in contacts.csv more than once, with the same e-mail address but for capital letters and "
        "blanks. Keep the first of each, save the list as contacts_clean.csv and tell me how many lines you left out.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, kept = [], []
        for at, name in enumerate(files.people(rng, 80)):
            mail = f"{name.lower().replace(' ', '.')}@example.org"
            kept.append((name, mail, f"0{rng.randint(30, 99)}-{rng.randint(10000, 99999)}"))
            rows.append(kept[-1])
            if at % 4 == 1:
                again = rng.choice([mail.upper(), mail.title(), f" {mail}", f"{mail} "])
                rows.insert(rng.randint(len(rows) - 1, len(rows)) if at else 1, (name, again, ""))
        order = {row[1].strip().lower(): row for row in reversed(rows)}
        files.table(folder / "contacts.csv", ("name", "email", "phone"), rows)
        return [order[mail] for _, mail, _ in kept], len(rows) - len(kept)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "contacts_clean.csv", "name", "email", "phone")
        fold = [(name, str(mail).strip().lower(), phone) for name, mail, phone in got]
        tables.rows(fold, [(name, mail.strip().lower(), phone) for name, mail, phone in facts[0]])
        answers.number(said, facts[1], what="the number of lines left out")

    solution = """
import pandas as pd
d = pd.read_csv("contacts.csv", dtype=str, keep_default_na=False)
clean = d[~d.email.str.strip().str.lower().duplicated()]
clean.to_csv("contacts_clean.csv", index=False)
print(len(d) - len(clean))
"""
    wrong = (
        "# as they are written\nimport pandas as pd\nd = pd.read_csv('contacts.csv', dtype=str)\n"
        "c = d.drop_duplicates('email')\nc.to_csv('contacts_clean.csv', index=False)\nprint(len(d) - len(c))",
        "# the last of each\nimport pandas as pd\nd = pd.read_csv('contacts.csv', dtype=str)\n"
        "c = d[~d.email.str.strip().str.lower().duplicated(keep='last')]\nc.to_csv('contacts_clean.csv', index=False)\n"
        "print(len(d) - len(c))",
    )


class InvoicesTwice(Task):
    kind = "duplicates"
    prompts = (
        "I am afraid that we entered some invoices twice: same customer, same date, same amount, another number. Write "
        "the numbers of those that came later in payments.csv into twice.txt, one a line, and tell me their total.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows: list[tuple[Any, ...]] = []
        twice: list[tuple[str, float]] = []
        names = files.people(rng, 12)
        for at in range(150):
            number = f"R-{2000 + at}"
            if rows and rng.random() < 0.1:
                first = rng.choice(rows)
                rows.append((number, *first[1:]))
                twice.append((number, first[3]))
                continue
            row = (
                rng.choice(names),
                f"2024-{rng.randint(1, 6):02d}-{rng.randint(1, 28):02d}",
                rng.randint(20, 60) * 2.5,
            )
            if any(row == other[1:] for other in rows):
                row = (row[0], row[1], 999.99 + at)
            rows.append((number, *row))
        files.table(folder / "payments.csv", ("number", "customer", "date", "amount"), rows)
        return twice

    def check(self, folder: Path, said: str, facts: Any) -> None:
        if (got := sorted(tables.lines(folder / "twice.txt"))) != sorted(number for number, _ in facts):
            raise Wrong(f"twice.txt has {len(got)} lines, {len(facts)} wanted, or others")
        answers.number(said, sum(amount for _, amount in facts), within=0.0051, what="the total")

    solution = """
import pandas as pd
d = pd.read_csv("payments.csv")
twice = d[d.duplicated(["customer", "date", "amount"])]
open("twice.txt", "w").write("\\n".join(twice.number) + "\\n")
print(len(twice), twice.amount.sum())
"""
    wrong = (
        "# both of each\nimport pandas as pd\nd = pd.read_csv('payments.csv')\n"
        "t = d[d.duplicated(['customer', 'date', 'amount'], keep=False)]\n"
        "open('twice.txt', 'w').write('\\n'.join(t.number))\nprint(t.amount.sum())",
        "# same customer and amount\nimport pandas as pd\nd = pd.read_csv('payments.csv')\n"
        "t = d[d.duplicated(['customer', 'amount'])]\nopen('twice.txt', 'w').write('\\n'.join(t.number))\n"
        "print(t.amount.sum())",
    )
