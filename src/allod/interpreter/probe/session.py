"""What the variables of a session hold, put as the listing puts it. Runs in the job's Python."""

import json
from typing import Any

from allod.interpreter.probe.finding import columns, short

MOST = 8  # the latest ones
PLAIN = (int, float, complex, bool, str, bytes, type(None))
OWN = {"In", "Out", "exit", "quit", "get_ipython"}


def variables(names: dict[str, Any]) -> str:
    """The variables that code made, latest last, as a JSON list of lines: ``sales is a DataFrame, 12 rows, …``."""
    said: list[str] = []
    for name, value in names.items():
        if name.startswith("_") or name in OWN or callable(value) or type(value).__name__ == "module":
            continue
        try:
            said.append(f"{name} is {describe(value)}")
        except Exception:  # noqa: BLE001  # whatever a value's own methods do
            said.append(f"{name} is a {type(value).__name__}")
    return json.dumps(said[-MOST:])


def describe(value: Any) -> str:
    """One value in a line."""
    kind: str = type(value).__name__
    pandas = type(value).__module__.partition(".")[0] == "pandas"
    if pandas and kind == "DataFrame":
        return f"a DataFrame, {len(value)} rows, columns: {columns(value)}"
    if pandas and kind == "Series":
        return f"a Series of {value.dtype}, {len(value)} values, first {short(value.iloc[0]) if len(value) else 'none'}"
    if isinstance(value, str) and len(value) > 60:
        return f"a text of {len(value)} characters, begins {short(value, 50)!r}"
    if isinstance(value, PLAIN):
        return short(repr(value), 60)
    if isinstance(value, dict):
        return f"a dict of {len(value)}, keys: {short(', '.join(map(str, list(value)[:12])), 80)}"  # pyright: ignore
    if isinstance(value, (list, tuple, set)):
        first = short(repr(next(iter(value))), 50) if value else "none"  # pyright: ignore
        return f"a {kind} of {len(value)}, first {first}"  # pyright: ignore
    return f"a {kind}"
