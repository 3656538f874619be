"""Ollama's manifest and config JSON: reading whatever Ollama wrote, writing the same bytes that Ollama writes.

A manifest names blobs by digest; it knows nothing of folders. Unknown layers (``tensor``, ``json``, ``draft``…) and
unknown fields of the config are kept as they are. Formats from Ollama's manifest/manifest.go and types/model/config.go.
"""

import hashlib
import json
import math
import re
from typing import Any, cast

import msgspec
from msgspec import Struct, field

from allod.errors import BadName, NotFound

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.ollama.manifest.list.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"

IMAGE = "application/vnd.ollama.image."
MODEL = IMAGE + "model"
PROJECTOR = IMAGE + "projector"
ADAPTER = IMAGE + "adapter"
DRAFT = IMAGE + "draft"
TEMPLATE = IMAGE + "template"
PROMPT = IMAGE + "prompt"  # what TEMPLATE was called before 2023-11
SYSTEM = IMAGE + "system"
PARAMS = IMAGE + "params"
MESSAGES = IMAGE + "messages"
LICENSE = IMAGE + "license"

LARGEST_MANIFEST = 16 << 20  # bytes; a model of thousands of tensor layers has 1 MB
DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")


class Layer(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A blob and what it is. ``name`` orders the parts of a split model, or names a tensor or JSON file."""

    media_type: str
    digest: str
    size: int
    from_: str = field(default="", name="from")
    name: str = ""


class Manifest(Struct, frozen=True):
    """A model's layers in order. ``runner`` and ``format`` are set in manifests made for one engine."""

    config: Layer
    layers: list[Layer]
    runner: str = ""
    format: str = ""

    def encode(self) -> bytes:
        """The bytes Ollama would write; their SHA-256 is the model's digest."""
        fields: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": msgspec.to_builtins(self.config),
            "layers": msgspec.to_builtins(self.layers),
        }
        fields |= {key: value for key, value in (("runner", self.runner), ("format", self.format)) if value}
        return go_json(fields)

    @property
    def blobs(self) -> list[Layer]:
        """Every layer, the config last; none without a digest."""
        return [layer for layer in (*self.layers, self.config) if layer.digest]


