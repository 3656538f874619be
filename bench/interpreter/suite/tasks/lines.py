"""Logs, texts, replacing, names and trees of files: jobs on what has lines."""

import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong
from suite.tasks.folders import holds, lay


class TopPages(Task):
    kind = "log"
    prompts = (
        "access.log is from our web server. Save the five pages that were delivered most often (status 200) in "
        "pages.csv "
        "with the columns page, count, the most often delivered first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        pages = ("/", "/about", "/contact", "/imprint", "/news", "/prices", "/shop", "/team")
        weights = rng.sample([2, 3, 5, 8, 13, 17, 22, 30], 8)
        count = Counter[str]()
        out = []
        for at in range(3000):
            page = rng.choices(pages, weights)[0]
            status = rng.choices([200, 304, 404, 500], [6, 3, 1 if page != "/news" else 9, 1])[0]
            count[page] += status == 200
            stamp = f"{1 + at // 300:02d}/Oct/2024:{at % 24:02d}:{at % 60:02d}:{rng.randint(0, 59):02d} +0200"
            out.append(
                f'192.0.2.{rng.randint(1, 90)} - - [{stamp}] "GET {page} HTTP/1.1" {status} {rng.randint(200, 9000)}'
            )
        (folder / "access.log").write_text("\n".join(out) + "\n")
        found = count.most_common(6)
        assert len({number for _, number in found}) == 6, "no two alike"
        return found[:5]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "pages.csv", "page", "count"), facts, ordered=True)

    solution = r"""
import re, collections, pandas as pd
found = collections.Counter(re.findall(r'"GET (\S+) HTTP/1.1" 200 ', open("access.log").read()))
pd.DataFrame(found.most_common(5), columns=["page", "count"]).to_csv("pages.csv", index=False)
"""
    wrong = (
        "# any status\nimport re, collections, pandas as pd\n"
        "f = collections.Counter(re.findall(r'\"GET (\\S+) HTTP', open('access.log').read()))\n"
        "pd.DataFrame(f.most_common(5), columns=['page', 'count']).to_csv('pages.csv', index=False)",
        "# all pages\nimport re, collections, pandas as pd\n"
        "f = collections.Counter(re.findall(r'\"GET (\\S+) HTTP/1.1\" 200 ', open('access.log').read()))\n"
        "pd.DataFrame(f.most_common(), columns=['page', 'count']).to_csv('pages.csv', index=False)",
    )


class ServiceErrors(Task):
    kind = "log"
    prompts = (
        "service.log is from our ordering service. Save errors.csv with the columns day, errors: how many ERROR lines "
        "there were on each day, by day, and tell me which module had the most errors in all.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        days, modules = Counter[str](), Counter[str]()
        weights = rng.sample([2, 3, 4, 6], 4)
        out = []
        for at in range(2400):
            day = f"2024-11-{1 + at // 240:02d}"
            level = rng.choices(["INFO", "WARNING", "ERROR", "DEBUG"], [6, 2, 2, 3])[0]
            module = rng.choices(["billing", "mailer", "search", "stock"], weights)[0]
            said = "retry after ERROR 17" if level == "WARNING" else files.prose(rng, 5)
            out.append(f"{day} {at % 240 // 10:02d}:{at % 60:02d}:{rng.randint(0, 59):02d} {level} [{module}] {said}")
            days[day] += level == "ERROR"
            modules[module] += level == "ERROR"
        (folder / "service.log").write_text("\n".join(out) + "\n")
        return sorted(days.items()), modules.most_common(1)[0][0]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "errors.csv", "day|date", "errors"), facts[0], ordered=True)
        answers.word(said, facts[1])

    solution = r"""
import re, collections, pandas as pd
found = re.findall(r"^(\S+) \S+ ERROR \[(\w+)\]", open("service.log").read(), re.M)
days = collections.Counter(day for day, _ in found)
pd.DataFrame(sorted(days.items()), columns=["day", "errors"]).to_csv("errors.csv", index=False)
print(collections.Counter(module for _, module in found).most_common(1)[0][0])
"""
    wrong = (
        "# every line with the word\nimport re, collections, pandas as pd\n"
        "f = re.findall(r'^(\\S+) .*\\[(\\w+)\\]', '\\n'.join(x for x in open('service.log') if 'ERROR' in x), re.M)\n"
        "pd.DataFrame(sorted(collections.Counter(d for d, _ in f).items()), columns=['day', "
        "'errors']).to_csv('errors.csv')\n"
        "print(collections.Counter(m for _, m in f).most_common(1)[0][0])",
        "# the module with the most lines, and a table by module\nimport re, collections, pandas as pd\n"
        "f = re.findall(r'ERROR \\[(\\w+)\\]', open('service.log').read())\n"
        "pd.DataFrame(collections.Counter(f).items(), columns=['day', 'errors']).to_csv('errors.csv', index=False)",
    )


