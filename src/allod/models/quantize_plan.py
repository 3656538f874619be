"""Which type each tensor of a model gets when it is quantized, and the header of the file that comes of it.

    plan = planned([GGUF files of one model], "Q4_K_M")
    plan.head                      # bytes: metadata and tensor list, padded to where the data begins
    for item in plan.items: ...    # in the order of the data

The choice of types is that of llama.cpp's src/llama-quant.cpp (``llama_tensor_get_type``) for the targets that Ollama
knows: norms, gates and tables of positions stay as they are; of Q4_K_M and Q4_K_S the tensors that matter most get more
bits. A file is quantized from F32, F16 or BF16 only: what has been rounded once would be rounded again.
"""

import re
import struct
from pathlib import Path

from msgspec import Struct

from allod.errors import BadRequest
from allod.models.gguf_format import (
    FILE_TYPES,
    LARGEST_PAIRS,
    TENSOR_TYPES,
    Cursor,
    Tensor,
)

TARGETS = ("F32", "F16", "BF16", "Q8_0", "Q4_K_S", "Q4_K_M")  # Ollama's
TYPES = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}
FLOATS = ("F32", "F16", "BF16")
BASE = {"Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K"}  # the type of most tensors
FALLBACK = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # where a row is no multiple of 256 values
LEFT = re.compile(
    r"_norm\.weight|ffn_gate_inp|altup|laurel|per_layer_model_proj|ssm_conv1d|shortconv\.conv|attn_rel_b"
    r"|time_mix_(?:first|[wvag][012]|decay_w[12]|lerp_fused)|^(?:position_embd|token_types)\.weight"
)
LAYER = re.compile(r"blk\.(\d+)\.")
DROPPED = re.compile(r"general\.(?:file_type|quantization_version)|split\..*")
QUANTIZATION_VERSION = 2  # ggml.h: GGML_QNT_VERSION
ALIGNMENT = 32


