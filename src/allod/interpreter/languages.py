"""What kind of code a block is, and what to do instead where it cannot run."""

import ast
import re
from collections.abc import Sequence

from allod.interpreter.blocks import Block
from allod.interpreter.kernels.outputs import Failure
from allod.interpreter.kernels.specs import Language, available, find, named

__all__ = ["PROSE", "Language", "advice", "available", "find", "language_of", "named", "refusal"]

# Fences that show something rather than ask to run it.
PROSE = {"text", "txt", "plaintext", "markdown", "md", "json", "csv", "output", "yaml", "toml", "xml", "html", "diff"}
COMMANDS = frozenset([
    "ls", "cd", "cat", "pwd", "mkdir", "rm", "cp", "mv", "echo", "grep", "find", "head", "tail", "wc", "sort", "pip",
    "pip3", "apt", "apt-get", "sudo", "git", "curl", "wget", "chmod", "touch", "python", "python3", "unzip", "tar",
    "sed", "awk", "which", "conda", "brew",
])  # fmt: skip


def language_of(block: Block) -> str:
    """The one name of the language that the fence names; without one ``python``, ``shell`` or ``text``, by the code."""
    return named(block.language) or guessed(block.code)


def refusal(name: str, allowed: Sequence[str]) -> str:
    """Why code of this language is not run, in a line for the model; "" where it is. ``allowed``: none are all."""
    wanted = {named(word) for word in allowed}
    able = [each for each in available() if not allowed or wanted & {each.name, *map(named, each.aliases)}]
    if find(name) in able:
        return ""
    names = [each.name for each in able] or ["nothing"]
    return f"{name} is not run here, only {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}."


def guessed(code: str) -> str:
    """What code without a name is: Python does more than name things, a command line begins with a command."""
    lines = [line for line in code.splitlines() if line.strip()]
    first = re.split(r"[\s;|&]", lines[0].strip().removeprefix("$ "))[0] if lines else ""
    if lines and (first in COMMANDS or lines[0].startswith("$ ")):
        return "shell"
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return "text"
    doing = (ast.Import, ast.ImportFrom, ast.Assign, ast.Call, ast.FunctionDef, ast.For, ast.With)
    return "python" if any(isinstance(node, doing) for node in ast.walk(tree)) else "text"


def advice(failure: Failure) -> str:
    """A line on what to do instead, where that is known; else ""."""
    if failure.name == "ModuleNotFoundError":  # the kernel knows what is there, and whether more may be installed
        return failure.hint.partition(" (allod do")[0]  # how to grant that is for a person
    if match := re.search(r"Column\(s\) \[(.*)\] do not exist", failure.message):
        more = 'Make it before the groupby; .size().reset_index(name="count") counts rows.'
        return f"There is no column {match[1]}. {more}"
    if failure.name == "KeyError" and "DataFrame" in " ".join(failure.values):
        return f"There is no column {failure.message}."
    return ""
