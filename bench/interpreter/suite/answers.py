"""Numbers and words in what an interpreter said: strict on the value, lenient on how it is written.

1,234.5 and 1.234,5 and 1 234.5 and 1234.50 are the same number. Each function raises Wrong.
"""

import re
from collections.abc import Iterator, Mapping

from suite.task import Wrong

_TOKEN = re.compile(r"(?<!\w)(?<!\d[.,])[-+]?\.?\d+(?:[.,'’_]\d+)*(?:[eE][-+]?\d+)?")
_SPACED = re.compile(r"(?<!\w)(?<!\d[.,])[-+]?\d{1,3}(?:[ \u00a0\u202f\u2009]\d{3})+(?:[.,]\d+)?(?!\d)")
_GROUPED = (
    (r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", ","),
    (r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", "."),
    (r"\d{1,3}(?:['’_]\d{3})+(?:\.\d+)?", "'’_"),
)


def numbers(text: str) -> Iterator[float]:
    """Every value that the digits in a text can be read as."""
    text = text.replace("\u2212", "-").replace("{,}", ",").replace("\\,", "")
    for match in _TOKEN.finditer(text):
        yield from _values(match.group())
    for match in _SPACED.finditer(text):
        yield from _values(re.sub(r"\s", "", match.group()))


def _values(token: str) -> Iterator[float]:
    sign = -1.0 if token.startswith("-") else 1.0
    token = token.lstrip("+-")
    if re.fullmatch(r"\d*\.?\d+(?:[eE][-+]?\d+)?", token):
        yield sign * float(token)
    if re.fullmatch(r"\d+,\d+", token):
        yield sign * float(token.replace(",", "."))
    for pattern, marks in _GROUPED:
        if re.fullmatch(pattern, token):
            yield sign * float("".join("" if c in marks else c for c in token).replace(",", "."))


def has(text: str, value: float, within: float = 1e-9) -> bool:
    """Whether the number is somewhere in the text."""
    return any(abs(each - value) <= within for each in numbers(text))


def number(said: str, *values: float, within: float = 1e-9, what: str = "the number") -> None:
    """One of the values is said."""
    if not any(has(said, value, within) for value in values):
        raise Wrong(f"{what} {values[0]:g} is not said")


def word(said: str, *words: str) -> None:
    """Each word, or one of those between bars, is said."""
    for each in words:
        if not any(_found(said, name) for name in each.split("|")):
            raise Wrong(f"{each} is not said")


def _found(text: str, name: str) -> list[re.Match[str]]:
    return list(re.finditer(r"(?<!\w)" + re.escape(name) + r"(?!\w)", text, re.IGNORECASE))


def each(said: str, wanted: Mapping[str, float], within: float = 1e-9, reach: int = 160) -> None:
    """Each name is said with its number: all behind their names, all before them, or in a row below."""
    missing: list[str] = []
    for ahead in (True, False):
        missing = [
            name for name, value in wanted.items() if not _beside(said, name, wanted, value, within, reach, ahead)
        ]
        if not missing:
            return
    if not _below(said, wanted, within):
        raise Wrong(f"{missing[0]} is not said with {wanted[missing[0]]:g}")


def _beside(
    said: str, name: str, names: Mapping[str, float], value: float, within: float, reach: int, ahead: bool
) -> bool:
    """Whether the number follows (or precedes) the name, nothing but itself between the two."""
    others = sorted((m.start(), m.end()) for other in names if other != name for m in _found(said, other))
    for match in _found(said, name):
        if ahead:
            end = min((start for start, _ in others if start >= match.end()), default=len(said))
            part = said[match.end() : min(end, match.end() + reach)]
        else:
            begin = max((stop for _, stop in others if stop <= match.start()), default=0)
            part = said[max(begin, match.start() - reach) : match.start()]
        if has(part, value, within):
            return True
    return False


def _below(said: str, wanted: Mapping[str, float], within: float) -> bool:
    """Whether one line holds the names, and one of the next two the numbers in the same order."""
    lines = said.splitlines()
    for at, line in enumerate(lines):
        if all(_found(line, name) for name in wanted):
            order = sorted(wanted, key=lambda name: _found(line, name)[0].start())
            for below in lines[at + 1 : at + 3]:
                found = list(numbers(below))
                places = [next((i for i, n in enumerate(found) if abs(n - wanted[k]) <= within), -1) for k in order]
                if -1 not in places and places == sorted(places):
                    return True
    return False
