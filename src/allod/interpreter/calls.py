"""Code that comes as a tool call, in the forms that models write one whether they were given tools or not.

``{"name": "execute", "arguments": {"language": "python", "code": "…"}}``, the same with ``parameters``, within
``function`` or with the arguments as text, ``{"language": …, "code": …}``, and that with unquoted keys.
"""

import ast
import contextlib
import json
import re
from typing import Any, cast

from msgspec import Struct

CALL_WORD = "functions."
# What the tool is called → the language that it runs where the call names none.
CALL_NAMES = dict.fromkeys(
    ("execute", "execute_code", "execute_python", "python", "run", "run_code", "run_python", "code_interpreter",
     "interpreter"), "python"
) | dict.fromkeys(("bash", "shell", "sh", "terminal", "run_shell", "run_command"), "bash")  # fmt: skip
CODE_KEYS = ("code", "command", "script")
JSON_LIKE = frozenset({"json", "tool_call", "tool", "xml"})  # fences whose content may be a call


class Block(Struct, frozen=True):
    """A piece of code. ``language`` is the first word after the fence in small letters, "" where there was none."""

    language: str
    code: str
    closed: bool = True


def object_length(text: str, start: int) -> int | None:
    """Where the JSON object that begins at ``start`` ends (one past its brace); None: not in this text."""
    depth, quote, skip = 0, "", False
    for at in range(start, len(text)):
        char = text[at]
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char == '"':
            quote = char
        elif char in "{}":
            depth += 1 if char == "{" else -1
            if depth == 0:
                return at + 1
    return None


def call(text: str) -> Block | None:
    """The code in a tool call, in the forms that models write it; None where it is none."""
    try:
        found = json.loads(text.strip(), strict=False)
    except ValueError:
        found = loose_call(text.strip())
    return call_in(found)


def loose_call(text: str) -> Any:
    """A call that is no JSON: with unquoted keys, or as Python writes a dictionary; None where it is neither."""
    if loose := LOOSE_CALL.fullmatch(text):
        return {"language": loose[1], "code": json.loads(f'"{loose[2]}"', strict=False)}
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    return None


LOOSE_CALL = re.compile(r'\{\s*language:\s*"(\w*)",\s*code:\s*"((?:[^"\\]|\\.)*)"\s*\}', re.DOTALL)


def call_in(found: Any) -> Block | None:
    """The code in a parsed call: ``{"name", "arguments"}``, ``{"function": …}`` or ``{"language", "code"}``."""
    if not isinstance(found, dict):
        return None
    said = cast(dict[str, Any], found)
    if isinstance(said.get("function"), dict):
        said = cast(dict[str, Any], said["function"])
    arguments = said.get("arguments", said.get("parameters"))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, strict=False)
        except ValueError:
            arguments = {"code": arguments}
    name, usual = said.get("name"), "python"
    keys = {"code", "language"}
    if name is not None:
        if not isinstance(name, str) or name not in CALL_NAMES or not isinstance(arguments, dict):
            return None
        said, usual, keys = cast(dict[str, Any], arguments), CALL_NAMES[name], {*CODE_KEYS, "language"}
    code = next((said[key] for key in CODE_KEYS if key in keys and key in said), None)
    language = said.get("language", usual)
    if not isinstance(code, str) or not isinstance(language, str) or not {*said} <= keys:
        return None
    return Block(language.lower(), code)


def unwrapped(block: Block) -> Block:
    """A fenced block whose content is itself a call, or ends in the word that some models add."""
    code = block.code.strip()
    if code.startswith(CALL_WORD) and code.endswith(")"):
        code = code.partition("(")[2][:-1]
    if code.startswith("{") and (block.language in JSON_LIKE or not block.language or code != block.code.strip()):
        return call(code) or block
    if code.endswith("executeexecute"):
        return Block(block.language, block.code.rstrip().removesuffix("executeexecute"))
    return block
