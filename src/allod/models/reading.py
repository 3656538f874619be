"""From a manifest file to a `Model`: everything that it names, read and checked.

A model is only made of a manifest whose blobs are all there in the size it says. Reads small layers with a bound on
their size, and never the weights. Which manifests there are is ``store.py``'s.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from allod.chat import Message
from allod.errors import Disk
from allod.models import disk
from allod.models import manifest as wire
from allod.models.blobs import Blobs
from allod.models.gguf import shard
from allod.models.manifest import (
    ADAPTER,
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
)
from allod.models.name import Name

LARGEST_TEXT = 16 << 20  # bytes of a template, licence, params… layer


class Turn(Struct):
    """An entry of the messages layer, as far as allod uses it."""

    role: Literal["system", "user", "assistant"]
    content: str = ""


class Model(Struct, frozen=True):
    """A model of the store: its manifest, and what the manifest names."""

    name: Name
    digest: str  # SHA-256 of the manifest's bytes, 64 hex digits: Ollama's model ID
    size: int  # bytes of all layers and the config
    modified_at: datetime  # UTC
    manifest: Manifest
    config: ModelConfig
    weights: tuple[Path, ...] = ()  # several: shards in order; none: a model of another engine or in the cloud
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    draft: Path | None = None  # a small model that guesses what this one will say
    template: str = ""  # Go template; empty: the GGUF's own
    system: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: list[Message] = field(default_factory=list[Message])  # every conversation begins with these
    licenses: list[str] = field(default_factory=list[str])


def read_model(blobs: Blobs, name: Name, path: Path) -> Model:
    """The model of a manifest file. Raises Disk for a broken one, NotFound where a blob is missing."""
    data = manifest_bytes(blobs, name, path)
    with disk.disk_errors("read", path):
        modified_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return make_model(blobs, name, data, modified_at)


def make_model(blobs: Blobs, name: Name, data: bytes, modified_at: datetime) -> Model:
    """The model of a manifest's bytes. Raises as ``read_model`` does."""
    try:
        manifest = parse(blobs, data)
        check_blobs(blobs, manifest)
        texts = Texts(blobs, manifest)
        return Model(
            name=name,
            digest=hashlib.sha256(data).hexdigest(),
            size=sum(layer.size for layer in (*manifest.layers, manifest.config)),
            modified_at=modified_at,
            manifest=manifest,
            config=wire.parse_config(texts.read(manifest.config) if manifest.config.digest else b"{}"),
            weights=tuple(blobs.blob(layer.digest) for layer in weights_of(manifest)),
            projector=next((blobs.blob(la.digest) for la in manifest.layers if la.media_type == PROJECTOR), None),
            adapters=tuple(blobs.blob(layer.digest) for layer in manifest.layers if layer.media_type == ADAPTER),
            draft=next((blobs.blob(layer.digest) for layer in manifest.layers if layer.media_type == DRAFT), None),
            template=texts.text(TEMPLATE) or texts.text(PROMPT),
            system=texts.text(SYSTEM),
            params=wire.load_object(texts.one(PARAMS) or b"{}"),
            messages=parse_messages(texts.one(MESSAGES)),
            licenses=[text.decode("utf-8", "replace") for text in texts.all(LICENSE)],
        )
    except ValueError as error:
        raise broken(name, error) from error
    except OSError as error:
        raise disk.disk_error(error, "read", blobs.folder) from error


def parse(blobs: Blobs, data: bytes) -> Manifest:
    """A manifest, or the one of a list of manifests that suits llama.cpp. Raises ValueError, OSError, NotFound."""
    for entry in wire.children(data):
        if "layers" in entry:
            return wire.parse_manifest(msgspec.json.encode(entry))
        digest = wire.text(entry, "digest")
        if not wire.DIGEST.fullmatch(digest):
            raise ValueError("it lists a manifest without a digest")
        path = blobs.blob(digest)
        if not disk.is_file(path):
            raise wire.missing_blob(digest)
        return wire.parse_manifest(path.read_bytes())
    return wire.parse_manifest(data)


def manifest_bytes(blobs: Blobs, name: Name, path: Path) -> bytes:
    """A manifest file's bytes; a link among Ollama's newer manifests has to lead to a blob of this store."""
    try:
        if path.is_symlink():
            check_link(blobs, path)
        if path.stat().st_size > wire.LARGEST_MANIFEST:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        return path.read_bytes()
    except ValueError as error:
        raise broken(name, error) from error
    except OSError as error:
        raise disk.disk_error(error, "read", path) from error


def check_link(blobs: Blobs, path: Path) -> None:
    """Raises ValueError where a manifest that is a link does not lead to a sound blob of this store."""
    target = path.resolve()
    if target.parent != blobs.folder.resolve() or not wire.DIGEST.fullmatch(target.name):
        raise ValueError("it is a link to something that is not a blob")
    if wire.digest_of(target.read_bytes()) != wire.canonical(target.name):
        raise ValueError("its bytes are not those of its digest")


def check_blobs(blobs: Blobs, manifest: Manifest) -> None:
    """Raises NotFound where a blob is missing, ValueError where one has another size than the manifest says."""
    for layer in manifest.blobs:
        try:
            size = blobs.blob(layer.digest).stat().st_size
        except FileNotFoundError:
            raise wire.missing_blob(layer.digest) from None
        if size != layer.size:
            raise ValueError(f"the blob {layer.digest} has {size} bytes instead of {layer.size}")


class Texts:
    """The small layers of a manifest, read with a bound on their size."""

    def __init__(self, blobs: Blobs, manifest: Manifest) -> None:
        self.blobs = blobs
        self.layers = manifest.blobs

    def all(self, media_type: str) -> list[bytes]:
        """The bytes of every layer of a type, in order. Raises NotFound, ValueError, OSError."""
        return [self.read(layer) for layer in self.layers if layer.media_type == media_type]

    def read(self, layer: Layer) -> bytes:
        """The bytes of a layer. Raises NotFound, ValueError, OSError."""
        path = self.blobs.blob(layer.digest)
        try:
            size = max(layer.size, path.stat().st_size)
            if size > LARGEST_TEXT:
                raise ValueError(f"the {layer.media_type.rpartition('.')[2]} layer {layer.digest} has {size} bytes")
            return path.read_bytes()
        except FileNotFoundError:
            raise wire.missing_blob(layer.digest) from None

    def one(self, media_type: str) -> bytes:
        """The bytes of the last layer of a type, empty where there is none."""
        return (self.all(media_type) or [b""])[-1]

    def text(self, media_type: str) -> str:
        """The same as text."""
        return self.one(media_type).decode("utf-8", "replace")


def weights_of(manifest: Manifest) -> list[Layer]:
    """The layers of weights; the parts of a split model in the order of their names."""
    layers = [layer for layer in manifest.layers if layer.media_type == MODEL]
    parts = [shard(layer.name) for layer in layers]
    known = [part for part in parts if part is not None]
    if len(known) < len(layers):
        return layers
    return [layer for _, layer in sorted(zip(known, layers, strict=True), key=lambda pair: pair[0][1])]


def parse_messages(data: bytes) -> list[Message]:
    """The turns of a messages layer. Raises ValueError."""
    if not data:
        return []
    try:
        return [Message(turn.role, turn.content) for turn in msgspec.json.decode(data, type=list[Turn])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"its messages are wrong: {error}") from error


def broken(name: Name, error: Exception) -> Disk:
    """The error for a manifest that cannot be used."""
    return Disk(f"the manifest of {name} is broken: {error}", f"Pull the model again, or drop it: `allod rm {name}`.")
