"""Jobs of two turns: the second builds on what the first read, computed or wrote."""

from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task


class MarathonTurns(Task):
    kind = "two-turns"
    prompts = (
        "Read runners.csv and leave out everybody who did not finish (no time). How many runners are left?",
        "Of those, save the three fastest women and the three fastest men in podium.csv (sex, place, name, time), "
        "women first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, left = [], []
        for at, name in enumerate(files.people(rng, 140), 1):
            seconds = rng.sample(range(7800, 19_000), 1)[0] * 10 + at % 10
            time = f"{seconds // 36000}:{seconds // 600 % 60:02d}:{seconds // 10 % 60:02d}"
            row = (at, name, rng.choice("wm"), rng.randint(18, 77), time if rng.random() < 0.85 else "")
            rows.append(row)
            if row[4]:
                left.append(row)
        files.table(folder / "runners.csv", ("number", "name", "sex", "age", "time"), rows)
        best = [sorted((row for row in left if row[2] == sex), key=lambda row: row[4])[:3] for sex in "wm"]
        return len(left), [(row[2], place, row[1], row[4]) for three in best for place, row in enumerate(three, 1)]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.number(said, facts[0], what="the number of runners")
        got = tables.columns(folder / "podium.csv", "sex", "place", "name", "time")
        full = {"women": "w", "woman": "w", "f": "w", "female": "w", "men": "m", "man": "m", "male": "m"}
        clean = [
            (full.get(str(s).lower(), s), *rest, str(time).replace("0 days ", "").lstrip("0")) for s, *rest, time in got
        ]
        tables.rows(clean, facts[1], ordered=True)

    solution = """
import pandas as pd
d = pd.read_csv("runners.csv").dropna(subset=["time"])
print(len(d))
best = d.sort_values("time").groupby("sex").head(3).copy()
best["place"] = best.groupby("sex").cumcount() + 1
best = best.sort_values(["sex", "place"], ascending=[False, True])
best[["sex", "place", "name", "time"]].to_csv("podium.csv", index=False)
"""
    wrong = (
        "# men first\nimport pandas as pd\nd = pd.read_csv('runners.csv').dropna(subset=['time'])\nprint(len(d))\n"
        "b = d.sort_values('time').groupby('sex').head(3).copy()\nb['place'] = b.groupby('sex').cumcount() + 1\n"
        "b.sort_values(['sex', 'place']).to_csv('podium.csv', index=False)",
        "# the six fastest\nimport pandas as pd\nd = pd.read_csv('runners.csv').dropna(subset=['time'])\n"
        "print(len(d))\n"
        "d.sort_values('time').head(6).assign(place=range(1, 7)).to_csv('podium.csv', index=False)",
    )


class HouseholdTurns(Task):
    kind = "two-turns"
    prompts = (
        "expenses.csv has our household expenses. What did we spend in each category in total?",
        "Now do the same for each month of the year and save it as months.xlsx: a row for each month (2023-01 and so "
        "on) in the "
        "column month, a column for each category, 0 where there was nothing.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        kinds = ("food", "rent", "travel", "clothes", "books")
        found: dict[tuple[str, str], float] = {}
        total = dict.fromkeys(kinds, 0.0)
        rows = []
        for _ in range(190):
            month, kind, amount = (
                f"2023-{rng.randint(1, 12):02d}",
                rng.choices(kinds, [9, 3, 1, 2, 1])[0],
                rng.randint(200, 19_900) / 100,
            )
            rows.append((f"{month}-{rng.randint(1, 28):02d}", kind, amount, rng.choice(["cash", "card"])))
            found[month, kind] = found.get((month, kind), 0) + amount
            total[kind] += amount
        files.table(folder / "expenses.csv", ("date", "category", "amount", "paid"), rows)
        months = sorted({month for month, _ in found})
        return total, [(month, *(found.get((month, kind), 0.0) for kind in kinds)) for month in months]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.each(said, facts[0], within=0.011)
        got = tables.columns(folder / "months.xlsx", "month", "food", "rent", "travel", "clothes", "books")
        tables.rows([(str(month)[:7], *rest) for month, *rest in got], facts[1])

    solution = """
import pandas as pd
d = pd.read_csv("expenses.csv")
print(d.groupby("category").amount.sum().round(2))
d["month"] = d.date.str[:7]
t = d.pivot_table(index="month", columns="category", values="amount", aggfunc="sum", fill_value=0)
t.reset_index().to_excel("months.xlsx", index=False)
"""
    wrong = (
        "# empty where there was nothing\nimport pandas as pd\nd = pd.read_csv('expenses.csv')\n"
        "print(d.groupby('category').amount.sum())\nd['month'] = d.date.str[:7]\n"
        "d.pivot_table(index='month', columns='category', values='amount', "
        "aggfunc='sum').reset_index().to_excel('months.xlsx')",
        "# the mean\nimport pandas as pd\nd = pd.read_csv('expenses.csv')\nprint(d.groupby('category').amount.sum())\n"
        "d['month'] = d.date.str[:7]\n"
        "d.pivot_table(index='month', columns='category', values='amount', "
        "fill_value=0).reset_index().to_excel('months.xlsx')",
    )


class RecipeTurns(Task):
    kind = "two-turns"
    prompts = (
        "Write a file shopping.csv (item, amount, unit) with what recipe.txt needs for 4 people.",
        "We will be 10 people. Please adapt the amounts in shopping.csv, and tell me how many grams of flour that "
        "makes.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        need = [
            ("flour", 40 * rng.randint(8, 16), "g"),
            ("sugar", 20 * rng.randint(4, 9), "g"),
            ("milk", 20 * rng.randint(9, 20), "ml"),
            ("eggs", rng.choice([2, 4, 6]), "pieces"),
            ("butter", 20 * rng.randint(3, 8), "g"),
            ("apples", 2 * rng.randint(1, 4), "pieces"),
        ]
        lines = [f"{amount} {unit} {item}" for item, amount, unit in need]
        (folder / "recipe.txt").write_text(
            "Apple cake\n==========\n\nFor 4 people:\n\n" + "\n".join(lines)
            + "\n\nMix everything but the apples, lay the slices on top, bake at 180 degrees for 45 minutes.\n"
        )  # fmt: skip
        return [(item, amount * 2.5, unit) for item, amount, unit in need]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "shopping.csv", "item", "amount", "unit"), facts)
        answers.number(said, facts[0][1], what="the flour")

    solution = """
import pandas as pd, re
text = open("recipe.txt").read()
rows = [(item, int(n), unit) for n, unit, item in re.findall(r"^(\\d+) (\\w+) (\\w+)$", text, re.M)]
d = pd.DataFrame(rows, columns=["item", "amount", "unit"])
d["amount"] = d.amount * 10 / 4
d.to_csv("shopping.csv", index=False)
print(d)
"""
    wrong = (
        "# for 4\nimport pandas as pd, re\n"
        "r = re.findall(r'^(\\d+) (\\w+) (\\w+)$', open('recipe.txt').read(), re.M)\n"
        "d = pd.DataFrame([(i, int(n), u) for n, u, i in r], columns=['item', 'amount', 'unit'])\n"
        "d.to_csv('shopping.csv', index=False)\nprint(d.amount * 2.5)",
        "# times ten\nimport pandas as pd, re\n"
        "r = re.findall(r'^(\\d+) (\\w+) (\\w+)$', open('recipe.txt').read(), re.M)\n"
        "d = pd.DataFrame([(i, int(n) * 10, u) for n, u, i in r], columns=['item', 'amount', 'unit'])\n"
        "d.to_csv('shopping.csv', index=False)\nprint(d)",
    )


