"""Which beginnings come again, without anybody having said so: a long system message that several conversations share.

    habits.shared(body)      # None: not worth a thought. False: it may be the only one. True: others began so too

Assistants, agents and rooms full of lamps send the same thousands of tokens before every question. Where two
conversations began with the same system message and tools and went on differently, the beginning is worth keeping on
disk (``prefix``); where there was only one, it is nobody's but that conversation's, and is not written anywhere.
"""

from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec
from msgspec import Struct

LONG = 1024  # bytes; less is computed soon enough
KNOWN = 256  # beginnings that are remembered
SEVERAL = b""  # in the place of a conversation's first words: there were others


class Turn(Struct):
    """Of a message, what says whether it is a system message."""

    role: Literal["system", "developer"]


class Habits:
    """What the conversations of one model began with."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, bytes] = OrderedDict()

    def shared(self, body: Mapping[str, Any]) -> bool | None:
        """Whether conversations other than this one began with its system message and tools."""
        messages = body.get("messages")
        if not isinstance(messages, list) or len(messages) < 2:  # pyright: ignore[reportUnknownArgumentType]
            return None
        head = msgspec.json.encode([messages[0], body.get("tools")])
        if len(head) < LONG or not is_system(messages[0]):
            return None
        name = sha256(head).digest()
        words = sha256(msgspec.json.encode(messages[1])).digest()
        before = self._seen.setdefault(name, words)
        self._seen.move_to_end(name)
        if len(self._seen) > KNOWN:
            self._seen.popitem(last=False)
        if before != words:
            self._seen[name] = SEVERAL
        return before != words


def is_system(message: Any) -> bool:
    """Whether a message, taken apart or raw, is one for the model from whoever set it up."""
    try:
        msgspec.json.decode(msgspec.json.encode(message), type=Turn)
    except msgspec.DecodeError:
        return False
    return True
