"""Facts from a GGUF header: what kind of file it is, its architecture, context, layers, template.

    gguf = read_header(path)              # a few milliseconds: long arrays (the vocabulary) are passed over
    gguf.architecture, gguf.context_length, gguf.chat_template

Facts that are missing or of the wrong type are empty, 0 or None: unknown, never invented. The container's format is
``gguf_format.py``'s, memory arithmetic ``memory.py``'s.
"""

import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from allod.errors import BadGGUF
from allod.models.disk import disk_errors
from allod.models.gguf_format import FILE_TYPES, Header, Skipped, Tensor, parse

__all__ = ["GGUF", "Kind", "Skipped", "Tensor", "read_header", "shard", "shards"]

Kind = Literal["model", "adapter", "projector"]
SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf")
MOST_VOCABULARIES_DIFFER = 128  # tokens; llama.cpp: SPEC_VOCAB_MAX_SIZE_DIFFERENCE


class GGUF:
    """The header of one file, or of the first of several shards with all their tensors."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self.version: int = header.version
        self.metadata: dict[str, Any] = header.metadata
        self.tensors: tuple[Tensor, ...] = header.tensors

    def __repr__(self) -> str:
        return f"GGUF({str(self.path)!r}, {self.architecture}, {len(self.tensors)} tensors)"

    # ── access ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def own(self, key: str) -> Any:
        """The value of ``<architecture>.<key>``, None where missing."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def text(self, key: str) -> str:
        """A string by its full key, empty where missing."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        """An own, non-negative integer, 0 where missing; of a list the largest."""
        return max(self.per_layer(key), default=0)

    def per_layer(self, key: str) -> tuple[int, ...]:
        """An own integer or list of integers as a tuple; empty where missing."""
        value = self.own(key)
        values: tuple[object, ...] = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)
        return tuple(v for v in values if type(v) is int and 0 <= v < 1 << 53)

    # ── facts ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def architecture(self) -> str:
        """``llama``, ``qwen2``, ``clip``…"""
        return self.text("general.architecture")

    @cached_property
    def kind(self) -> Kind:
        """A model, a LoRA adapter, or a projector (mmproj) for pictures or sound."""
        said = self.text("general.type")
        if said == "adapter":
            return "adapter"
        alone = self.block_count == 0
        if said in ("mmproj", "projector") or (alone and self.architecture == "clip"):
            return "projector"
        return "projector" if alone and self.number("vision.block_count") else "model"

    @property
    def name(self) -> str:
        """The model's own name, as its makers wrote it."""
        return self.text("general.name")

    @property
    def chat_template(self) -> str:
        """The chat template in Jinja; empty: the model has none."""
        return self.text("tokenizer.chat_template")

    @property
    def context_length(self) -> int:
        """Tokens of the context it was trained for; 0: unknown."""
        return self.number("context_length")

    @property
    def block_count(self) -> int:
        """Layers."""
        return self.number("block_count")

    @property
    def embedding_length(self) -> int:
        """Width of the hidden state."""
        return self.number("embedding_length")

    @property
    def head_count(self) -> int:
        """Attention heads of the widest layer."""
        return self.number("attention.head_count")

    @property
    def embedding(self) -> bool:
        """Whether it gives embeddings rather than text: it says how to pool."""
        return self.own("pooling_type") not in (None, 0) or self.own("attention.causal") is False

    @property
    def vocabulary(self) -> int:
        """Tokens in the vocabulary; 0: unknown."""
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if isinstance(tokens, Skipped):
            return tokens.count
        return len(cast("tuple[str, ...]", tokens)) if isinstance(tokens, tuple) else self.number("vocab_size")

    def drafts_for(self, large: "GGUF") -> bool:
        """Whether this one's tokens mean the same to ``large``: then it can guess ahead for it.

        As llama.cpp's common/speculative.cpp asks: the same kind of vocabulary, of nearly the same size.
        """
        same = all(
            self.text(f"tokenizer.ggml.{key}") == large.text(f"tokenizer.ggml.{key}") for key in ("model", "pre")
        )
        return same and abs(self.vocabulary - large.vocabulary) <= MOST_VOCABULARIES_DIFFER

    @property
    def quantization(self) -> str:
        """``Q4_K_M``…: what the file says, else the type most of its bytes are in; empty: unknown."""
        said = self.metadata.get("general.file_type")
        if type(said) is int and said & 1023 in FILE_TYPES:  # 1024: the type was guessed
            return FILE_TYPES[said & 1023]
        sizes: dict[str, int] = {}
        for tensor in self.tensors:
            sizes[tensor.type_name] = sizes.get(tensor.type_name, 0) + tensor.size
        return max(sizes, key=lambda name: sizes[name], default="")

    @cached_property
    def parameter_count(self) -> int:
        """Values in all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def size_label(self) -> str:
        """``parameter_count`` as Ollama prints it: 134.52M, 1.5B."""
        return human_number(self.parameter_count)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache a token in f16, all layers at full context; memory.py has the whole sum."""
        from allod.models.memory import Shape

        return Shape.of(self).kv_bytes_per_token

    @property
    def shard_count(self) -> int:
        """Files the model is split into, 1: whole."""
        value = self.metadata.get("split.count")
        return value if type(value) is int and value > 1 else 1

    @property
    def data_bytes(self) -> int:
        """Bytes the file must have for the tensors it lists."""
        ends = (tensor.offset + tensor.size for tensor in self.header.tensors)
        return self.header.data_offset + max(ends) if self.header.tensors else self.header.data_offset

    def check_complete(self) -> None:
        """Returns where all tensor data is there.

        Raises:
            BadGGUF: the file ends early; the message says how many bytes are missing.
        """
        missing = self.data_bytes - self.header.file_size
        if missing > 0 and self.header.tensors:
            raise BadGGUF(
                f"{self.path} is cut short: {missing} of {self.data_bytes} bytes are missing",
                "Get the file again; the download did not finish.",
            )


