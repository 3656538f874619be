"""Renaming, duplicates, archives, looking around in folders: jobs on files as such."""

import io
import tarfile
import zipfile
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


class ZippedSurveys(Task):
    kind = "archive"
    prompts = (
        "surveys.zip contains the answers of several schools, a CSV file each (in folders). Without leaving the "
        "unpacked files "
        "around: how many pupils answered at each school (the file name is the school), and what is the mean of the "
        "column "
        "minutes over all of them?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        counts, minutes = {}, []
        with zipfile.ZipFile(folder / "surveys.zip", "w") as archive:
            for school in ("Birkenhof", "Lindenallee", "Seestrasse", "Waldblick"):
                rows = [f"{at},{rng.randint(6, 12)},{rng.randint(5, 120)}" for at in range(1, rng.randint(40, 130))]
                counts[school] = len(rows)
                minutes += [int(row.rpartition(",")[2]) for row in rows]
                place = rng.choice(["north", "south/town"])
                archive.writestr(f"answers/{place}/{school}.csv", "\n".join(["pupil,age,minutes", *rows]) + "\n")
            archive.writestr("answers/README.txt", "Collected in May.\n")
        return counts, sum(minutes) / len(minutes)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.each(said, facts[0])
        answers.number(said, facts[1], within=0.0501, what="the mean")
        if left := [path.name for path in folder.iterdir() if path.name != "surveys.zip"]:
            raise Wrong(f"{left[0]} was left around")

    solution = """
import pandas as pd, zipfile
from pathlib import Path
every = []
with zipfile.ZipFile("surveys.zip") as archive:
    for name in archive.namelist():
        if name.endswith(".csv"):
            d = pd.read_csv(archive.open(name))
            print(Path(name).stem, len(d))
            every.append(d)
print("mean", round(pd.concat(every).minutes.mean(), 2))
"""
    wrong = (
        "# unpacked and left\nimport pandas as pd, zipfile\nfrom pathlib import Path\n"
        "zipfile.ZipFile('surveys.zip').extractall()\nds = {p.stem: pd.read_csv(p) for p in Path('.').rglob('*.csv')}\n"
        "print({k: len(d) for k, d in ds.items()}, pd.concat(ds.values()).minutes.mean())",
        "# with the heading, mean of means\nimport pandas as pd, zipfile\nfrom pathlib import Path\n"
        "z = zipfile.ZipFile('surveys.zip')\nds = {Path(n).stem: pd.read_csv(z.open(n)) for n in z.namelist() if "
        "'.csv' in n}\n"
        "print({k: len(d) + 1 for k, d in ds.items()}, sum(d.minutes.mean() for d in ds.values()) / 4)",
    )


class OldProjects(Task):
    kind = "archive"
    prompts = (
        "Unpack project.tar.gz into a folder project, and then pack only its .py and .md files into sources.zip, "
        "with their "
        "paths inside the project (like src/main.py). How many files are in the zip?",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found = {}
        for at in range(40):
            place = rng.choice(["", "src/", "src/parts/", "docs/", "data/2023/"])
            name = f"{rng.choice(files.WORDS)}_{at}.{rng.choice(['py', 'py', 'md', 'csv', 'pyc', 'log'])}"
            found[f"{place}{name}"] = f"{files.prose(rng, 12)}\n".encode()
        with tarfile.open(folder / "project.tar.gz", "w:gz") as archive:
            for path, data in found.items():
                info = tarfile.TarInfo(path)
                info.size, info.mtime = len(data), 1_700_000_000
                archive.addfile(info, io.BytesIO(data))
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "project", facts)
        want = {path: data for path, data in facts.items() if path.endswith((".py", ".md"))}
        try:
            with zipfile.ZipFile(tables.there(folder / "sources.zip")) as archive:
                got = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
        except zipfile.BadZipFile:
            raise Wrong("sources.zip is no zip file") from None
        if got not in (want, {f"project/{path}": data for path, data in want.items()}):
            raise Wrong(f"sources.zip holds {len(got)} files, {len(want)} wanted, or they are others")
        answers.number(said, len(want), what="the number of files")

    solution = """
import tarfile, zipfile
from pathlib import Path
with tarfile.open("project.tar.gz") as archive:
    archive.extractall("project")
count = 0
with zipfile.ZipFile("sources.zip", "w") as out:
    for path in sorted(Path("project").rglob("*")):
        if path.suffix in (".py", ".md"):
            out.write(path, path.relative_to("project"))
            count += 1
print(count)
"""
    wrong = (
        "# without the folders\nimport tarfile, zipfile\nfrom pathlib import Path\n"
        "tarfile.open('project.tar.gz').extractall('project')\nz = zipfile.ZipFile('sources.zip', 'w')\n"
        "ps = [p for p in Path('project').rglob('*') if p.suffix in ('.py', '.md')]\n"
        "for p in ps: z.write(p, p.name)\nz.close()\nprint(len(ps))",
        "# compiled files too\nimport tarfile, zipfile\nfrom pathlib import Path\n"
        "tarfile.open('project.tar.gz').extractall('project')\nz = zipfile.ZipFile('sources.zip', 'w')\n"
        "ps = [p for p in Path('project').rglob('*') if p.suffix[:3] in ('.py', '.md')]\n"
        "for p in ps: z.write(p, p.relative_to('project'))\nz.close()\nprint(len(ps))",
    )


class BigFolders(Task):
    kind = "shell"
    prompts = (
        "How much space do the folders directly inside backup take, with everything below them? List the folders "
        "with their "
        "sizes in bytes in sizes.txt, largest first, each line like: 12345 backup/mail",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found, sizes = {}, {}
        for place in ("mail", "music", "photos", "scripts", "web"):
            for at in range(rng.randint(3, 12)):
                below = rng.choice(["", "old/", "old/2019/", ".hidden/"])
                data = rng.randbytes(rng.randint(10, 9000))
                found[f"{place}/{below}f{at}.dat"] = data
                sizes[place] = sizes.get(place, 0) + len(data)
        lay(folder / "backup", found | {"list.txt": b"x" * 20_000})
        return [f"{size} backup/{place}" for place, size in sorted(sizes.items(), key=lambda pair: -pair[1])]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = [" ".join(line.split()).rstrip("/") for line in tables.lines(folder / "sizes.txt")]
        if got != facts:
            raise Wrong(f"sizes.txt says {got[:2]}, not {facts[:2]}")

    solution = """
from pathlib import Path
sizes = []
for folder in Path("backup").iterdir():
    if folder.is_dir():
        sizes.append((sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()), folder.as_posix()))
sizes.sort(reverse=True)
Path("sizes.txt").write_text("".join(f"{size} {name}\\n" for size, name in sizes))
"""
    wrong = (
        "# du counts blocks\nimport subprocess\nopen('sizes.txt', 'w').write(subprocess.run("
        "'du -s backup/*/ | sort -rn', shell=True, capture_output=True, text=True).stdout)",
        "# not below\nfrom pathlib import Path\n"
        "s = sorted(((sum(p.stat().st_size for p in f.iterdir() if p.is_file()), f.as_posix()) "
        "for f in Path('backup').iterdir() if f.is_dir()), reverse=True)\n"
        "Path('sizes.txt').write_text('\\n'.join(f'{a} {b}' for a, b in s))",
    )


class SortDownloads(Task):
    kind = "shell"
    prompts = (
        "Tidy up the folder downloads: move every file into a subfolder named after its ending in small letters (a "
        "PDF file "
        "goes to downloads/pdf), files without an ending into downloads/other. Empty files should be deleted instead.",
    )
    changes = ("downloads/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        found, want = {}, {}
        for at in range(36):
            ending = rng.choice(["pdf", "PDF", "jpg", "Zip", "txt", "tar.gz", ""])
            name = f"{rng.choice(files.WORDS)} {at}" + (f".{ending}" if ending else "")
            data = rng.randbytes(30) if rng.random() < 0.8 else b""
            found[name] = data
            if data:
                want[f"{name.rpartition('.')[2].lower() if ending else 'other'}/{name}"] = data
        lay(folder / "downloads", found)
        return want

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "downloads", facts)

    solution = """
from pathlib import Path
for path in list(Path("downloads").iterdir()):
    if path.stat().st_size == 0:
        path.unlink()
        continue
    folder = Path("downloads") / (path.suffix[1:].lower() or "other")
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)
"""
    wrong = (
        "# endings as they are\nfrom pathlib import Path\nfor p in list(Path('downloads').iterdir()):\n"
        "    if not p.stat().st_size: p.unlink(); continue\n    f = Path('downloads') / (p.suffix[1:] or 'other')\n"
        "    f.mkdir(exist_ok=True)\n    p.rename(f / p.name)",
        "# empty ones too\nfrom pathlib import Path\nfor p in list(Path('downloads').iterdir()):\n"
        "    f = Path('downloads') / (p.suffix[1:].lower() or 'other')\n    f.mkdir(exist_ok=True)\n    p.rename(f / "
        "p.name)",
    )
