"""Archives, and looking around and tidying up in folders: jobs as one does them in a shell."""

import io
import tarfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong
from suite.tasks.folders import holds, lay


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
            ending = rng.choice(["pdf", "PDF", "jpg", "Zip", "txt", "csv", ""])
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
