"""Finds the words of a task that are values of a column: "404" of status, "Lyon" of city. Runs in the job's Python."""

import json
import re
from typing import Any

from allod.interpreter.probe.finding import library

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
