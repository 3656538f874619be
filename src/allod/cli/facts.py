"""What ``allod show`` tells of a model in the store: its config, its GGUF header, its texts. Reads, never loads."""

from typing import Any, cast

from allod.cli.library import Shown
from allod.models import modelfile
from allod.models.abilities import capabilities
from allod.models.gguf import GGUF, Skipped, read_header, read_shards
from allod.models.store import Model


def shown(model: Model, verbose: bool = False) -> Shown:
    """All about a model. ``verbose``: with long arrays and the list of tensors.

    Raises:
        BadGGUF, NotFound, Disk: its weights cannot be read.
    """
    gguf = read_weights(model, verbose)
    config = model.config
    info = {key: plain(value) for key, value in gguf.metadata.items()} if gguf else {}
    if gguf:
        info["general.parameter_count"] = gguf.parameter_count
    tensors = [{"name": t.name, "type": t.type_name, "shape": list(t.shape)} for t in gguf.tensors] if gguf else []
    return Shown(
        name=str(model.name),
        details={
            "format": config.model_format,
            "family": config.model_family or (gguf.architecture if gguf else ""),
            "parameter_size": config.model_type or (gguf.size_label if gguf else ""),
            "quantization_level": config.file_type or (gguf.quantization if gguf else ""),
        },
        capabilities=list(capabilities(model)),
        info=info,
        tensors=tensors if verbose else [],
        parameters=modelfile.parameters(model.params),
        template=model.template or (gguf.chat_template if gguf else ""),
        system=model.system,
        license="\n\n".join(model.licenses),
        modelfile=modelfile.render(model),
    )


def read_weights(model: Model, arrays: bool = False) -> GGUF | None:
    """The header of the weights; of a split model with all tensors; None for a model without GGUF."""
    if not model.weights:
        return None
    return read_header(model.weights[0], arrays) if len(model.weights) == 1 else read_shards(list(model.weights))


def plain(value: Any) -> Any:
    """A metadata value as JSON has it; an array that was passed over is None."""
    if isinstance(value, Skipped):
        return None
    return [plain(v) for v in cast("tuple[Any, ...]", value)] if isinstance(value, tuple) else value
