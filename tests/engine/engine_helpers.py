"""What the tests of the engine share: small loads, questions with steady answers, a look at processes."""

import random
import struct
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


def lora(path: Path, seed: int) -> Path:
    """A random LoRA adapter for SmolLM2-135M, strong enough to change every answer (GGUF, rank 4, one layer)."""
    rank, width, inner = 4, 576, 1536
    numbers = random.Random(seed)

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    strings = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    head = b"".join(text(key) + struct.pack("<I", 8) + text(value) for key, value in strings.items())
    head += text("adapter.lora.alpha") + struct.pack("<If", 6, 32.0)
    shapes = {"blk.12.ffn_down.weight.lora_a": (inner, rank), "blk.12.ffn_down.weight.lora_b": (rank, width)}
    body = b""
    for name, shape in shapes.items():
        head += text(name) + struct.pack("<IQQIQ", 2, *shape, 0, len(body))
        count = shape[0] * shape[1]
        body += struct.pack(f"<{count}f", *(numbers.gauss(0, 0.15) for _ in range(count)))
        body += b"\0" * (-len(body) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(strings) + 1) + head
    path.write_bytes(head + b"\0" * (-len(head) % 32) + body)
    return path
