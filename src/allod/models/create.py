"""Making a model from a Modelfile: out of GGUF files, or out of another model of the store.

    for step in create(store, "mine", parse(text), base=Path.cwd()):
        print(step.status)

Local files are taken in without copying (``blobs.py``). It knows nothing of the network: where FROM names a model that
is not here, pull it first. Statuses and the order of layers are those of Ollama's server/create.go.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, field

from allod.errors import BadGGUF, BadModelfile, NotFound
from allod.models import disk
from allod.models.gguf import GGUF, read_header, read_shards, shards
from allod.models.manifest import (
    ADAPTER,
    CONFIG,
    DRAFT,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMS,
    PROJECTOR,
    PROMPT,
    SYSTEM,
    TEMPLATE,
    Layer,
    Manifest,
    ModelConfig,
    digest_of,
    go_json,
)
from allod.models.modelfile import Modelfile
from allod.models.name import Name
from allod.models.progress import Progress
from allod.models.store import Model, Store

MEDIA = {"model": MODEL, "projector": PROJECTOR, "adapter": ADAPTER}
EVERY = 32 << 20  # bytes hashed between two steps of progress


class Parts(Struct):
    """A model while it is put together."""

    layers: list[Layer] = field(default_factory=list[Layer])
    config: ModelConfig = field(default_factory=ModelConfig)
    params: dict[str, object] = field(default_factory=dict[str, object])
    models: int = 0  # models found so far, a split one counted once


def create(store: Store, name: str | Name, modelfile: Modelfile, base: Path, quantize: str = "") -> Iterator[Progress]:
    """Makes the model ``name``; relative paths start at ``base``. Nothing is named before the last step.

    Args:
        quantize: the type its weights are to get, one of ``quantize_plan.TARGETS``; empty: they stay as they are.

    Raises:
        BadRequest: ``quantize`` is no type, or the model is quantized already.
        BadName: ``name``, or a FROM that is neither a path nor a name.
        BadModelfile: nothing to make a model of.
        BadGGUF: a file that is not GGUF, is cut short, or is not what it is given as.
        ModelNotFound: FROM names a model that is not here.
        NotFound, DiskFull, ReadOnly, Disk, Conflict: a file cannot be read, or the store cannot be written.
    """
    name = Name.parse(name) if isinstance(name, str) else name
    parts = Parts()
    for source in modelfile.sources:
        path = local(source, base)
        if path is None:
            inherit(store.get(source), parts)
        else:
            yield from take(store, path, parts)
    for adapter in modelfile.adapters:
        path = local(adapter, base)
        if path is None:
            raise NotFound(f"no such adapter: {adapter}", "ADAPTER takes the path of a LoRA in GGUF format.")
        yield from take(store, path, parts, only="adapter")
    if parts.models != 1:
        what = "no model, only an adapter or projector" if parts.models == 0 else "more than one model"
        raise BadModelfile(f"FROM gives {what}", "FROM takes one model, and next to it a projector at most.")
    if quantize:
        yield from quantized(store, parts, quantize)
    for source in modelfile.drafts:
        yield from draft(store, source, base, parts)
    yield from apply(store, modelfile, parts)
    yield Progress("writing manifest")
    config = store.add_bytes(parts.config.encode(parts.layers), CONFIG)
    store.write(name, Manifest(config, parts.layers))
    yield Progress("success")


def local(value: str, base: Path) -> Path | None:
    """The file or folder that a FROM or ADAPTER means, None where it is a model's name.

    A word that happens to be the name of a folder without GGUF files is a model's name.

    Raises:
        NotFound: it looks like a path and nothing is there.
    """
    try:
        path = base / Path(value).expanduser()
        word = "/" not in value and value not in (".", "..", "~")
        if path.exists() and not (word and path.is_dir() and not any(path.glob("*.gguf"))):
            return path
    except (OSError, ValueError, RuntimeError):  # too long for a path, a NUL in it, no such user
        pass
    if value.startswith((".", "/", "~", "\\")) or value.lower().endswith((".gguf", ".bin", ".safetensors")):
        raise NotFound(f"no such file: {value[:200]}", f"Paths start at {base}.")
    return None


# ── from a model ────────────────────────────────────────────────────────────────────────────────────────────────────


def inherit(model: Model, parts: Parts) -> None:
    """Starts from a model of the store: all its layers, its config, its parameters."""
    parts.models += 1
    parts.layers += model.manifest.layers
    parts.params |= model.params
    parts.config = model.config


# ── from files ──────────────────────────────────────────────────────────────────────────────────────────────────────


def take(store: Store, path: Path, parts: Parts, only: str = "") -> Iterator[Progress]:
    """Takes in a GGUF file, all shards of a split one, or the files of a folder."""
    yield Progress("parsing GGUF")
    for files in groups(path):
        gguf = inspect(files)
        if only and gguf.kind != only:
            raise BadGGUF(f"{files[0]} is a {gguf.kind}, not an {only}", f"Give a GGUF whose general.type is {only}.")
        for file in files:
            layer = yield from hashed(store, file, MEDIA[gguf.kind], file.name if len(files) > 1 else "")
            parts.layers.append(layer)
        if gguf.kind == "model":
            parts.models += 1
            parts.config = describe(gguf, parts.config)


def quantized(store: Store, parts: Parts, kind: str) -> Iterator[Progress]:
    """Puts quantized weights in the place of those that FROM brought."""
    from allod.models.quantize import quantize  # here: most models come as they are
    from allod.models.quantize_plan import target

    kind = target(kind)
    files = [store.blob(layer.digest) for layer in parts.layers if layer.media_type == MODEL]
    was = read_header(files[0]).quantization
    if was == kind:
        return
    folder = store.partial(digest_of(kind.encode())).parent
    folder.mkdir(parents=True, exist_ok=True)
    with disk.temporary(folder) as out:
        yield from quantize(files, out, kind, was)
        layer = yield from hashed(store, out, MODEL, "")
        where = next(i for i, each in enumerate(parts.layers) if each.media_type == MODEL)
        parts.layers = [each for each in parts.layers if each.media_type != MODEL]
        parts.layers.insert(where, layer)
        parts.config = msgspec.structs.replace(parts.config, file_type=kind)


def draft(store: Store, source: str, base: Path, parts: Parts) -> Iterator[Progress]:
    """Takes in a model that guesses ahead, in the place of one that FROM brought: a file, or a model of the store."""
    path = local(source, base)
    files = [path] if path else list(store.get(source).weights)
    if len(files) != 1 or files[0].is_dir():
        raise BadModelfile(f"DRAFT {source[:200]} is not one GGUF file", "Give one small model, in one file.")
    gguf = inspect(files)
    large = next(store.blob(layer.digest) for layer in parts.layers if layer.media_type == MODEL)
    if gguf.kind != "model" or not gguf.drafts_for(read_header(large)):
        raise BadModelfile(
            f"{source[:200]} cannot guess for this model: they do not share a vocabulary",
            "Give a smaller model of the same family.",
        )
    parts.layers = [layer for layer in parts.layers if layer.media_type != DRAFT]
    parts.layers.append((yield from hashed(store, files[0], DRAFT, "")))


def groups(path: Path) -> list[list[Path]]:
    """The files of a path, shards of one model together. Raises BadGGUF, BadModelfile."""
    if not path.is_dir():
        return [shards(path)]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".gguf" and p.is_file())
    if not files:
        raise BadModelfile(f"no GGUF file in {path}", "Convert the model to GGUF first, or give the file itself.")
    found = {shards(file)[0]: shards(file) for file in files}
    kinds = [(files, read_header(files[0]).kind) for files in found.values()]
    if sum(kind == "model" for _, kind in kinds) > 1:
        names = ", ".join(files[0].name for files, kind in kinds if kind == "model")
        raise BadModelfile(f"{path} holds several models: {names[:300]}", "Give FROM the one you want.")
    return [files for files, _ in sorted(kinds, key=lambda pair: pair[1] != "model")]


def inspect(files: list[Path]) -> GGUF:
    """Reads the headers and makes sure that all bytes are there. Raises BadGGUF."""
    for file in files:
        read_header(file).check_complete()
    gguf = read_shards(files)
    if gguf.kind == "model" and gguf.shard_count != len(files):
        raise BadGGUF(
            f"{files[0]} is one of {gguf.shard_count} parts of a model, by its header",
            "Give the first part, named …-00001-of-0000N.gguf, with the others beside it.",
        )
    return gguf


def hashed(store: Store, file: Path, media_type: str, name: str) -> Generator[Progress, None, Layer]:
    """Takes one file in, telling how far its hashing is; returns its layer."""
    total = file.stat().st_size
    adding = store.adding_file(file, media_type, name=name)
    told = 0
    while True:
        try:
            done = next(adding)
        except StopIteration as end:
            return end.value
        if done - told >= EVERY or done == total:
            told = done
            yield Progress(f"hashing {file.name}", total=total, completed=done)


def describe(gguf: GGUF, config: ModelConfig) -> ModelConfig:
    """The config of a model by its GGUF; what is set already stays."""
    return msgspec.structs.replace(
        config,
        model_format=config.model_format or "gguf",
        model_family=config.model_family or gguf.architecture,
        model_families=tuple(dict.fromkeys((*config.model_families, gguf.architecture))),
        model_type=config.model_type or gguf.size_label,
        file_type=config.file_type or gguf.quantization,
        context_length=config.context_length or gguf.context_length,
        embedding_length=config.embedding_length or gguf.embedding_length,
    )


# ── what the Modelfile adds ─────────────────────────────────────────────────────────────────────────────────────────


def apply(store: Store, modelfile: Modelfile, parts: Parts) -> Iterator[Progress]:
    """Lays a Modelfile's texts and parameters over what FROM gave: one of a kind replaces, licences add up."""
    if modelfile.template:
        yield replace(store, parts, TEMPLATE, modelfile.template.encode(), also=PROMPT)
    if modelfile.system:
        yield replace(store, parts, SYSTEM, modelfile.system.encode())
    for text in filter(None, modelfile.licenses):
        yield append(store, parts, LICENSE, text.encode())
    if params := {**parts.params, **modelfile.params}:
        yield replace(store, parts, PARAMS, go_json(dict(sorted(params.items()))))
    if modelfile.messages:
        turns = [{"role": turn.role, "content": turn.text} for turn in modelfile.messages]
        yield replace(store, parts, MESSAGES, go_json(turns))
    parts.config = msgspec.structs.replace(
        parts.config,
        renderer=modelfile.renderer or parts.config.renderer,
        parser=modelfile.parser or parts.config.parser,
        requires=modelfile.requires or parts.config.requires,
    )


def replace(store: Store, parts: Parts, media_type: str, data: bytes, also: str = "") -> Progress:
    """Puts a layer in the place of those of its type."""
    parts.layers = [layer for layer in parts.layers if layer.media_type not in (media_type, also)]
    return append(store, parts, media_type, data)


def append(store: Store, parts: Parts, media_type: str, data: bytes) -> Progress:
    """Adds a layer, unless the very same one is there."""
    known = store.has(digest_of(data))
    layer = store.add_bytes(data, media_type)
    if layer not in parts.layers:
        parts.layers.append(layer)
    return Progress(f"{'using existing' if known else 'creating new'} layer {layer.digest}")
