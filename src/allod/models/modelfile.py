"""Modelfiles: Ollama's recipe for a model. Parsing, the table of parameters, and printing one back.

    FROM ./smollm2.gguf
    PARAMETER temperature 0.2
    SYSTEM \"\"\"Answer in one sentence.\"\"\"

``parse`` reads text and checks it; what FROM and ADAPTER lead to is ``create.py``'s. The grammar is Ollama's
parser/parser.go: a command and its value to the end of the line, the value plain, in ``"…"`` or in ``\"\"\"…\"\"\"``
(both may span lines); ``#`` at the start of a line is a comment; commands in any case; UTF-8, or UTF-16 with a mark.
"""

import codecs
import difflib
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, field

from allod.chat import Message
from allod.errors import BadModelfile

if TYPE_CHECKING:
    from allod.models.store import Model

COMMANDS = (
    "from",
    "license",
    "template",
    "system",
    "adapter",
    "draft",
    "renderer",
    "parser",
    "parameter",
    "message",
    "requires",
)
ROLES = ("system", "user", "assistant")
LARGEST = 32 << 20  # bytes; licences are the long part
SEMVER = re.compile(r"v?\d+(\.\d+){0,2}([-+][0-9A-Za-z.+-]+)?")

INT_MAX = 2**31 - 1
# name → (type, least, most). Types from Ollama's api/types.go; llama.cpp holds integers in 32 bits.
PARAMETERS: dict[str, tuple[type, float, float]] = {
    "num_ctx": (int, 0, 1 << 24),
    "num_batch": (int, 1, 1 << 20),
    "num_gpu": (int, -1, INT_MAX),
    "main_gpu": (int, 0, 1024),
    "num_thread": (int, 0, 1024),
    "num_keep": (int, -1, INT_MAX),
    "num_predict": (int, -2, INT_MAX),
    "draft_num_predict": (int, 0, 1024),
    "seed": (int, -(2**63), 2**63 - 1),
    "top_k": (int, -1, INT_MAX),
    "repeat_last_n": (int, -1, INT_MAX),
    "temperature": (float, 0, 1000),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "typical_p": (float, 0, 1),
    "repeat_penalty": (float, 0, 1000),
    "presence_penalty": (float, -1000, 1000),
    "frequency_penalty": (float, -1000, 1000),
    "use_mmap": (bool, 0, 1),
    "stop": (str, 0, 0),
}
# Still in old Modelfiles; llama.cpp has nothing they could set. Taken with a warning, as Ollama does.
DEPRECATED = (
    "penalize_newline",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mlock",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "tfs_z",
    "numa",
    "embedding_only",
    "num_gqa",
    "rope_frequency_base",
    "rope_frequency_scale",
)
TRUE, FALSE = ("1", "t", "true"), ("0", "f", "false")


class Modelfile(Struct, frozen=True):
    """A parsed Modelfile. ``sources`` are the values of FROM in order: paths or a model's name."""

    sources: tuple[str, ...] = ()
    adapters: tuple[str, ...] = ()
    template: str = ""
    system: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: list[Message] = field(default_factory=list[Message])
    licenses: list[str] = field(default_factory=list[str])
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    drafts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def from_(self) -> str:
        """The first FROM: what the model is made of."""
        return self.sources[0] if self.sources else ""


# ── parsing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse(source: str | bytes) -> Modelfile:
    """Reads a Modelfile.

    Raises:
        BadModelfile: with the line's number, in Ollama's words.
    """
    text = decode(source) if isinstance(source, bytes) else source.removeprefix("\ufeff")
    if len(text) > LARGEST:
        raise BadModelfile(f"a Modelfile of {len(text)} characters is too long", "Give the weights by FROM, as a path.")
    parts: dict[str, Any] = {}
    for line, command, value in commands(text):
        try:
            apply(parts, command, value)
        except ValueError as error:
            raise at_line(line, str(error)) from error
    if not parts.get("sources"):
        raise BadModelfile("no FROM line", "Begin with FROM and a GGUF file or the name of a model.")
    for key in ("sources", "adapters", "drafts", "warnings"):
        parts[key] = tuple(parts.get(key, ()))
    return Modelfile(**parts)


