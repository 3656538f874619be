"""Arithmetic, simulation, statistics, dates: jobs whose answer is a number."""

import datetime
import math
import statistics
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task


class Savings(Task):
    kind = "arithmetic"
    prompts = (
        "I put 180 euros into a savings account at the end of every month. It pays 0.2% interest a month, which is "
        "added "
        "each month before my deposit. How much is in it after 15 years?",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.number(said, 180 * (1.002**180 - 1) / 0.002, within=0.6, what="the sum")

    solution = """
money = 0
for month in range(15 * 12):
    money = money * 1.002 + 180
print(f"{money:,.2f} euros")
"""
    wrong = (
        "# deposits before the interest\nm = 0\nfor _ in range(180): m = (m + 180) * 1.002\nprint(m)",
        "# interest once a year\nm = 0\nfor _ in range(15): m = m * 1.002 + 180 * 12\nprint(m)",
        "# nothing but the deposits\nprint(180 * 180)",
    )


class PrimeNumbers(Task):
    kind = "arithmetic"
    prompts = ("How many prime numbers are there between 100,000 and 200,000, and what is the largest of them?",)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        found = [n for n in range(100_001, 200_000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2))]
        answers.number(said, len(found), what="the count")
        answers.number(said, found[-1], what="the largest")

    solution = """
sieve = [True] * 200001
for n in range(2, 448):
    if sieve[n]:
        for m in range(n * n, 200001, n):
            sieve[m] = False
primes = [n for n in range(100000, 200001) if sieve[n]]
print(len(primes), primes[-1])
"""
    wrong = (
        "# primes up to 200000\nprint(17984, 199999)",
        "# the largest alone\nprint('The largest prime is 199,999.')",
        "print(8392, 199998)",
    )


