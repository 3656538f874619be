"""The GGUF container: bytes to metadata and tensor list, little-endian, versions 2 and 3.

Knows the format and nothing of what keys mean (that is ``gguf.py``). Trusts no length in the file: every count and
size is held against the bytes that are there and against a bound before anything is made of it. Reads the file in
growing pieces rather than mapping it, so that a file cut short meanwhile is an error and not a SIGBUS.

Format: ggml's docs/gguf.md. Type tables: ggml/src/ggml.c (block size, bytes a block) and include/llama.h (llama_ftype).
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from allod.errors import BadGGUF
from allod.models.disk import disk_errors

MAGIC = b"GGUF"
FIRST_READ = 1 << 20  # bytes; small headers need no more
LARGEST_HEADER = 1 << 30
LARGEST_STRING = 64 << 20
LARGEST_COUNT = 1 << 24  # entries of an array; the largest vocabularies have 2^18
LARGEST_PAIRS = 1 << 16
LARGEST_TENSORS = 1 << 20
LARGEST_ALIGNMENT = 1 << 20
SHORT_ARRAY = 1024  # arrays up to here are read even where arrays are skipped: per-layer values
DEPTH = 4  # arrays within arrays

SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
SCALAR_STRUCTS = {kind: struct.Struct("<" + code) for kind, code in SCALARS.items()}
U32, U64 = struct.Struct("<I"), struct.Struct("<Q")

# ggml type → (name, values a block, bytes a block)
TENSOR_TYPES: dict[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
    42: ("Q2_0", 64, 18),
}

FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

# What a file that is not GGUF may be instead, by its first bytes.
OTHERS = (
    (b"version https://git-lfs", "It is a Git LFS pointer: fetch the file itself with `git lfs pull`."),
    (b"PK\x03\x04", "It is a zip archive or PyTorch checkpoint: convert it to GGUF first."),
    (b"<", "It is a web page: the download did not reach the file."),
    (b"lmgg", "It is a GGML file of before GGUF (2023): get a GGUF of the model."),
    (b"tjgg", "It is a GGML file of before GGUF (2023): get a GGUF of the model."),
)


class Skipped(Struct, frozen=True):
    """A long array that was passed over; ``read_header(path, arrays=True)`` reads it."""

    count: int


class Tensor(Struct, frozen=True):
    """One tensor: ``shape`` with the fastest-running dimension first, ``offset`` in bytes from the data's start."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def type_name(self) -> str:
        """``Q4_K``, ``F32``…; a type of later days by its number."""
        return TENSOR_TYPES[self.type][0] if self.type in TENSOR_TYPES else f"type{self.type}"

    @property
    def elements(self) -> int:
        """Number of values."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def size(self) -> int:
        """Bytes in the file; 0 for a type this reader does not know."""
        _, values, length = TENSOR_TYPES.get(self.type, ("", 1, 0))
        return -(-self.elements // values) * length


class Header(Struct, frozen=True):
    """A file's metadata and tensors, and where the tensors' data begins."""

    version: int
    metadata: dict[str, Any]
    tensors: tuple[Tensor, ...]
    data_offset: int
    file_size: int


class CutShort(Exception):
    """The data ends before what is being read does."""


class Cursor:
    """Reads forward through a file; keeps what it has read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.data = b""
        self.at = 0

    def need(self, count: int) -> int:
        """Makes sure that ``count`` more bytes are there; returns the position and moves past them."""
        end = self.at + count
        if end > len(self.data):
            self.grow(end)
        start, self.at = self.at, end
        return start

    def grow(self, end: int) -> None:
        """Reads on until ``end`` or, as reads are cheaper in bulk, twice what there is."""
        if end > self.size:
            raise CutShort
        if end > LARGEST_HEADER:
            raise ValueError(f"its header is larger than {LARGEST_HEADER >> 20} MiB")
        target = min(self.size, max(end, 2 * len(self.data), FIRST_READ))
        pieces = [self.data]
        missing = target - len(self.data)
        while missing > 0 and (piece := self.file.read(missing)):
            pieces.append(piece)
            missing -= len(piece)
        self.data = b"".join(pieces)
        if end > len(self.data):
            raise CutShort

    def scalar(self, kind: struct.Struct) -> Any:
        """One value; ``need`` may put other data in the place of ``self.data``, so it comes first."""
        at = self.need(kind.size)
        return kind.unpack_from(self.data, at)[0]

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        return self.scalar(U32)

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        return self.scalar(U64)

    def count(self, what: str, largest: int) -> int:
        """A 64-bit count that may not exceed ``largest``."""
        value = self.u64()
        if value > largest:
            raise ValueError(f"it says it has {value} {what}")
        return value

    def string(self) -> str:
        """A length and so many bytes of UTF-8; bytes that are not UTF-8 become U+FFFD."""
        length = self.count("bytes in a string", LARGEST_STRING)
        start = self.need(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def skip_strings(self, count: int) -> None:
        """Passes over ``count`` strings, fast: vocabularies have hundreds of thousands."""
        unpack = U64.unpack_from
        while count:
            data, at = self.data, self.at
            last = len(data) - 8
            while count and at <= last:
                following = at + 8 + unpack(data, at)[0]
                if following > len(data):
                    break
                at = following
                count -= 1
            self.at = at
            if count:
                start = self.need(8)
                self.need(unpack(self.data, start)[0])
                count -= 1

    def value(self, kind: int, arrays: bool, depth: int = 0) -> Any:
        """A value of a type; a long array is passed over unless ``arrays``."""
        if kind in SCALAR_STRUCTS:
            return self.scalar(SCALAR_STRUCTS[kind])
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            return self.array(arrays, depth)
        raise ValueError(f"it holds a value of the unknown type {kind}")

    def array(self, arrays: bool, depth: int) -> Any:
        """An array's values in a tuple, or Skipped."""
        kind, count = self.u32(), self.count("values in an array", LARGEST_COUNT)
        wanted = arrays or count <= SHORT_ARRAY
        if kind in SCALAR_STRUCTS:
            width = SCALAR_STRUCTS[kind].size
            start = self.need(count * width)
            return struct.unpack_from(f"<{count}{SCALARS[kind]}", self.data, start) if wanted else Skipped(count)
        if kind == STRING and not wanted:
            self.skip_strings(count)
            return Skipped(count)
        if depth == DEPTH:
            raise ValueError("it has arrays within arrays within arrays")
        if 8 * count > self.size - self.at:  # the least that a string or an array takes
            raise CutShort
        return tuple(self.value(kind, arrays, depth + 1) for _ in range(count))

    def tensor(self) -> Tensor:
        """One entry of the tensor list."""
        name = self.string()
        dimensions = self.u32()
        if dimensions > 8:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        start = self.need(8 * dimensions)
        shape = struct.unpack_from(f"<{dimensions}Q", self.data, start)
        if any(side >= 1 << 48 for side in shape):
            raise ValueError(f"a tensor has the shape {shape}")
        return Tensor(name, shape, self.u32(), self.u64())


def parse(path: Path, arrays: bool) -> Header:
    """Reads the header of the file at ``path``; tensor data is not looked at, and may be missing.

    Raises:
        BadGGUF: not GGUF, a version or byte order this reader does not know, a header that is cut short or nonsense.
        NotFound, ReadOnly, Disk: the file cannot be read.
    """
    with disk_errors("read", path), path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        cursor = Cursor(file, size)
        try:
            return parse_header(cursor, arrays, lambda start: not_gguf(path, start))
        except CutShort as error:
            raise BadGGUF(
                f"{path} is cut short: its header goes on after {size} bytes", "Get the file again."
            ) from error
        except ValueError as error:
            raise BadGGUF(f"{path} is not a sound GGUF file: {error}", "Get the file again.") from error


def parse_header(cursor: Cursor, arrays: bool, foreign: Callable[[bytes], BadGGUF]) -> Header:
    """The header at the start of a cursor's file. Raises CutShort, ValueError or what ``foreign`` returns."""
    if cursor.size < 4:
        raise foreign(cursor.file.read(64))
    start = cursor.need(4)
    if cursor.data[start:4] != MAGIC:
        raise foreign(cursor.data[:64])
    version = cursor.u32()
    if version in (2 << 24, 3 << 24):
        raise ValueError("it is big-endian, made for another kind of machine")
    if version not in (2, 3):
        raise ValueError(f"its version is {version}, only 2 and 3 are known")
    tensors = cursor.count("tensors", LARGEST_TENSORS)
    pairs = cursor.count("keys", LARGEST_PAIRS)
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.string()
        if key in metadata:
            raise ValueError(f"the key {key[:80]!r} is in it twice")
        metadata[key] = cursor.value(cursor.u32(), arrays)
    listed = tuple(cursor.tensor() for _ in range(tensors))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= LARGEST_ALIGNMENT:
        raise ValueError(f"its alignment is {alignment!r}"[:200])
    return Header(version, metadata, listed, -(-cursor.at // alignment) * alignment, cursor.size)


def not_gguf(path: Path, start: bytes) -> BadGGUF:
    """The error for a file of another kind, with a guess what it is."""
    remedy = "Give a .gguf file."
    for magic, hint in OTHERS:
        if start.startswith(magic):
            remedy = hint
    if start[8:10] == b'{"':
        remedy = "It is a safetensors file: convert it to GGUF first."
    if not start:
        remedy = "The file is empty."
    return BadGGUF(f"supplied file was not in GGUF format: {path}", remedy)
