"""XML as the tables it holds or as the calls that reach what it holds, and the tables of web pages.

Runs in the job's Python.
"""

import keyword
import xml.etree.ElementTree as ET
from pathlib import Path

from allod.interpreter.probe.documents import numeric_lines
from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, short, singular, variable
from allod.interpreter.probe.texts import plain, read

MOST = 40  # lines
DEEPEST = 8  # elements within each other that are told
ENTITY = "<!ENTITY"  # the beginning of files that are small and grow huge when they are read


def xml(path: Path, finding: Finding) -> None:
    """Its elements, what is in them, and which of them come several times or are missing in some."""
    text, _ = read(path)
    if ENTITY in text:
        raise ValueError("it declares entities")
    root = ET.fromstring(path.read_bytes())
    name = finding.name = variable(finding.path)
    finding.kind = "xml"
    finding.about = f"XML, {sum(1 for _ in root.iter())} elements"
    finding.what = f"the root element, {local(root.tag)}, by xml.etree.ElementTree"
    finding.load = [f"{name} = ET.parse({quoted(finding.path)}).getroot()"]
    lines = within([root], name, "", 0)[:MOST]
    if made := tables(root, finding):
        lines = made + [line for line in lines if not line.startswith((" ", "for "))][:6]
    finding.lines = lines


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def tables(root: ET.Element, finding: Finding) -> list[str]:
    """Adds code that makes a DataFrame of the elements that come again and again, and one of those within these.

    What it says of them; nothing where there are none, or what they hold is not regular.
    """
    if not (path := repeated(root)):
        return []
    rows = root.findall(path)
    each = variable_of(rows[0].tag)
    outer, inner = fields(rows, each, "", ())
    loop = f"for {each} in {finding.name}.findall({quoted(path)})"
    made = [frame_line(finding, rows[0].tag, outer, loop)]
    if len(inner) == 1:
        items = [item for row in rows for item in row.findall(inner[0])]
        item = variable_of(items[0].tag)
        own, deeper = fields(items, item, "", ())
        around = {f"{each}.{name}" if name in own else name: code for name, code in outer.items()}
        if own and not deeper:
            made.append(
                frame_line(
                    finding, items[0].tag, around | own, f"{loop} for {item} in {each}.findall({quoted(inner[0])})"
                )
            )
    lines: list[str] = []
    scope = {"pd": library("pandas"), "ET": ET}
    for line in made:
        own = line.partition(" = ")[0]
        found = ran([*finding.load, line], **scope)[own]
        more = numeric_lines(own, list(found.columns), found.to_numpy().tolist())
        finding.load += [line, *more]
        found = ran(finding.load, **scope)[own]
        lines.append(f"{own} is a DataFrame of it, {len(found)} rows, columns: {columns(found)}")
    return lines


def frame_line(finding: Finding, tag: str, held: dict[str, str], loop: str) -> str:
    """The line that makes the DataFrame."""
    name = local(tag)
    own = variable(f"{finding.path}/{name[:-1] + 'ies' if name.endswith('y') else name + 's'}")
    cells = ", ".join(f"{quoted(name)}: {code}" for name, code in held.items())
    return f"{own} = pd.DataFrame([{{{cells}}} {loop}])"


def repeated(root: ET.Element) -> str:
    """The path to the outermost elements that come several times and hold more than text; empty without such."""
    paths: list[tuple[ET.Element, str]] = [(root, "")]
    for at, path in paths:  # grows while it is read
        for tag in dict.fromkeys(child.tag for child in at):
            same = at.findall(step(tag))
            if len(same) > 1 and any(len(e) or e.attrib for e in same):
                return f"{path}{step(tag)}"
            if len(same) == 1 and path.count("/") < DEEPEST:
                paths.append((same[0], f"{path}{step(tag)}/"))
    return ""


