"""XML as the loops and calls that reach what it holds, and the tables of web pages. Runs in the job's Python."""

import xml.etree.ElementTree as ET
from pathlib import Path

from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, short, variable
from allod.interpreter.probe.texts import plain, read, singular

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
    finding.lines = within([root], name, "", 0)[:MOST]


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
