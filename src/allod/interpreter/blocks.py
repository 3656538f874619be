"""Finds the code in what a model says, as it says it.

    parser = BlockParser()
    for piece in parser.feed("Sure.\n```python\nprint(1)\n``` "):
        ...                              # Text("Sure.\n"), Opened("python"), Written("print(1)\n"), Closed(Block(…))
    for piece in parser.finish(): ...    # what was held back; Cut(block) where a block was never closed

The pieces are the same whatever the size of the chunks (neighbouring Text and Written pieces apart, which join), and
code comes out byte for byte. Known forms of code: ``` and ~~~ fences of any length, a ``` or json fence that holds a
call, ``<tool_call>{…}</tool_call>`` and ``<function_call>``, Mistral's ``[TOOL_CALLS]``; and, standing alone,
``{"name": "execute", "arguments": {…}}``, ``functions.execute({…})``, ``functions.execute(code="…")``. Code inside
``<think>`` is thought, not code. What is done with a language, or with none, is up to the caller.
"""

import re
from collections.abc import Generator, Iterator

from msgspec import Struct

from allod.interpreter.calls import (
    CODE_KEYS,
    Block,
    arguments_length,
    call,
    calls,
    named_call,
    object_length,
    unwrapped,
)
from allod.interpreter.fences import PYTHON, Fence

INFO_LIMIT = 60  # longest info string after a fence; what is longer is prose
THINK_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
CALL_TAGS = {"<tool_call>": "</tool_call>", "<function_call>": "</function_call>"}
CALL_KEYS = ("name", "language", "code", "arguments", "function", "type")
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
            block, rest = self._fence.last()
            self._fence = None
            yield Closed(block) if block.closed else Cut(block)
            if rest:
                yield Text(rest)

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

    def _in_code(self, fence: Fence, final: bool) -> Generator[Piece, None, bool]:
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
            elif kind == "[":
                end, pieces = self._mistral(at, final)
            elif not blank:
                continue
            elif kind == "~":
                end, pieces = self._tildes(at, final)
            elif kind == "{":
                end, pieces = self._object(at, final)
            else:
                end, pieces = self._function(at, final)
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
        for tag, end in CALL_TAGS.items():
            if rest.startswith(tag):
                close = rest.find(end)
                if close < 0:
                    return self._unfinished(at, final)
                block = call(rest[len(tag) : close])
                whole = rest[: close + len(end)]
                return at + len(whole), [Closed(block) if block else Text(whole)]
        undecided = not final and any(tag.startswith(rest) for tag in (*THINK_TAGS, *CALL_TAGS))
        return (WAIT, []) if undecided else (at, [])

    # Calls without a tag around them. Each is looked for again as more of it comes, until it is whole.

    def _unfinished(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        """A call of which the end is not here."""
        return (len(self._rest), [Cut(Block("", self._rest[at:], closed=False))]) if final else (WAIT, [])

    def _object(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        """A JSON object that may be a call."""
        rest = self._rest[at:]
        head = OBJECT.match(rest)
        if head is None or head.end() == len(rest):
            return (WAIT, []) if head and not final else (at, [])
        if head[1] not in CALL_KEYS:
            return at, []
        length = object_length(rest, 0)
        if length is None:
            return self._unfinished(at, final)
        block = call(rest[:length])
        return at + length, [Closed(block) if block else Text(rest[:length])]

    def _function(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        """functions.execute(…), around an object or around keyword arguments."""
        rest = self._rest[at:]
        head = FUNCTION.match(rest)
        if head is None:
            return (WAIT, []) if FUNCTION_PREFIX.fullmatch(rest) and not final else (at, [])
        opening = head.end("name")
        if head["object"]:
            length = object_length(rest, head.start("object"))
            if length is None:
                return self._unfinished(at, final)
            if not final and not rest[length:].strip():
                return WAIT, []  # for the parenthesis
            block = named_call(head["name"], rest[head.start("object") : length])
            end = PARENTHESIS.match(rest, length)
            length = end.end() if end else length
        else:
            length = arguments_length(rest, rest.index("(", opening))
            if length is None:
                return self._unfinished(at, final)
            block = named_call(head["name"], rest[rest.index("(", opening) + 1 : length - 1])
        return at + length, [Closed(block) if block else Text(rest[:length])]

    def _mistral(self, at: int, final: bool) -> tuple[int, list[Piece]]:
        """[TOOL_CALLS] with a list of calls, or with one whose name stands before its arguments."""
        rest = self._rest[at:]
        head = MISTRAL.match(rest)
        if head is None:
            return (WAIT, []) if MISTRAL_PREFIX.fullmatch(rest) and not final else (at, [])
        start = head.end() - 1
        length = object_length(rest, start, "{}" if head["name"] else "[]")
        if length is None:
            return self._unfinished(at, final)
        if head["name"]:
            block = named_call(head["name"], rest[start:length])
            found = [block] if block else []
        else:
            found = calls(rest[start:length])
        return at + length, [Closed(block) for block in found] or [Text(rest[:length])]


def begun(text: str) -> str:
    """An expression for every beginning of a text, and for all of it."""
    return "".join(f"(?:{re.escape(char)}" for char in text) + ")?" * len(text)


SPECIAL = re.compile(r"`+|~+|<|\{|\[|functions\.|f(?:u(?:n(?:c(?:t(?:i(?:o(?:n(?:s)?)?)?)?)?)?)?)?\Z")
# How a call begins, as soon as it can be nothing else; and what may become that.
OBJECT = re.compile(r"""\{\s*["']?(\w+)?""")
FUNCTION = re.compile(rf"functions\.(?P<name>\w+)\(\s*(?:(?P<object>\{{)|(?:{'|'.join(CODE_KEYS)}|language)\s*=)")
FUNCTION_PREFIX = re.compile(rf"{begun('functions')}|functions\.(?:\w+(?:\(\s*(?:\w+\s*)?)?)?")
MISTRAL = re.compile(r"\[TOOL_CALLS\]\s*(?:\[|(?P<name>\w+)(?:\[CALL_ID\]\w*)?(?:\[ARGS\]\s*)?\{)")
MISTRAL_PREFIX = re.compile(
    rf"{begun('[TOOL_CALLS]')}|\[TOOL_CALLS\]\s*(?:\w+(?:{begun('[CALL_ID]')}|(?:\[CALL_ID\]\w*)?{begun('[ARGS]')}\s*))?"
)
PARENTHESIS = re.compile(r"\s*\)")
WAITING_CALL = re.compile(rf"{'|'.join(CALL_TAGS)}|{OBJECT.pattern}|{FUNCTION.pattern}|\[TOOL_CALLS\]")


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
