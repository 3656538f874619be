"""OpenAI's JSON as far as this server looks at it, with the error shape of that API.

Requests are passed on as they came, so these structs only check the fields that everybody knows; ``null`` is as good as
absent. Formats from OpenAI's API reference (chat completions, completions, embeddings, models).
"""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from allod.errors import AllodError
from allod.server.door import encode

KINDS = {403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class OpenAI:
    """The shape of ``/v1``: ``{"error": {"message", "type", "param", "code"}}``, streams of server-sent events."""

    stream_type = "text/event-stream; charset=utf-8"

    def whole(self, error: AllodError) -> bytes:
        """The error as a body, with what to do about it."""
        kind = KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        code = "invalid_api_key" if error.status == 401 else None
        message = f"{error.message.rstrip('.')}. {error.remedy}" if error.remedy else error.message
        return encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def late(self, error: AllodError) -> bytes:
        """The error as the last event but the end."""
        return b"data: " + self.whole(error) + b"\n\ndata: [DONE]\n\n"


OPENAI = OpenAI()


class StreamOptions(Struct):
    """``stream_options``."""

    include_usage: bool | None = None


class Reasoning(Struct):
    """``reasoning``, as some clients say it."""

    effort: str | None = None


class Sampled(Struct, kw_only=True):
    """What chat and completions have in common."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | list[Any] | None = None
    user: str | None = None
    # Ollama's, for clients that know both.
    options: dict[str, Any] | None = None
    keep_alive: float | str | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether the probabilities of tokens are asked for."""
        return False

    def texts(self) -> list[str]:
        """The texts that all go into one prompt."""
        return []


class ChatBody(Sampled, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]] | None = None
    max_completion_tokens: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning: Reasoning | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    allod_keep: Annotated[int, Meta(ge=0)] | None = None  # our own: ChatRequest.keep

    @property
    def wants_logprobs(self) -> bool:
        """Whether the probabilities of tokens are asked for."""
        return bool(self.logprobs or self.top_logprobs)

    def texts(self) -> list[str]:
        """The messages that are plain text."""
        contents = (turn.get("content") for turn in self.messages or [])
        return [content for content in contents if isinstance(content, str)]


class CompletionBody(Sampled, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[Any] | None = None  # texts or tokens
    suffix: str | None = None
    logprobs: int | None = None

    @property
    def wants_logprobs(self) -> bool:
        """Whether the probabilities of tokens are asked for."""
        return self.logprobs is not None

    def texts(self) -> list[str]:
        """The prompt, if there is one and it is text."""
        return [self.prompt] if isinstance(self.prompt, str) else []


class EmbeddingsBody(Struct):
    """POST /v1/embeddings."""

    model: str | None = None
    input: Any = None
    encoding_format: str | None = None
    dimensions: int | None = None
    user: str | None = None


class Embedding(Struct):
    """One vector: numbers, or base64 of little-endian float32."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(Struct):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Struct):
    """The answer of /v1/embeddings."""

    data: list[Embedding]
    model: str
    usage: EmbeddingUsage
    object: Literal["list"] = "list"


class ListedModel(Struct):
    """A model; ``created`` in seconds since 1970."""

    id: str
    created: int
    owned_by: str
    object: Literal["model"] = "model"


class ModelList(Struct):
    """The answer of /v1/models."""

    data: list[ListedModel]
    object: Literal["list"] = "list"


class FilledChoice(Struct):
    """A piece of a completion."""

    text: str
    finish_reason: str | None
    index: int = 0
    logprobs: None = None


class FilledUsage(Struct):
    """Tokens of a completion."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Filled(Struct, omit_defaults=True):
    """An answer of /v1/completions that this server writes itself: one with a suffix."""

    id: str
    created: int
    model: str
    object: str
    choices: list[FilledChoice]
    usage: FilledUsage | None = None
