"""Ollama's requests turned into the one language inside. Refusals have Ollama's texts where it has one.

What can be said without a loaded model is said here; it knows nothing of engines and stores.
"""

import binascii
import logging
import secrets
from collections.abc import Mapping
from typing import Any, Literal, cast

import msgspec

from allod.chat import ChatRequest, ImagePart, Message, Options, Part, TextPart, Tool, ToolCall
from allod.engine.options import LoadOptions, keep_alive_seconds
from allod.errors import BadRequest
from allod.server.ollama_wire import ChatBody, Generation, WireMessage, WireTool, WireToolCall

ROLES = ("system", "user", "assistant", "tool")
THINK_LEVELS = ("low", "medium", "high", "max")

LEAST_BATCH = 32  # tokens; llama.cpp's matrix kernels want no less, and abort on the smallest
INT, FLOAT = (-(2**63), 2**63 - 1), (-1e30, 1e30)
COUNT = (0, 2**31 - 1)
# Ollama's name → (ours, least, most); integer or float by the type of the bounds.
SAMPLING: dict[str, tuple[str, tuple[float, float]]] = {
    "num_predict": ("max_tokens", (-2, 2**31 - 1)),
    "num_keep": ("n_keep", (-1, 2**31 - 1)),
    "seed": ("seed", INT),
    "top_k": ("top_k", (-(2**31), 2**31 - 1)),
    "top_p": ("top_p", FLOAT),
    "min_p": ("min_p", FLOAT),
    "typical_p": ("typical_p", FLOAT),
    "temperature": ("temperature", FLOAT),
    "repeat_last_n": ("repeat_last_n", (-1, 2**31 - 1)),
    "repeat_penalty": ("repeat_penalty", FLOAT),
    "presence_penalty": ("presence_penalty", FLOAT),
    "frequency_penalty": ("frequency_penalty", FLOAT),
}
LOADING: dict[str, tuple[str, tuple[float, float]]] = {
    "num_ctx": ("context", COUNT),
    "num_batch": ("batch", (0, 2**16)),
    "num_thread": ("threads", (0, 1024)),
    "num_gpu": ("gpu_layers", (-1, 2**31 - 1)),
}
# Ollama takes these and does nothing with them either, or they choose what allod chooses by itself.
SILENT = frozenset(
    ("main_gpu", "use_mmap", "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "penalize_newline",
     "mirostat", "mirostat_tau", "mirostat_eta", "tfs_z", "draft_num_predict", "embedding_only")
)  # fmt: skip
PICTURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"BM", "image/bmp"))


log = logging.getLogger("allod.server")


def options(given: Mapping[str, Any] | None) -> Options:
    """``options`` as sampling; keys nobody knows are logged.

    Raises:
        BadRequest: a value of the wrong type or out of range.
    """
    found = Options()
    for key, value in (given or {}).items():
        if value is None or key in LOADING or key in SILENT:
            continue
        if key == "stop":
            found.stop = stops(value)
        elif key in SAMPLING:
            ours, bounds = SAMPLING[key]
            number = in_range(key, value, bounds)
            setattr(found, ours, max(number, -1) if key == "num_predict" else number)
        else:
            log.warning("invalid option provided: %s", key[:80])
    return found


def load_options(
    given: Mapping[str, Any] | None, *, embedding: bool = False, exact: bool = False, shift: bool = False
) -> LoadOptions | None:
    """The part of ``options`` that says how to load; None where there is nothing to say. 0 is as good as absent.

    ``exact``: the request wants the probabilities of tokens. ``shift``: it wants to go on where the context is full.

    Raises:
        BadRequest: a value of the wrong type or out of range.
    """
    found = {
        ours: int(in_range(key, given[key], bounds))
        for key, (ours, bounds) in LOADING.items()
        if given and given.get(key) is not None
    }
    if found.get("batch"):
        found["batch"] = max(found["batch"], LEAST_BATCH)
    special = {name: True for name, wanted in (("embedding", embedding), ("exact", exact), ("shift", shift)) if wanted}
    return LoadOptions(**found, **special) if found or special else None


def in_range(key: str, value: Any, bounds: tuple[float, float]) -> float:
    """``value`` as a number of the kind that ``bounds`` are."""
    whole = isinstance(bounds[0], int)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f'option "{key}" must be of type {"integer" if whole else "float32"}')
    if not bounds[0] <= value <= bounds[1]:
        raise BadRequest(f'option "{key}" must be between {bounds[0]:g} and {bounds[1]:g}')
    return int(value) if whole else float(value)


def stops(value: Any) -> list[str]:
    """The option ``stop``."""
    if not isinstance(value, list):
        raise BadRequest('option "stop" must be of type array')
    entries = cast(list[Any], value)
    if not all(isinstance(entry, str) for entry in entries):
        raise BadRequest('option "stop" must be of an array of strings')
    return [entry for entry in cast(list[str], entries) if entry]