class CompanyName(Task):
    kind = "find-replace"
    prompts = (
        "Our company is called Brightwater Ltd now, no longer Dunmore & Sons. Change the name in all text files in the "
        "folder letters, also in the folders below, and tell me how many files you changed.",
    )
    changes = ("letters/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        old, want, changed = {}, {}, 0
        for at in range(26):
            lines = [files.prose(rng, 8) for _ in range(rng.randint(2, 6))]
            if rng.random() < 0.55:
                lines.insert(rng.randint(0, len(lines)), "Yours, Dunmore & Sons")
                lines.insert(rng.randint(0, len(lines)), "At Dunmore & Sons we care. Ask for Mrs Dunmore!")
                changed += 1
            path = f"{rng.choice(['', '2022/', '2023/', '2023/drafts/'])}letter{at:02d}.txt"
            old[path] = ("\n".join(lines) + "\n").encode()
            want[path] = old[path].replace(b"Dunmore & Sons", b"Brightwater Ltd")
        old["logo.bin"] = want["logo.bin"] = b"\x00\xff Dunmore & Sons \xfe\x01"
        lay(folder / "letters", old)
        return want, changed

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "letters", facts[0])
        answers.number(said, facts[1], what="the number of files")

    solution = """
from pathlib import Path
changed = 0
for path in Path("letters").rglob("*.txt"):
    text = path.read_text()
    if "Dunmore & Sons" in text:
        path.write_text(text.replace("Dunmore & Sons", "Brightwater Ltd"))
        changed += 1
print(changed)
"""
    wrong = (
        "# not below\nfrom pathlib import Path\nn = 0\nfor p in Path('letters').glob('*.txt'):\n    t = p.read_text()\n"
        "    n += 'Dunmore & Sons' in t\n    p.write_text(t.replace('Dunmore & Sons', 'Brightwater Ltd'))\nprint(n)",
        "# part of the name\nfrom pathlib import Path\nn = 0\nfor p in Path('letters').rglob('*.txt'):\n"
        "    t = p.read_text()\n"
        "    n += 'Dunmore' in t\n    p.write_text(t.replace('Dunmore', 'Brightwater Ltd'))\nprint(n)",
    )


class DiaryDates(Task):
    kind = "find-replace"
    prompts = (
        "In the files of the folder diary, dates are written like 3.5.2024 (day, month, year). Write all of them like "
        "2024-05-03 instead, leave everything else as it is, and tell me how many dates you changed.",
    )
    changes = ("diary/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        old, want, changed = {}, {}, 0
        for at in range(9):
            lines = []
            for _ in range(rng.randint(4, 9)):
                form = rng.choice(
                    ["On {} it rained.", "{}: {}", "Version 2.4 was late.", "From {} to {} we were away."]
                )
                dates = [
                    f"{rng.randint(1, 28)}.{rng.randint(1, 12)}.20{rng.randint(19, 24)}"
                    for _ in range(form.count("{}"))
                ]
                lines.append(f"{form.format(*dates)} {files.prose(rng, 4)}")
                changed += len(dates)
            text = "\n".join(lines) + "\n"
            new = re.sub(r"(\d+)\.(\d+)\.(20\d\d)", lambda m: f"{m[3]}-{int(m[2]):02d}-{int(m[1]):02d}", text)
            old[f"notes{at}.txt"], want[f"notes{at}.txt"] = text.encode(), new.encode()
        lay(folder / "diary", old)
        return want, changed

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "diary", facts[0])
        answers.number(said, facts[1], what="the number of dates")

    solution = r"""
import re
from pathlib import Path
count = 0
for path in Path("diary").glob("*.txt"):
    text, n = re.subn(r"\b(\d{1,2})\.(\d{1,2})\.(\d{4})\b",
        lambda m: f"{m[3]}-{int(m[2]):02d}-{int(m[1]):02d}", path.read_text())
    path.write_text(text)
    count += n
print(count)
"""
    wrong = (
        "# months first\nimport re\nfrom pathlib import Path\nn = 0\nfor p in Path('diary').glob('*.txt'):\n"
        "    t, k = re.subn(r'(\\d+)\\.(\\d+)\\.(\\d{4})', lambda m: f'{m[3]}-{int(m[1]):02d}-{int(m[2]):02d}', "
        "p.read_text())\n"
        "    p.write_text(t); n += k\nprint(n)",
        "# without zeros\nimport re\nfrom pathlib import Path\nn = 0\nfor p in Path('diary').glob('*.txt'):\n"
        "    t, k = re.subn(r'(\\d+)\\.(\\d+)\\.(\\d{4})', r'\\3-\\2-\\1', p.read_text())\n"
        "    p.write_text(t); n += k\nprint(n)",
    )


