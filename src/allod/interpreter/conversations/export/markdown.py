"""A conversation as Markdown, to be read: the tasks as quotations, code in fences, outputs and figures below it."""

import base64
from collections.abc import Callable, Sequence

from allod.interpreter.conversations.export.cells import Block, cells, fence, quoted, said_of
from allod.interpreter.conversations.turns import Turn
from allod.interpreter.events import Output

Keep = Callable[[bytes], str]  # puts a figure somewhere, and gives its address


def markdown(title: str, model: str, turns: Sequence[Turn], keep: Keep | None = None) -> str:
    """The text. ``keep`` puts figures beside the file; without it they are within the text."""
    parts = [f"# {title}", f"*{model}, {turns[0].begun_at[:10]}*" if turns else f"*{model}*"]
    for turn in turns:
        parts.append(quoted(turn.task))
        for cell in cells(turn):
            parts += block(cell, keep or inline) if isinstance(cell, Block) else [cell.text]
    return "\n\n".join(parts) + "\n"


def block(cell: Block, keep: Keep) -> list[str]:
    """Code, what it printed, the figures it showed."""
    parts = [fence(cell.code, cell.language)]
    if said := said_of(cell.outputs).strip("\n"):
        parts.append(fence(said, "text"))
    pngs = [output.png for output in cell.outputs if isinstance(output, Output) and output.png]
    return parts + [f"![figure]({keep(png)})" for png in pngs]


def inline(png: bytes) -> str:
    """A figure as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