class ModelConfig(Struct, frozen=True, omit_defaults=True):
    """The config JSON: facts for listings, without opening the weights. ``extra``: fields allod does not use."""

    model_format: str = ""
    model_family: str = ""
    model_families: tuple[str, ...] = ()
    model_type: str = ""  # the size as shown: 134.52M
    file_type: str = ""  # the quantisation as shown: Q4_K_M
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    def encode(self, layers: list[Layer]) -> bytes:
        """The bytes of the config blob of a model with these layers."""
        always = {key: getattr(self, key) for key in ALWAYS}
        some = {key: getattr(self, key) for key in SOMETIMES if getattr(self, key)}
        always["model_families"] = list(self.model_families) or None
        if "capabilities" in some:
            some["capabilities"] = list(self.capabilities)
        spec = {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
        return go_json({**always, **some, **{k: v for k, v in self.extra.items() if k not in spec}, **spec})


ALWAYS = ("model_format", "model_family", "model_families", "model_type", "file_type")
SOMETIMES = tuple(name for name in ModelConfig.__struct_fields__ if name not in (*ALWAYS, "extra"))


def parse_manifest(data: bytes) -> Manifest:
    """Reads a manifest.

    Raises:
        ValueError: not JSON, not a manifest, a layer without a lawful digest or size.
    """
    if len(data) > LARGEST_MANIFEST:
        raise ValueError(f"it has {len(data)} bytes")
    raw = load_object(data)
    if raw.get("mediaType") == MANIFEST_LIST:
        raise ValueError("it is a list of manifests without one for llama.cpp")
    layers = raw.get("layers")
    config = raw.get("config")
    if not isinstance(layers, list) or not isinstance(config, dict):
        raise ValueError("it has no config or no layers")
    return Manifest(
        parse_layer(cast("object", config), "the config"),
        [parse_layer(layer, f"layer {i}") for i, layer in enumerate(cast("list[object]", layers))],
        text(raw, "runner"),
        text(raw, "format"),
    )


def parse_layer(raw: object, what: str) -> Layer:
    """One layer; digests in the one canonical form ``sha256:<64 lower-case hex>``. Raises ValueError."""
    try:
        layer = msgspec.convert(raw, Layer)
    except msgspec.ValidationError as error:
        raise ValueError(f"{what}: {error}") from error
    if not layer.digest and layer.size == 0:  # the config of a cloud model
        return layer
    if not 0 <= layer.size < 1 << 50:
        raise ValueError(f"{what} has a size of {layer.size}")
    try:
        digest = canonical(layer.digest)
    except BadName as error:
        raise ValueError(f"{what}: {error.message}") from error
    return msgspec.structs.replace(layer, digest=digest)


def children(data: bytes) -> list[dict[str, Any]]:
    """The entries of a manifest list in the order of use here, or none where ``data`` is a plain manifest.

    Raises:
        ValueError: not JSON.
    """
    raw = load_object(data)
    if raw.get("mediaType") != MANIFEST_LIST or not isinstance(raw.get("manifests"), list):
        return []
    entries = [cast("dict[str, Any]", e) for e in cast("list[object]", raw["manifests"]) if isinstance(e, dict)]
    ranks = {"llamacpp": 0, "ollama": 1, "": 2}
    runners = [(ranks.get(str(entry.get("runner", "")).lower(), 9), entry) for entry in entries]
    return [entry for rank, entry in sorted(runners, key=lambda pair: pair[0]) if rank < 9]


def parse_config(data: bytes) -> ModelConfig:
    """Reads a config blob; fields of a wrong type are left out, as the weights decide in the end.

    Raises:
        ValueError: not a JSON object.
    """
    raw = load_object(data)
    known: dict[str, Any] = {}
    for name, kind in ModelConfig.__annotations__.items():
        if name != "extra" and name in raw:
            try:
                known[name] = msgspec.convert(raw.pop(name), kind)
            except msgspec.ValidationError:
                continue
    for name in ("architecture", "os", "rootfs"):
        raw.pop(name, None)
    return ModelConfig(**known, extra=raw)


def load_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    try:
        raw: object = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ValueError("it is not a JSON object")
    return cast("dict[str, Any]", raw)


def text(raw: dict[str, Any], key: str) -> str:
    """A string field, empty where missing or of another type."""
    value = raw.get(key, "")
    return value if isinstance(value, str) else ""


# ── digests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def canonical(digest: str) -> str:
    """``sha256:<64 lower-case hex>``, from that or Ollama's file form ``sha256-…``.

    Raises:
        BadName: anything else; nothing else ever becomes a path.
    """
    found = DIGEST.fullmatch(digest)
    if not found:
        raise BadName(f"invalid digest format: {digest[:80]!r}", "A digest is sha256: and 64 hexadecimal digits.")
    return f"sha256:{found[1].lower()}"


def digest_of(data: bytes) -> str:
    """The canonical digest of ``data``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def missing_blob(digest: str) -> NotFound:
    """The error for a blob that a manifest names and the store lacks."""
    return NotFound(f'blob "{digest}" not found', "Pull the model again.")


# ── JSON as Go writes it ────────────────────────────────────────────────────────────────────────────────────────────


def go_json(value: object) -> bytes:
    """JSON as Go's ``json.NewEncoder(…).Encode`` gives it: compact, ``<>&`` escaped, numbers in Go's form, a newline.

    The order of keys is the dict's; for what Ollama holds as a Go map, hand over a dict sorted by key.
    """
    encoded = json.dumps(go_numbers(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        encoded = encoded.replace(char, f"\\u{ord(char):04x}")
    return encoded.encode("utf-8", "replace") + b"\n"


def go_numbers(value: Any) -> Any:
    """``value`` with whole floats below 1e21 as integers, which is how Go prints them."""
    if isinstance(value, dict):
        return {str(k): go_numbers(v) for k, v in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [go_numbers(v) for v in cast("list[Any]", value)]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value