def decode(data: bytes) -> str:
    """The text of a Modelfile's bytes: UTF-8, or UTF-16 with a byte-order mark. Raises BadModelfile."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise at_line(line, f"it is not {encoding.removesuffix('-sig').upper()} text") from error
    if "\0" in text:
        raise at_line(text[: text.index("\0")].count("\n") + 1, "it is not text")
    return text


def commands(text: str) -> list[tuple[int, str, str]]:
    """``(line, command in lower case, value unquoted)`` in order. Raises BadModelfile."""
    lines = re.split(r"\r\n|\n|\r", text)
    found: list[tuple[int, str, str]] = []
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].lstrip(" \t")
        at += 1
        if not line or line.startswith("#"):
            continue
        word, rest = split_word(line)
        command = word.lower()
        if command not in COMMANDS:
            names = ", ".join(f'"{name}"' for name in COMMANDS[:-1])
            raise at_line(number, f'command must be one of {names}, or "{COMMANDS[-1]}"', nearest(command, COMMANDS))
        head = ""
        if command in ("parameter", "message"):
            head, rest = split_word(rest)
        value, at = quoted(lines, at, rest, number)
        found.append((number, f"{command} {head}".strip(), value))
    return found


def split_word(line: str) -> tuple[str, str]:
    """The first word of a line, and the rest without the white space between."""
    word, *rest = re.split(r"[ \t]+", line, maxsplit=1)
    return word, rest[0] if rest else ""


def quoted(lines: list[str], at: int, first: str, number: int) -> tuple[str, int]:
    """A value that begins with ``first`` and may go on at ``lines[at]``; returns it and the line after it."""
    mark = '"""' if first.startswith('"""') else '"' if first.startswith('"') else ""
    if not mark:
        if not first.strip():
            raise at_line(number, "the value is missing")
        return first.strip(), at
    value = first
    while len(value) < 2 * len(mark) or not value.rstrip(" \t").endswith(mark):
        if at == len(lines):
            raise at_line(number, f"the text that begins here has no closing {mark}")
        value += "\n" + lines[at]
        at += 1
    return value.rstrip(" \t")[len(mark) : -len(mark)], at


def apply(parts: dict[str, Any], command: str, value: str) -> None:
    """Adds one command to the parts of a Modelfile. Raises ValueError, saying what is wrong."""
    command, _, head = command.partition(" ")
    match command:
        case "from" | "adapter" | "draft":
            key = {"from": "sources", "adapter": "adapters", "draft": "drafts"}[command]
            parts.setdefault(key, []).append(value)
        case "license":
            parts.setdefault("licenses", []).append(value)
        case "message":
            if head not in ROLES:
                raise ValueError('message role must be one of "system", "user", or "assistant"')
            parts.setdefault("messages", []).append(Message(head, value))
        case "parameter":
            set_parameter(parts, head.lower(), value)
        case "requires":
            if not SEMVER.fullmatch(value):
                raise ValueError("requires must be a valid semver (e.g. 0.14.0)")
            parts["requires"] = value.removeprefix("v")
        case _:
            parts[command] = value


def set_parameter(parts: dict[str, Any], name: str, value: str) -> None:
    """Adds one parameter; ``stop`` may be given many times. Raises ValueError."""
    if name in DEPRECATED:
        parts.setdefault("warnings", []).append(f"parameter {name} is deprecated")
        return
    params = parts.setdefault("params", {})
    params[name] = [*params.get(name, []), *typed(name, value)] if name == "stop" else typed(name, value)


def at_line(line: int, what: str, remedy: str = "") -> BadModelfile:
    """The error for a line, from 1."""
    return BadModelfile(f"(line {line}): {what}", remedy or f"Mend line {line} of the Modelfile.")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """A remedy that names the nearest known word, empty where none is near."""
    near = difflib.get_close_matches(word, known, 1)
    return f"Did you mean {near[0].upper()}?" if near else ""


# ── parameters ──────────────────────────────────────────────────────────────────────────────────────────────────────


def typed(name: str, value: object) -> Any:
    """A parameter's value in its own type; takes text from a Modelfile and values from JSON. ``stop`` gives a list.

    Raises:
        ValueError: an unknown parameter, or a value that is not of its type or out of its range.
    """
    if name not in PARAMETERS:
        near = difflib.get_close_matches(name, PARAMETERS, 1)
        raise ValueError(f"unknown parameter '{name[:80]}'" + (f" (did you mean {near[0]}?)" if near else ""))
    kind, least, most = PARAMETERS[name]
    if kind is str:
        values = list(cast("list[object]", value)) if isinstance(value, list) else [value]
        if wrong := [v for v in values if not isinstance(v, str)]:
            raise ValueError(f"{name} must be text, not {shown(wrong[0])}")
        return values
    if kind is bool:
        return truth(name, value)
    number = whole(name, value) if kind is int else real(name, value)
    if not least <= number <= most:
        raise ValueError(f"{name} must be between {least:.10g} and {most:.10g}, not {shown(value)}")
    return number


def whole(name: str, value: object) -> int:
    """An integer, from text or a JSON number. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,4000}", value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError(f"{name} must be a whole number, not {shown(value)}")


