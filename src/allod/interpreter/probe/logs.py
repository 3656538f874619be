"""The fields of a log's lines, named by what they hold, and the pattern that reads them. Runs in the job's Python."""

import re

from allod.interpreter.probe.finding import Finding, columns, library, quoted, ran, short, variable

TOKEN = r"\[[^\]]*\]|\"[^\"]*\"|\S+"
LEVELS = {"TRACE", "DEBUG", "INFO", "NOTICE", "WARN", "WARNING", "ERROR", "CRITICAL", "FATAL", "SEVERE", "ALERT"}
DATE = r"\d{4}[-/]\d\d[-/]\d\d"
TIME = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
# What a field may be: name, the pattern of one such field, and the group that catches its value.
KINDS = (
    ("time", rf"{DATE}[T ]{TIME}\S*", r"(?P<time>\S+)"),
    ("time", r"\[\d\d?/\w{3}/\d{4}:[\d:]+ [+-]\d{4}\]", r"\[(?P<time>[^\]]+)\]"),
    ("time", rf"\d\d?/\w{{3}}/\d{{4}}:{TIME}", r"(?P<time>\S+)"),
    ("date", DATE, r"(?P<date>\S+)"),
    ("time", rf"\[?{TIME}\]?", r"\[?(?P<time>[\d:.,]+)\]?"),
    ("ip", r"\d{1,3}(?:\.\d{1,3}){3}", r"(?P<ip>\S+)"),
    ("request", r'"[A-Z]+ \S+ [A-Z]+/[\d.]+"', r'"(?P<method>[A-Z]+) (?P<path>\S+) [^"]*"'),
    ("method", r"GET|POST|PUT|DELETE|HEAD|PATCH|OPTIONS", r"(?P<method>[A-Z]+)"),
    ("path", r"/\S*", r"(?P<path>\S+)"),
    ("status", r"[1-5]\d\d", r"(?P<status>\d+)"),
    ("size", r"\d+|-", r"(?P<size>\d+|-)"),
    ("ms", r"\d+(?:\.\d+)?ms", r"(?P<ms>[\d.]+)ms"),
    ("seconds", r"\d+\.\d+s?", r"(?P<seconds>[\d.]+)s?"),
)
PLAIN = {'"': r'"(?P<{}>[^"]*)"', "[": r"\[(?P<{}>[^\]]*)\]"}  # any other field, by how it begins


def looks_logged(suffix: str, lines: list[str]) -> bool:
    """Whether it is called a log, or is long and nearly every line begins with a date, a time or an address."""
    if suffix.lower() == ".log":
        return len(lines) > 1
    first = re.compile(rf"\[?(?:{DATE}|{TIME}|\d{{1,3}}(?:\.\d{{1,3}}){{3}}|\d\d?/\w{{3}}/\d{{4}})")
    return len(lines) > 20 and sum(bool(first.match(line)) for line in lines) > 0.9 * len(lines)


def log(finding: Finding, lines: list[str], encoding: str) -> bool:
    """Finds a pattern that reads all lines (nearly); false where there is none worth having."""
    rows = [re.findall(TOKEN, line) for line in lines[:5000]]
    width = min((len(row) for row in rows), default=0)
    if width < 3:
        return False
    pattern, numbers = pattern_of(rows, width)
    if sum(bool(re.match(pattern, line)) for line in lines) < 0.98 * len(lines):
        return False
    name = finding.name = variable(finding.path)
    file = f'open({quoted(finding.path)}, encoding="{encoding}")'
    finding.load = [
        f"pattern = r'''{pattern}'''",
        f"{name} = pd.DataFrame([m.groupdict() for m in map(re.compile(pattern).match, {file}) if m])",
    ]
    if numbers:
        listed = ", ".join(f'"{number}"' for number in numbers)
        finding.load.append(f'{name}[[{listed}]] = {name}[[{listed}]].apply(pd.to_numeric, errors="coerce")')
    if "(?P<time>" in pattern and (made := time_line(name, lines, pattern)):
        finding.load.append(made)
    frame = ran(finding.load, pd=library("pandas"), re=re)[name]
    finding.kind = "log"
    finding.what = f"a DataFrame, {len(frame)} lines, columns: {columns(frame)}"
    finding.lines.append("a line of the file: " + short(lines[0], 140))
    return True


