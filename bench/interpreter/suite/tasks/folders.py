"""Renaming and duplicates: jobs on files as such."""

from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


def holds(folder: Path, want: dict[str, bytes]) -> None:
    """The folder holds these files and no others."""
    got = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if missing := sorted(set(want) - set(got)):
        raise Wrong(f"there is no {missing[0]} ({len(missing)} are missing)")
    if extra := sorted(set(got) - set(want)):
        raise Wrong(f"{extra[0]} should not be there ({len(extra)} of the kind)")
    if off := next((path for path in want if got[path] != want[path]), None):
        raise Wrong(f"{off} is not what it should be")


def lay(folder: Path, found: dict[str, bytes]) -> None:
    for path, data in found.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


class SongNames(Task):
    kind = "renaming"
    prompts = (
        "The songs in the folder music are named like '07 - Blue Train.mp3'. Rename them to 'Blue Train (track "
        "7).mp3', also in "
        "the subfolders. Whatever is named otherwise should keep its name.",
    )
    changes = ("music/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        old, want = {}, {}
        for at in range(44):
            place = rng.choice(["", "Ana/", "Ana/Live/", "Various/"])
            title, track = (
                f"{rng.choice(files.WORDS)} {rng.choice(files.WORDS)} {rng.choice(files.LAST)}".title(),
                rng.randint(1, 19),
            )
            data = f"song {at}".encode()
            old[f"{place}{track:02d} - {title}.mp3"] = data
        old |= {
            name: name.encode()
            for name in ("Ana/cover.jpg", "Intro.mp3", "Various/99 Bottles.mp3", "Ana/03 - notes.txt")
        }
        for path, data in old.items():
            place, _, name = path.rpartition("/")
            number, dash, title = name.partition(" - ")
            new = f"{title[:-4]} (track {int(number)}).mp3" if dash and name.endswith(".mp3") else name
            want[f"{place}/{new}".lstrip("/")] = data
        lay(folder / "music", old)
        return want

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "music", facts)

    solution = r"""
import re
from pathlib import Path
for path in list(Path("music").rglob("*.mp3")):
    m = re.fullmatch(r"(\d\d) - (.+)\.mp3", path.name)
    if m:
        path.rename(path.with_name(f"{m[2]} (track {int(m[1])}).mp3"))
"""
    wrong = (
        "# with the leading zero\nimport re\nfrom pathlib import Path\nfor p in list(Path('music').rglob('*.mp3')):\n"
        "    m = re.fullmatch(r'(\\d\\d) - (.+)\\.mp3', p.name)\n"
        "    m and p.rename(p.with_name(f'{m[2]} (track {m[1]}).mp3'))",
        "# not the subfolders\nimport re\nfrom pathlib import Path\nfor p in list(Path('music').glob('*.mp3')):\n"
        "    m = re.fullmatch(r'(\\d\\d) - (.+)\\.mp3', p.name)\n"
        "    m and p.rename(p.with_name(f'{m[2]} (track {int(m[1])}).mp3'))",
    )


class ReportNames(Task):
    kind = "renaming"
    prompts = (
        "In reports there are files like 'Report March 2021.pdf'. I'd like them to sort properly: rename each to the "
        "form "
        "2021-03_report.pdf. Leave alone what isn't a monthly report. How many did you rename?",
    )
    changes = ("reports/*",)

    MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December")  # fmt: skip

    def make(self, folder: Path, rng: Random) -> Any:
        old, want = {}, {}
        for year in (2019, 2020, 2021, 2022):
            for month, name in enumerate(self.MONTHS, 1):
                if rng.random() < 0.8:
                    place, ending = f"{year}/" if year < 2021 else "", rng.choice(["pdf", "pdf", "docx"])
                    data = f"{name} {year}".encode()
                    old[f"{place}Report {name} {year}.{ending}"] = data
                    want[f"{place}{year}-{month:02d}_report.{ending}"] = data
        count = len(want)
        others = (
            "Report of the board.pdf",
            "2019/Report Summer 2019.pdf",
            "May 2020.txt",
            "2020/Reports overview 2020.xlsx",
        )
        lay(folder / "reports", old | {name: name.encode() for name in others})
        return want | {name: name.encode() for name in others}, count

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "reports", facts[0])
        answers.number(said, facts[1], what="the number of renamed files")

    solution = r"""
import calendar, re
from pathlib import Path
months = list(calendar.month_name)
count = 0
for path in list(Path("reports").rglob("*")):
    m = re.fullmatch(r"Report (\w+) (\d{4})", path.stem)
    if m and m[1] in months:
        path.rename(path.with_name(f"{m[2]}-{months.index(m[1]):02d}_report{path.suffix}"))
        count += 1
print(count)
"""
    wrong = (
        "# only PDFs at the top\nimport calendar, re\nfrom pathlib import Path\nn = 0\n"
        "for p in list(Path('reports').glob('*.pdf')):\n    m = re.fullmatch(r'Report (\\w+) (\\d{4})', p.stem)\n"
        "    if m and m[1] in list(calendar.month_name):\n        n += 1\n"
        "        p.rename(p.with_name(f'{m[2]}-{list(calendar.month_name).index(m[1]):02d}_report.pdf'))\nprint(n)",
        "# without the zero\nimport calendar, re\nfrom pathlib import Path\nn = 0\n"
        "for p in list(Path('reports').rglob('*')):\n    m = re.fullmatch(r'Report (\\w+) (\\d{4})', p.stem)\n"
        "    if m and m[1] in list(calendar.month_name):\n        n += 1\n"
        "        p.rename(p.with_name(f'{m[2]}-{list(calendar.month_name).index(m[1])}_report{p.suffix}'))\nprint(n)",
    )


