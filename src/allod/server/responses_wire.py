"""The JSON of OpenAI's responses: requests, the items they hold, and the object that is the answer.

Formats from OpenAI's API reference (Responses). What an item means is in ``responses_requests``.
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from allod.errors import AllodError, BadRequest
from allod.server.door import encode
from allod.server.openai_wire import OpenAI

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class NoPrevious(BadRequest):
    """``previous_response_id`` names none that is kept."""


class Responses(OpenAI):
    """OpenAI's shape, with the one code that clients of responses look for."""

    def whole(self, error: AllodError) -> bytes:
        """The error as a body."""
        if not isinstance(error, NoPrevious):
            return super().whole(error)
        message = f"{error.message}. {error.remedy}"
        fields = {"message": message, "type": "invalid_request_error", "param": "previous_response_id"}
        return encode({"error": fields | {"code": "previous_response_not_found"}})


RESPONSES = Responses()


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Reasoning(Struct):
    """``reasoning``."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None


class Form(Struct):
    """``text.format``."""

    type: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str | None = None
    strict: bool | None = None


class TextConfig(Struct):
    """``text``."""

    format: Form | None = None
    verbosity: str | None = None


class CountBody(Struct, kw_only=True):
    """POST /v1/responses/input_tokens."""

    model: str | None = None
    input: str | list[dict[str, Any]] | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    conversation: Any = None
    # Ollama's, for clients that know both.
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None


class ResponseRequest(CountBody, kw_only=True):
    """POST /v1/responses."""

    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    prompt: Any = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    metadata: Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] | None = None
    user: str | None = None


# ── items of a conversation ─────────────────────────────────────────────────────────────────────────────────────────


class Piece(Struct):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None


class MessageItem(Struct):
    """A turn."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Piece]


class CallItem(Struct):
    """A call that the model made."""

    call_id: str
    name: str
    arguments: str


class ResultItem(Struct):
    """What came of it."""

    call_id: str
    output: str | list[Piece]


class ReasoningItem(Struct):
    """Thoughts of an earlier turn."""

    content: list[Piece] | None = None
    summary: list[Piece] = field(default_factory=list[Piece])


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class OutputText(Struct, tag="output_text"):
    """The text of a message."""

    text: str = ""
    annotations: list[Any] = field(default_factory=list[Any])
    logprobs: list[Any] = field(default_factory=list[Any])


class ReasoningText(Struct, tag="reasoning_text"):
    """The text of thoughts."""

    text: str = ""


class OutputMessage(Struct, tag="message"):
    """What the model said."""

    id: str
    status: Status = "in_progress"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText] = field(default_factory=list[OutputText])


class OutputReasoning(Struct, tag="reasoning"):
    """What it thought before."""

    id: str
    status: Status = "in_progress"
    summary: list[Any] = field(default_factory=list[Any])
    content: list[ReasoningText] = field(default_factory=list[ReasoningText])


class OutputCall(Struct, tag="function_call"):
    """A call that it wants made."""

    id: str
    call_id: str
    name: str
    arguments: str = ""
    status: Status = "in_progress"


Item = OutputMessage | OutputReasoning | OutputCall


class Cached(Struct):
    """Of the input."""

    cached_tokens: int = 0


class Thought(Struct):
    """Of the output."""

    reasoning_tokens: int = 0


class Used(Struct):
    """Tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: Cached
    output_tokens_details: Thought


class Failure(Struct):
    """Why there is no answer."""

    code: str
    message: str


class Incomplete(Struct):
    """Why an answer is not whole."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Response(Struct, kw_only=True):
    """The answer, with what was asked."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status = "in_progress"
    background: bool = False
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    model: str
    output: list[Item] = field(default_factory=list[Item])
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    reasoning: Reasoning = field(default_factory=Reasoning)
    store: bool = True
    temperature: float | None = None
    text: dict[str, Any] = field(default_factory=dict[str, Any])
    tool_choice: str | dict[str, Any] = "auto"
    tools: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    top_p: float | None = None
    truncation: Literal["disabled"] = "disabled"
    usage: Used | None = None
    user: str | None = None


class Deleted(Struct):
    """The answer of DELETE."""

    id: str
    object: Literal["response"] = "response"
    deleted: bool = True


class ListedItems(Struct):
    """The answer of /v1/responses/:id/input_items."""

    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: Literal["list"] = "list"


class CountedInput(Struct):
    """The answer of /v1/responses/input_tokens."""

    input_tokens: int
    object: Literal["response.input_tokens"] = "response.input_tokens"