def pattern_of(rows: list[list[str]], width: int) -> tuple[str, list[str]]:
    """The pattern for the fields that all lines have (and the message, if any), and the names that hold numbers."""
    varied = max(map(len, rows)) > width
    if varied:  # lines of several lengths end in a message: it begins after the last field of a known kind
        width = max((at + 1 for at in range(width) if known([row[at] for row in rows])), default=0)
    parts: list[str] = []
    numbers: list[str] = []
    used: set[str] = set()
    at = 0
    while at < width:
        values = [row[at] for row in rows]
        both = [f"{row[at]} {row[at + 1]}" for row in rows] if at + 1 < width else []
        if both and all(re.fullmatch(rf"{DATE} {TIME}", value) for value in both):
            parts.append(r"(?P<time>\S+ \S+)")
            used.add("time")
            at += 2
            continue
        name, part = field(values, at, used)
        if re.fullmatch(r"(status|size|number|ms|seconds)(_\d+)?", name):
            numbers.append(name)
        used.add(name)
        parts.append(part)
        at += 1
    pattern = r"\s+".join(parts)
    return (pattern + r"\s+(?P<message>.*)" if varied else pattern), numbers


def known(values: list[str]) -> bool:
    """Whether the values are of a kind: one that has a name, a level, a source with its colon, bracketed or quoted."""
    kinds = [kind for _, kind, _ in KINDS] + [r"\[.*\]", r"\".*\"", r"\S+:", "-"]
    level = all(value.strip("[]():").upper() in LEVELS for value in values)
    return level or any(all(re.fullmatch(kind, value) for value in values) for kind in kinds)


def field(values: list[str], at: int, used: set[str]) -> tuple[str, str]:
    """A name and a pattern with that group for one field, by all its values."""
    if set(values) == {"-"} or set(values) == {'"-"'}:
        return "", re.escape(values[0])
    if all(value.strip("[]():").upper() in LEVELS for value in values):
        return "level", r"\W*(?P<level>\w+)\W*"
    for name, kind, part in KINDS:
        if all(re.fullmatch(kind, value) for value in values):
            if name == "size" and "status" not in used:
                name, part = "number", r"(?P<number>\S+)"
            free = unique(name, used)
            return free, part.replace(f"(?P<{name}>", f"(?P<{free}>")
    name = "agent" if all(value.startswith('"') for value in values) and "method" in used else f"word{at + 1}"
    if all(value.endswith(":") for value in values):
        return unique("source", used), rf"(?P<{unique('source', used)}>\S+):"
    free = unique(name, used)
    return free, PLAIN.get(values[0][0], r"(?P<{}>\S+)").format(free)


def unique(name: str, used: set[str]) -> str:
    """``size``, or ``size_2`` where that is taken."""
    return name if name not in used else next(n for n in (f"{name}_{i}" for i in range(2, 99)) if n not in used)


def time_line(name: str, lines: list[str], pattern: str) -> str:
    """The line that turns the times into dates, where they have one."""
    found = re.match(pattern, lines[0])
    value = found["time"] if found else ""
    if re.fullmatch(rf"{DATE}[T ]{TIME}\S*", value):
        return f'{name}["time"] = pd.to_datetime({name}["time"])'
    if re.fullmatch(r"\d\d?/\w{3}/\d{4}:\d\d:\d\d:\d\d", value):
        return f'{name}["time"] = pd.to_datetime({name}["time"], format="%d/%b/%Y:%H:%M:%S")'
    if re.fullmatch(r"\d\d?/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}", value):
        return f'{name}["time"] = pd.to_datetime({name}["time"], format="%d/%b/%Y:%H:%M:%S %z")'
    return ""
