"""Finds the code in what a model says, as it says it.

    parser = BlockParser()
    for piece in parser.feed("Sure.\n```python\nprint(1)\n``` "):
        ...                              # Text("Sure.\n"), Opened("python"), Written("print(1)\n"), Closed(Block(…))
    for piece in parser.finish(): ...    # what was held back; Cut(block) where a block was never closed

The pieces are the same whatever the size of the chunks (neighbouring Text and Written pieces apart, which join), and
code comes out byte for byte. Known forms of code: ``` and ~~~ fences of any length, a ``` or json fence that holds a
call, ``<tool_call>{…}</tool_call>``, ``{"name": "execute", "arguments": {…}}`` and ``functions.execute({…})`` standing
alone. Code inside ``<think>`` is thought, not code. What is done with a language, or with none, is up to the caller.
"""

import re
from collections.abc import Generator, Iterator

from msgspec import Struct

from allod.interpreter.calls import JSON_LIKE, Block, call, object_length, unwrapped
from allod.interpreter.quotes import Heredocs, PythonQuotes

INFO_LIMIT = 60  # longest info string after a fence; what is longer is prose
THINK_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
CALL_TAG, CALL_END = "<tool_call>", "</tool_call>"
CALL_KEYS = ("name", "language", "code", "arguments", "function", "type")
PYTHON = frozenset({"python", "py", "python3", "ipython"})
SHELL = frozenset({"bash", "sh", "shell", "zsh"})
# A fence in the middle of a line opens a block only with one of these: "Sure: ```python".
LANGUAGE_WORDS = PYTHON | {"bash", "sh", "shell", "javascript", "js", "r", "sql", "json"}


class Text(Struct, frozen=True):
    """Prose."""

    text: str


class Thought(Struct, frozen=True):
    """What stands in ``<think>``: shown, never run."""

    text: str


class Opened(Struct, frozen=True):
    """A fenced block begins."""

    language: str


class Written(Struct, frozen=True):
    """Whole lines of the open block."""

    text: str


class Closed(Struct, frozen=True):
    """A whole block. One that came as a call has no Opened and Written before it."""

    block: Block


class Cut(Struct, frozen=True):
    """The text ended inside a block: it must not be run."""

    block: Block


Piece = Text | Thought | Opened | Written | Closed | Cut

WAIT = -1  # a candidate that only more text can decide