class MailAddresses(Task):
    kind = "text"
    prompts = (
        "Pick all e-mail addresses out of inbox.txt and write them to addresses.txt in small letters, one a line, each "
        "once, sorted.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found = {
            f"{name.lower().replace(' ', rng.choice('._-'))}@{rng.choice(['mail.example', 'post.example.org'])}"
            for name in files.people(rng, 40)
        }
        out = []
        for address in [*sorted(found), *rng.sample(sorted(found), 12)]:
            written = rng.choice([address, f"<{address}>", f"{address}.", f"mailto:{address},", address.upper()])
            out.append(f"{files.prose(rng, 5)} {written} {files.prose(rng, 4)}")
        out += ["Follow @brightwater or look at http://example.org/a@b.", "Costs 12@3 each"]
        rng.shuffle(out)
        (folder / "inbox.txt").write_text("\n".join(out) + "\n")
        return sorted(found)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        if (got := tables.lines(folder / "addresses.txt")) != facts:
            raise Wrong(f"{len(got)} addresses, {len(facts)} wanted, or others")

    solution = r"""
import re
found = re.findall(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", open("inbox.txt").read())
open("addresses.txt", "w").write("\n".join(sorted({each.lower() for each in found})) + "\n")
"""
    wrong = (
        "# as they are written\nimport re\n"
        "f = re.findall(r'[\\w.+-]+@[\\w-]+(?:\\.[\\w-]+)+', open('inbox.txt').read())\n"
        "open('addresses.txt', 'w').write('\\n'.join(sorted(set(f))))",
        "# words with an at\nf = {w.lower() for w in open('inbox.txt').read().split() if '@' in w}\n"
        "open('addresses.txt', 'w').write('\\n'.join(sorted(f)))",
    )


