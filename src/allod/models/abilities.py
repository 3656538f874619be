"""What a stored model can do, in Ollama's words, found where Ollama looks (server/images.go): templates and headers."""

from functools import lru_cache
from pathlib import Path

from allod.models.disk import disk_errors
from allod.models.gguf import GGUF, read_header
from allod.models.store import Model

# As they stand in the vocabulary of a header: a length of eight bytes, and the text.
FILL_IN_TOKENS = tuple(
    len(token.encode()).to_bytes(8, "little") + token.encode()
    for token in ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>")
)


def capabilities(model: Model) -> tuple[str, ...]:
    """``completion``, ``tools``, ``insert``, ``vision``, ``embedding``, ``thinking``, as far as files tell.

    Found as Ollama finds them: by words in the templates and keys of the header.

    Raises:
        BadGGUF, NotFound, Disk: the weights cannot be read.
    """
    return of_files(model.weights[0], model.projector, model.template) if model.weights else model.config.capabilities


def has_template(model: Model) -> bool:
    """Whether there is a chat template; without, a prompt is continued as it is."""
    return bool(model.template) or bool(model.weights and template_of(model.weights[0]))


@lru_cache(maxsize=512)
def template_of(weights: Path) -> str:
    """The chat template in a header."""
    return read_header(weights).chat_template


@lru_cache(maxsize=512)
def of_files(weights: Path, projector: Path | None, template: str) -> tuple[str, ...]:
    """`capabilities` of blobs, whose names say what is in them."""
    gguf = read_header(weights)
    if gguf.embedding:
        return ("embedding",)
    templates = template or gguf.chat_template
    found = {
        "completion": True,
        "vision": projector is not None or gguf.number("vision.block_count") > 0,
        "tools": ".Tools" in templates or "tools" in templates,
        "insert": ".Suffix" in template or fills_in(weights, gguf),
        "thinking": any(word in templates for word in ("<think>", "enable_thinking", "reasoning_content", ".Think")),
    }
    return tuple(name for name, there in found.items() if there)


def fills_in(weights: Path, gguf: GGUF) -> bool:
    """Whether the vocabulary has tokens around a gap to be filled: named in the header, or found as llama.cpp does."""
    if any(f"tokenizer.ggml.{key}_token_id" in gguf.metadata for key in ("fim_pre", "prefix")):
        return True
    with disk_errors("read", weights), weights.open("rb") as file:
        head = file.read(gguf.header.data_offset)
    return any(token in head for token in FILL_IN_TOKENS)