class ParcelTurns(Task):
    kind = "two-turns"
    prompts = (
        "Give every parcel in parcels.csv a price: 4.90 up to 2 kg, 6.90 up to 5 kg, 10.50 up to 10 kg, 18.90 above "
        "that. Save "
        "it as priced.csv with the additional column price.",
        "Customers who sent more than 3 parcels get 15% off all of theirs. Put the price after that into a further "
        "column "
        "final_price of priced.csv. What do we earn in total?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows = []
        for at in range(1, 61):
            who, kg = rng.choice(files.LAST[: rng.randint(3, 12)]), rng.choice([2, 5, 10, rng.randint(1, 300) / 10])
            rows.append((f"P{at:03d}", who, kg))
        files.table(folder / "parcels.csv", ("parcel", "customer", "kg"), rows)
        many = {name for name in files.LAST if sum(row[1] == name for row in rows) > 3}
        prices = [
            next(price for most, price in ((2, 4.9), (5, 6.9), (10, 10.5), (1e9, 18.9)) if row[2] <= most)
            for row in rows
        ]
        return [(*row, price, price * (0.85 if row[1] in many else 1)) for row, price in zip(rows, prices, strict=True)]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "priced.csv", "parcel", "customer", "kg", "price", "final_price")
        tables.rows(got, facts)
        answers.number(said, sum(row[4] for row in facts), within=0.31, what="the total")

    solution = """
import pandas as pd
d = pd.read_csv("parcels.csv")
d["price"] = pd.cut(d.kg, [0, 2, 5, 10, 1e9], labels=[4.9, 6.9, 10.5, 18.9]).astype(float)
many = d.groupby("customer").parcel.transform("count") > 3
d["final_price"] = d.price.where(~many, d.price * 0.85)
d.to_csv("priced.csv", index=False)
print(round(d.final_price.sum(), 2))
"""
    wrong = (
        "# below instead of up to\nimport pandas as pd\nd = pd.read_csv('parcels.csv')\n"
        "d['price'] = pd.cut(d.kg, [0, 2, 5, 10, 1e9], labels=[4.9, 6.9, 10.5, 18.9], right=False).astype(float)\n"
        "m = d.groupby('customer').parcel.transform('count') > 3\nd['final_price'] = d.price.where(~m, d.price * .85)\n"
        "d.to_csv('priced.csv', index=False)\nprint(d.final_price.sum())",
        "# from 3 on\nimport pandas as pd\nd = pd.read_csv('parcels.csv')\n"
        "d['price'] = pd.cut(d.kg, [0, 2, 5, 10, 1e9], labels=[4.9, 6.9, 10.5, 18.9]).astype(float)\n"
        "d['final_price'] = d.price * .85\nd.to_csv('priced.csv', index=False)\nprint(d.final_price.sum())",
    )
