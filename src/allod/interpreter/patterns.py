"""What an example of a name stands for: "named like IMG_20230514_101010.jpg to the form 2023-05-14_101010.jpg".

A small model takes such a name literally. From the two a pattern follows, by programming by example in its simplest
form: the digits of the second are found in the first, in order, and what lies between is fixed.
"""

import re
from itertools import pairwise

NAME = r"[\"'`]?(?P<{}>[\w.+-]*\d[\w.+-]*[\w]|[\w+-]+(?: [\w+-]+)*\.\w+)[\"'`]?"
LIKE = re.compile(
    rf"\b(?:like|such as|as in|e\.g\.)\s+{NAME.format('old')}\s+(?:\w+\s+){{0,4}}?(?:to|into|as|become)"
    rf"\s+(?:be\s+|the form\s+|the format\s+|look like\s+|named like\s+|like\s+)?{NAME.format('new')}",
    re.IGNORECASE,
)


def renaming(task: str) -> str:
    """What a renaming by example comes to, as a line for the model; empty where the task has none that is clear."""
    match = LIKE.search(task)
    if match is None:
        return ""
    old, new = match["old"], match["new"]
    found = pattern(old, new)
    if found is None:
        return ""
    regex, form = found
    return f'names like {old} match r"{regex}" and become f"{form}"'


def pattern(old: str, new: str) -> tuple[str, str] | None:
    """A regular expression for names like ``old``, and an f-string over its match ``m`` that makes ``new`` of it.

    >>> pattern("scan 05_20240312.pdf", "2024-03-12_05.pdf")
    ('scan (\\\\d+)_(\\\\d{4})(\\\\d{2})(\\\\d{2})\\\\.pdf', '{m[2]}-{m[3]}-{m[4]}_{m[1]}.pdf')
    """
    pieces = re.split(r"(\d+)", new)
    places = [place(old, piece, pieces[:n]) for n, piece in enumerate(pieces) if piece.isdigit()]
    if not places or old == new or None in places:
        return None
    known = sorted({each for each in places if each is not None})
    if any(one[1] > other[0] for one, other in pairwise(known)):
        return None  # they overlap
    numbers = iter(known.index(each) + 1 for each in places if each is not None)
    form = "".join(
        f"{{m[{next(numbers)}]}}" if piece.isdigit() else piece.replace("{", "{{").replace("}", "}}")
        for piece in pieces
    )
    regex, end = "", 0
    for start, stop in known:
        whole = not old[start - 1 : start].isdigit() and not old[stop : stop + 1].isdigit()
        regex += fixed(old[end:start]) + (r"(\d+)" if whole else rf"(\d{{{stop - start}}})")
        end = stop
    return regex + fixed(old[end:]), form


def place(old: str, digits: str, before: list[str]) -> tuple[int, int] | None:
    """Where digits stand in a name: after those that the new name has before them if they can, else where they are."""
    at = 0
    for piece in before:
        found = old.find(piece, at) if piece.isdigit() else -1
        at = found + len(piece) if found >= 0 else at
    start = old.find(digits, at)
    start = old.find(digits) if start < 0 else start
    return None if start < 0 else (start, start + len(digits))


def fixed(text: str) -> str:
    """The part of a name between: its letters as they are, further digits as any."""
    return re.sub(r"\d+", r"\\d+", re.sub(r"\\([- ])", r"\1", re.escape(text)))
