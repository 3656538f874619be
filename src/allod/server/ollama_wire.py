"""Ollama's JSON, request by request and answer by answer (its api/types.go), with the error shape of its API.

Field names, order and omission of empty fields are Ollama's. As in Go, ``null`` is as good as absent. Durations are
whole nanoseconds, times RFC 3339 with up to nine decimals.
"""

import time
from datetime import UTC, datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field

from allod.errors import AllodError, Busy, ModelNotFound
from allod.server.door import encode

BUSY = "server busy, please try again.  maximum pending requests exceeded"


class Native:
    """The shape of Ollama's own API: ``{"error": "…"}``, streams of one JSON object a line."""

    stream_type = "application/x-ndjson"

    def whole(self, error: AllodError) -> bytes:
        """The error as a body. Ollama's fixed texts stay as they are; allod's own carry their remedy."""
        if isinstance(error, Busy) and error.status == Busy.status:
            text = BUSY
        elif isinstance(error, ModelNotFound) or not error.remedy:
            text = error.message
        else:
            text = f"{error.message.rstrip('.')}. {error.remedy}"
        return encode({"error": text})

    def late(self, error: AllodError) -> bytes:
        """The error as the last line of a stream."""
        return self.whole(error) + b"\n"


NATIVE = Native()


def line(answer: Struct) -> bytes:
    """One line of a stream."""
    return encode(answer) + b"\n"


def nanoseconds(seconds: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(seconds * 1e9)


def now() -> str:
    """The time as Go prints it: UTC, nanoseconds, trailing zeros left out."""
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def moment(at: datetime) -> str:
    """A stored time, likewise."""
    text = at.astimezone(UTC).isoformat().removesuffix("+00:00")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "Z"


# ── chat, generate, embed ───────────────────────────────────────────────────────────────────────────────────────────


class CalledFunction(Struct, omit_defaults=True):
    """The function of a tool call. ``arguments`` is an object, not text."""

    name: str = ""
    arguments: dict[str, Any] | None = None
    index: int | None = None


class WireToolCall(Struct, omit_defaults=True):
    """A call the model made."""

    id: str | None = None
    function: CalledFunction | None = None


class WireMessage(Struct):
    """A turn, as it comes in."""

    role: str = ""
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[WireToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ToolFunction(Struct):
    """What a tool is."""

    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None


class WireTool(Struct):
    """A tool on offer."""

    type: str | None = None
    function: ToolFunction | None = None


class Generation(Struct, kw_only=True):
    """What chat and generate have in common."""

    model: str | None = None
    stream: bool | None = None
    format: Any = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None
    think: bool | str | None = None
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = field(default=None, name="_debug_render_only")


class ChatBody(Generation, kw_only=True):
    """POST /api/chat."""

    messages: list[WireMessage] | None = None
    tools: list[WireTool] | None = None


class GenerateBody(Generation, kw_only=True):
    """POST /api/generate."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class EmbedBody(Struct):
    """POST /api/embed."""

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None


class EmbeddingsBody(Struct):
    """POST /api/embeddings, the older form of /api/embed."""

    model: str | None = None
    prompt: str | None = None
    keep_alive: float | str | None = None
    options: dict[str, Any] | None = None


class WireLogprob(Struct, omit_defaults=True):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top_logprobs: list["WireLogprob"] | None = None


class AnswerMessage(Struct, omit_defaults=True):
    """A piece of an answer. ``content`` is there even when empty."""

    role: str
    content: str
    thinking: str = ""
    tool_calls: list[WireToolCall] | None = None


class DebugInfo(Struct, omit_defaults=True):
    """The prompt as the model would see it."""

    rendered_template: str
    image_count: int = 0


class Line(Struct, omit_defaults=True, kw_only=True):
    """What a line of chat and one of generate have in common; from ``done_reason`` on, the last line only."""

    model: str
    created_at: str
    done: bool
    logprobs: list[WireLogprob] | None = None
    debug: DebugInfo | None = field(default=None, name="_debug_info")
    done_reason: str = ""
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0


class ChatAnswer(Line, kw_only=True):
    """A line of /api/chat."""

    message: AnswerMessage


class GenerateAnswer(Line, kw_only=True):
    """A line of /api/generate."""

    response: str
    thinking: str = ""
    tool_calls: list[WireToolCall] | None = None
    context: list[int] | None = None


class VectorAnswer(Struct):
    """The answer of /api/embeddings."""

    embedding: list[float]


class EmbedAnswer(Struct):
    """The answer of /api/embed. ``truncated`` is allod's own: the numbers of the texts that were cut."""

    model: str
    embeddings: list[list[float]]
    total_duration: int
    load_duration: int
    prompt_eval_count: int = 0
    truncated: list[int] | UnsetType = UNSET


# ── models ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class NameBody(Struct):
    """DELETE /api/delete. ``name`` is what old clients say for ``model``, here and below."""

    model: str | None = None
    name: str | None = None


class ShowBody(NameBody):
    """POST /api/show."""

    system: str | None = None
    verbose: bool | None = None


class PullBody(NameBody):
    """POST /api/pull."""

    insecure: bool | None = None
    stream: bool | None = None


class CopyBody(Struct):
    """POST /api/copy."""

    source: str | None = None
    destination: str | None = None


class CreateBody(NameBody):
    """POST /api/create. ``files`` and ``adapters``: file name → digest of an uploaded blob."""

    from_: str | None = field(default=None, name="from")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    template: str | None = None
    license: str | list[str] | None = None
    system: str | None = None
    parameters: dict[str, Any] | None = None
    messages: list[WireMessage] | None = None
    quantize: str | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    remote_host: str | None = None
    stream: bool | None = None


class Details(Struct):
    """What kind of model."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] | None = None
    parameter_size: str = ""
    quantization_level: str = ""


class TaggedModel(Struct):
    """An entry of /api/tags."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class RunningModel(Struct):
    """An entry of /api/ps. Sizes in bytes, of memory; ``context_length`` in tokens, of one slot."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int


class ShownMessage(Struct):
    """A turn that every conversation begins with."""

    role: str
    content: str


class ShownTensor(Struct):
    """A tensor of the weights."""

    name: str
    type: str
    shape: tuple[int, ...]


class ShownModel(Struct, omit_defaults=True, kw_only=True):
    """The answer of /api/show."""

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    renderer: str = ""
    parser: str = ""
    details: Details
    messages: list[ShownMessage] | None = None
    model_info: dict[str, Any]
    projector_info: dict[str, Any] | None = None
    tensors: list[ShownTensor] | None = None
    capabilities: list[str]
    modified_at: str
    requires: str = ""