class CommonWords(Task):
    kind = "text"
    prompts = (
        "Which ten words are the most frequent in story.txt? Capital letters make no difference, and punctuation does "
        "not "
        "belong to a word. Save them in words.csv with the columns word, count, the most frequent first.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        words = rng.sample(files.WORDS, len(files.WORDS))
        words = list(dict.fromkeys(words))[:24]
        bag = [word for at, word in enumerate(words) for _ in range(140 - 5 * at)]
        rng.shuffle(bag)
        out = []
        while bag:
            line, bag = bag[:9], bag[9:]
            line = [f"{word}{rng.choice(['', '', '', ',', ';'])}" for word in line]
            line[0] = rng.choice([line[0].title(), f'"{line[0].title()}', line[0].upper()])
            out.append(" ".join(line) + rng.choice([".", "!", "?", '."']))
        (folder / "story.txt").write_text("\n".join(out) + "\n")
        return [(word, 140 - 5 * at) for at, word in enumerate(words[:10])]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.rows(tables.columns(folder / "words.csv", "word", "count"), facts, ordered=True)

    solution = r"""
import re, collections, pandas as pd
words = collections.Counter(re.findall(r"\w+", open("story.txt").read().lower()))
pd.DataFrame(words.most_common(10), columns=["word", "count"]).to_csv("words.csv", index=False)
"""
    wrong = (
        "# with punctuation\nimport collections, pandas as pd\n"
        "w = collections.Counter(open('story.txt').read().lower().split())\n"
        "pd.DataFrame(w.most_common(10), columns=['word', 'count']).to_csv('words.csv', index=False)",
        "# capital letters are others\nimport re, collections, pandas as pd\n"
        "w = collections.Counter(re.findall(r'\\w+', open('story.txt').read()))\n"
        "pd.DataFrame(w.most_common(10), columns=['word', 'count']).to_csv('words.csv', index=False)",
    )


class ScanNumbers(Task):
    kind = "renaming"
    prompts = (
        "The scans in the folder scans are called scan1.pdf to scan120.pdf, so they sort badly. Give the numbers three "
        "digits: scan001.pdf and so on. Other files should keep their names.",
    )
    changes = ("scans/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        numbers = sorted(rng.sample(range(1, 121), 70))
        old = {f"scan{number}.pdf": f"scan {number}".encode() for number in numbers}
        other = {name: name.encode() for name in ("index7.txt", "scan.pdf", "scanner5.pdf", "scan9.txt")}
        lay(folder / "scans", old | other)
        return other | {f"scan{number:03d}.pdf": f"scan {number}".encode() for number in numbers}

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "scans", facts)

    solution = r"""
import re
from pathlib import Path
for path in list(Path("scans").iterdir()):
    m = re.fullmatch(r"scan(\d+)\.pdf", path.name)
    if m:
        path.rename(path.with_name(f"scan{int(m[1]):03d}.pdf"))
"""
    wrong = (
        "# whatever has a number\nimport re\nfrom pathlib import Path\nfor p in list(Path('scans').iterdir()):\n"
        "    p.rename(p.with_name(re.sub(r'\\d+', lambda m: m[0].zfill(3), p.name)))",
        "# counted anew\nimport re\nfrom pathlib import Path\n"
        "f = sorted((p for p in Path('scans').iterdir() if re.fullmatch(r'scan\\d+\\.pdf', p.name)), "
        "key=lambda p: int(p.stem[4:]))\nd = [(p.read_bytes(), n) for n, p in enumerate(f, 1)]\n"
        "for p in f: p.unlink()\n"
        "for b, n in d: Path(f'scans/scan{n:03d}.pdf').write_bytes(b)",
    )


class PhotoDates(Task):
    kind = "renaming"
    prompts = (
        "The photos in the folder camera are called like IMG_20240312_081500.jpg. Rename them to "
        "2024-03-12_081500.jpg and "
        "so on. Leave the other files alone.",
    )
    changes = ("camera/*",)

    def make(self, folder: Path, rng: Random) -> Any:
        old, want = {}, {}
        for at in range(60):
            year, month, day = rng.randint(2019, 2024), rng.randint(1, 12), rng.randint(1, 28)
            clock, data = f"{at // 3:02d}{rng.randint(0, 59):02d}{at % 60:02d}", f"photo {at}".encode()
            old[f"IMG_{year}{month:02d}{day:02d}_{clock}.jpg"] = data
            want[f"{year}-{month:02d}-{day:02d}_{clock}.jpg"] = data
        other = {name: name.encode() for name in ("IMG_cover.jpg", "VID_20240101_101010.mp4", "readme.txt")}
        lay(folder / "camera", old | other)
        return want | other

    def check(self, folder: Path, said: str, facts: Any) -> None:
        holds(folder / "camera", facts)

    solution = r"""
import re
from pathlib import Path
for path in list(Path("camera").iterdir()):
    m = re.fullmatch(r"IMG_(\d{4})(\d\d)(\d\d)_(\d{6})\.jpg", path.name)
    if m:
        path.rename(path.with_name(f"{m[1]}-{m[2]}-{m[3]}_{m[4]}.jpg"))
"""
    wrong = (
        "# only the beginning goes\nfrom pathlib import Path\nfor p in list(Path('camera').glob('IMG_*.jpg')):\n"
        "    p.rename(p.with_name(p.name[4:]))",
        "# days and months swapped\nimport re\nfrom pathlib import Path\nfor p in list(Path('camera').iterdir()):\n"
        "    p.rename(p.with_name(re.sub(r'^IMG_(\\d{4})(\\d\\d)(\\d\\d)_', r'\\1-\\3-\\2_', p.name)))",
    )
