"""An encoder of all-MiniLM-L6's shape (BERT, 6 layers, width 384) with random weights and a small vocabulary: as quick
as the real one, and to llama.cpp as real, but without any sense. For what vectors and scores cost, not what they say.

    write(path)                  # gives vectors
    write(path, ranks=True)      # gives scores: a reranker
"""

import math
import random
import struct
from array import array
from pathlib import Path
from typing import Any

WIDTH, INNER, LAYERS, CONTEXT = 384, 1536, 6, 512
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
# A token each, as usual words and small numbers are in all-MiniLM's vocabulary; all others are spelt.
WORDS = ["sea", "harbour", "lamp", "bicycle", "winter", "letter", "garden", "bridge", "mountain", "coffee", "music"]
NUMBERS = [str(number) for number in range(1000)]
TOKENS = [*SPECIAL, *(f"\u2581{piece}" for piece in (*WORDS, *NUMBERS, *LETTERS[:26])), *LETTERS]  # ▁: a word begins


def metadata(ranks: bool) -> dict[str, Any]:
    """The header (llama.cpp, gguf-py/gguf/constants.py; pooling: llama.h, enum llama_pooling_type)."""
    return {
        "general.architecture": "bert",
        "general.name": "random encoder",
        "bert.block_count": LAYERS,
        "bert.context_length": CONTEXT,
        "bert.embedding_length": WIDTH,
        "bert.feed_forward_length": INNER,
        "bert.attention.head_count": 12,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 4 if ranks else 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.eos_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }


def shapes(ranks: bool) -> dict[str, tuple[int, ...]]:
    """Tensors, the innermost dimension first."""
    found: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (WIDTH, len(TOKENS)),
        "token_types.weight": (WIDTH, 2),
        "position_embd.weight": (WIDTH, CONTEXT),
    }
    norms = ["token_embd_norm"]
    lines: dict[str, tuple[int, int]] = {}
    for number in range(LAYERS):
        block = f"blk.{number}"
        lines |= {f"{block}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        lines |= {f"{block}.ffn_up": (WIDTH, INNER), f"{block}.ffn_down": (INNER, WIDTH)}
        norms += [f"{block}.attn_output_norm", f"{block}.layer_output_norm"]
    if ranks:
        lines |= {"cls": (WIDTH, WIDTH), "cls.output": (WIDTH, 1)}
    for name, (inner, outer) in lines.items():
        found |= {f"{name}.weight": (inner, outer), f"{name}.bias": (outer,)}
    return found | {f"{name}.{part}": (WIDTH,) for name in norms for part in ("weight", "bias")}


def write(path: Path, ranks: bool = False) -> Path:
    """The file: 43 MB, F32, always the same."""
    numbers = random.Random(1)
    block = array("f", (numbers.gauss(0, 0.05) for _ in range(99_991)))
    header, tensors = metadata(ranks), shapes(ranks)
    head = b"".join(text(key) + value(entry) for key, entry in header.items())
    at = 0
    for name, shape in tensors.items():
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, at)
        at += -(-math.prod(shape) * 4 // 32) * 32
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(header)) + head
    with path.open("wb") as file:
        file.write(head + b"\0" * (-len(head) % 32))
        for name, shape in tensors.items():
            count = math.prod(shape)
            data = array("f", [1.0] * count) if "norm.weight" in name else (block * (count // len(block) + 1))[:count]
            file.write(data.tobytes())
            file.write(b"\0" * (-file.tell() % 32))
    return path


def text(entry: str) -> bytes:
    """A string as GGUF has it."""
    data = entry.encode()
    return struct.pack("<Q", len(data)) + data


def value(entry: Any) -> bytes:
    """A value with its type; lists of texts or of integers."""
    if isinstance(entry, bool):
        return struct.pack("<I?", 7, entry)
    if isinstance(entry, int):
        return struct.pack("<II", 4, entry)
    if isinstance(entry, float):
        return struct.pack("<If", 6, entry)
    if isinstance(entry, str):
        return struct.pack("<I", 8) + text(entry)
    if isinstance(entry[0], str):
        return struct.pack("<IIQ", 9, 8, len(entry)) + b"".join(map(text, entry))
    return struct.pack(f"<IIQ{len(entry)}i", 9, 5, len(entry), *entry)