class SamePhotos(Task):
    kind = "duplicates"
    prompts = (
        "The folder pictures has many files that are there more than once under other names. Find the groups of "
        "files with "
        "the same content and list all but the first of each group (by path, in alphabetical order) in "
        "duplicates.txt, one "
        "path a line like pictures/a/b.jpg, sorted. Don't delete anything. How many bytes could be saved?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        contents = [rng.randbytes(rng.choice([900, 900, 1200, 4000])) for _ in range(22)]
        found = {}
        for _ in range(48):
            place = rng.choice(["", "2022/", "2023/", "2023/best/"])
            name = f"{rng.choice(files.WORDS)}{rng.randint(1, 99)}.jpg"
            found[f"{place}{name}"] = rng.choice(contents)
        lay(folder / "pictures", found)
        seen: set[bytes] = set()
        again = []
        for path in sorted(f"pictures/{path}" for path in found):
            data = found[path.removeprefix("pictures/")]
            if data in seen:
                again.append((path, len(data)))
            seen.add(data)
        return again

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = [line.removeprefix("./") for line in tables.lines(folder / "duplicates.txt")]
        if got != [path for path, _ in facts]:
            raise Wrong(f"{len(got)} paths are listed, {len(facts)} wanted, or they are others")
        answers.number(said, sum(size for _, size in facts), what="the number of bytes")

    solution = """
import hashlib
from pathlib import Path
seen, again, size = set(), [], 0
for path in sorted(p.as_posix() for p in Path("pictures").rglob("*") if p.is_file()):
    data = Path(path).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest in seen:
        again.append(path)
        size += len(data)
    seen.add(digest)
Path("duplicates.txt").write_text("\\n".join(again) + "\\n")
print(size)
"""
    wrong = (
        "# of the same size\nfrom pathlib import Path\ns, a, n = set(), [], 0\n"
        "for p in sorted(p for p in Path('pictures').rglob('*') if p.is_file()):\n    z = p.stat().st_size\n"
        "    if z in s: a.append(p.as_posix()); n += z\n    s.add(z)\n"
        "Path('duplicates.txt').write_text('\\n'.join(sorted(a)))\nprint(n)",
        "# with the first of each\nimport collections\nfrom pathlib import Path\ng = collections.defaultdict(list)\n"
        "for p in sorted(Path('pictures').rglob('*.jpg')): g[p.read_bytes()].append(p.as_posix())\n"
        "a = sorted(x for v in g.values() if len(v) > 1 for x in v)\n"
        "Path('duplicates.txt').write_text('\\n'.join(a))\nprint(sum(Path(x).stat().st_size for x in a))",
    )


class TwiceInTheList(Task):
    kind = "duplicates"
    prompts = (
        "contacts.csv has people twice. Two lines are the same person if the e-mail address is the same, apart from "
        "capital "
        "letters and blanks around it. Keep the one with the latest date in updated, and save the result with the "
        "same columns "
        "as contacts_clean.csv, sorted by e-mail. How many lines were dropped?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, latest = [], {}
        for name in files.people(rng, 70):
            email = f"{name.replace(' ', '.').lower()}@example.{rng.choice(['org', 'com'])}"
            days = rng.sample(range(1, 400), rng.choice([1, 1, 2, 3]))
            for day in days:
                written = rng.choice([email, email, email.upper(), f" {email}", email.title()])
                row = (
                    name,
                    written,
                    f"+43 {rng.randint(100, 999)}",
                    f"20{22 + day // 365}-{1 + day % 365 // 31:02d}-{1 + day % 28:02d}",
                )
                if any(row[3] == other[3] and other[1].strip().lower() == email for other in rows):
                    continue
                rows.append(row)
                if email not in latest or row[3] > latest[email][3]:
                    latest[email] = row
        rng.shuffle(rows)
        files.table(folder / "contacts.csv", ("name", "email", "phone", "updated"), rows)
        return [latest[email] for email in sorted(latest)], len(rows) - len(latest)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "contacts_clean.csv", "name", "email", "phone", "updated")
        tables.rows(got, facts[0])
        emails = [str(row[1]).strip().lower() for row in got]
        raw = [str(row[1]).strip() for row in got]
        if emails != sorted(emails) and raw != sorted(raw) and [r[1] for r in got] != sorted(str(r[1]) for r in got):
            raise Wrong("it is not sorted by e-mail")
        answers.number(said, facts[1], what="the number of dropped lines")

    solution = """
import pandas as pd
d = pd.read_csv("contacts.csv")
d["key"] = d.email.str.strip().str.lower()
clean = d.sort_values("updated").drop_duplicates("key", keep="last").sort_values("key").drop(columns="key")
clean.to_csv("contacts_clean.csv", index=False)
print(len(d) - len(clean))
"""
    wrong = (
        "# as written\nimport pandas as pd\nd = pd.read_csv('contacts.csv')\n"
        "c = d.sort_values('updated').drop_duplicates('email', keep='last').sort_values('email')\n"
        "c.to_csv('contacts_clean.csv', index=False)\nprint(len(d) - len(c))",
        "# whichever comes first\nimport pandas as pd\nd = pd.read_csv('contacts.csv')\n"
        "d['email'] = d.email.str.strip().str.lower()\nc = d.drop_duplicates('email').sort_values('email')\n"
        "c.to_csv('contacts_clean.csv', index=False)\nprint(len(d) - len(c))",
    )
