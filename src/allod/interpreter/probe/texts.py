"""Plain text, logs, JSON. Runs in the job's Python."""

import json
import re
from pathlib import Path
from typing import Any, cast

from allod.interpreter.probe import frames, logs
from allod.interpreter.probe.documents import numeric_lines
from allod.interpreter.probe.encodings import encoding_of
from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, short, singular, variable

MOST = 30_000_000  # bytes of a text that are read


def read(path: Path) -> tuple[str, str]:
    """(text, encoding) of the first MOST bytes."""
    with path.open("rb") as file:
        data = file.read(MOST)
    encoding = encoding_of(data)
    return data.decode(encoding, "replace").removeprefix("\ufeff"), encoding


def opening(path: str, encoding: str) -> str:
    """The call that opens it."""
    return f'open({quoted(path)}, encoding="{encoding}")'


def plain(path: Path, finding: Finding) -> None:
    """The lines of a text, or the fields of a log."""
    text, encoding = read(path)
    if "\0" in text[:4000]:
        raise ValueError("not text")
    lines = [line for line in text.splitlines() if line.strip()]
    finding.kind = "text"
    finding.about = f"text, {len(text.splitlines())} lines"
    if encoding != "utf-8":
        finding.about += f", {encoding}"
    if logs.looks_logged(path.suffix, lines) and logs.log(finding, lines, encoding):
        return
    if markdown_table(finding, lines, encoding):
        return
    finding.name = variable(finding.path)
    finding.what = f"its text (str), {len(text.splitlines())} lines, the first ones"
    finding.lines += [short(line, 110) for line in lines[:6]]
    finding.load = [f"{finding.name} = {opening(finding.path, encoding)}.read()"]


def markdown_table(finding: Finding, lines: list[str], encoding: str) -> bool:
    """Reads the table of a Markdown file that has just one; whether there is one."""
    rows = [line for line in lines if line.lstrip().startswith("|")]
    rules = [line for line in rows if re.fullmatch(r"\s*\|[\s|:-]+-[\s|:-]*", line)]
    if len(rows) < 3 or len(rules) != 1 or rows[1] is not rules[0]:
        return False
    name = finding.name = variable(finding.path)
    each = f"for line in {opening(finding.path, encoding)} if line.lstrip().startswith('|')"
    finding.load = [
        f"rows = [[cell.strip() for cell in line.strip().strip('|').split('|')] {each}]",
        f"{name} = pd.DataFrame(rows[2:], columns=rows[0])",
    ]
    try:
        frame = ran(finding.load, pd=library("pandas"))[name]
    except ValueError:  # rows of different lengths
        finding.load = []
        return False
    body = frame.to_numpy().tolist()
    if made := numeric_lines(name, list(frame.columns), body):
        finding.load += made
        frame = ran(finding.load, pd=library("pandas"))[name]
    finding.kind = "table"
    finding.what = f"a DataFrame of the table in it, {len(frame)} rows, columns: {columns(frame)}"
    finding.lines += [short(line, 110) for line in lines if line not in rows][:3]
    return True


def structured(path: Path, finding: Finding) -> None:
    """JSON, whole or one value a line, as the loops and subscripts that reach what it holds."""
    text, encoding = read(path)
    finding.kind = "json"
    name = finding.name = variable(finding.path)
    try:
        data: Any = json.loads(text)
        finding.about = "JSON"
        finding.load = [f"{name} = json.load({opening(finding.path, encoding)})"]
    except ValueError:
        lines = [line for line in text.splitlines() if line.strip()]
        data = [json.loads(line) for line in lines[:5000]]
        finding.about = f"JSON, {len(lines)} lines, one value a line"
        finding.load = [f"{name} = [json.loads(line) for line in {opening(finding.path, encoding)}]"]
    finding.what = "the parsed JSON"
    whole = frames.flatten(data, finding)
    finding.lines += [] if whole else tree(data, name, 0)[:40]


def tree(value: Any, name: str, depth: int) -> list[str]:
    """``data["shop"] = "Corner"``, ``for order in data["orders"]:  # 40`` and so on inwards."""
    pad = "    " * depth
    if isinstance(value, dict):
        return keyed(cast(dict[str, Any], value), name, depth)
    if not isinstance(value, list):
        return [f"{pad}{name} = {short(json.dumps(value, ensure_ascii=False), 40)}"]
    items = cast(list[Any], value)
    if not items:
        return [f"{pad}{name} = []"]
    if not isinstance(items[0], (dict, list)):
        return [f"{pad}{name} = {short(json.dumps(items[:3], ensure_ascii=False), 60)}  # {len(items)} items"]
    item = singular(name)
    inner = (
        keyed(merge(items[:200]), item, depth + 1) if isinstance(items[0], dict) else tree(items[0], item, depth + 1)
    )
    return [f"{pad}for {item} in {name}:  # {len(items)}", *inner]


def keyed(value: dict[str, Any], name: str, depth: int) -> list[str]:
    """An object's keys; of one that is really a table (many keys, values alike) the first."""
    keys = list(value)
    if len(keys) > 30 and len({type(value[key]).__name__ for key in keys}) == 1:
        pad = "    " * depth
        head = f"{pad}for key, value in {name}.items():  # {len(keys)}, first key {short(keys[0])!r}"
        return [head, *tree(value[keys[0]], "value", depth + 1)]
    return [
        line for key in keys[:30] for line in tree(value[key], f"{name}[{json.dumps(key, ensure_ascii=False)}]", depth)
    ]


def merge(items: list[Any]) -> dict[str, Any]:
    """All keys that the objects of a list have, each with its first value that is not null or empty."""
    whole: dict[str, Any] = {}
    for item in items:
        for key, value in cast(dict[str, Any], item).items() if isinstance(item, dict) else ():
            if whole.get(key) in (None, [], {}):
                whole[key] = value
    return whole
