"""The one language inside: doors turn their wire format into these and these back into theirs.

Plain data, no behaviour, no wire format of anybody's. Durations are seconds (float), counts are tokens.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

Role = Literal["system", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls"]


class TextPart(Struct, frozen=True, tag="text"):
    """A run of text within a message."""

    text: str


class ImagePart(Struct, frozen=True, tag="image"):
    """A picture within a message: the bytes of a PNG, JPEG or WebP file."""

    data: bytes
    media_type: str = "image/png"


Part = TextPart | ImagePart


class ToolCall(Struct, frozen=True):
    """A call the model wants made. ``arguments`` is the JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


class Tool(Struct, frozen=True):
    """A function the model may call; ``parameters`` is a JSON Schema."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Message(Struct):
    """One turn. ``tool_call_id`` and ``tool_name`` belong to role ``tool``."""

    role: Role
    content: str | list[Part] = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    tool_call_id: str = ""
    tool_name: str = ""

    @property
    def text(self) -> str:
        """The text of all parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(p.text for p in self.content if isinstance(p, TextPart))


class Options(Struct, omit_defaults=True):
    """Sampling, as the request says it; unset fields take the model's own defaults.

    ``extra`` holds llama.cpp's further fields (dry_*, xtc_*, logit_bias, grammar…), passed on as they are.
    """

    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    max_tokens: int | UnsetType = UNSET  # -1: until the model stops or the context is full
    stop: list[str] | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    n_keep: int | UnsetType = UNSET
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


class ChatRequest(Struct):
    """A conversation to be answered."""

    messages: list[Message]
    options: Options = field(default_factory=Options)
    tools: list[Tool] = field(default_factory=list[Tool])
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tools: bool = True  # several calls in one answer
    format: Literal["json"] | dict[str, Any] | None = None  # a dict is a JSON Schema
    think: bool | str | None = None  # None: as the model does by itself; a str is an effort level
    top_logprobs: int | None = None  # None: no log-probabilities
    adapters: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])  # (digest, scale)
    measured: bool = False  # every chunk says what the answer cost so far, where the engine tells (llama.cpp's does)
    keep: int = 0  # so many messages at the beginning are worth keeping on disk once computed, for other conversations


class CompletionRequest(Struct):
    """Raw text or tokens to be continued; ``suffix`` asks for what stands between."""

    prompt: str | list[int]
    options: Options = field(default_factory=Options)
    suffix: str = ""
    images: list[ImagePart] = field(default_factory=list[ImagePart])
    format: Literal["json"] | dict[str, Any] | None = None
    top_logprobs: int | None = None


class TokenLogprob(Struct):
    """One token with its natural-log probability, and the likeliest others in its place."""

    token: str
    logprob: float
    bytes: list[int] = field(default_factory=list[int])
    top: list["TokenLogprob"] = field(default_factory=list["TokenLogprob"])


class Usage(Struct, frozen=True):
    """What an answer cost. ``prompt_tokens`` counts cached ones too; durations in seconds."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    prompt_seconds: float = 0.0
    output_seconds: float = 0.0


class ChatChunk(Struct):
    """A piece of an answer. The last one, and only it, has ``finish``; ``usage`` it has, and all if ``measured``."""

    text: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list[ToolCall])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    finish: Finish | None = None
    usage: Usage | None = None


class Embeddings(Struct):
    """One vector an input, as the model gives them (llama.cpp: L2-normalised)."""

    vectors: list[list[float]]
    prompt_tokens: int = 0
