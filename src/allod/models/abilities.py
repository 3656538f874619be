"""What a stored model can do, in Ollama's words, found where Ollama looks (server/images.go): templates and headers."""

import logging
from functools import lru_cache
from pathlib import Path

from allod.errors import Unsupported
from allod.models.disk import disk_errors
from allod.models.gguf import GGUF, read_header
from allod.models.store import Model

log = logging.getLogger("allod.models")
BARE = "{{.Prompt}}"  # no template at all, as Ollama writes it

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
    return bool(own_template(model)) or bool(model.weights and template_of(model.weights[0]))


def own_template(model: Model) -> str:
    """The model's TEMPLATE in Jinja, where it is to be used: unless the GGUF's own says more, as Ollama has it, or it
    cannot be translated, which is logged."""
    if not model.weights or model.template.replace(" ", "") in ("", BARE):
        return ""
    theirs = template_of(model.weights[0])
    if (tools(theirs) and not tools(model.template)) or (thinks(theirs) and not thinks(model.template)):
        return ""
    try:
        return translated(model.template)
    except Unsupported as error:
        log.warning("the TEMPLATE of %s is not used: %s", model.name, error.message)
        return ""


@lru_cache(maxsize=128)
def translated(template: str) -> str:
    """A Go template in Jinja. Raises Unsupported."""
    from allod.models.gotemplate import translate  # here: most models have none

    return translate(template)


def tools(template: str) -> bool:
    """Whether a template, Go's or Jinja, knows of tools."""
    return ".Tools" in template or "tools" in template


def thinks(template: str) -> bool:
    """Whether it knows of thoughts."""
    return any(word in template for word in ("<think>", "enable_thinking", "reasoning_content", ".Think"))


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
        "tools": tools(templates),
        "insert": ".Suffix" in template or fills_in(weights, gguf),
        "thinking": thinks(templates),
    }
    return tuple(name for name, there in found.items() if there)


def fills_in(weights: Path, gguf: GGUF) -> bool:
    """Whether the vocabulary has tokens around a gap to be filled: named in the header, or found as llama.cpp does."""
    if any(f"tokenizer.ggml.{key}_token_id" in gguf.metadata for key in ("fim_pre", "prefix")):
        return True
    with disk_errors("read", weights), weights.open("rb") as file:
        head = file.read(gguf.header.data_offset)
    return any(token in head for token in FILL_IN_TOKENS)
