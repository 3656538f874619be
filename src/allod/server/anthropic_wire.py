"""Anthropic's JSON: requests, answers, events of a stream, and the error shape of that API.

Formats from Anthropic's API reference (Messages, Count tokens, Errors, Streaming). Fields that mean nothing here
(``metadata``, ``service_tier``, ``cache_control``…) are taken and ignored; blocks of an unknown type are not.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from allod.errors import AllodError, Busy, PromptTooLong
from allod.server.door import encode

KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class Overloaded(Busy):
    """A full queue, with the status that this API has for it."""

    status = 529


class Anthropic:
    """The shape of this API: ``{"type": "error", "error": {"type", "message"}}``, streams of named events."""

    stream_type = "text/event-stream; charset=utf-8"

    def whole(self, error: AllodError) -> bytes:
        """The error as a body, with what to do about it."""
        kind = KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        message = f"{error.message.rstrip('.')}. {error.remedy}" if error.remedy else error.message
        if isinstance(error, PromptTooLong):
            message = f"prompt is too long: {message}"  # the words that clients look for
        return encode({"type": "error", "error": {"type": kind, "message": message}})

    def late(self, error: AllodError) -> bytes:
        """The error as the last event."""
        return b"event: error\ndata: " + self.whole(error) + b"\n\n"


ANTHROPIC = Anthropic()


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


class TextBlock(Struct, tag="text"):
    """Text."""

    text: str


class Source(Struct):
    """Where a picture or a document comes from: ``base64``, ``text``, ``url``, ``file``…"""

    type: str
    media_type: str = ""
    data: str = ""


class ImageBlock(Struct, tag="image"):
    """A picture."""

    source: Source


class DocumentBlock(Struct, tag="document"):
    """A document; plain text is all that is taken."""

    source: Source
    title: str | None = None


class ToolUseBlock(Struct, tag="tool_use"):
    """A call of an earlier turn."""

    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(Struct, tag="tool_result"):
    """What came of a call."""

    tool_use_id: str
    content: str | list[TextBlock | ImageBlock | DocumentBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(Struct, tag="thinking"):
    """Thoughts of an earlier turn."""

    thinking: str
    signature: str = ""


class RedactedBlock(Struct, tag="redacted_thinking"):
    """Thoughts that only Anthropic could read."""


Block = TextBlock | ImageBlock | DocumentBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedBlock


class Turn(Struct):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class WireTool(Struct):
    """A tool on offer. Those of another ``type`` than ``custom`` run at Anthropic's, or have their schema there."""

    name: str
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(Struct):
    """Whether a tool must be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    """Whether to think first."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    display: Literal["summarized", "omitted"] | None = None


class Format(Struct):
    """The form of the answer."""

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Struct):
    """``output_config``."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class CountBody(Struct, kw_only=True):
    """POST /v1/messages/count_tokens."""

    model: str | None = None
    messages: list[Turn] | None = None
    system: str | list[TextBlock] | None = None
    tools: list[WireTool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None  # where it was before there was output_config
    mcp_servers: list[Any] | None = None
    # Ollama's, for clients that know both.
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class MessagesBody(CountBody, kw_only=True):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    stream: bool | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=256)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Text(Struct, tag="text"):
    """A block of text."""

    text: str


class Thought(Struct, tag="thinking"):
    """A block of thoughts. Clients send them back only with a signature; it is a digest, and nobody checks it here."""

    thinking: str
    signature: str = ""


class ToolUse(Struct, tag="tool_use"):
    """A call."""

    id: str
    name: str
    input: dict[str, Any]


class Used(Struct):
    """Tokens; ``input_tokens`` are those that were not in the cache."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class Answered(Struct, tag="message"):
    """The answer of /v1/messages."""

    id: str
    model: str
    role: str = "assistant"
    content: list[Text | Thought | ToolUse] = field(default_factory=list[Text | Thought | ToolUse])
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Used = field(default_factory=Used)


class CountedTokens(Struct):
    """The answer of /v1/messages/count_tokens."""

    input_tokens: int


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class TextDelta(Struct, tag="text_delta"):
    """More text."""

    text: str


class ThinkingDelta(Struct, tag="thinking_delta"):
    """More thoughts."""

    thinking: str


class SignatureDelta(Struct, tag="signature_delta"):
    """The signature of a block of thoughts, at its end."""

    signature: str


class InputDelta(Struct, tag="input_json_delta"):
    """More of a call's arguments, as JSON text."""

    partial_json: str


class Ending(Struct):
    """Why an answer ended."""

    stop_reason: str | None
    stop_sequence: str | None


class MessageStart(Struct, tag="message_start"):
    """First of all."""

    message: Answered


class BlockStart(Struct, tag="content_block_start"):
    """A block begins, empty."""

    index: int
    content_block: Text | Thought | ToolUse


class BlockDelta(Struct, tag="content_block_delta"):
    """It grows."""

    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStop(Struct, tag="content_block_stop"):
    """It is whole."""

    index: int


class MessageDelta(Struct, tag="message_delta"):
    """How the answer ended and what it cost in all."""

    delta: Ending
    usage: Used


class MessageStop(Struct, tag="message_stop"):
    """Last of all."""


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop


def event(body: Event) -> bytes:
    """An event on the wire."""
    return b"event: " + str(body.__struct_config__.tag).encode() + b"\ndata: " + encode(body) + b"\n\n"
