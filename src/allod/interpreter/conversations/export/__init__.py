"""Conversations as files for other programs: a notebook that runs again, Markdown to read, training data.

    text = export(conversation, "ipynb")

Code is written byte for byte as it ran.

cells.py  a turn as prose and code, for the first two     notebook.py, markdown.py, training.py
"""

from collections.abc import Callable
from typing import Literal, get_args

from allod.interpreter.conversations.conversation import Conversation
from allod.interpreter.conversations.export.markdown import Keep, markdown
from allod.interpreter.conversations.export.notebook import notebook
from allod.interpreter.conversations.export.training import training

Format = Literal["ipynb", "md", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)


def export(
    conversation: Conversation, format_: Format, *, keep: Keep | None = None, system: Callable[[str], str] | None = None
) -> str:
    """The branch that is gone on with, as the text of a file. ``keep`` and ``system``: see markdown and training."""
    turns = conversation.turns()
    if format_ == "ipynb":
        return notebook(conversation.title, turns)
    if format_ == "md":
        return markdown(conversation.title, conversation.model, turns, keep)
    return training(turns, system(conversation.profile) if system else "")


__all__ = ["FORMATS", "Format", "export", "markdown", "notebook", "training"]
