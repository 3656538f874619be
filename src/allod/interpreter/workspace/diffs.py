"""Unified diffs of text files, bounded in size and time."""

import difflib
from itertools import islice

LARGEST = 512 * 1024  # bytes of a file that is compared line by line
MOST_LINES = 4000  # differing lines, either side; difflib's time grows with their product
SHOWN = 20_000  # characters of one diff


def text_of(data: bytes) -> str | None:
    """The text of a small file; None where it is binary or too large to compare."""
    if len(data) > LARGEST or b"\0" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def unified(path: str, before: bytes, after: bytes) -> str:
    """The diff from ``before`` to ``after``; empty where one of them is not text, or too large.

    >>> print(unified("a.txt", b"one\\ntwo\\n", b"one\\n2\\n"))
    --- a/a.txt
    +++ b/a.txt
    @@ -1,2 +1,2 @@
     one
    -two
    +2
    """
    old, new = text_of(before), text_of(after)
    if old is None or new is None:
        return ""
    a, b = old.splitlines(), new.splitlines()
    if too_many(a, b):
        return ""
    lines: list[str] = []
    size = 0
    for line in difflib.unified_diff(a, b, f"a/{path}", f"b/{path}", lineterm=""):
        size += len(line) + 1
        if size > SHOWN:
            lines.append("… (the diff goes on)")
            break
        lines.append(line)
    return "\n".join(lines)


def too_many(a: list[str], b: list[str]) -> bool:
    """Whether comparing would take long: what is left between the common head and tail is large."""
    start = sum(1 for _ in takewhile_same(a, b))
    end = sum(1 for _ in takewhile_same(a[start:][::-1], b[start:][::-1]))
    return min(len(a), len(b)) > start + end and max(len(a), len(b)) - start - end > MOST_LINES


def takewhile_same(a: list[str], b: list[str]):
    """The lines both begin with."""
    for one, other in islice(zip(a, b, strict=False), None):
        if one != other:
            return
        yield one
