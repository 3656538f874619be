"""Where strings begin and end, line by line: just enough to tell a fence from a string that holds one.

Of Python the triple-quoted ones, of the shell the here-documents, of JavaScript template literals and comments.
"""

import re
from typing import Protocol

TRIPLE = ('"""', "'''")


class Quotes(Protocol):
    """Follows the source of one language, line by line."""

    @property
    def inside(self) -> bool:
        """Whether the next line begins inside a string."""
        ...

    def line(self, text: str) -> None:
        """Follows one line (without its newline)."""
        ...


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


class TemplateLiterals:
    """Follows JavaScript. ``inside`` is true while a template literal or a ``/* … */`` is open.

    A fence that stands alone in a template literal is taken for part of it, though JavaScript would want its backticks
    escaped: the engine's word on that is worth more to a model than half of its code.
    """

    def __init__(self) -> None:
        self._open: list[str] = []  # "`", "{" (an expression in a literal, or braces in that) and "*", outermost first

    @property
    def inside(self) -> bool:
        """Whether the next line begins in text, or in an expression within it."""
        return bool(self._open)

    def line(self, text: str) -> None:
        """Follows one line (without its newline)."""
        if self._open[-1:] == ["`"] and FENCE_LINE.match(text):
            return
        at = 0
        while at < len(text):
            if (
                token := (OUTSIDE if self._open[-1:] in ([], ["{"]) else WITHIN[self._open[-1]]).search(text, at)
            ) is None:
                return
            at = token.end()
            self._take(token[0])

    def _take(self, token: str) -> None:
        """Opens or closes what a token opens or closes; strings, regular expressions and escapes come as a whole."""
        inner = self._open[-1] if self._open else ""
        if token in ("`", "*/", "}") and inner == {"`": "`", "*/": "*", "}": "{"}[token]:
            self._open.pop()
        elif token in ("`", "/*"):
            self._open.append(token[-1])
        elif token == "${" or (token == "{" and inner == "{"):
            self._open.append("{")


FENCE_LINE = re.compile(r"\s*`{3,}[\w+#-]*\s*$")
WITHIN = {"`": re.compile(r"\\.|`|\$\{"), "*": re.compile(r"\*/")}
OUTSIDE = re.compile(
    r"""//.*|/\*|`|[{}]"""
    r"""|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?"""
    # A slash behind an operator, or first on its line, begins a regular expression; behind a value it divides.
    r"""|(?:(?<=[=(,:\[!&|?{};+*%~^<>-])|(?<=return)|^)\s*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\\[])+/"""
)


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
