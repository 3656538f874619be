"""Go templates, as Ollama's TEMPLATE layers have them, turned into Jinja for llama.cpp.

    translate("{{ .System }} {{ .Prompt }}")        # Jinja that renders a list of messages

The part of Go's text/template that such templates use: fields, variables, pipelines, if, range, with, break, continue,
and the functions ``and or not eq ne lt le gt ge len slice index json print printf currentDate``. What else one holds is
refused by its name. Texts come out as literals of expressions, with Go's trimming done here, so that no rule of Jinja's
about white space around blocks matters. Two kinds of templates exist: those that range over ``.Messages``, and older
ones for one turn of ``.System``, ``.Prompt`` and ``.Response``, which are rendered turn by turn and broken off where
the answer begins (Ollama, template/template.go, Execute).
"""

import json
import re
from collections.abc import Iterable

from msgspec import Struct, field

from allod.errors import Unsupported

ACTION = re.compile(r'\{\{(-\s)?((?:"(?:[^"\\]|\\.)*"|`[^`]*`|[^"`])*?)(\s-)?\}\}', re.DOTALL)
TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<path>\$\w*(?:\.\w+)*|(?:\.\w+)+|\.)|(?P<word>\w+)|(?P<sign>:=|[=|(),]))""",
    re.VERBOSE | re.DOTALL,
)
SPACE = " \t\r\n"
# What stands at the root. ``go`` is a namespace, as what is set within a loop of Jinja's does not outlive it.
ROOT = {
    "Messages": "messages",
    "Tools": "tools",
    "System": "go.system",
    "Prompt": "go.prompt",
    "Response": "go.response",
    "Suffix": '""',
    "Think": "(enable_thinking is defined and enable_thinking)",
    "IsThinkSet": "(enable_thinking is defined)",
    "ThinkLevel": '(reasoning_effort if reasoning_effort is defined else "")',
}
# Fields of messages, calls and tools whose names are not just in lower case.
INNER = {
    "ToolCalls": "tool_calls",
    "ToolName": "name",
    "ToolCallID": "tool_call_id",
    "Thinking": "reasoning_content",
}
PAIRS = ("Arguments", "Properties")  # what is ranged over with names, not with numbers
COMPARE = {"ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
SYSTEM = (
    '{% for m in messages %}{% if m.role == "system" %}'
    '{% set go.system = (go.system ~ "\\n\\n" ~ m.content) if go.system else m.content %}{% endif %}{% endfor %}'
)
RESET = '{% set go.system = "" %}{% set go.prompt = "" %}{% set go.response = "" %}'


class Node(Struct):
    """A text, an action, or a block with what it holds."""

    kind: str  # text, output, if, range, with, break, continue
    text: str = ""  # the text, or what stands in the action after its first word
    body: "list[Node]" = field(default_factory=list["Node"])
    other: "list[Node]" = field(default_factory=list["Node"])  # of else


def translate(template: str) -> str:
    """The same in Jinja, for the variables that llama.cpp gives to chat templates.

    Raises:
        Unsupported: it holds something that is not translated, or is broken; says what.
    """
    nodes = parse(template)
    ranged = uses(nodes, "Messages")
    if not ranged and not uses(nodes, "Response"):
        nodes.append(Node("output", ".Response"))
    head = '{% set go = namespace(system="", prompt="", response="") %}'
    if ranged:
        return head + SYSTEM + render(nodes, "")
    turn, opening = render(nodes, ""), render(cut(nodes)[0], "")
    return (
        head + "{% for m in messages %}"
        '{% if m.role == "system" %}{% if go.prompt or go.response %}' + turn + RESET + "{% endif %}"
        "{% set go.system = m.content %}"
        '{% elif m.role == "assistant" %}{% set go.response = m.content %}'
        "{% else %}{% if go.response %}" + turn + RESET + "{% endif %}{% set go.prompt = m.content %}"
        "{% endif %}{% endfor %}" + opening
    )


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def pieces(template: str) -> Iterable[tuple[bool, str]]:
    """(whether it is an action, its text), white space trimmed where the template says so."""
    at, trim = 0, False
    for found in ACTION.finditer(template):
        text = template[at : found.start()]
        text = text.lstrip(SPACE) if trim else text
        text = text.rstrip(SPACE) if found[1] else text
        if text:
            yield False, text
        yield True, found[2].strip()
        at, trim = found.end(), bool(found[3])
    rest = template[at:]
    if "{{" in rest:
        raise Unsupported("template error: unclosed action")
    if rest := rest.lstrip(SPACE) if trim else rest:
        yield False, rest


def parse(template: str) -> list[Node]:
    """The template as a tree. Raises Unsupported."""
    top: list[Node] = []
    outside: list[list[Node]] = []  # where it goes on after each block
    here = top
    blocks: list[Node] = []
    for action, text in pieces(template):
        word, _, rest = text.partition(" ")
        if not action:
            here.append(Node("text", text))
        elif text.startswith("/*"):
            continue
        elif word in ("if", "range", "with"):
            block = Node(word, rest.strip())
            here.append(block)
            outside.append(here)
            blocks.append(block)
            here = block.body
        elif word == "else" and blocks:
            if rest.strip():  # else if: a block within the else, which the same end closes
                kind, _, condition = rest.strip().partition(" ")
                block = Node(kind, condition.strip())
                blocks[-1].other = [block]
                blocks[-1] = block
                here = block.body
            else:
                here = blocks[-1].other
        elif word == "end" and blocks:
            here = outside.pop()
            blocks.pop()
        elif word in ("else", "end"):
            raise Unsupported(f"template error: unexpected {{{{{word}}}}}")
        elif word in ("break", "continue"):
            here.append(Node(word))
        elif word in ("template", "define", "block"):
            raise Unsupported(f"templates with {{{{ {word} }}}} are not translated")
        else:
            here.append(Node("output", text))
    if blocks:
        raise Unsupported("template error: unexpected EOF")
    return top


def uses(nodes: list[Node], name: str) -> bool:
    """Whether a field of the root is named anywhere."""
    wanted = re.compile(rf"\.{name}\b")
    return any(
        (node.kind != "text" and wanted.search(node.text)) or uses(node.body, name) or uses(node.other, name)
        for node in nodes
    )


def cut(nodes: list[Node]) -> tuple[list[Node], bool]:
    """The tree up to where the answer begins, and whether it does."""
    kept: list[Node] = []
    for node in nodes:
        body, ended = cut(node.body)
        other, ended_too = ([], False) if ended else cut(node.other)
        kept.append(Node(node.kind, node.text, body, other))
        if ended or ended_too or (node.kind == "output" and re.search(r"\.Response\b", node.text)):
            return kept, True
    return kept, False


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def render(nodes: list[Node], dot: str, depth: int = 0) -> str:
    """The tree in Jinja. ``dot`` is what ``.`` means; empty: the root."""
    return "".join(rendered(node, dot, depth) for node in nodes)


def rendered(node: Node, dot: str, depth: int) -> str:
    """One node."""
    match node.kind:
        case "text":
            return "{{ " + json.dumps(node.text, ensure_ascii=False) + " }}"
        case "output":
            return output(node.text, dot)
        case "if":
            condition = expression(node.text, dot)
            body, other = render(node.body, dot, depth), render(node.other, dot, depth)
            return f"{{% if {condition} %}}{body}" + (f"{{% else %}}{other}" if other else "") + "{% endif %}"
        case "with":
            inner = f"go.with{depth}"
            body, other = render(node.body, inner, depth + 1), render(node.other, dot, depth)
            begin = f"{{% set {inner} = {expression(node.text, dot)} %}}{{% if {inner} %}}{body}"
            return begin + (f"{{% else %}}{other}" if other else "") + "{% endif %}"
        case "range":
            return loop(node, dot, depth)
        case _:
            return f"{{% {node.kind} %}}"


def loop(node: Node, dot: str, depth: int) -> str:
    """``range``, with its variables where it has some."""
    names, _, over = node.text.rpartition(":=")
    variables = [name.strip().lstrip("$") for name in names.split(",")] if names else []
    item, key = f"item{depth}", f"key{depth}"
    listed = expression(over.strip(), dot)
    named = over.strip().rpartition(".")[2] in PAIRS
    begin = f"{{% for {key}, {item} in ({listed}).items() %}}" if named else f"{{% for {item} in ({listed}) or [] %}}"
    number = key if named else "loop.index0"
    if len(variables) == 1:
        begin += f"{{% set go.{variable(variables[0])} = {item} %}}"
    elif len(variables) == 2:
        begin += f"{{% set go.{variable(variables[0])} = {number} %}}{{% set go.{variable(variables[1])} = {item} %}}"
    other = render(node.other, dot, depth)
    end = (f"{{% else %}}{other}" if other else "") + "{% endfor %}"
    return begin + render(node.body, item, depth + 1) + end


def output(text: str, dot: str) -> str:
    """An action that prints, or sets a variable."""
    if found := re.match(r"\$(\w+)\s*(?::=|=)(?!=)", text):
        return f"{{% set go.{variable(found[1])} = {expression(text[found.end() :], dot)} %}}"
    value = expression(text, dot)
    return f'{{{{ ({value}) if ({value}) is string else (({value}) | tojson if ({value}) else "") }}}}'


def variable(name: str) -> str:
    """A variable of the template's among ours."""
    return f"v_{name}"


