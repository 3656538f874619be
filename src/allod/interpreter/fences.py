"""A fenced block while it is open: its lines, and whether the next one closes it or is part of a string in the code."""

from allod.interpreter.calls import JSON_LIKE, Block
from allod.interpreter.quotes import Heredocs, PythonQuotes, Quotes, TemplateLiterals

PYTHON = frozenset({"python", "py", "python3", "ipython"})
SHELL = frozenset({"bash", "sh", "shell", "zsh"})
JAVASCRIPT = frozenset({"javascript", "js", "mjs", "node", "deno", "typescript", "ts"})


class Fence:
    """An open block: its fence and the lines so far."""

    def __init__(self, mark: str, length: int, indent: str, language: str) -> None:
        self.mark, self.length, self.indent, self.language = mark, length, indent, language
        self.held = language in JSON_LIKE  # may turn out to be a call: shown when it is whole
        self._lines: list[str] = []
        self._fresh: list[str] = []
        self._quotes = PythonQuotes() if language in PYTHON else None
        self._loose = loose_quotes(language)
        self._maybe: int | None = None  # the line that closes it, should the string around it have no end

    def take(self, line: str, newline: str) -> bool:
        """Takes one line; true where it closes the block."""
        line = line.removeprefix(self.indent) if line.startswith(self.indent) else line.lstrip(" \t")
        bare = line.strip()
        closing = len(bare) >= self.length and bare == self.mark * len(bare)
        if self._loose and self._loose.inside:
            if closing and self._maybe is None:
                self._maybe = len(self._lines)
        elif not (self._quotes and self._quotes.inside):
            if closing:
                return True
            if (code := self._closed_at_end(line)) is not None:
                self._add(code + "\n")
                return True
        if self._quotes:
            self._quotes.line(line)
        if self._loose:
            self._loose.line(line)
            if not self._loose.inside and self._maybe is not None:
                self._fresh += self._lines[self._maybe :]
                self._maybe = None
        self._add(line + newline)
        return False

    def _closed_at_end(self, line: str) -> str | None:
        """Python whose last line ends in the fence, outside strings and comments: no valid Python ends so."""
        text = line.rstrip()
        if self._quotes is None or self.mark != "`" or not text.endswith("`" * self.length):
            return None
        code = text.rstrip("`")
        return code if len(text) - len(code) == self.length and self._quotes.plain_after(code) else None

    def _add(self, text: str) -> None:
        self._lines.append(text)
        if not self.held and self._maybe is None:
            self._fresh.append(text)

    def fresh(self) -> str:
        """The lines not yet passed on."""
        text = "".join(self._fresh)
        self._fresh.clear()
        return text

    def last(self) -> tuple[Block, str]:
        """The block where the text ends, and what stood behind it: it is closed only if a string without an end holds
        its end."""
        if self._maybe is None:
            return self.block(closed=False), ""
        lines, self._lines = self._lines, self._lines[: self._maybe]
        return self.block(closed=True), "".join(lines[self._maybe + 1 :])

    def block(self, closed: bool) -> Block:
        """What was taken, without the newline that belongs to the closing fence."""
        return Block(self.language, "".join(self._lines).removesuffix("\n"), closed)


def loose_quotes(language: str) -> Quotes | None:
    """What follows strings of which one may be taken for open that is not: a fence in one that never ends counts."""
    if language in SHELL:
        return Heredocs()
    if language in JAVASCRIPT:
        return TemplateLiterals()
    return None if language else PythonQuotes()