def fields(rows: list[ET.Element], each: str, path: str, above: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """What each of the rows holds, column → code that gets it; and the paths of rows within them."""
    found: dict[str, str] = {}
    inner: list[str] = []

    def add(name: str, code: str) -> None:
        found[name if name not in found else ".".join((*above, name)) if above else f"{name}_2"] = code

    places = rows if not path else [e for row in rows for e in row.findall(path)]
    whole = len(places) == len(rows)  # each row has the element once
    for key in dict.fromkeys(key for e in places for key in e.attrib):
        if not path:
            add(key, f"{each}.get({quoted(key)})")
        elif whole:
            add(key, f"{each}.find({quoted(path)}).get({quoted(key)})")
    for tag in dict.fromkeys(child.tag for e in places for child in e):
        here, name = f"{path}/{step(tag)}".lstrip("/"), local(tag)
        same = [child for e in places for child in e if child.tag == tag]
        several = any(sum(child.tag == tag for child in e) > 1 for e in places)
        if any(len(child) for child in same):
            if several:
                inner.append(here)
                continue
            more, deeper = fields(rows, each, here, (*above, name))
            for key, code in more.items():
                add(key if key not in found else f"{name}.{key}", code)
            inner += deeper
        elif several:
            add(f"{name}s", f"[e.text for e in {each}.findall({quoted(here)})]")
        else:
            if any(child.text and child.text.strip() for child in same):
                add(name, f"{each}.findtext({quoted(here)})")
            keys = dict.fromkeys(key for child in same for key in child.attrib) if len(same) == len(rows) else ()
            for key in keys:
                add(key, f"{each}.find({quoted(here)}).get({quoted(key)})")
    return found, inner


def variable_of(tag: str) -> str:
    """A loop variable for an element."""
    name = local(tag).replace("-", "_").lower()
    return name if name.isidentifier() and not keyword.iskeyword(name) and name not in ("e", "pd") else "element"


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def within(elements: list[ET.Element], name: str, path: str, depth: int) -> list[str]:
    """What elements with the same place have in them; ``path``: from the one called ``name`` down to them."""
    pad = "    " * depth
    found = list(elements) if not path else [e for each in elements for e in each.findall(path)]
    lines: list[str] = []
    if not path:
        lines += [
            f"{pad}{name}.get({quoted(key)}) = {quoted(short(value))}{some(sum(key in e.attrib for e in found), found)}"
            for key, value in {k: v for e in reversed(found) for k, v in e.attrib.items()}.items()
        ]
    tags = dict.fromkeys(child.tag for e in found for child in e)
    for tag in tags if depth < DEEPEST else ():
        lines += children(elements, found, name, f"{path}/{step(tag)}".lstrip("/"), str(tag), depth)
    return lines


def children(
    elements: list[ET.Element], parents: list[ET.Element], name: str, path: str, tag: str, depth: int
) -> list[str]:
    """The children of one tag: a loop where they come several times, else the call that gets the one."""
    pad = "    " * depth
    counts = [sum(child.tag == tag for child in e) for e in parents]
    found = [child for e in parents for child in e if child.tag == tag]
    inner = any(len(child) for child in found)
    text = next((child.text.strip() for child in found if child.text and child.text.strip()), "")
    if max(counts) > 1:
        each = singular(f'"{local(tag)}"') if local(tag).endswith("s") else local(tag).replace("-", "_")
        each = each if each.isidentifier() and each != name else f"one_{depth}"
        many = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        head = f"{pad}for {each} in {name}.findall({quoted(path)}):  # {many}"
        said = [f"{pad}    {each}.text = {quoted(short(text))}"] if text and not inner else []
        return [head, *said, *within(found, each, "", depth + 1)]
    lines: list[str] = []
    if text or not (inner or any(child.attrib for child in found)):
        lines.append(f"{pad}{name}.findtext({quoted(path)}) = {quoted(short(text))}{some(sum(counts), parents)}")
    for key, value in {k: v for child in found for k, v in child.attrib.items()}.items():
        lines.append(f"{pad}{name}.find({quoted(path)}).get({quoted(key)}) = {quoted(short(value))}")
    return lines + (within(elements, name, path, depth) if inner else [])


def some(count: int, of: list[ET.Element]) -> str:
    """Says so where not all have it."""
    return f"  # in {count} of {len(of)}" if count < len(of) else ""


def step(tag: str) -> str:
    """A tag as a path takes it; in a namespace, whichever."""
    return "{*}" + local(tag) if tag.startswith("{") else tag


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def page(path: Path, finding: Finding) -> None:
    """The tables of a web page; without one it is text."""
    if b"<table" not in path.read_bytes().lower():
        return plain(path, finding)
    pandas = library("pandas")
    _, encoding = read(path)
    name = finding.name = variable(finding.path)
    place = f"{quoted(finding.path)}, encoding={quoted(encoding)}"
    tables = ran([f"{name} = pd.read_html({place})"], pd=pandas)[name]
    finding.about = f"web page, {len(tables)} table{'s' * (len(tables) > 1)}"
    finding.kind = "table"
    if len(tables) == 1:
        finding.load = [f"{name} = pd.read_html({place})[0]"]
        finding.what = f"a DataFrame of its table, {len(tables[0])} rows, columns: {columns(tables[0])}"
        return None
    finding.load = [f"{name} = pd.read_html({place})"]
    finding.what = f"a list of its {len(tables)} tables as DataFrames"
    for at, table in enumerate(tables[:8]):
        finding.lines.append(f"{name}[{at}]: {len(table)} rows, columns: {columns(table)}")
    return None