def expression(text: str, dot: str) -> str:
    """A pipeline. Raises Unsupported."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        found = TOKEN.match(text, at)
        if not found:
            raise Unsupported(f"template error: {text[at : at + 40]!r} is not understood")
        tokens.append((found.lastgroup or "", found[0].strip()))
        at = found.end()
    reader = Reader(tokens, dot)
    value = reader.pipeline()
    if reader.tokens:
        raise Unsupported(f"template error: {reader.tokens[0][1]!r} is one too many")
    return value


class Reader:
    """Reads the tokens of a pipeline from left to right."""

    def __init__(self, tokens: list[tuple[str, str]], dot: str) -> None:
        self.tokens = tokens
        self.dot = dot

    def pipeline(self) -> str:
        """Commands, each given the value of the one before as its last argument."""
        value = self.command(None)
        while self.tokens and self.tokens[0][1] == "|":
            self.tokens.pop(0)
            value = self.command(value)
        return value

    def command(self, last: str | None) -> str:
        """A value, or a function with its arguments."""
        if not self.tokens:
            raise Unsupported("template error: a value is missing")
        kind, text = self.tokens[0]
        if kind == "word" and text not in ("true", "false", "nil"):
            self.tokens.pop(0)
            arguments: list[str] = []
            while self.tokens and self.tokens[0][1] not in ("|", ")"):
                arguments.append(self.operand())
            return call(text, arguments + ([] if last is None else [last]))
        return self.operand()

    def operand(self) -> str:
        """One value."""
        kind, text = self.tokens.pop(0)
        if kind == "text":
            return json.dumps(text[1:-1] if text[0] == "`" else unquoted(text), ensure_ascii=False)
        if kind == "number":
            return text
        if kind == "word" and text in ("true", "false", "nil"):
            return "none" if text == "nil" else text
        if kind == "path":
            return path(text, self.dot)
        if text == "(":
            value = self.pipeline()
            if not self.tokens or self.tokens.pop(0)[1] != ")":
                raise Unsupported("template error: unclosed left paren")
            while self.tokens and self.tokens[0][0] == "path" and self.tokens[0][1].startswith("."):
                value = inner(f"({value})", self.tokens.pop(0)[1][1:].split("."))
            return f"({value})"
        raise Unsupported(f"template error: unexpected {text!r}")


def unquoted(text: str) -> str:
    """A Go string's value. Raises Unsupported."""
    try:
        return str(json.loads(text))
    except ValueError:
        raise Unsupported(f"template error: the text {text[:40]} is not understood") from None


