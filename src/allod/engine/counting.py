"""How many tokens a conversation takes, before it is sent.

    counts = Counts()
    counts.of(key) / counts.put(key, 512)         # what was counted once is not counted again
    estimate(messages)                            # where nobody can say exactly: rather too many than too few

The exact number is the engine's (its template and its vocabulary); asking for it is the runner's.
"""

import re
from collections import OrderedDict

from allod.chat import ImagePart, Message

KEPT = 256  # counts that are remembered; a job asks for some dozens
PICTURE = 1024  # tokens that a picture is taken for; models make 64 to some thousands of it
TURN = 8  # tokens around a message, in the templates of today
PIECE = re.compile(r"[A-Za-z]+|\s+|[\x00-\x7f]|[^\x00-\x7f]+")


class Counts:
    """The numbers found last, by what was counted."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, int] = OrderedDict()

    def of(self, key: bytes) -> int | None:
        """The number for it, if it is remembered."""
        if key in self._known:
            self._known.move_to_end(key)
        return self._known.get(key)

    def put(self, key: bytes, count: int) -> int:
        """Remembers a number, and gives it back."""
        self._known[key] = count
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return count


def pictures(messages: list[Message]) -> int:
    """Tokens that the pictures of a conversation are taken for."""
    return PICTURE * sum(
        isinstance(part, ImagePart) for m in messages if not isinstance(m.content, str) for part in m.content
    )


def estimate(messages: list[Message]) -> int:
    """Tokens that a conversation takes at most, as far as a text alone tells.

    A token is taken for three letters of a word, one digit or other sign, one byte of any other script, or a run of
    white space: vocabularies of today need fewer for prose, code and tables.
    """
    texts = [text for m in messages for text in (m.text, m.thinking, *(c.name + c.arguments for c in m.tool_calls))]
    return sum(map(pieces, texts)) + TURN * (len(messages) + 2) + pictures(messages)


def pieces(text: str) -> int:
    """Tokens of one text, counted so."""
    count = 0
    for piece in PIECE.findall(text):
        if piece[0].isspace():
            count += 0 if piece == " " else 2 + len(piece) // 4  # a single space belongs to the word after it
        elif piece.isascii():
            count += -(-len(piece) // 3)
        else:
            count += len(piece.encode(errors="replace"))
    return count
