"""Text extraction, log files, find and replace: jobs on plain text."""

import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


def listed(path: Path, want: list[str]) -> None:
    """The file holds these lines, in this order, and no others."""
    got = tables.lines(path)
    if got != want:
        missing, extra = sorted(set(want) - set(got)), sorted(set(got) - set(want))
        raise Wrong(f"{len(got)} lines, {len(want)} wanted; missing {missing[:3]}, too many {extra[:3]}")


class PhoneNumbers(Task):
    kind = "text"
    prompts = (
        "notes.txt is full of phone numbers, written in all sorts of ways like +49 30 1234567, +49-30-1234567 or "
        "+49 (30) 123 4567. Put them into phones.txt, one a line, as a plus and digits only (+49301234567), each "
        "once, sorted.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        pool = [(rng.choice(["49", "43", "41"]), str(rng.randint(20, 89)), str(rng.randint(1_000_000, 9_999_999)))
                for _ in range(38)]  # fmt: skip
        forms = ("+{0} {1} {2}", "+{0}-{1}-{2}", "+{0} ({1}) {3} {4}", "+{0}{1}{2}", "+{0} {1} {3}-{4}")
        lines, used = [], set()
        for _ in range(110):
            country, area, number = rng.choice(pool)
            phone = rng.choice(forms).format(country, area, number, number[:3], number[3:])
            used.add(f"+{country}{area}{number}")
            lines.append(
                rng.choice(
                    [
                        f"{files.prose(rng, 5)[:-1]} {phone}.",
                        f"Tel. {phone}, ask for {rng.choice(files.FIRST)}",
                        f"{rng.choice(files.FIRST)}: {phone} ({files.prose(rng, 3)[:-1].lower()})",
                        f"paid {rng.randint(10, 99)}.50 on {rng.randint(1, 28)}.5.2024, invoice "
                        f"{rng.randint(10**6, 10**7)}; {phone}",
                    ]
                )
            )
        (folder / "notes.txt").write_text("\n".join(lines) + "\n")
        return sorted(used)

    def check(self, folder: Path, said: str, facts: Any) -> None:
        listed(folder / "phones.txt", facts)

    solution = r"""
import re
text = open("notes.txt").read()
found = re.findall(r"\+\d[\d \-()]{8,}\d", text)
phones = sorted({"+" + re.sub(r"\D", "", each) for each in found})
open("phones.txt", "w").write("\n".join(phones) + "\n")
print(len(phones))
"""
    wrong = (
        "# one way of writing\nimport re\nt = open('notes.txt').read()\n"
        "open('phones.txt', 'w').write('\\n'.join(sorted(set(re.findall(r'\\+\\d{10,}', t)))))",
        "# as they are written\nimport re\nt = open('notes.txt').read()\n"
        "open('phones.txt', 'w').write('\\n'.join(sorted(set(re.findall(r'\\+\\d[\\d \\-()]{8,}\\d', t)))))",
    )