class SharedBirthday(Task):
    kind = "simulation"
    prompts = (
        "People enter a room one after the other. How many does it take on average until two of them have the same "
        "birthday (365 days, all equally likely)? Please find out by simulating it 50,000 times or more.",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        alone, expected = 1.0, 0.0
        for n in range(366):
            expected += alone
            alone *= 1 - n / 365
        answers.number(said, expected, within=0.25, what="the mean")

    solution = """
import random
total = 0
for _ in range(50_000):
    seen = set()
    while True:
        day = random.randrange(365)
        total += 1
        if day in seen:
            break
        seen.add(day)
print(total / 50_000)
"""
    wrong = (
        "# how many for an even chance\nprint('It takes 23 people.')",
        "# does not count the last one\nprint(23.6166)",
        "print(365 / 2)",
    )


class StickerAlbum(Task):
    kind = "simulation"
    prompts = (
        "My son collects stickers: 40 different ones, one in each pack, all equally frequent. Simulate at least 20,000 "
        "times how many packs one has to buy until the album is full. What is the average?",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.number(said, 40 * sum(1 / n for n in range(1, 41)), within=1.6, what="the mean")

    solution = """
import random
total = 0
for _ in range(20_000):
    have = set()
    while len(have) < 40:
        have.add(random.randrange(40))
        total += 1
print(round(total / 20_000, 1))
"""
    wrong = (
        "# never a sticker twice\nprint(40.0)",
        "# one missing\nprint(40 * sum(1 / n for n in range(2, 41)) - 5)",
        "print(40 * 40)",
    )


class ShoeSizes(Task):
    kind = "statistics"
    prompts = (
        "children.csv has the height and the shoe size of pupils. What are the median height, the standard deviation "
        "of "
        "the heights and the correlation between height and shoe size? Two decimals are enough.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows = []
        for at in range(240):
            height = round(rng.gauss(141.3, 11.2), 1)
            rows.append((at + 1, rng.choice("mf"), height, round(height * 0.21 + 4.6 + rng.gauss(0, 1.7))))
        files.table(folder / "children.csv", ("number", "sex", "height_cm", "shoe_size"), rows)
        heights, sizes = [row[2] for row in rows], [row[3] for row in rows]
        spread = (statistics.stdev(heights), statistics.pstdev(heights))
        return statistics.median(heights), spread, statistics.correlation(heights, sizes)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        median, spread, correlation = facts
        answers.number(said, median, within=0.0501, what="the median")
        answers.number(said, *spread, within=0.0051, what="the standard deviation")
        answers.number(said, correlation, within=0.0051, what="the correlation")

    solution = """
import pandas as pd
children = pd.read_csv("children.csv")
print("median", children.height_cm.median())
print("deviation", children.height_cm.std())
print("correlation", children.height_cm.corr(children.shoe_size))
"""
    wrong = (
        "# the mean for the median\nimport pandas as pd\nd = pd.read_csv('children.csv')\n"
        "print(round(d.height_cm.mean(), 3) + .1, d.height_cm.std(), d.height_cm.corr(d.shoe_size))",
        "# the variance\nimport pandas as pd\nd = pd.read_csv('children.csv')\n"
        "print(d.height_cm.median(), d.height_cm.var(), d.height_cm.corr(d.shoe_size))",
    )


class PowerBill(Task):
    kind = "statistics"
    prompts = (
        "I noted the outside temperature and the electricity we used on each day in heating.csv. Fit a straight "
        "line: by "
        "how many kWh does the use change per degree, what would it be at 0 degrees, and how good is the fit (R "
        "squared)?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows = []
        for at in range(180):
            day = datetime.date(2023, 11, 1) + datetime.timedelta(at)
            temperature = round(rng.uniform(-8, 16), 1)
            rows.append((day, temperature, round(31.4 - 1.13 * temperature + rng.gauss(0, 3.1), 2)))
        files.table(folder / "heating.csv", ("date", "temperature", "kwh"), rows)
        x, y = [row[1] for row in rows], [row[2] for row in rows]
        slope, intercept = statistics.linear_regression(x, y)
        return slope, intercept, statistics.correlation(x, y) ** 2

    def check(self, folder: Path, said: str, facts: Any) -> None:
        slope, intercept, fit = facts
        answers.number(said, slope, -slope, within=0.0051, what="the slope")
        answers.number(said, intercept, within=0.051, what="the use at 0 degrees")
        answers.number(said, fit, 100 * fit, within=0.0051, what="R squared")

    solution = """
import numpy as np, pandas as pd
d = pd.read_csv("heating.csv")
slope, base = np.polyfit(d.temperature, d.kwh, 1)
print(f"slope {slope:.3f}, at 0 degrees {base:.2f}, R2 {d.temperature.corr(d.kwh) ** 2:.3f}")
"""
    wrong = (
        "# R for R squared\nimport numpy as np, pandas as pd\nd = pd.read_csv('heating.csv')\n"
        "print(np.polyfit(d.temperature, d.kwh, 1), d.temperature.corr(d.kwh))",
        "# the other way round\nimport numpy as np, pandas as pd\nd = pd.read_csv('heating.csv')\n"
        "print(np.polyfit(d.kwh, d.temperature, 1), d.temperature.corr(d.kwh) ** 2)",
    )


class Fridays(Task):
    kind = "dates"
    prompts = (
        "How many Fridays the 13th were there from 1 January 1961 to 31 December 2010, and in which month most often?",
    )

    def check(self, folder: Path, said: str, facts: Any) -> None:
        days = [datetime.date(y, m, 13) for y in range(1961, 2011) for m in range(1, 13)]
        months = [day.month for day in days if day.weekday() == 4]
        answers.number(said, len(months), what="the count")
        best = max(months.count(m) for m in range(1, 13))
        names = [datetime.date(2000, m, 1) for m in range(1, 13) if months.count(m) == best]
        answers.word(said, "|".join(f"{day:%B}|{day.month}" for day in names))

    solution = """
import datetime, collections
months = collections.Counter()
for year in range(1961, 2011):
    for month in range(1, 13):
        day = datetime.date(year, month, 13)
        if day.weekday() == 4:
            months[day.strftime("%B")] += 1
print(sum(months.values()), months.most_common(1)[0][0])
"""
    wrong = (
        "# counts Saturdays\nimport datetime\nprint(sum(datetime.date(y, m, 13).weekday() == 5 "
        "for y in range(1961, 2011) for m in range(1, 13)), 'March')",
        "# without the last year\nimport datetime\nprint(sum(datetime.date(y, m, 13).weekday() == 4 "
        "for y in range(1961, 2010) for m in range(1, 13)))",
    )


class LateBooks(Task):
    kind = "dates"
    prompts = (
        "Books in loans.csv have to be back 21 days after they were borrowed; the dates are day.month.year. How many "
        "were "
        "brought back late, how many days too late were they altogether, and which title was the most overdue?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        titles = [f"{a} {b}" for a in ("Red", "Silent", "Lost", "Golden", "Last") for b in ("River", "Garden", "Winter",
                  "Letter", "Harbour", "Orchard", "Bridge", "Lantern")]  # fmt: skip
        rng.shuffle(titles)
        rows, late = [], {}
        for at, title in enumerate(titles * 3):
            out = datetime.date(2024, 1, 3) + datetime.timedelta(rng.randrange(200))
            days = rng.randint(3, 34) if at != 17 else 61
            if days > 21:
                late[at] = (days - 21, title)
            rows.append(
                (title, rng.choice(files.FIRST), f"{out:%d.%m.%Y}", f"{out + datetime.timedelta(days):%d.%m.%Y}")
            )
        files.table(folder / "loans.csv", ("title", "reader", "borrowed", "returned"), rows)
        return len(late), sum(days for days, _ in late.values()), max(late.values())[1]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        count, days, title = facts
        answers.number(said, count, what="the count")
        answers.number(said, days, what="the days")
        answers.word(said, title)

    solution = """
import pandas as pd
d = pd.read_csv("loans.csv")
for column in ("borrowed", "returned"):
    d[column] = pd.to_datetime(d[column], format="%d.%m.%Y")
d["late"] = (d.returned - d.borrowed).dt.days - 21
late = d[d.late > 0]
print(len(late), late.late.sum(), late.sort_values("late").title.iloc[-1])
"""
    wrong = (
        "# month first\nimport pandas as pd\nd = pd.read_csv('loans.csv')\n"
        "f = lambda c: pd.to_datetime(c, dayfirst=False, format='mixed', errors='coerce')\n"
        "d['late'] = (f(d.returned) - f(d.borrowed)).dt.days - 21\nd = d[d.late > 0]\n"
        "print(len(d), d.late.sum(), d.sort_values('late').title.iloc[-1])",
        "# from the day on\nimport pandas as pd\nd = pd.read_csv('loans.csv')\n"
        "f = lambda c: pd.to_datetime(c, format='%d.%m.%Y')\nd['late'] = (f(d.returned) - f(d.borrowed)).dt.days - 20\n"
        "d = d[d.late > 0]\nprint(len(d), d.late.sum(), d.sort_values('late').title.iloc[-1])",
    )


class WorkingDays(Task):
    kind = "dates"
    prompts = (
        "shifts.csv lists when people came and went. Save the hours of each person per week (Monday to Sunday) in "
        "hours.csv with the columns person, monday, hours, where monday is the date of the week's Monday.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, hours = [], {}
        for at in range(42):
            day = datetime.date(2024, 2, 26) + datetime.timedelta(at)
            for person in ("Aylin", "Bruno", "Chiara"):
                if rng.random() < 0.75:
                    begin = rng.randint(6 * 4, 10 * 4) * 15
                    length = rng.randint(12, 34) * 15
                    row = [person, *(f"{day} {(m // 60):02d}:{m % 60:02d}" for m in (begin, begin + length))]
                    rows.append(row)
                    week = (person, str(day - datetime.timedelta(day.weekday())))
                    hours[week] = hours.get(week, 0) + length / 60
        files.table(folder / "shifts.csv", ("person", "start", "end"), rows)
        return [(*week, total) for week, total in hours.items()]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "hours.csv", "person", "monday|week", "hours|total_hours")
        tables.rows([(who, str(day)[:10], hours) for who, day, hours in got], facts)

    solution = """
import pandas as pd
d = pd.read_csv("shifts.csv", parse_dates=["start", "end"])
d["hours"] = (d.end - d.start).dt.total_seconds() / 3600
d["monday"] = (d.start - pd.to_timedelta(d.start.dt.weekday, unit="D")).dt.normalize()
d.groupby(["person", "monday"], as_index=False).hours.sum().to_csv("hours.csv", index=False)
"""
    wrong = (
        "# weeks end on Monday\nimport pandas as pd\nd = pd.read_csv('shifts.csv', parse_dates=['start', 'end'])\n"
        "d['hours'] = (d.end - d.start).dt.total_seconds() / 3600\n"
        "d.groupby(['person', pd.Grouper(key='start', freq='W-MON')]).hours.sum().reset_index()"
        ".rename(columns={'start': 'monday'}).to_csv('hours.csv', index=False)",
        "# the whole hours\nimport pandas as pd\nd = pd.read_csv('shifts.csv', parse_dates=['start', 'end'])\n"
        "d['hours'] = d.end.dt.hour - d.start.dt.hour\n"
        "d['monday'] = (d.start - pd.to_timedelta(d.start.dt.weekday, unit='D')).dt.date\n"
        "d.groupby(['person', 'monday'], as_index=False).hours.sum().to_csv('hours.csv', index=False)",
    )


class TrainDelays(Task):
    kind = "dates"
    prompts = (
        "departures.csv has the planned and the real departure of trains; a train may leave after midnight. Make "
        "delays.csv with the columns weekday, trains, mean_delay (minutes, one decimal) from Monday to Sunday.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, found = (
            [],
            {name: [] for name in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")},
        )
        for at in range(300):
            plan = datetime.datetime(2024, 4, 1, 5, 7) + datetime.timedelta(hours=at * 2.3)
            plan = plan.replace(second=0, microsecond=0)
            delay = max(0, round(rng.gauss(6, 9)))
            real = plan + datetime.timedelta(minutes=delay)
            rows.append((f"RE{rng.randint(1, 19)}", f"{plan:%Y-%m-%d}", f"{plan:%H:%M}", f"{real:%H:%M}"))
            found[f"{plan:%A}"].append(delay)
        files.table(folder / "departures.csv", ("train", "date", "planned", "real"), rows, sep=";")
        return [(day, len(delays), sum(delays) / len(delays)) for day, delays in found.items()]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "delays.csv", "weekday|day", "trains|count", "mean_delay|delay")
        tables.rows(got, facts, ordered=True, within=0.051)

    solution = """
import pandas as pd
d = pd.read_csv("departures.csv", sep=";")
day = pd.to_datetime(d.date)
minutes = (pd.to_timedelta(d.real + ":00") - pd.to_timedelta(d.planned + ":00")).dt.total_seconds() / 60
d["delay"] = minutes.where(minutes >= 0, minutes + 1440)
d["weekday"] = day.dt.day_name()
days = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
t = d.groupby("weekday").delay.agg(["size", "mean"]).loc[days]
t.columns = ["trains", "mean_delay"]
t.round(1).to_csv("delays.csv")
"""
    wrong = (
        "# past midnight\nimport pandas as pd\nd = pd.read_csv('departures.csv', sep=';')\n"
        "d['delay'] = (pd.to_timedelta(d.real + ':00') - pd.to_timedelta(d.planned + ':00')).dt.total_seconds() / 60\n"
        "d['weekday'] = pd.to_datetime(d.date).dt.day_name()\n"
        "t = d.groupby('weekday').delay.agg(['size', 'mean']).loc["
        "'Monday Tuesday Wednesday Thursday Friday Saturday Sunday'.split()]\n"
        "t.columns = ['trains', 'mean_delay']\nt.to_csv('delays.csv')",
        "# sorted by name\nimport pandas as pd\nd = pd.read_csv('departures.csv', sep=';')\n"
        "m = (pd.to_timedelta(d.real + ':00') - pd.to_timedelta(d.planned + ':00')).dt.total_seconds() / 60\n"
        "d['delay'] = m.where(m >= 0, m + 1440)\nd['weekday'] = pd.to_datetime(d.date).dt.day_name()\n"
        "t = d.groupby('weekday').delay.agg(['size', 'mean'])\nt.columns = ['trains', 'mean_delay']\n"
        "t.to_csv('delays.csv')",
    )
