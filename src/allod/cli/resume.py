"""Which conversation to go on with: `allod do --resume`, by its id, by words of it, or picked from a list."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from allod.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from allod.home import Home
    from allod.interpreter.conversations import Conversation, Found, Summary

SHOWN = 15  # in the list


async def resumed(home: "Home", wanted: str, folder: Path) -> "Conversation":
    """The conversation that is meant; the person is asked where several may be.

    Args:
        wanted: an id, its beginning, or words; empty for any of the folder's, or of all where it has none.

    Raises:
        NotFound, BadRequest: there is none, or nobody can be asked which.
    """
    from allod.interpreter.conversations import Conversation, search

    if wanted:
        try:
            return Conversation.get(home, wanted)
        except (NotFound, BadRequest):
            found = search(home, wanted, folder=folder, limit=SHOWN) or search(home, wanted, limit=SHOWN)
    else:
        found = Conversation.list(home, folder, SHOWN) or Conversation.list(home, limit=SHOWN)
    if not found:
        said = f"no conversation has '{shown(wanted)}' in it" if wanted else "there is no conversation yet"
        raise NotFound(said, "`allod conversations list` shows all there are.")
    return Conversation.get(home, (found[0] if len(found) == 1 else await chosen(found)).id)


async def chosen(found: "list[Summary] | list[Found]") -> "Summary | Found":
    """One of them, as the person says."""
    from allod.cli.asking import picked
    from allod.interpreter.conversations import Found

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise BadRequest(
            f"{len(found)} conversations may be meant, and there is nobody to ask which",
            f"Give an id: {', '.join(each.id for each in found[:5])}{' …' if len(found) > 5 else ''}",
        )
    lines = [
        f"{moment(each.updated_at):<20} {shown(each.title)}"
        + (f"   {shown(each.excerpt)}" if isinstance(each, Found) else "")
        for each in found
    ]
    at = await picked("Go on with which one?", lines)
    if at is None:
        raise BadRequest("no conversation was chosen", "Without --resume a new one begins.")
    return found[at]


def moment(at: str) -> str:
    """How long ago, in words."""
    from allod.cli.output import moment as ago

    return ago(datetime.fromisoformat(at))


def shown(text: str) -> str:
    """A line that steers no terminal."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= 60 else f"{line[:59]}…"