class OrderNumbers(Task):
    kind = "text"
    prompts = (
        "mails.txt holds a lot of mails from customers. I need all order numbers in them: two letters, a dash, four "
        "digits, a "
        "dash and a letter, e.g. KX-2041-B, but customers also write them in small letters or leave the dashes out. "
        "List them "
        "in orders.txt in the proper form, one a line, the most frequently mentioned first (and by the alphabet "
        "where equal).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        pool = [
            f"{rng.choice('KLM')}{rng.choice('XYZ')}-{rng.randint(1000, 9999)}-{rng.choice('ABC')}" for _ in range(24)
        ]
        count: Counter[str] = Counter()
        lines = []
        for _ in range(130):
            order = rng.choice(pool[: rng.randint(3, 24)])
            count[order] += 1
            written = rng.choice([order, order, order.lower(), order.replace("-", ""), order.lower().replace("-", "")])
            lines.append(
                rng.choice(
                    [
                        f"Hello, where is my order {written}? {files.prose(rng, 8)}",
                        f"{files.prose(rng, 6)} {written} is broken.",
                        f"Re: {written}, from {rng.choice(files.LAST)} ({rng.randint(1000, 9999)} "
                        f"{rng.choice(files.LAST)}town)",
                    ]
                )
            )
        (folder / "mails.txt").write_text("\n\n".join(lines) + "\n")
        return [order for order, _ in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        listed(folder / "orders.txt", facts)

    solution = r"""
import re, collections
count = collections.Counter()
for a, b, c in re.findall(r"\b([A-Za-z]{2})-?(\d{4})-?([A-Za-z])\b", open("mails.txt").read()):
    count[f"{a}-{b}-{c}".upper()] += 1
orders = sorted(count, key=lambda o: (-count[o], o))
open("orders.txt", "w").write("\n".join(orders) + "\n")
"""
    wrong = (
        "# only the proper form\nimport re, collections\n"
        "c = collections.Counter(re.findall(r'[A-Z]{2}-\\d{4}-[A-Z]', open('mails.txt').read()))\n"
        "open('orders.txt', 'w').write('\\n'.join(sorted(c, key=lambda o: (-c[o], o))))",
        "# by the alphabet\nimport re\nf = re.findall(r'\\b([A-Za-z]{2})-?(\\d{4})-?([A-Za-z])\\b', "
        "open('mails.txt').read())\n"
        "open('orders.txt', 'w').write('\\n'.join(sorted({'-'.join(x).upper() for x in f})))",
    )


class FailedLogins(Task):
    kind = "log"
    prompts = (
        "auth.log is from my server. How many failed password attempts were there for user names that don't exist "
        "(invalid "
        "user), and which address tried most often, counting all failed passwords? Give its number too.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        hosts = [f"198.51.{rng.randint(0, 200)}.{rng.randint(1, 254)}" for _ in range(18)]
        invalid, failed = 0, Counter[str]()
        out = []
        for at in range(2400):
            host, port = rng.choice([*hosts, hosts[4], hosts[4]]), rng.randint(30_000, 65_000)
            kind = rng.choices(["invalid", "valid", "accepted", "noise", "gone"], [4, 2, 1, 3, 2])[0]
            name = rng.choice(["admin", "test", "oracle", "guest"] if kind == "invalid" else ["root", "anna", "backup"])
            said = {
                "invalid": f"Failed password for invalid user {name} from {host} port {port} ssh2",
                "valid": f"Failed password for {name} from {host} port {port} ssh2",
                "accepted": f"Accepted publickey for {name} from {host} port {port} ssh2",
                "noise": f"pam_unix(sshd:session): session opened for user {name}",
                "gone": f"Invalid user {name} from {host} port {port}",
            }[kind]
            invalid += kind == "invalid"
            failed[host] += kind in ("invalid", "valid")
            stamp = f"Mar {1 + at // 200:2d} {at % 200 // 9:02d}:{at % 60:02d}:{rng.randint(0, 59):02d}"
            out.append(f"{stamp} web1 sshd[{rng.randint(1000, 30_000)}]: {said}")
        (folder / "auth.log").write_text("\n".join(out) + "\n")
        return invalid, *failed.most_common(1)[0]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        answers.number(said, facts[0], what="the number of attempts for invalid users")
        answers.each(said, {facts[1]: facts[2]})

    solution = r"""
import re, collections
text = open("auth.log").read()
print("invalid:", len(re.findall(r"Failed password for invalid user", text)))
hosts = collections.Counter(re.findall(r"Failed password for .* from (\S+)", text))
print(*hosts.most_common(1)[0])
"""
    wrong = (
        "# every mention\nimport re, collections\nt = open('auth.log').read()\nprint(len(re.findall('(?i)invalid "
        "user', t)))\n"
        "print(*collections.Counter(re.findall(r'Failed password for .* from (\\S+)', t)).most_common(1)[0])",
        "# every line of the address\nimport re, collections\nt = open('auth.log').read()\n"
        "print(t.count('Failed password for invalid user'))\n"
        "print(*collections.Counter(re.findall(r'from (\\S+)', t)).most_common(1)[0])",
    )


class SlowRequests(Task):
    kind = "log"
    prompts = (
        "app.log is the log of our web shop. Per hour of the day, how many lines of the level ERROR are there? Save "
        "it as "
        "errors.csv with hour and errors for all 24 hours (0 where there are none), and tell me the hour with the "
        "most.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        errors = [0] * 24
        out = []
        for at in range(3000):
            hour = rng.choice([h for h in range(24) if h not in (3, 4)])
            level = rng.choices(["INFO", "WARN", "ERROR", "DEBUG"], [8, 2, 3 if hour == 17 else 1, 3])[0]
            errors[hour] += level == "ERROR"
            said = rng.choice(
                ["payment accepted", "cart saved", "ERROR page shown to user", "retry after error", "timeout"]
            )
            ms = rng.randint(2, 900)
            day = f"2024-06-{1 + at // 430:02d}"
            minute, second, part = rng.randint(0, 59), rng.randint(0, 59), rng.choice("abc")
            out.append(f"[{day} {hour:02d}:{minute:02d}:{second:02d}.{ms:03d}] {level:5} shop.{part} - {said}")
        (folder / "app.log").write_text("\n".join(out) + "\n")
        return errors

    def check(self, folder: Path, said: str, facts: Any) -> None:
        got = tables.columns(folder / "errors.csv", "hour", "errors|count")
        clean = [(int(float(re.split("[:h ]", str(hour))[0] or -1)), number) for hour, number in got]
        tables.rows(clean, list(enumerate(facts)))
        answers.number(said, facts.index(max(facts)), what="the hour")

    solution = r"""
import csv, re, collections
count = collections.Counter(int(h) for h in re.findall(r"^\[\S+ (\d\d):\S+\] ERROR", open("app.log").read(), re.M))
with open("errors.csv", "w", newline="") as file:
    csv.writer(file).writerows([("hour", "errors"), *((h, count[h]) for h in range(24))])
print("most in hour", count.most_common(1)[0][0])
"""
    wrong = (
        "# wherever it says ERROR\nimport pandas as pd, collections\n"
        "c = collections.Counter(int(x[12:14]) for x in open('app.log') if 'ERROR' in x)\n"
        "pd.DataFrame([(h, c[h]) for h in range(24)], columns=['hour', 'errors']).to_csv('errors.csv')\nprint(17)",
        "# without the empty hours\nimport pandas as pd, collections\n"
        "c = collections.Counter(int(x[12:14]) for x in open('app.log') if '] ERROR' in x)\n"
        "pd.DataFrame(sorted(c.items()), columns=['hour', 'errors']).to_csv('errors.csv')\nprint(17)",
    )


class NewAddress(Task):
    kind = "find-replace"
    prompts = (
        "We have moved. In all .txt and .html files in the folder site, also in its subfolders, replace Mill Lane 4 "
        "by Harbour "
        "Street 27. Other files, like the PDFs, must not be touched. Tell me how many files you changed.",
    )
    changes = ("site/*.txt", "site/*.html")

    OLD, NEW = "Mill Lane 4", "Harbour Street 27"

    def make(self, folder: Path, rng: Random) -> Any:
        found: dict[str, str] = {}
        for at in range(34):
            place = rng.choice(["", "en/", "en/news/", "de/", "de/archiv/2019/"])
            ending = rng.choice(["txt", "html", "html", "md", "pdf", "css"])
            kinds = ["", f"Visit us: {self.OLD}, 1st floor.", "Mill Lane 14", "MILL LANE 4!"]
            lines = [rng.choice(kinds) or files.prose(rng, 7) for _ in range(rng.randint(1, 6))]
            path = f"{place}{rng.choice(files.WORDS)}{at}.{ending}"
            text = "\r\n".join(lines) if rng.random() < 0.2 else "\n".join(lines)
            file = folder / "site" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            found[path] = text
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        changed = 0
        for path, text in facts.items():
            want = text.replace(self.OLD, self.NEW) if path.endswith((".txt", ".html")) else text
            changed += want != text
            if (folder / "site" / path).read_bytes().replace(b"\r\n", b"\n") != want.encode().replace(b"\r\n", b"\n"):
                raise Wrong(f"{path} is not as it should be")
        answers.number(said, changed, what="the number of changed files")

    solution = """
from pathlib import Path
changed = 0
for path in Path("site").rglob("*"):
    if path.suffix in (".txt", ".html"):
        old = path.read_bytes()
        new = old.replace(b"Mill Lane 4", b"Harbour Street 27")
        if new != old:
            path.write_bytes(new)
            changed += 1
print(changed)
"""
    wrong = (
        "# every file\nfrom pathlib import Path\nn = 0\nfor p in Path('site').rglob('*.*'):\n    a = p.read_text()\n"
        "    b = a.replace('Mill Lane 4', 'Harbour Street 27')\n    n += a != b\n    p.write_text(b)\nprint(n)",
        "# not the subfolders\nfrom pathlib import Path\nn = 0\nfor p in Path('site').glob('*.*'):\n"
        "    if p.suffix in ('.txt', '.html'):\n        a = p.read_text()\n"
        "        b = a.replace('Mill Lane 4', 'Harbour Street 27')\n        n += a != b\n        p.write_text(b)\n"
        "print(n)",
    )


class EuroPrices(Task):
    kind = "find-replace"
    prompts = (
        "The menus in the folder menus (text files) have prices like $12.50. Raise all of them by 8 percent, rounded "
        "to whole "
        "10 cents (so $12.50 becomes $13.50), and leave everything else in the files as it is. How many prices were "
        "there?",
    )
    changes = ("menus/*",)

    PRICE = re.compile(r"\$(\d+\.\d\d)")

    def make(self, folder: Path, rng: Random) -> Any:
        found = {}
        for name in ("lunch.txt", "dinner.txt", "drinks.txt", "kids/menu.txt"):
            lines = [f"*** {name.split('.')[0].upper()} ***", "Tel. 555-12.50, table for 12", ""]
            for _ in range(rng.randint(9, 16)):
                cents = rng.choice([c for c in range(250, 4800, 10) if c * 108 % 1000 not in (400, 500, 600)])
                dish = f"{rng.choice(files.WORDS)} {rng.choice(files.WORDS)}".title()
                lines.append(f"{rng.randint(1, 99)} {dish} ... ${cents / 100:.2f}")
            found[name] = "\n".join([*lines, "A tip of 10.00 percent is welcome", ""])
            file = folder / "menus" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(found[name])
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        count = 0
        for name, text in facts.items():
            want = self.PRICE.sub(lambda m: f"${round(float(m[1]) * 1.08, 1):.2f}", text)
            count += len(self.PRICE.findall(text))
            if tables.text(folder / "menus" / name).split() != want.split():
                raise Wrong(f"menus/{name} is not as it should be")
        answers.number(said, count, what="the number of prices")

    solution = r"""
import re
from pathlib import Path
count = 0
for path in Path("menus").rglob("*.txt"):
    text, n = re.subn(r"\$(\d+\.\d\d)", lambda m: f"${round(float(m[1]) * 1.08, 1):.2f}", path.read_text())
    path.write_text(text)
    count += n
print(count)
"""
    wrong = (
        "# to the cent\nimport re\nfrom pathlib import Path\nn = 0\nfor p in Path('menus').rglob('*.txt'):\n"
        "    t, k = re.subn(r'\\$(\\d+\\.\\d\\d)', lambda m: f'${float(m[1]) * 1.08:.2f}', p.read_text())\n"
        "    p.write_text(t)\n    n += k\nprint(n)",
        "# whatever has two decimals\nimport re\nfrom pathlib import Path\nn = 0\nfor p in "
        "Path('menus').rglob('*.txt'):\n"
        "    t, k = re.subn(r'(\\d+\\.\\d\\d)', lambda m: f'{round(float(m[1]) * 1.08, 1):.2f}', p.read_text())\n"
        "    p.write_text(t)\n    n += k\nprint(n)",
    )
