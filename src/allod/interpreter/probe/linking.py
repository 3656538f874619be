"""Finds what words of a task mean in tables: "404" is a value of status, city the column customer.city.

Runs in the job's Python.
"""

import json
import re
from typing import Any

from allod.interpreter.probe.finding import library, quoted

CHOICES = 200  # a column with more different values is no list of choices
ROWS = 200_000  # looked at
MOST = 4  # values that are told
LONGEST = 40  # characters of a value


def values(task: str, names: list[str], there: dict[str, Any]) -> str:
    """A JSON list of lines such as ``404 and 200 are values of status``, of the DataFrames among ``names``.

    What is a value of several columns, or is itself the name of a column, tells nothing and is left out.
    """
    frames = [there[name] for name in names if type(there.get(name)).__name__ == "DataFrame"]
    if not frames:
        return "[]"
    columns = {str(column).casefold() for frame in frames for column in frame.columns}
    places: dict[str, set[str]] = {}  # a value as the task writes it → the columns that hold it
    for frame in frames:
        for place, column in enumerate(frame.columns):
            for value in choices(frame.iloc[:ROWS, place]):
                if value.casefold() not in columns and (said := written(value, task)):
                    places.setdefault(said, set()).add(str(column))
    held: dict[str, list[str]] = {}
    for said in sorted(places, key=task.find)[: 4 * MOST]:
        if len(places[said]) == 1 and not any(said in other and said != other for other in places):
            held.setdefault(next(iter(places[said])), []).append(said)
    lines = [f"{listed(found[:MOST])} of {column}" for column, found in held.items()]
    return json.dumps(lines[:MOST])


def columns(asked: list[str], names: list[str], there: dict[str, Any]) -> str:
    """A JSON list of at most one line, with the code that gives columns the shorter names that are asked for."""
    for name in reversed(names):  # the innermost list is read last
        if type(there.get(name)).__name__ == "DataFrame":
            have = [str(column) for column in there[name].columns]
            missing = [each for each in asked if key(each) not in map(key, have)]
            found = renames(missing, [each for each in have if key(each) not in map(key, asked)])
            if found:
                said = ", ".join(f"{quoted(old)}: {quoted(new)}" for old, new in found.items())
                return json.dumps([f"{name} has them so: {name}.rename(columns={{{said}}})"])
    return "[]"


def choices(series: Any) -> list[str]:
    """The values of a column of which many are alike: codes, kinds, names. Measured quantities are none."""
    types = library("pandas").api.types
    if types.is_bool_dtype(series) or types.is_float_dtype(series) or types.is_datetime64_any_dtype(series):
        whole = types.is_float_dtype(series) and series.isna().any() and (series.dropna() % 1 == 0).all()
        if not whole:  # whole numbers with gaps are floats
            return []
    try:
        found = series.dropna().unique().tolist()
    except TypeError:  # lists or dicts in the cells
        return []
    if not 1 < len(found) <= min(CHOICES, max(2, len(series) // 2)):
        return []
    texts = [str(int(value)) if isinstance(value, float) else str(value).strip() for value in found]
    return [text for text in texts if 1 < len(text) <= LONGEST]


def written(value: str, task: str) -> str:
    """A value as the task writes it; empty where it does not. Numbers and short words have to be written the same."""
    exact = len(value) < 4 or value.isdigit()
    match = re.search(rf"(?<![\w.,-]){re.escape(value)}(?![\w-]|[.,]\w)", task, 0 if exact else re.IGNORECASE)
    return match[0] if match else ""


def listed(found: list[str]) -> str:
    """``404 is a value``, ``404 and 200 are values``."""
    return f"{' and '.join(found)} {'is a value' if len(found) == 1 else 'are values'}"


def renames(missing: list[str], there: list[str]) -> dict[str, str]:
    """Which columns are what is missing under a longer name, one part of which it is: where only one can be.

    The last part tells most, then the first; of several columns that begin so, the one with the fewest parts.

    >>> renames(["customer", "city"], ["customer.name", "customer.address.city", "customer.address.zip"])
    {'customer.address.city': 'city', 'customer.name': 'customer'}
    """
    found: dict[str, str] = {}
    parts = {name: [key(part) for part in re.split(r"[._/ ]+", name) if key(part)] for name in there}
    for place in (-1, 0):
        for name in missing:
            near = [each for each in there if each not in found and len(parts[each]) > 1]
            near = [each for each in near if parts[each][place] == key(name)]
            fewest = min((len(parts[each]) for each in near), default=0)
            near = [each for each in near if len(parts[each]) == fewest]
            if len(near) > 1:  # an artist is called by the name
                near = [each for each in near if parts[each][-1] in ("name", "title")]
            if len(near) == 1 and name not in found.values():
                found[near[0]] = name
    return found


def key(name: str) -> str:
    """A column's name by its letters and digits."""
    return re.sub(r"[\W_]", "", name.casefold())
