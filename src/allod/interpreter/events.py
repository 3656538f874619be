"""What happens while a job is done, as data: terminal, JSON output, page and export all read the same list.

A job is Started, then any number of Prose, CodeOpened, CodeText, Code, Output, Error, Notice …, then Answer (or not),
Changes where files are not as they were, Usage, and always Ended. Prose and CodeText come in pieces as the model
speaks; Code repeats the whole of a block just before it runs, Answer the whole of the last prose. Times are in seconds.
"""

from typing import Literal

import msgspec
from msgspec import Struct, field

from allod.interpreter.workspace import Change

Status = Literal["done", "question", "gave_up", "declined", "stopped"]


class Started(Struct, frozen=True, tag="started"):
    """A job begins."""

    task: str = field(name="prompt")
    model: str
    folder: str
    conversation: str = ""


class Prose(Struct, frozen=True, tag="prose"):
    """A piece of what the model says in words."""

    text: str


class Thought(Struct, frozen=True, tag="thought"):
    """A piece of what a reasoning model thinks."""

    text: str


class CodeOpened(Struct, frozen=True, tag="code_opened"):
    """The model begins a block of code."""

    language: str


class CodeText(Struct, frozen=True, tag="code_text"):
    """Whole lines of that block."""

    text: str


class Code(Struct, frozen=True, tag="code"):
    """A block that is about to be run. ``author``: allod, for one that reads the files the task names."""

    code: str
    language: str = "python"
    author: Literal["model", "allod", "user"] = "model"


class Output(Struct, frozen=True, tag="output"):
    """A piece of what code printed or gave back; ``png`` is a figure it showed.

    ``data`` has its other forms by MIME type, as text: a table in HTML, a figure as SVG.
    """

    text: str
    kind: Literal["stdout", "stderr", "result", "picture"] = "stdout"
    png: bytes = b""
    data: dict[str, str] = {}


class Error(Struct, frozen=True, tag="error"):
    """How a block failed."""

    name: str
    message: str
    output: str = ""  # the traceback as shown to a person and to the model


class Notice(Struct, frozen=True, tag="notice"):
    """Something to know that neither the model nor its code said."""

    text: str


class Answer(Struct, frozen=True, tag="answer"):
    """What the model says in the end; it was streamed as Prose before."""

    text: str


class Changes(Struct, frozen=True, tag="changes"):
    """The files that are not as they were. Nothing of it is in the user's folder yet."""

    changes: tuple[Change, ...]


class Applied(Struct, frozen=True, tag="applied"):
    """What was written into the user's folder."""

    folder: str
    paths: tuple[str, ...]


class Usage(Struct, frozen=True, tag="usage"):
    """What the job cost, over all attempts."""

    prompt_tokens: int = 0  # those the server reported; cached ones included
    output_tokens: int = 0
    blocks: int = 0
    attempts: int = 1
    seconds: float = 0.0


class Tried(Struct, frozen=True, tag="tried"):
    """An attempt that was not taken: what it ran, and how it ended. Nothing else is left of it."""

    number: int
    status: str
    reason: str = ""
    code: tuple[str, ...] = ()


class Ended(Struct, frozen=True, tag="ended"):
    """The job is over. ``reason`` is a line for a person where ``status`` is not done.

    ``question``: the model asks for something that it needs; ``gave_up``: no attempt came to a result.
    """

    status: Status
    reason: str = ""


Event = (
    Started
    | Prose
    | Thought
    | CodeOpened
    | CodeText
    | Code
    | Output
    | Error
    | Notice
    | Answer
    | Changes
    | Applied
    | Usage
    | Tried
    | Ended
)

PIECES = (Prose, Thought, CodeOpened, CodeText)  # said again, whole, by a later event


def encode(event: Event) -> str:
    """One event as a line of JSON."""
    return msgspec.json.encode(event).decode()


def decode(line: str | bytes) -> Event:
    """Its reverse."""
    return msgspec.json.decode(line, type=Event)