def real(name: str, value: object) -> float:
    """A finite number, from text or a JSON number. Raises ValueError."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) < 1e300 else math.inf
    elif isinstance(value, str) and len(value) < 400 and "_" not in value:
        try:
            number = float(value)
        except ValueError:
            pass
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a number, not {shown(value)}")
    return number


def truth(name: str, value: object) -> bool:
    """A truth value, from text in Go's spellings or JSON. Raises ValueError."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in TRUE + FALSE:
        return value.lower() in TRUE
    raise ValueError(f"{name} must be true or false, not {shown(value)}")


def shown(value: object) -> str:
    """A value in an error message, cut short."""
    text = value if isinstance(value, str) else repr(value)[:200] if not isinstance(value, int) else "a huge number"
    if isinstance(value, int) and abs(value) < 10**30:
        text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


# ── printing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def render(model: "Model") -> str:
    """The Modelfile that makes ``model`` again, as ``show --modelfile`` prints it."""
    lines = [
        '# Modelfile generated by "allod show"',
        "# To build a new Modelfile based on this, replace FROM with:",
        f"# FROM {model.name}",
        "",
    ]
    lines += [f"FROM {path}" for path in model.weights] or [f"FROM {model.name}"]
    lines += [f"FROM {model.projector}"] if model.projector else []
    lines += [f"ADAPTER {path}" for path in model.adapters]
    lines += [f"DRAFT {model.draft}"] if model.draft else []
    lines += [f"{word} {quote(text, True)}" for word, text in texts(model) if text]
    lines += [f"PARAMETER {name} {quote(value)}" for name, value in flat(model.params)]
    lines += [f"MESSAGE {message.role} {quote(message.text, True)}" for message in model.messages]
    lines += [f"LICENSE {quote(text, True)}" for text in model.licenses]
    return "\n".join(lines) + "\n"


def texts(model: "Model") -> list[tuple[str, str]]:
    """The commands of a model that hold one text."""
    config = model.config
    return [
        ("TEMPLATE", model.template),
        ("SYSTEM", model.system),
        ("RENDERER", config.renderer),
        ("PARSER", config.parser),
        ("REQUIRES", config.requires),
    ]


def flat(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``(name, value as text)`` for every value, lists one by one, in alphabetical order of names."""
    pairs: list[tuple[str, str]] = []
    for name, value in sorted(params.items()):
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        pairs += [
            (name, str(v).lower() if isinstance(v, bool) else f"{v:g}" if isinstance(v, float) else str(v))
            for v in values
        ]
    return pairs


def parameters(params: Mapping[str, Any]) -> str:
    """The text that ``show`` has under ``parameters``: a name padded to 30, and its value, strings in quotes."""
    lines: list[str] = []
    for name, value in sorted(params.items()):
        for v in cast("list[Any]", value) if isinstance(value, list) else [value]:
            text = f'"{v}"' if isinstance(v, str) else flat({name: v})[0][1]
            lines.append(f"{name:<30} {text}")
    return "\n".join(lines)


def quote(text: str, always: bool = False) -> str:
    """``text`` as a Modelfile's value; ``always``: in quotes even where it could stand plain."""
    plain = text == text.strip() and text and not text.startswith('"') and not re.search(r"[\r\n]", text)
    if plain and not always:
        return text
    mark = '"""' if re.search(r'["\r\n]', text) and '"""' not in text else '"'
    return f"{mark}{text}{mark}"