class Item(Struct, frozen=True):
    """One tensor: where its values are, and the type and place they get."""

    path: str
    start: int  # in the file, bytes
    tensor: Tensor
    target: int  # ggml type
    offset: int  # from the start of the new data
    size: int  # bytes, new

    @property
    def padded(self) -> int:
        """Bytes to the start of the next one."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT


class Plan(Struct, frozen=True):
    """A quantized file before it is written."""

    head: bytes
    items: list[Item]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.head) + sum(item.padded for item in self.items)


def target(name: str) -> str:
    """A type in its own spelling.

    Raises:
        BadRequest: not one that Ollama knows.
    """
    if name.upper() not in TARGETS:
        raise BadRequest(f"unknown quantization type {name[:40]!r}", f"It is one of {', '.join(TARGETS)}.")
    return name.upper()


def planned(files: list[Path], kind: str) -> Plan:
    """How the model in ``files`` (the parts of a split one in their order) becomes one file of type ``kind``.

    Raises:
        BadRequest: it is quantized already.
        OSError, ValueError, CutShort: the files cannot be read; they were checked before.
    """
    pairs, alignment = b"", 0
    found: list[tuple[Path, int, Tensor]] = []
    count = 0
    for number, path in enumerate(files):
        with path.open("rb", buffering=0) as file:
            cursor = Cursor(file, path.stat().st_size)
            kept, tensors = contents(cursor)
        alignment = kept.alignment
        start = -(-cursor.at // alignment) * alignment
        found += [(path, start + tensor.offset, tensor) for tensor in tensors]
        if not number:
            pairs, count = kept.data, kept.count
    refuse_quantized([tensor for _, _, tensor in found])
    types = chosen([tensor for _, _, tensor in found], kind)
    items: list[Item] = []
    offset = 0
    for (path, start, tensor), to in zip(found, types, strict=True):
        _, values, length = TENSOR_TYPES[to]
        item = Item(str(path), start, tensor, to, offset, tensor.elements // values * length)
        items.append(item)
        offset += item.padded
    pairs += number_pair("general.file_type", file_type(kind)) + number_pair(
        "general.quantization_version", QUANTIZATION_VERSION
    )
    return Plan(header(pairs, count + 2, items), items)


def refuse_quantized(tensors: list[Tensor]) -> None:
    """Raises BadRequest where a tensor is neither F32, F16 nor BF16."""
    for tensor in tensors:
        if len(tensor.shape) > 1 and tensor.type_name not in FLOATS:
            raise BadRequest(
                f"the model is {tensor.type_name} already: only F16, BF16 and F32 are quantized",
                "Create from a GGUF that is not quantized.",
            )


def file_type(kind: str) -> int:
    """llama_ftype by name."""
    return next(number for number, name in FILE_TYPES.items() if name == kind)


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen(tensors: list[Tensor], kind: str) -> list[int]:
    """The type of each tensor, as a ggml number."""
    names = [tensor.name for tensor in tensors]
    layers = 1 + max((int(found[1]) for name in names if (found := LAYER.match(name))), default=0)
    tied = "output.weight" not in names
    return [TYPES[fitting(tensor, wanted(tensor, kind, layers, tied))] for tensor in tensors]


def wanted(tensor: Tensor, kind: str, layers: int, tied: bool) -> str:
    """The type that a tensor should have, whatever its shape."""
    name = tensor.name
    if len(tensor.shape) < 2 or not name.endswith("weight") or LEFT.search(name):
        return tensor.type_name
    base = BASE.get(kind, kind)
    if base != "Q4_K":
        return base
    layer = int(found[1]) if (found := LAYER.match(name)) else 0
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return "Q6_K"
    if "attn_v.weight" in name and kind == "Q4_K_S":
        return "Q5_K" if layer < 4 else base
    if "ffn_down" in name and kind == "Q4_K_S":
        return "Q5_K" if layer < layers // 8 else base
    if "attn_v.weight" in name or "ffn_down" in name:
        return "Q6_K" if more_bits(layer, layers) else base
    if "attn_qkv.weight" in name and kind == "Q4_K_M":
        return "Q5_K"
    return base


def more_bits(layer: int, layers: int) -> bool:
    """Whether a layer is among those that lose most: the first and last eighth, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def fitting(tensor: Tensor, kind: str) -> str:
    """The nearest type whose blocks a row is a whole number of."""
    row = tensor.shape[0] if tensor.shape else 0
    if row % TENSOR_TYPES[TYPES[kind]][1]:
        kind = FALLBACK.get(kind, kind)
    return "F16" if row % TENSOR_TYPES[TYPES[kind]][1] else kind


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Kept(Struct, frozen=True):
    """The metadata that goes over as it is."""

    data: bytes
    count: int
    alignment: int


def contents(cursor: Cursor) -> tuple[Kept, list[Tensor]]:
    """A file's metadata, as bytes, without what is about to change; and its tensors."""
    cursor.need(8)
    tensors = cursor.u64()
    pieces: list[bytes] = []
    alignment = ALIGNMENT
    for _ in range(cursor.count("keys", LARGEST_PAIRS)):
        start = cursor.at
        key = cursor.string()
        kind = cursor.u32()
        value = cursor.value(kind, arrays=False)
        if key == "general.alignment":
            alignment = value  # ours is the usual one
        elif not DROPPED.fullmatch(key):
            pieces.append(cursor.data[start : cursor.at])
    return Kept(b"".join(pieces), len(pieces), alignment), [cursor.tensor() for _ in range(tensors)]


def string(text: str) -> bytes:
    """A GGUF string."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def number_pair(key: str, value: int) -> bytes:
    """A key with an unsigned 32-bit value."""
    return string(key) + struct.pack("<II", 4, value)


def header(pairs: bytes, count: int, items: list[Item]) -> bytes:
    """Everything before the data."""
    parts = [b"GGUF", struct.pack("<IQQ", 3, len(items), count), pairs]
    for item in items:
        shape = item.tensor.shape
        parts.append(string(item.tensor.name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape))
        parts.append(struct.pack("<IQ", item.target, item.offset))
    data = b"".join(parts)
    return data + bytes(-len(data) % ALIGNMENT)
