"""Where Python's strings begin and end, line by line: just enough to tell a fence from a string that holds one."""

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
