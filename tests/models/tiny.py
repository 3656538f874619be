"""A small GGUF writer, so that tests can make any file, sound or not."""

import struct
from pathlib import Path
from typing import Any

SCALARS = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"), "i32": (5, "i")}
SCALARS |= {"f32": (6, "f"), "bool": (7, "?"), "u64": (10, "Q"), "i64": (11, "q"), "f64": (12, "d")}

LLAMA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.name": "Tiny",
    "general.file_type": 1,
    "llama.block_count": 2,
    "llama.context_length": 1024,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": [f"t{i}" for i in range(40)],
    "tokenizer.chat_template": "{{ messages }}",
}
TENSORS = [("token_embd.weight", (64, 40), 1), ("blk.0.ffn_up.weight", (64, 128), 1), ("output_norm.weight", (64,), 0)]
WIDTHS = {0: 4, 1: 2}


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(v: Any) -> tuple[int, bytes]:
    """GGUF type and bytes: ints as u32, tuples ``("i64", 5)`` as said, lists as arrays."""
    if isinstance(v, bool):
        return 7, struct.pack("<?", v)
    if isinstance(v, int):
        return 4, struct.pack("<I", v)
    if isinstance(v, float):
        return 6, struct.pack("<f", v)
    if isinstance(v, str):
        return 8, string(v)
    if isinstance(v, tuple):
        kind, code = SCALARS[v[0]]
        return kind, struct.pack("<" + code, v[1])
    inner = [value(entry) for entry in v]
    kind = inner[0][0] if inner else 4
    return 9, struct.pack("<IQ", kind, len(inner)) + b"".join(data for _, data in inner)


def gguf(metadata: dict[str, Any] | None = None, tensors: Any = TENSORS, version: int = 3) -> bytes:
    """The bytes of a GGUF file; tensors of type 0 (F32) or 1 (F16), filled with their number."""
    metadata = LLAMA if metadata is None else metadata
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, v in metadata.items():
        kind, data = value(v)
        head += string(key) + struct.pack("<I", kind) + data
    offset, body = 0, b""
    for i, (name, shape, kind) in enumerate(tensors):
        count = 1
        for side in shape:
            count *= side
        data = bytes([i + 1]) * (count * WIDTHS[kind])
        head += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        data += b"\0" * (-len(data) % 32)
        body += data
        offset += len(data)
    return head + b"\0" * (-len(head) % 32) + body


def write(path: Path, metadata: dict[str, Any] | None = None, tensors: Any = TENSORS) -> Path:
    """Writes a GGUF file and returns its path."""
    path.write_bytes(gguf(metadata, tensors))
    return path
