"""What is found out about one file, and how a column of a table is put into words. Runs in the job's Python."""

import builtins
import dataclasses
import importlib
import keyword
import re
import sys
from typing import Any

SAMPLE = 24  # longest example of a value, in characters


@dataclasses.dataclass
class Finding:
    """One file. ``about`` is one line and ``lines`` say more. ``load`` is code that reads it whole into ``name``; what
    it gives was looked at by running this very code, and ``what`` says what it is: "DataFrame, 12 rows".
    """

    path: str
    size: int
    kind: str = "file"
    about: str = ""
    lines: list[str] = dataclasses.field(default_factory=list[str])
    name: str = ""
    what: str = ""
    load: list[str] = dataclasses.field(default_factory=list[str])


def library(name: str) -> Any:
    """An optional library; raises ImportError where it is missing."""
    return importlib.import_module(name)


def quoted(text: str) -> str:
    """A Python string in double quotes where that is simple."""
    return f'"{text}"' if text.isprintable() and not set(text) & set("\"'\\") else repr(text)


def ran(lines: list[str], **scope: Any) -> dict[str, Any]:
    """The names after running the code that is given to the job."""
    exec(compile("\n".join(lines), "<load>", "exec"), scope)
    return scope


def short(value: object, limit: int = SAMPLE) -> str:
    """A value on one line, cut."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def variable(path: str) -> str:
    """A Python name made from a file's name: ``2024 Sales.csv`` → sales. Each path has its own, none hides a module."""
    if path not in NAMES:
        stem = re.sub(r"\.\w+$", "", path.rpartition("/")[2])
        name = re.sub(r"^[\d_]+|_+$", "", re.sub(r"\W+", "_", stem).lower())
        if not name.isidentifier() or keyword.iskeyword(name) or name in TAKEN:
            name = f"{name}_data" if name.isidentifier() else "data"
        NAMES[path] = name if name not in NAMES.values() else f"{name}_{len(NAMES)}"
    return NAMES[path]


NAMES: dict[str, str] = {}
TAKEN = {*dir(builtins), *sys.stdlib_module_names, "pd", "np", "plt", "requests", "openpyxl", "pdfplumber", "docx"}


def columns(frame: Any, most: int = 14) -> str:
    """The columns of a DataFrame with what they hold: ``region (Nord, Süd), units (1 to 50)``."""
    said = [column(frame[name], name) for name in list(frame.columns)[:most]]
    more = [str(name) for name in list(frame.columns)[most:60]]
    return ", ".join(said) + (", " + ", ".join(more) if more else "")


def column(series: Any, name: object) -> str:
    """One column: its name, what it holds, how many cells are empty."""
    types = library("pandas").api.types
    kept = series.dropna()
    empty = int(len(series) - len(kept))
    if not len(kept):
        what = "empty"
    elif types.is_bool_dtype(kept):
        what = "True/False"
    elif types.is_numeric_dtype(kept):
        what = number_column(kept)
    elif types.is_datetime64_any_dtype(kept):
        what = f"dates {kept.min():%Y-%m-%d} to {kept.max():%Y-%m-%d}"
    else:
        what = text_column(kept)
    return f"{name} ({what}{f', {empty} empty' if empty and len(kept) else ''})"


def number_column(kept: Any) -> str:
    """Few whole numbers that come again and again are codes or choices, and are listed; else the range."""
    values = sorted(kept.unique().tolist())[:8] if len(kept) >= 30 else []
    if 1 < len(values) < 8 and all(float(value).is_integer() for value in values):
        return " | ".join(str(int(value)) for value in values)
    return f"{kept.min():g} to {kept.max():g}" if abs(kept.max()) < 1e6 else f"{kept.min()} to {kept.max()}"


def nearly_numbers(kept: Any) -> str:
    """Of a column of text that is numbers but for some cells: which those are."""
    if not (odd := no_numbers(kept)):
        return ""
    return f'text: numbers, but {told(odd)}; pd.to_numeric(…, errors="coerce")'


def no_numbers(kept: Any) -> list[str]:
    """The cells of a column that are no numbers, where at least four of five are; empty where all or too few are."""
    if not len(kept) or not all(isinstance(value, str) for value in kept.iloc[:1000]):
        return []
    odd = kept[library("pandas").to_numeric(kept, errors="coerce").isna()]
    return [str(value) for value in odd] if len(odd) <= 0.2 * len(kept) else []


def told(odd: list[str]) -> str:
    """``3 are none: "ERR", "-"``."""
    found = ", ".join(f'"{short(value, 12)}"' for value in list(dict.fromkeys(odd))[:4])
    return f"{len(odd)} {'is' if len(odd) == 1 else 'are'} none: {found}"


def text_column(kept: Any) -> str:
    """Few different values are listed, many are shown by the first; of numbers, what is none."""
    if isinstance(kept.iloc[0], list):
        joined = '; .str.join("; ") makes text of them' if kept.iloc[0] and isinstance(kept.iloc[0][0], str) else ""
        return f"lists, e.g. {short(kept.iloc[0])}{joined}"
    if said := nearly_numbers(kept):
        return said
    try:
        values = list(kept.value_counts().index[:7])
    except TypeError:  # lists or dicts in the cells
        return f"e.g. {short(kept.iloc[0])}"
    if len(values) <= 6 and len(kept) > len(values) and all(len(str(v)) <= SAMPLE for v in values):
        return " | ".join(str(v) for v in values)
    return f'text, e.g. "{short(kept.iloc[0])}"'


def singular(name: str) -> str:
    """A loop variable for a list's name: ``data["orders"]`` → order."""
    word = re.sub(r"\W+", "_", (re.findall(r'"([^"]*)"', name) or ["rows"])[-1]).strip("_").lower()
    for end, put in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(end) and len(word) > len(end) + 1:
            word = word.removesuffix(end) + put
            break
    else:
        word = "one_" + word
    return word if word.isidentifier() else "item"