def path(text: str, dot: str) -> str:
    """A field or variable."""
    if text == ".":
        return dot or "messages"
    names = text.lstrip("$").split(".")
    if text.startswith("$") and names[0]:
        return inner(f"go.{variable(names[0])}", names[1:])
    fields = [name for name in names if name]
    if text.startswith("$") or not dot:
        if not fields or fields[0] not in ROOT:
            raise Unsupported(f"template error: {text} is not among what a template is given")
        return inner(ROOT[fields[0]], fields[1:])
    return inner(dot, fields)


def inner(value: str, names: list[str]) -> str:
    """Fields within a value."""
    return ".".join([value, *(INNER.get(name, name.lower()) for name in names if name)])


def call(name: str, arguments: list[str]) -> str:
    """A function applied. Raises Unsupported."""
    match name, arguments:
        case (("and" | "or"), [_, *_]):
            return "(" + f" {name} ".join(arguments) + ")"
        case "not", [value]:
            return f"(not {value})"
        case "eq", [value, *others] if others:
            return "(" + " or ".join(f"{value} == {other}" for other in others) + ")"
        case _, [one, other] if name in COMPARE:
            return f"({one} {COMPARE[name]} {other})"
        case "len", [value]:
            return f"({value} | length)"
        case "index", [value, *keys]:
            return value + "".join(f"[{key}]" for key in keys)
        case "slice", [value, *ends] if len(ends) <= 2:
            return f"{value}[{':'.join(ends) + (':' if len(ends) == 1 else '')}]"
        case "json", [value]:
            return f"({value} | tojson)"
        case "print", [_, *_]:
            return "(" + " ~ ".join(arguments) + ")"
        case "printf", [form, *values]:
            return printed(form, values)
        case "currentDate", []:
            return 'strftime_now("%Y-%m-%d")'
        case _:
            raise Unsupported(f"templates that use {name!r} with {len(arguments)} arguments are not translated")


def printed(form: str, values: list[str]) -> str:
    """``printf`` with the verbs that only put a value in its place."""
    parts = re.split(r"%[svd]", unquoted(form)) if form.startswith('"') else []
    if len(parts) != len(values) + 1 or any("%" in part for part in parts):
        raise Unsupported(f"templates that use printf with {form[:40]} are not translated")
    mixed = [json.dumps(parts[0], ensure_ascii=False)]
    for value, part in zip(values, parts[1:], strict=True):
        mixed += [value, json.dumps(part, ensure_ascii=False)]
    return "(" + " ~ ".join(mixed) + ")"
