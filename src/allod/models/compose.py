"""A model's manifest, where no registry wrote one: from the GGUF's own header and what the catalogue says.

Layers and config are those that Ollama makes of the same file (``create.py``), so either program can use the model.
"""

import msgspec

from allod.errors import BadGGUF
from allod.models.catalogue import Entry
from allod.models.create import describe, inspect
from allod.models.manifest import CONFIG, LICENSE, PARAMS, Layer, Manifest, ModelConfig, go_json
from allod.models.name import Name
from allod.models.store import Model, Store


def compose(
    store: Store, name: Name, weights: list[Layer], projector: Layer | None = None, entry: Entry | None = None
) -> Model:
    """Names the blobs ``weights`` (one file, or shards in order), with a projector and the catalogue's facts.

    Raises:
        BadGGUF: the weights are no GGUF model, or the projector is none.
        DiskFull, ReadOnly, Disk.
    """
    gguf = inspect([store.blob(layer.digest) for layer in weights])
    if gguf.kind != "model":
        raise BadGGUF(f"{name} is a {gguf.kind}, not a model", "Pull the model that it belongs to.")
    layers = list(weights)
    if projector:
        if (kind := inspect([store.blob(projector.digest)]).kind) != "projector":
            raise BadGGUF(f"what should be the projector of {name} is a {kind}", "Report it to its publisher.")
        layers.append(projector)
    if entry:
        layers.append(store.add_bytes(license_text(entry), LICENSE))
        if params := defaults(entry):
            layers.append(store.add_bytes(go_json(params), PARAMS))
    config = store.add_bytes(describe(gguf, ModelConfig()).encode(layers), CONFIG)
    return store.write(name, Manifest(config, layers))


def license_text(entry: Entry) -> bytes:
    """What the catalogue knows of the licence: its name, its SPDX name, what it forbids, where its text is."""
    licence = entry.license
    spdx = f"SPDX-License-Identifier: {licence.spdx}" if licence.spdx else ""
    lines = [licence.name, spdx, licence.restrictions or "", licence.url or ""]
    return "".join(f"{line}\n" for line in lines if line).encode()


def defaults(entry: Entry) -> dict[str, object]:
    """The publisher's sampling as Ollama's parameters, by name."""
    given = msgspec.to_builtins(entry.defaults)
    return dict(sorted((key, value) for key, value in given.items() if value is not None))