class BlockParser:
    """One answer's worth of state. ``feed`` may be called with chunks of any size."""

    def __init__(self) -> None:
        self._rest = ""  # what is not decided yet
        self._blank = True  # nothing but blanks on this line so far
        self._indent = ""  # the blanks at the start of this line
        self._fence: Fence | None = None
        self._end_tag = ""  # inside a thought: the tag that ends it

    @property
    def inside(self) -> bool:
        """Whether code is open: a fence that is not closed, or a call that is not whole."""
        return self._fence is not None or (not self._end_tag and bool(WAITING_CALL.match(self._rest.lstrip())))

    def feed(self, text: str) -> Iterator[Piece]:
        """The pieces that ``text`` makes certain."""
        self._rest += text
        yield from self._pieces(final=False)

    def finish(self) -> Iterator[Piece]:
        """What is left when no more text comes."""
        yield from self._pieces(final=True)
        if self._rest:
            yield Thought(self._rest) if self._end_tag else Text(self._rest)
            self._rest = ""
        if self._fence:
            yield from self._fence.last()
            self._fence = None

    def _pieces(self, final: bool) -> Iterator[Piece]:
        going: bool = True
        while going and self._rest:
            if self._fence:
                going = yield from self._in_code(self._fence, final)
            elif self._end_tag:
                going = yield from self._in_thought(final)
            else:
                going = yield from self._in_prose(final)

    # ── thoughts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _in_thought(self, final: bool) -> Generator[Piece, None, bool]:
        at = self._rest.find(self._end_tag)
        if at >= 0:
            yield Thought(self._rest[:at])
            self._rest = self._rest[at + len(self._end_tag) :]
            self._end_tag = ""
            return True
        keep = 0 if final else overlap(self._rest, self._end_tag)
        yield Thought(self._rest[: len(self._rest) - keep])
        self._rest = self._rest[len(self._rest) - keep :]
        return False

    # ── code ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _in_code(self, fence: "Fence", final: bool) -> Generator[Piece, None, bool]:
        line, newline, rest = self._rest.partition("\n")
        if not newline and not final:
            return False
        self._rest, self._blank, self._indent = rest, True, ""
        closing = fence.take(line, newline)
        if written := fence.fresh():
            yield Written(written)
        if closing:
            self._fence = None
            yield Closed(unwrapped(fence.block(closed=True)))
        return True

    # ── prose ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _in_prose(self, final: bool) -> Generator[Piece, None, bool]:
        """Passes prose on up to the next thing that may be more than prose, and decides about that."""
        for match in SPECIAL.finditer(self._rest):
            at = match.start()
            blank = self._is_blank(at)
            kind = self._rest[at]
            if kind == "`":
                end, pieces = self._backticks(at, blank, final)
            elif kind == "<":
                end, pieces = self._tag(at, final)
            elif not blank:
                continue
            elif kind == "~":
                end, pieces = self._tildes(at, final)
            else:
                end, pieces = self._call(at, final)
            if end == at:
                continue  # nothing but prose
            yield from self._prose(at)
            if end == WAIT:
                return False
            self._skip(end - at)
            yield from pieces
            return True
        yield from self._prose(len(self._rest))
        return False

    def _prose(self, count: int) -> Iterator[Piece]:
        if count:
            text = self._rest[:count]
            self._skip(count)
            yield Text(text)

    def _skip(self, count: int) -> None:
        """Drops ``count`` characters and keeps track of where on the line we are."""
        text, self._rest = self._rest[:count], self._rest[count:]
        line = text.rpartition("\n")[2]
        if "\n" in text:
            self._blank, self._indent = True, ""
        if self._blank:
            self._indent += line[: len(line) - len(line.lstrip())]
            self._blank = not line.strip()

    def _is_blank(self, at: int) -> bool:
        """Whether only blanks stand before position ``at`` on its line."""
        start = self._rest.rfind("\n", 0, at) + 1
        return not self._rest[start:at].strip() and (start > 0 or self._blank)

    def _backticks(self, at: int, blank: bool, final: bool) -> tuple[int, list[Piece]]:
        text = self._rest
        run = run_length(text, at)
        after = at + run
        if after == len(text) and not final:
            return WAIT, []
        newline = text.find("\n", after)
        line = text[after : newline if newline >= 0 else len(text)]
        if run >= 3 and len(line.partition("`")[0]) > INFO_LIMIT:
            return after, [Text(text[at:after])]
        if "`" in line or run < 3:  # inline code, which may hold anything: skipped as a whole
            close = text.find("`" * run, after, after + len(line))
            while close >= 0 and run_length(text, close) != run:
                close = text.find("`" * run, close + run_length(text, close), after + len(line))
            if close >= 0 and close + run < len(text):
                return close + run, [Text(text[at : close + run])]
            if newline < 0 and not final:
                return WAIT, []
            return (close + run, [Text(text[at : close + run])]) if close >= 0 else (after, [Text(text[at:after])])
        return self._opening(at, after, newline, line, blank, final)

    def _opening(
        self, at: int, after: int, newline: int, info: str, blank: bool, final: bool
    ) -> tuple[int, list[Piece]]:
        """An opening fence, if its info string says so."""
        if len(info) > INFO_LIMIT:
            return after, [Text(self._rest[at:after])]
        if newline < 0 and not final:
            return WAIT, []
        language = language_of(info)
        if not (blank or (language in LANGUAGE_WORDS and info.strip().lower() == language)):
            return after, [Text(self._rest[at:after])]
        if newline < 0 and not language:
            return after, [Text(self._rest[at:after])]
        self._fence = Fence(self._rest[at], after - at, self._indent_at(at) if blank else "", language)
        return (newline + 1 if newline >= 0 else len(self._rest)), [Opened(language)] if not self._fence.held else []

    def _indent_at(self, at: int) -> str:
        start = self._rest.rfind("\n", 0, at) + 1
        return (self._indent if start == 0 else "") + self._rest[start:at]

    def _tildes(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        after = at + run_length(self._rest, at)
        if after == len(self._rest) and not final:
            return WAIT, []
        newline = self._rest.find("\n", after)
        info = self._rest[after : newline if newline >= 0 else len(self._rest)]
        if after - at < 3:
            return after, [Text(self._rest[at:after])]
        return self._opening(at, after, newline, info, True, final)

    def _tag(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        rest = self._rest[at:]
        for tag, end in THINK_TAGS.items():
            if rest.startswith(tag):
                self._end_tag = end
                return at + len(tag), []
        if rest.startswith(CALL_TAG):
            close = rest.find(CALL_END)
            if close < 0:
                return (len(self._rest), [Cut(Block("", rest, closed=False))]) if final else (WAIT, [])
            block = call(rest[len(CALL_TAG) : close])
            whole = rest[: close + len(CALL_END)]
            return at + len(whole), [Closed(block) if block else Text(whole)]
        undecided = not final and any(tag.startswith(rest) for tag in (*THINK_TAGS, CALL_TAG))
        return (WAIT, []) if undecided else (at, [])

    def _call(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        """A call standing alone: a JSON object, or functions.execute(…)."""
        rest = self._rest[at:]
        head = CALL_START.match(rest)
        if head is None or head.end() == len(rest):
            maybe = head is not None or CALL_PREFIX.fullmatch(rest) is not None
            return (WAIT, []) if maybe and not final else (at, [])
        if not (head["key"] in CALL_KEYS or (head["key"] is None and head["word"])):
            return at, []
        length = object_length(rest, rest.index("{"))
        if length is None:
            return (len(self._rest), [Cut(Block("", rest, closed=False))]) if final else (WAIT, [])
        block = call(rest[rest.index("{") : length])
        if block is None:
            return at + length, [Text(rest[:length])]
        if head["word"]:
            if length == len(rest) and not final:
                return WAIT, []
            length += rest[length : length + 1] == ")"
        return at + length, [Closed(block)]


SPECIAL = re.compile(r"`+|~+|<|\{|functions\.|f(?:u(?:n(?:c(?:t(?:i(?:o(?:n(?:s)?)?)?)?)?)?)?)?\Z")
# How a call may begin, and every beginning of that.
CALL_START = re.compile(r"""(?P<word>functions\.\w+\(\s*)?\{\s*["']?(?P<key>\w+)?""")
WAITING_CALL = re.compile(rf"{CALL_TAG}|{CALL_START.pattern}")  # what waits for the rest of a call begins so
CALL_PREFIX = re.compile(r"f(u(n(c(t(i(o(n(s(\.(\w+(\(\s*)?)?)?)?)?)?)?)?)?)?)?")


class Fence:
    """An open block: its fence and the lines so far."""

    def __init__(self, mark: str, length: int, indent: str, language: str) -> None:
        self.mark, self.length, self.indent, self.language = mark, length, indent, language
        self.held = language in JSON_LIKE  # may turn out to be a call: shown when it is whole
        self._lines: list[str] = []
        self._fresh: list[str] = []
        self._quotes = PythonQuotes() if language in PYTHON else None
        self._heredocs = Heredocs() if language in SHELL else None
        self._maybe: int | None = None  # the line that closes it, should the here-document around have no end

    def take(self, line: str, newline: str) -> bool:
        """Takes one line; true where it closes the block."""
        line = line.removeprefix(self.indent) if line.startswith(self.indent) else line.lstrip(" \t")
        bare = line.strip()
        closing = len(bare) >= self.length and bare == self.mark * len(bare)
        if self._heredocs and self._heredocs.inside:
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
        if self._heredocs:
            self._heredocs.line(line)
            if not self._heredocs.inside and self._maybe is not None:
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

    def last(self) -> Iterator[Piece]:
        """What it comes to where the text ends: nothing to run, unless an endless here-document holds its end."""
        if self._maybe is None:
            yield Cut(self.block(closed=False))
            return
        lines, self._lines = self._lines, self._lines[: self._maybe]
        yield Closed(self.block(closed=True))
        if rest := "".join(lines[self._maybe + 1 :]):
            yield Text(rest)

    def block(self, closed: bool) -> Block:
        """What was taken, without the newline that belongs to the closing fence."""
        return Block(self.language, "".join(self._lines).removesuffix("\n"), closed)


def run_length(text: str, at: int) -> int:
    """How often the character at ``at`` is repeated from there on."""
    return len(text) - at - len(text[at:].lstrip(text[at]))


def overlap(text: str, tag: str) -> int:
    """How many characters at the end of ``text`` begin ``tag``."""
    return next((n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0)


def language_of(info: str) -> str:
    """``Python title=x`` → python; ``{.r}`` → r; ``c++`` stays."""
    words = info.strip().strip("{}").replace(",", " ").split()
    return words[0].lstrip(".").lower() if words else ""
