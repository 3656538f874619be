"""Where strings begin and end, line by line: just enough to tell a fence from a string that holds one.

Of Python the triple-quoted ones, of the shell the here-documents.
"""

import re

TRIPLE = ('"""', "'''")


class PythonQuotes:
    """Follows Python source. ``inside`` is true while a triple-quoted string is open at the end of the last line."""

    def __init__(self) -> None:
        self._open = ""

    @property
    def inside(self) -> bool:
        """Whether the next line begins inside a triple-quoted string."""
        return self._open in TRIPLE

    def line(self, text: str) -> None:
        """Follows one line (without its newline)."""
        self._open = scan(text, self._open)
        if self._open not in TRIPLE:
            self._open = ""  # a comment or a one-line string ends with its line

    def plain_after(self, text: str) -> bool:
        """Whether code, not a string or comment, would follow ``text`` on its line."""
        return scan(text, self._open) == ""


HEREDOC = re.compile(r"""(?<![<(\d])<<(-?)\s*(["']?)([A-Za-z_]\w*)\2""")


class Heredocs:
    """Follows shell code. ``inside`` is true while the next line belongs to a here-document."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []  # in order: "-" where tabs before the end are dropped; end

    @property
    def inside(self) -> bool:
        """Whether the next line belongs to one."""
        return bool(self._open)

    def line(self, text: str) -> None:
        """Follows one line (without its newline)."""
        if not self._open:
            code = text.partition(" #")[0]
            if "((" not in code:
                self._open = [(dash, end) for dash, _, end in HEREDOC.findall(code)]
            return
        dash, end = self._open[0]
        if (text.lstrip("\t") if dash else text).rstrip("\r") == end:
            del self._open[0]


def scan(text: str, inside: str) -> str:
    """What is open at the end of ``text``: a quote, ``#`` for a comment, or "" for code."""
    at = 0
    while at < len(text):
        char = text[at]
        if inside:
            if char == "\\":
                at += 2
                continue
            if text.startswith(inside, at):
                at += len(inside)
                inside = ""
                continue
        elif char == "#":
            return "#"
        elif char in "\"'":
            inside = char * 3 if text.startswith(char * 3, at) else char
            at += len(inside)
            continue
        at += 1
    return inside
