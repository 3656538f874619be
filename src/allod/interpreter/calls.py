"""Code that comes as a tool call, in the forms that models write one whether they were given tools or not.

``{"name": "execute", "arguments": {"language": "python", "code": "…"}}``, the same with ``parameters``, within
``function`` or with the arguments as text, ``{"language": …, "code": …}``, and that with unquoted keys; all of these
within a list; ``functions.execute(…)`` around one of them or around keyword arguments as Python has them.
"""

import ast
import contextlib
import json
import re
from typing import Any, cast

from msgspec import Struct

from allod.interpreter.quotes import TRIPLE

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


def object_length(text: str, start: int, pair: str = "{}") -> int | None:
    """Where the JSON object that begins at ``start`` ends (one past its brace); None: not in this text.

    A list, where ``pair`` is ``[]``.
    """
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
        elif char in pair:
            depth += 1 if char == pair[0] else -1
            if depth == 0:
                return at + 1
    return None


def arguments_length(text: str, start: int) -> int | None:
    """Where the parenthesis that opens at ``start`` is closed (one past that), as Python reads it; None: not here.

    One-line strings may hold newlines: models write them so.
    """
    depth = 0
    for token in TOKENS.finditer(text, start):
        if token.lastgroup == "endless":
            return None
        if token[0] in ("(", ")"):
            depth += 1 if token[0] == "(" else -1
            if depth == 0:
                return token.end()
    return None


STRING = r""" "{3}(?:\\.|(?!"{3})[^\\])*"{3}  |  '{3}(?:\\.|(?!'{3})[^\\])*'{3}
            | "(?!"")(?:\\.|[^"\\])*"         |  '(?!\'\')(?:\\.|[^'\\])*' """
STRINGS = re.compile(STRING, re.DOTALL | re.VERBOSE)
TOKENS = re.compile(rf"""{STRING} | [()] | (?P<endless>["'].*)""", re.DOTALL | re.VERBOSE)


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


def calls(text: str) -> list[Block]:
    """The code in a list of tool calls; none at all where one of them is something else."""
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        return []
    blocks = [call_in(each) for each in cast(list[Any], found)] if isinstance(found, list) else []
    return [block for block in blocks if block] if all(blocks) else []


def named_call(name: str, arguments: str) -> Block | None:
    """The code in a call whose name stands before its arguments, which are one object or keyword arguments."""
    if arguments.startswith("{"):
        try:
            found = json.loads(arguments, strict=False)
        except ValueError:
            found = loose_call(arguments)
        return call_in({"name": name, "arguments": found}) or call_in(found)
    try:
        # A model ends its lines inside of one-line strings, too.
        made = ast.parse(f"f({STRINGS.sub(one_line, arguments)})", mode="eval").body
        found = {each.arg: ast.literal_eval(each.value) for each in cast(ast.Call, made).keywords}
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return call_in({"name": name, "arguments": found})


def one_line(string: re.Match[str]) -> str:
    """A string literal of Python on one line, unless its quotes let it have more."""
    text = string[0]
    return text if text.startswith(TRIPLE) else text.replace("\r", "\\r").replace("\n", "\\n")


FENCED_CALL = re.compile(r"functions\.(\w+)\(\s*(.*?)\s*\)", re.DOTALL)


def unwrapped(block: Block) -> Block:
    """A fenced block whose content is itself a call, or ends in the word that some models add."""
    code = block.code.strip()
    if said := FENCED_CALL.fullmatch(code):
        return named_call(said[1], said[2]) or block
    if code.startswith("{") and (block.language in JSON_LIKE or not block.language):
        return call(code) or block
    if code.endswith("executeexecute"):
        return Block(block.language, block.code.rstrip().removesuffix("executeexecute"))
    return block
