"""Settings files and odd encodings: jobs on text that has to be read in the right way."""

import json
from pathlib import Path
from random import Random
from typing import Any

from suite import answers, files, tables
from suite.task import Task, Wrong


class ShopSettings(Task):
    kind = "settings"
    prompts = (
        "Merge base.toml and local.toml into settings.json: what is in local.toml takes precedence, also inside "
        "sections, and "
        "what is only in base.toml stays.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        port, cents, days = rng.randint(3000, 9000), rng.randint(300, 900), rng.randint(3, 30)
        (folder / "base.toml").write_text(
            f'title = "Shop"\ndebug = false\nlanguages = ["en", "de", "fr"]\n\n[server]\nhost = "0.0.0.0"\nport = '
            f"80\nworkers = 4\n"
            f"\n[shipping]\nfree_from = 50.0\n\n[shipping.cost]\nhome = {cents}\nabroad = {cents * 2}\n\n[returns]\n"
            f"days = {days}\n"
        )
        (folder / "local.toml").write_text(
            f'debug = true\nlanguages = ["en"]\n\n[server]\nport = {port}\n\n[shipping.cost]\nabroad = {cents * 3}\n'
            f'\n[mail]\nfrom = "a@example.org"\n'
        )
        return {
            "title": "Shop",
            "debug": True,
            "languages": ["en"],
            "server": {"host": "0.0.0.0", "port": port, "workers": 4},
            "shipping": {"free_from": 50.0, "cost": {"home": cents, "abroad": cents * 3}},
            "returns": {"days": days},
            "mail": {"from": "a@example.org"},
        }

    def check(self, folder: Path, said: str, facts: Any) -> None:
        same_json(folder / "settings.json", facts)

    solution = """
import json, tomllib
def merge(base, local):
    out = dict(base)
    for key, value in local.items():
        out[key] = merge(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out
base, local = (tomllib.load(open(n, "rb")) for n in ("base.toml", "local.toml"))
json.dump(merge(base, local), open("settings.json", "w"), indent=2)
"""
    wrong = (
        "# whole sections\nimport json, tomllib\na, b = (tomllib.load(open(n, 'rb')) for n in ('base.toml', "
        "'local.toml'))\n"
        "json.dump({**a, **b}, open('settings.json', 'w'))",
        "# one level down\nimport json, tomllib\na, b = (tomllib.load(open(n, 'rb')) for n in ('base.toml', "
        "'local.toml'))\n"
        "for k, v in b.items():\n    a[k] = {**a.get(k, {}), **v} if isinstance(v, dict) else v\n"
        "json.dump(a, open('settings.json', 'w'))",
    )


class ServersIni(Task):
    kind = "settings"
    prompts = (
        "servers.ini describes our servers, a section each. Make servers.json out of it: an object with the section "
        "names as "
        "keys, numbers as numbers, yes/no as true/false, and lists (values with commas) as arrays of strings.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        out, want = ["; our servers"], {}
        for name in ("alpha", "beta", "gamma", "delta"):
            port, memory, on = rng.randint(1000, 9999), rng.choice([4, 8, 16.5, 32]), rng.random() < 0.5
            roles = rng.sample(["web", "mail", "backup", "dns", "files"], rng.randint(2, 4))
            out += [f"[{name}]", f"host = {name}.example.net", f"port = {port}", f"memory_gb = {memory}"]
            out += [f"active = {'yes' if on else 'no'}", f"roles = {', '.join(roles)}", ""]
            want[name] = {
                "host": f"{name}.example.net",
                "port": port,
                "memory_gb": memory,
                "active": on,
                "roles": roles,
            }
        (folder / "servers.ini").write_text("\n".join(out))
        return want

    def check(self, folder: Path, said: str, facts: Any) -> None:
        same_json(folder / "servers.json", facts)

    solution = """
import configparser, json
ini = configparser.ConfigParser()
ini.read("servers.ini")
def typed(v):
    if v in ("yes", "no"):
        return v == "yes"
    if "," in v:
        return [x.strip() for x in v.split(",")]
    for kind in (int, float):
        try:
            return kind(v)
        except ValueError:
            pass
    return v
json.dump({s: {k: typed(v) for k, v in ini[s].items()} for s in ini.sections()}, open("servers.json", "w"), indent=1)
"""
    wrong = (
        "# all as text\nimport configparser, json\ni = configparser.ConfigParser()\ni.read('servers.ini')\n"
        "json.dump({s: dict(i[s]) for s in i.sections()}, open('servers.json', 'w'))",
        "# yes stays yes\nimport configparser, json\ni = configparser.ConfigParser()\ni.read('servers.ini')\n"
        "f = lambda v: v.split(', ') if ',' in v else float(v) if v.replace('.', '').isdigit() else v\n"
        "json.dump({s: {k: f(v) for k, v in i[s].items()} for s in i.sections()}, open('servers.json', 'w'))",
    )


def same_json(path: Path, want: Any) -> None:
    """The file holds this value."""
    try:
        got = json.loads(tables.text(path))
    except ValueError:
        raise Wrong(f"{path.name} is no JSON") from None
    if kinds(got) != kinds(want):
        raise Wrong(f"{path.name} holds something else: {json.dumps(got)[:120]}")


def kinds(value: Any) -> Any:
    """The value, with true told from 1 and 16 like 16.0."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [kinds(each) for each in value]
    return (isinstance(value, bool), value)


class Rechnungen(Task):
    kind = "encoding"
    prompts = (
        "rechnungen.csv comes from our old accounting program, the umlauts look broken in everything I open it with. "
        "Please "
        "save it as a proper UTF-8 file rechnungen_utf8.csv with commas between the columns and points in the "
        "numbers, and tell "
        "me the sum of the amounts (Betrag).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        towns = ("Köln", "Düsseldorf", "Fürth", "Görlitz", "Münster", "Würzburg", "Gießen", "Bad Tölz", "Zürich")
        rows = []
        for at in range(64):
            first, last = ("Jürgen", "Käthe", "Sören", "Bärbel", "Günther"), ("Groß", "Müller", "Schäfer", "Böhm")
            name = f"{rng.choice(first)} {rng.choice(last)}"
            rows.append((f"R-{at + 301}", name, rng.choice(towns), rng.randint(900, 480_000) / 100))
        german = [(*row[:3], f"{row[3]:,.2f}".translate({44: ".", 46: ","})) for row in rows]
        files.table(folder / "rechnungen.csv", ("Nummer", "Kunde", "Ort", "Betrag"), german, sep=";", encoding="cp850")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        path = folder / "rechnungen_utf8.csv"
        if tables.utf8(path).partition("\n")[0].count(",") < 3:
            raise Wrong("there are no commas between the columns")
        tables.rows(tables.columns(path, "Nummer", "Kunde", "Ort", "Betrag"), facts)
        answers.number(said, sum(row[3] for row in facts), within=0.011, what="the sum")

    solution = """
import pandas as pd
d = pd.read_csv("rechnungen.csv", sep=";", encoding="cp850", decimal=",", thousands=".")
d.to_csv("rechnungen_utf8.csv", index=False, encoding="utf-8")
print(d.Betrag.sum())
"""
    wrong = (
        "# taken for Windows\nimport pandas as pd\n"
        "d = pd.read_csv('rechnungen.csv', sep=';', encoding='cp1252', encoding_errors='replace', decimal=',', "
        "thousands='.')\n"
        "d.to_csv('rechnungen_utf8.csv', index=False)\nprint(d.Betrag.sum())",
        "# numbers as they were\nimport pandas as pd\nd = pd.read_csv('rechnungen.csv', sep=';', encoding='cp850')\n"
        "d.to_csv('rechnungen_utf8.csv', index=False)\nprint(sum(float(x.replace('.', '').replace(',', '.')) for x "
        "in d.Betrag))",
    )


class JapaneseStock(Task):
    kind = "encoding"
    prompts = (
        "zaiko.csv is a stock list from our Japanese supplier and shows only garbage characters. Convert it to UTF-8 "
        "as "
        "stock.csv with the same columns and tell me how many different products (商品) there are and the total "
        "quantity (数量).",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        goods = (
            "鉛筆",
            "消しゴム",
            "ノート",
            "はさみ",
            "定規",
            "のり",
            "万年筆",
            "封筒",
            "付箋",
            "画用紙",
            "クレヨン",
            "絵の具",
        )
        rows = [(f"K{at + 100}", rng.choice(goods), rng.choice(("東京", "大阪", "福岡", "札幌")), rng.randint(5, 900))
                for at in range(75)]  # fmt: skip
        files.table(folder / "zaiko.csv", ("番号", "商品", "倉庫", "数量"), rows, encoding="shift_jis")
        return rows

    def check(self, folder: Path, said: str, facts: Any) -> None:
        tables.utf8(folder / "stock.csv")
        tables.rows(tables.columns(folder / "stock.csv", "番号", "商品", "倉庫", "数量"), facts)
        answers.number(said, len({row[1] for row in facts}), what="the number of products")
        answers.number(said, sum(row[3] for row in facts), what="the quantity")

    solution = """
import pandas as pd
d = pd.read_csv("zaiko.csv", encoding="shift_jis")
d.to_csv("stock.csv", index=False, encoding="utf-8")
print(d["商品"].nunique(), d["数量"].sum())
"""
    wrong = (
        "# garbage in UTF-8\nimport pandas as pd\nd = pd.read_csv('zaiko.csv', encoding='latin1')\n"
        "d.to_csv('stock.csv', index=False)\nprint(d.iloc[:, 1].nunique(), d.iloc[:, 3].sum())",
        "# not told\nimport pandas as pd\npd.read_csv('zaiko.csv', encoding='shift_jis').to_csv('stock.csv', "
        "index=False)",
    )
