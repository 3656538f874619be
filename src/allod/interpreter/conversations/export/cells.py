"""A turn as a person reads it: prose, and blocks of code with what each gave. Notebook and Markdown are made of it."""

from collections.abc import Iterable

from msgspec import Struct, field

from allod.interpreter.conversations.turns import Turn
from allod.interpreter.events import (
    Answer,
    Applied,
    Code,
    CodeOpened,
    CodeText,
    Ended,
    Error,
    Event,
    Notice,
    Output,
    Prose,
)


class Words(Struct):
    """Prose, in Markdown."""

    text: str


class Block(Struct):
    """A block of code and its outputs. ``good``: it ran, and its attempt was the one that counted."""

    code: str
    language: str = "python"
    outputs: list[Output | Error] = field(default_factory=list[Output | Error])
    good: bool = False


Cell = Words | Block


def cells(turn: Turn) -> list[Cell]:
    """Everything that happened in a turn, but its task."""
    found: list[Cell] = []
    for event in turn.events:
        match event:
            case Code(code, language):
                found.append(Block(code, language))
            case CodeOpened(language):
                found.append(Block("", language))
            case CodeText(text) if found and isinstance(found[-1], Block):
                found[-1].code += text
            case Output() | Error():
                if block := next((cell for cell in reversed(found) if isinstance(cell, Block)), None):
                    block.outputs.append(event)
            case _:
                if words := words_of(event).strip():
                    found.append(Words(words))
    mark(turn, [cell for cell in found if isinstance(cell, Block)])
    return found


def mark(turn: Turn, blocks: list[Block]) -> None:
    """Which blocks count: those the turn keeps, from the last one back; in one that was cut off, those that ran."""
    if not turn.messages:
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            done = after is not None or any(isinstance(event, Answer) for event in turn.events)
            block.good = done and not any(isinstance(output, Error) for output in block.outputs)
        return
    wanted = list(turn.blocks)
    for block in reversed(blocks):
        if wanted and block.code.strip("\n") == wanted[-1].strip("\n"):
            block.good = True
            wanted.pop()


def words_of(event: Event) -> str:
    """What an event says to a reader."""
    match event:
        case Prose(text) | Answer(text):
            return text
        case Notice(text):
            return f"*{text}*"
        case Applied(_, paths):
            return "*Written: " + ", ".join(f"`{path}`" for path in paths) + "*"
        case Ended(status, reason) if status != "done":
            return f"*Not done: {reason or status}*"
        case _:
            return ""


def fence(code: str, language: str) -> str:
    """Code in a fence that is longer than any in it; between the lines of the fence it stands as it is."""
    mark = "```"
    while mark in code:
        mark += "`"
    return f"{mark}{language}\n{code}{'' if code.endswith(chr(10)) else chr(10)}{mark}"


def quoted(text: str) -> str:
    """Text as a quotation."""
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines())


def said_of(outputs: Iterable[Output | Error]) -> str:
    """What a block printed and how it failed, as plain text."""
    return "".join(output.text if isinstance(output, Output) else output.output + "\n" for output in outputs)