def keep_alive(value: float | str | None) -> float | None:
    """Seconds, infinite for ever, or None for the server's own choice. Raises BadRequest for what is no duration."""
    return None if value is None else keep_alive_seconds(value)


def answer_format(value: Any) -> Literal["json"] | dict[str, Any] | None:
    """``format``: nothing, ``"json"`` or a JSON Schema.

    Raises:
        BadRequest: something else.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return "json"
    if isinstance(value, dict):
        return cast(dict[str, Any], value)
    shown = msgspec.json.encode(value)[:80].decode(errors="replace")
    raise BadRequest(f'invalid format: {shown}; expected "json" or a valid JSON Schema object')


def logprobs(body: Generation) -> int | None:
    """How many likeliest tokens beside each are wanted; None for no log-probabilities at all.

    Raises:
        BadRequest: out of range.
    """
    count = body.top_logprobs or 0
    if not 0 <= count <= 20:
        raise BadRequest("top_logprobs must be between 0 and 20")
    return count if body.logprobs or count else None


def thinking(value: bool | str | None) -> bool | str | None:
    """``think``.

    Raises:
        BadRequest: a level that is none.
    """
    if isinstance(value, str) and value not in THINK_LEVELS:
        raise BadRequest(
            f'invalid think value: {value[:40]!r} (must be "high", "medium", "low", "max", true, or false)'
        )
    return value


def picture_kind(data: bytes) -> str:
    """A picture's media type by its first bytes; empty: it is none of those that are taken."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for start, kind in PICTURES if data.startswith(start)), "")


def images(encoded: list[str] | None) -> list[ImagePart]:
    """Pictures from base64.

    Raises:
        BadRequest: not base64, or not a picture.
    """
    found: list[ImagePart] = []
    for text in encoded or []:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise BadRequest(f"an image is not valid base64: {error}") from error
        if not (kind := picture_kind(data)):
            raise BadRequest("an image is not a PNG, JPEG, WebP, GIF or BMP file")
        found.append(ImagePart(data, kind))
    return found


def message(wire: WireMessage) -> Message:
    """One turn.

    Raises:
        BadRequest: an unknown role, or a bad picture.
    """
    role = wire.role.lower()
    if role not in ROLES:
        raise BadRequest(f'invalid role: {wire.role[:40]!r}, must be one of ["system", "user", "assistant", "tool"]')
    content: str | list[Part] = wire.content or ""
    if pictures := images(wire.images):
        content = [*([TextPart(content)] if content else []), *pictures]
    return Message(
        role=role,
        content=content,
        thinking=wire.thinking or "",
        tool_calls=[tool_call(call) for call in wire.tool_calls or []],
        tool_call_id=wire.tool_call_id or "",
        tool_name=wire.tool_name or "",
    )


def tool_call(wire: WireToolCall) -> ToolCall:
    """A call from an earlier turn."""
    if wire.function is None or not wire.function.name:
        raise BadRequest("a tool call needs a function with a name")
    arguments = msgspec.json.encode(wire.function.arguments or {}).decode()
    return ToolCall(wire.id or new_call_id(), wire.function.name, arguments)


def new_call_id() -> str:
    """An id for a call that came without: ``call_`` and eight characters, as Ollama's."""
    return f"call_{secrets.token_hex(4)}"


def tool(wire: WireTool) -> Tool:
    """A tool on offer."""
    if wire.function is None or not wire.function.name:
        raise BadRequest("a tool needs a function with a name")
    return Tool(wire.function.name, wire.function.description or "", wire.function.parameters or {})


def chat_request(body: ChatBody) -> ChatRequest:
    """A whole conversation; the model's own defaults are not in it yet.

    Tool results that name no call answer the calls before them in order, as Ollama's clients leave the ids out.

    Raises:
        BadRequest: see the parts.
    """
    messages = [message(wire) for wire in body.messages or []]
    waiting: list[ToolCall] = []
    for turn in messages:
        if turn.role == "assistant":
            waiting = list(turn.tool_calls)
        elif turn.role == "tool":
            same = [
                c for c in waiting if c.id == turn.tool_call_id or (not turn.tool_call_id and c.name == turn.tool_name)
            ]
            call = (same or (waiting if not turn.tool_call_id else []) or [None])[0]
            if call:
                waiting.remove(call)
                turn.tool_call_id, turn.tool_name = call.id, turn.tool_name or call.name
    return ChatRequest(
        messages=messages,
        options=options(body.options),
        tools=[tool(wire) for wire in body.tools or []],
        format=answer_format(body.format),
        think=thinking(body.think),
        top_logprobs=logprobs(body),
    )
