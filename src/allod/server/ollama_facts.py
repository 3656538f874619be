"""What a stored model is, in Ollama's words: details, capabilities, and all that /api/show tells."""

import asyncio
import math
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from allod.errors import Unsupported
from allod.models.disk import disk_errors
from allod.models.gguf import GGUF, Skipped, read_header
from allod.models.modelfile import parameters, render
from allod.models.store import Model
from allod.server.ollama_wire import Details, ShownMessage, ShownModel, ShownTensor, moment

# As they stand in the vocabulary of a header: a length of eight bytes, and the text.
FILL_IN_TOKENS = tuple(
    len(token.encode()).to_bytes(8, "little") + token.encode()
    for token in ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>")
)


def details(model: Model) -> Details:
    """The short form, from the config blob alone."""
    config = model.config
    return Details(
        format=config.model_format,
        family=config.model_family,
        families=list(config.model_families) or None,
        parameter_size=config.model_type,
        quantization_level=config.file_type,
    )


def shown(model: Model, verbose: bool = False) -> ShownModel:
    """The long form. Reads the headers of the weights.

    Raises:
        BadGGUF, NotFound, Disk: they cannot be read.
    """
    gguf = read_header(model.weights[0], arrays=verbose) if model.weights else None
    info = metadata(gguf) if gguf else {}
    if gguf:
        info["general.parameter_count"] = gguf.parameter_count
    return ShownModel(
        license="\n".join(model.licenses),
        modelfile=render(model),
        parameters=parameters(model.params),
        template=model.template or (gguf.chat_template if gguf else ""),
        system=model.system,
        renderer=model.config.renderer,
        parser=model.config.parser,
        details=details(model),
        messages=[ShownMessage(turn.role, turn.text) for turn in model.messages] or None,
        model_info=info,
        projector_info=metadata(read_header(model.projector)) if model.projector else None,
        tensors=[ShownTensor(t.name, t.type_name, t.shape) for t in gguf.tensors] if gguf and verbose else None,
        capabilities=list(capabilities(model)),
        modified_at=moment(model.modified_at),
        requires=model.config.requires,
    )


def metadata(gguf: GGUF) -> dict[str, Any]:
    """A header's keys and values. Arrays that the reader passed over are there, and empty."""
    return {key: plain(value) for key, value in sorted(gguf.metadata.items())}


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Skipped):
        return []
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in cast("tuple[Any, ...]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ── capabilities ────────────────────────────────────────────────────────────────────────────────────────────────────


def capabilities(model: Model) -> tuple[str, ...]:
    """``completion``, ``tools``, ``insert``, ``vision``, ``embedding``, ``thinking``, as far as files tell.

    Found as Ollama finds them: by words in the templates and keys of the header.

    Raises:
        BadGGUF, NotFound, Disk: the weights cannot be read.
    """
    return of_files(model.weights[0], model.projector, model.template) if model.weights else model.config.capabilities


# What models can do by the digests of their manifests, so that a request need not wait for a thread to be told.
CHECKED: dict[str, tuple[str, ...]] = {}


async def check(model: Model, asked: str, what: str, **needed: bool) -> None:
    """Returns where the model can do ``what`` and everything else that is needed; ``asked`` is its name as asked for.

    Raises:
        Unsupported: it cannot; in Ollama's words.
    """
    able = CHECKED.get(model.digest)
    if able is None:
        able = CHECKED[model.digest] = await asyncio.to_thread(capabilities, model)
    if "completion" not in able:
        raise Unsupported(f'"{asked}" does not support {what}')
    for name, need in needed.items():
        if need and name not in able:
            said = f'"{asked}"' if name == "thinking" else model.name.full
            raise Unsupported(f"{said} does not support {name}")


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