def read_header(path: Path | str, arrays: bool = False) -> GGUF:
    """Reads a file's header. Long arrays become ``Skipped`` unless ``arrays``.

    Raises:
        BadGGUF: not GGUF, an unknown version, big-endian, cut short or nonsense.
        NotFound, ReadOnly, Disk: the file cannot be read.
    """
    path = Path(path)
    if arrays:
        return GGUF(path, parse(path, arrays))
    with disk_errors("read", path):
        found = path.stat()
    return GGUF(path, remembered(path, (found.st_ino, found.st_size, found.st_mtime_ns)))


@lru_cache(maxsize=16)
def remembered(path: Path, state: tuple[int, int, int]) -> Header:
    """The header of a file in this state: one load or one request asks for it several times."""
    return parse(path, arrays=False)


def read_shards(paths: list[Path]) -> GGUF:
    """The first shard's header with the tensors of all. Raises as ``read_header`` does."""
    first, *rest = [read_header(path) for path in paths]
    first.tensors = tuple(tensor for gguf in (first, *rest) for tensor in gguf.tensors)
    return first


def shard(name: str) -> tuple[str, int, int] | None:
    """``(stem, index, count)`` of a file named ``stem-0000i-of-0000n.gguf``, index from 1; None for another name."""
    found = SHARD.fullmatch(name)
    return (found["stem"], int(found["index"]), int(found["count"])) if found else None


def shards(path: Path) -> list[Path]:
    """All files of the split model that ``path`` is one of, in order; just ``path`` where it is whole.

    Raises:
        BadGGUF: a shard is missing.
    """
    found = shard(path.name)
    if not found:
        return [path]
    stem, _, count = found
    paths = [path.with_name(f"{stem}-{i:05}-of-{count:05}.gguf") for i in range(1, count + 1)]
    if lacking := [p.name for p in paths if not p.is_file()]:
        raise BadGGUF(f"shards are missing beside {path}: {', '.join(lacking[:3])}", "Put all parts in one folder.")
    return paths


def human_number(count: int) -> str:
    """134515008 → ``134.52M``, 1543714304 → ``1.5B``: Ollama's format.HumanNumber."""
    for unit, letter, digits in ((10**12, "T", 1), (10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if count >= unit:
            return f"{count // unit}{letter}" if count % unit == 0 else f"{count / unit:.{digits}f}{letter}"
    return str(count)
