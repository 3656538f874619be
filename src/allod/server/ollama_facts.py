"""What a stored model is, in Ollama's words: details, capabilities, and all that /api/show tells."""

import asyncio
import math
from typing import Any, cast

from allod.errors import Unsupported
from allod.models.abilities import capabilities
from allod.models.gguf import GGUF, Skipped, read_header
from allod.models.modelfile import parameters, render
from allod.models.store import Model
from allod.server.ollama_wire import Details, ShownMessage, ShownModel, ShownTensor, moment


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
