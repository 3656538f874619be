"""Sums that need no file, and figures that describe one: jobs of numbers alone."""

import statistics
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files
from suite.task import Task


class LoanMonths(Task):
    kind = "arithmetic"
    prompts = (
        "I borrow 18,000 euros. Each month 0.45 % interest is added to what I still owe, then I pay 350 euros. In "
        "which "
        "month do I make the last payment, and how much is it, in cents?",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        owed, month = 18_000.0, 0
        while owed * 1.0045 > 350:
            owed, month = owed * 1.0045 - 350, month + 1
        answers.number(said, month + 1, what="the number of months")
        last = owed * 1.0045
        if not answers.has(said, last, within=0.02):
            answers.number(said, last * 100, within=2, what="the last payment")

    solution = """
owed, month = 18000.0, 0
while True:
    month += 1
    owed *= 1.0045
    if owed <= 350:
        break
    owed -= 350
print("month", month, "last payment", round(owed, 2))
"""
    wrong = (
        "# without interest\nprint(18000 // 350 + 1, 18000 % 350)",
        "# pays first\nowed, m = 18000.0, 0\nwhile owed > 350:\n    owed, m = (owed - 350) * 1.0045, m + 1\n"
        "print(m + 1, round(owed, 2))",
    )


class CoinWays(Task):
    kind = "arithmetic"
    prompts = (
        "There are coins of 1, 2, 5, 10, 20 and 50 cents, 1 euro and 2 euros. In how many different ways can I pay "
        "3 euros exactly, and in how many of them without any 1 cent coin? The order of the coins does not matter.",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        for coins in ((1, 2, 5, 10, 20, 50, 100, 200), (2, 5, 10, 20, 50, 100, 200)):
            ways = [1] + 300 * [0]
            for coin in coins:
                for cents in range(coin, 301):
                    ways[cents] += ways[cents - coin]
            answers.number(said, ways[300], what="the number of ways")

    solution = """
def ways(coins, amount):
    found = [1] + [0] * amount
    for coin in coins:
        for cents in range(coin, amount + 1):
            found[cents] += found[cents - coin]
    return found[amount]

coins = [1, 2, 5, 10, 20, 50, 100, 200]
print(ways(coins, 300), ways(coins[1:], 300))
"""
    wrong = (
        "# in any order\nf = [1] + [0] * 300\nfor a in range(1, 301):\n"
        "    f[a] = sum(f[a - c] for c in (1, 2, 5, 10, 20, 50, 100, 200) if c <= a)\nprint(f[300])",
        "# of 2 euros\nf = [1] + [0] * 200\nfor c in (1, 2, 5, 10, 20, 50, 100, 200):\n"
        "    for a in range(c, 201): f[a] += f[a - c]\nprint(f[200])",
    )


class MarathonTimes(Task):
    kind = "statistics"
    prompts = (
        "times.csv has the finish times of our run. What is the median time (of those who finished), and what share of "
        "the finishers needed less than 4 hours, in percent with one decimal?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, seconds = [], []
        for at, name in enumerate(files.people(rng, 141)):
            took = int(rng.gauss(14_300, 1500))
            if rng.random() < 0.08:
                rows.append((at + 1, name, rng.choice(["DNF", "DNS"])))
                continue
            seconds.append(took)
            rows.append((at + 1, name, f"{took // 3600}:{took // 60 % 60:02d}:{took % 60:02d}"))
        if len(seconds) % 2 == 0:  # so that the median is one of them
            rows.append((len(rows) + 1, "Zora Zimmer", "5:59:59"))
            seconds.append(21_599)
        files.table(folder / "times.csv", ("number", "name", "time"), rows)
        return statistics.median(seconds), 100 * sum(took < 14_400 for took in seconds) / len(seconds)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        median, share = facts
        hours, minutes, rest = median // 3600, median // 60 % 60, median % 60
        clock = f"{hours}:{minutes:02d}:{rest:02d}"
        if not any(form in said for form in (clock, f"{hours} hours")):
            answers.number(said, median, round(median / 60, 2), what="the median, in seconds,")
        answers.number(said, share, share / 100, within=0.051, what="the share")

    solution = """
import pandas as pd
d = pd.read_csv("times.csv")
t = pd.to_timedelta(d.time, errors="coerce").dropna().sort_values()
print("median", str(t.median()).split()[-1].lstrip("0"), "share", round((t < pd.Timedelta(hours=4)).mean() * 100, 1))
"""
    wrong = (
        "# the mean\nimport pandas as pd\n"
        "t = pd.to_timedelta(pd.read_csv('times.csv').time, errors='coerce').dropna()\n"
        "print(t.mean(), round((t < pd.Timedelta(hours=4)).mean() * 100, 1))",
        "# of all who are listed\nimport pandas as pd\n"
        "t = pd.to_timedelta(pd.read_csv('times.csv').time, errors='coerce')\n"
        "print(t.median(), round((t < pd.Timedelta(hours=4)).sum() / 170 * 100, 1))",
    )


class FlatRents(Task):
    kind = "statistics"
    prompts = (
        "flats.csv lists flats. What is the median rent per square metre of the flats whose rent is known, and how "
        "many "
        "percent of them (one decimal) cost more than 15 euros per square metre?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, prices = [], []
        for at in range(207):
            size = rng.randint(24, 140)
            rent = round(size * rng.gauss(14, 2.6))
            known = rng.random() > 0.09
            if known:
                prices.append(rent / size)
            rows.append(
                (f"F{at + 100}", rng.choice(["centre", "north", "west"]), size, rent if known else "on request")
            )
        files.table(folder / "flats.csv", ("flat", "part of town", "size in m2", "rent"), rows)
        return statistics.median(prices), 100 * sum(price > 15 for price in prices) / len(prices)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.number(said, facts[0], within=0.0051, what="the median")
        answers.number(said, facts[1], facts[1] / 100, within=0.051, what="the share")

    solution = """
import pandas as pd
d = pd.read_csv("flats.csv")
price = (pd.to_numeric(d.rent, errors="coerce") / d["size in m2"]).dropna()
print("median", round(price.median(), 2), "share", round((price > 15).mean() * 100, 1))
"""
    wrong = (
        "# the mean\nimport pandas as pd\nd = pd.read_csv('flats.csv')\n"
        "p = (pd.to_numeric(d.rent, errors='coerce') / d['size in m2']).dropna()\n"
        "print(p.mean(), (p > 15).mean() * 100)",
        "# of all flats\nimport pandas as pd\nd = pd.read_csv('flats.csv')\n"
        "p = pd.to_numeric(d.rent, errors='coerce') / d['size in m2']\n"
        "print(p.fillna(0).median(), (p > 15).sum() / 2.07)",
    )
