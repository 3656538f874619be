"""What the tests of the engine share: small loads, questions with steady answers, a look at processes, random GGUFs."""

import math
import random
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

from allod.chat import ChatChunk, ChatRequest, Message, Options
from allod.engine.llama import Load
from allod.engine.options import LoadOptions

THREADS = 2
SMALL = LoadOptions(context=512, slots=1, threads=THREADS)


def small_load(path: Path, **changes: object) -> Load:
    """SmolLM2 with little memory."""
    return Load(**{"name": "smollm2:135m", "model": path, "context": 1024, "slots": 2, "threads": THREADS} | changes)


def ask(text: str, **options: object) -> ChatRequest:
    """A question, answered the same way every time."""
    return ChatRequest([Message("user", text)], Options(**{"temperature": 0.0, "max_tokens": 16} | options))


async def answered(chunks: AsyncIterator[ChatChunk]) -> tuple[str, ChatChunk]:
    """The whole text and the last chunk."""
    text, last = "", None
    async for chunk in chunks:
        assert last is None, "a chunk came after the last"
        text += chunk.text
        last = chunk if chunk.finish else None
    assert last is not None and last.usage is not None
    return text, last


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


# ── random GGUF files: real to llama.cpp, meaningless to people ─────────────────────────────────────────────────────

Metadata = dict[str, str | bool | int | float | list[float]]


def write_gguf(path: Path, metadata: Metadata, tensors: dict[str, tuple[tuple[int, ...], float]], seed: int) -> Path:
    """A GGUF file of F32 tensors: name → (shape as numpy has it, standard deviation; 0: all ones)."""
    numbers = random.Random(seed)
    head, body = b"", b""
    for key, value in metadata.items():
        head += gguf_text(key) + gguf_value(value)
    for name, (shape, deviation) in tensors.items():
        head += gguf_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), 0, len(body))
        count = math.prod(shape)
        body += struct.pack(f"<{count}f", *(numbers.gauss(0, deviation) if deviation else 1.0 for _ in range(count)))
        body += b"\0" * (-len(body) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + head
    path.write_bytes(head + b"\0" * (-len(head) % 32) + body)
    return path


def gguf_text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf_value(value: str | bool | int | float | list[float]) -> bytes:
    match value:
        case str():
            return struct.pack("<I", 8) + gguf_text(value)
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case _:
            return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)


def lora(path: Path, seed: int) -> Path:
    """A LoRA adapter for SmolLM2-135M (rank 4, one layer), strong enough to change every answer."""
    metadata: Metadata = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 32.0,
    }
    layer = "blk.12.ffn_down.weight"
    return write_gguf(path, metadata, {f"{layer}.lora_a": ((4, 1536), 0.15), f"{layer}.lora_b": ((576, 4), 0.15)}, seed)


def projector(path: Path) -> Path:
    """A gemma3 projector onto SmolLM2-135M: 64x64 pixels to 16 tokens."""
    width, inner, patch, blocks = 64, 128, 8, 2
    metadata: Metadata = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.file_type": 0,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "gemma3",
        "clip.use_gelu": True,
        "clip.vision.image_size": 64,
        "clip.vision.patch_size": patch,
        "clip.vision.embedding_length": width,
        "clip.vision.feed_forward_length": inner,
        "clip.vision.block_count": blocks,
        "clip.vision.attention.head_count": 2,
        "clip.vision.projection_dim": 576,
        "clip.vision.projector.scale_factor": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": [0.5] * 3,
        "clip.vision.image_std": [0.5] * 3,
    }
    square, line = ((width, width), 0.05), ((width,), 0.05)
    tensors = {
        "v.patch_embd.weight": ((width, 3, patch, patch), 0.05),
        "v.patch_embd.bias": line,
        "v.position_embd.weight": (((64 // patch) ** 2, width), 0.05),
        "v.post_ln.weight": ((width,), 0.0),
        "v.post_ln.bias": line,
        "mm.input_projection.weight": ((width, 576), 0.05),
        "mm.soft_emb_norm.weight": ((width,), 0.0),
    }
    for block in (f"v.blk.{i}." for i in range(blocks)):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            tensors |= {f"{block}{name}.weight": square, f"{block}{name}.bias": line}
        tensors |= {f"{block}ffn_up.weight": ((inner, width), 0.05), f"{block}ffn_up.bias": ((inner,), 0.05)}
        tensors |= {f"{block}ffn_down.weight": ((width, inner), 0.05), f"{block}ffn_down.bias": line}
        for name in ("ln1", "ln2"):
            tensors |= {f"{block}{name}.weight": ((width,), 0.0), f"{block}{name}.bias": line}
    return write_gguf(path, metadata, tensors, seed=3)


def picture(red: int, green: int, blue: int) -> bytes:
    """A PNG of 64x64 pixels in one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((red, green, blue)) * 64) * 64
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
