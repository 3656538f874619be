"""GGUF headers: facts of real and made files; whatever is done to one, the answer is a value or BadGGUF."""

import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allod.errors import BadGGUF, NotFound
from allod.models.gguf import Skipped, human_number, read_header, read_shards, remembered, shard, shards


def test_smollm2(smollm2_path: Path) -> None:
    gguf = read_header(smollm2_path)
    assert (gguf.version, gguf.architecture, gguf.kind) == (3, "llama", "model")
    assert (gguf.block_count, gguf.embedding_length, gguf.context_length) == (30, 576, 8192)
    assert (gguf.quantization, gguf.size_label, gguf.vocabulary) == ("Q4_1", "134.52M", 49152)
    assert gguf.parameter_count == 134_515_008
    assert gguf.kv_bytes_per_token == 2 * 30 * 3 * (64 + 64)
    assert gguf.chat_template.startswith("{% for message in messages %}")
    assert not gguf.embedding
    assert gguf.data_bytes == smollm2_path.stat().st_size
    gguf.check_complete()
    assert gguf.metadata["tokenizer.ggml.tokens"] == Skipped(49152)
    assert (gguf.tensors[0].name, gguf.tensors[0].type_name) == ("token_embd.weight", "Q8_0")


def test_arrays_on_request(smollm2_path: Path) -> None:
    tokens = read_header(smollm2_path, arrays=True).metadata["tokenizer.ggml.tokens"]
    assert len(tokens) == 49152
    assert tokens[:2] == ("<|endoftext|>", "<|im_start|>")


def test_a_header_is_read_quickly(smollm2_path: Path) -> None:
    def once() -> float:
        remembered.cache_clear()
        start = time.process_time()
        read_header(smollm2_path)
        return time.process_time() - start

    assert min(once() for _ in range(3)) < 0.1


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "x.gguf")
    assert read_header(path).name == "Tiny"
    tiny.write(path, {**tiny.LLAMA, "general.name": "Else"})
    os.utime(path, ns=(1, 1))
    assert read_header(path).name == "Else"


def test_every_type_of_value(tmp_path: Path) -> None:
    metadata = dict(tiny.LLAMA)
    metadata |= {"u8": ("u8", 200), "i8": ("i8", -3), "u16": ("u16", 65535), "i16": ("i16", -2), "i32": ("i32", -7)}
    metadata |= {"u64": ("u64", 2**63), "i64": ("i64", -(2**40)), "f32": 0.5, "f64": ("f64", 0.1), "yes": True}
    metadata |= {"none": [], "nested": [["a"], ["b", "c"]], "ints": [1, 2, 3], "empty": "", "ü": "ß"}
    gguf = read_header(tiny.write(tmp_path / "x.gguf", metadata))
    found = {key: gguf.metadata[key] for key in metadata if key not in tiny.LLAMA}
    assert found == {
        "u8": 200,
        "i8": -3,
        "u16": 65535,
        "i16": -2,
        "i32": -7,
        "u64": 2**63,
        "i64": -(2**40),
        "f32": 0.5,
        "f64": 0.1,
        "yes": True,
        "none": (),
        "nested": (("a",), ("b", "c")),
        "ints": (1, 2, 3),
        "empty": "",
        "ü": "ß",
    }


def test_long_arrays_are_passed_over(tmp_path: Path) -> None:
    metadata = {"general.architecture": "llama", "words": ["wörd"] * 5000, "numbers": [7] * 5000, "last": "here"}
    path = tiny.write(tmp_path / "x.gguf", metadata)
    gguf = read_header(path)
    assert gguf.metadata["words"] == gguf.metadata["numbers"] == Skipped(5000)
    assert gguf.metadata["last"] == "here"
    assert read_header(path, arrays=True).metadata["words"] == ("wörd",) * 5000


def test_a_header_larger_than_one_read(tmp_path: Path) -> None:
    metadata = {"general.architecture": "llama", "words": ["x" * 100] * 30_000, "last": "y" * 2_000_000}
    gguf = read_header(tiny.write(tmp_path / "x.gguf", metadata))
    assert gguf.metadata["words"] == Skipped(30_000)
    assert len(gguf.metadata["last"]) == 2_000_000
    gguf.check_complete()


def test_version_2(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(tiny.gguf(version=2))
    assert read_header(path).architecture == "llama"


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"general.architecture": "llama", "general.type": "adapter"}, "adapter"),
        ({"general.architecture": "clip", "general.type": "mmproj"}, "projector"),
        ({"general.architecture": "clip", "clip.has_vision_encoder": True}, "projector"),
        ({"general.architecture": "mllama", "mllama.vision.block_count": 32}, "projector"),
        ({"general.architecture": "llama", "llama.block_count": 2}, "model"),
        ({}, "model"),
    ],
)
def test_kind(tmp_path: Path, metadata: dict, kind: str) -> None:
    assert read_header(tiny.write(tmp_path / "x.gguf", metadata)).kind == kind


def test_facts_of_the_wrong_type_are_unknown(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "llama",
        "general.file_type": "Q4",
        "general.type": 3,
        "llama.block_count": "many",
        "llama.context_length": -1.5,
        "llama.embedding_length": ("i32", -4),
        "llama.attention.head_count": True,
        "tokenizer.chat_template": 4,
        "tokenizer.ggml.tokens": 4,
        "split.count": "x",
    }
    gguf = read_header(tiny.write(tmp_path / "x.gguf", metadata))
    assert (gguf.block_count, gguf.context_length, gguf.embedding_length, gguf.head_count) == (0, 0, 0, 0)
    assert (gguf.chat_template, gguf.vocabulary, gguf.kind, gguf.shard_count) == ("", 0, "model", 1)
    assert gguf.quantization == "F16"  # by the bytes of its tensors
    assert gguf.kv_bytes_per_token == 0


# ── what is not GGUF ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "empty"),
        (b"GG", "Give a .gguf"),
        (b"PK\x03\x04" + b"x" * 100, "PyTorch"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (struct.pack("<Q", 100) + b'{"__metadata__"', "safetensors"),
        (b"lmgg" + b"\1" * 100, "before GGUF"),
        (b"\0" * 100, "Give a .gguf"),
    ],
)
def test_other_files(tmp_path: Path, data: bytes, hint: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(BadGGUF) as caught:
        read_header(path)
    assert caught.value.message.startswith("supplied file was not in GGUF format")
    assert hint in caught.value.remedy


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (struct.pack(">I", 3), "big-endian"),
        (struct.pack("<I", 1), "version is 1"),
        (struct.pack("<I", 9), "version is 9"),
    ],
)
def test_versions(tmp_path: Path, version: bytes, says: str) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF" + version + tiny.gguf()[8:])
    with pytest.raises(BadGGUF, match=says):
        read_header(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_header(tmp_path / "none.gguf")


def test_a_truncated_file_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    whole = tiny.gguf()
    path.write_bytes(whole[:-1000])
    gguf = read_header(path)
    with pytest.raises(BadGGUF, match="1000 of"):
        gguf.check_complete()
    path.write_bytes(whole[:100])
    with pytest.raises(BadGGUF, match="cut short: its header"):
        read_header(path)


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 2**27])
@pytest.mark.parametrize("at", [8, 16, 24])  # tensors, keys, the first key's length
def test_lengths_are_not_trusted(tmp_path: Path, at: int, length: int) -> None:
    data = bytearray(tiny.gguf())
    data[at : at + 8] = struct.pack("<Q", length)
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(BadGGUF):
            read_header(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [0, 8, 9, 12])
def test_array_lengths_are_not_trusted(tmp_path: Path, kind: int) -> None:
    for count in (2**62, 2**24, 2**20):
        head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + tiny.string("k") + struct.pack("<IIQ", 9, kind, count)
        path = tmp_path / "x.gguf"
        path.write_bytes(head + b"\0" * 64)
        tracemalloc.start()
        try:
            for arrays in (False, True):
                with pytest.raises(BadGGUF):
                    read_header(path, arrays=arrays)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_gives_a_value_or_bad_gguf(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(tiny.gguf())
    head = 1200
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, head))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    path = tmp_path / "x.gguf"
    path.write_bytes(whole[:cut])
    remembered.cache_clear()  # written anew within a tick of the clock
    try:
        gguf = read_header(path, arrays=data.draw(st.booleans()))
        gguf.check_complete()
    except BadGGUF as error:
        assert "\n" not in error.message
        return
    _ = (gguf.kind, gguf.quantization, gguf.size_label, gguf.vocabulary, gguf.embedding, gguf.shard_count)
    try:
        assert gguf.kv_bytes_per_token >= 0
    except BadGGUF:
        pass


# ── shards ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shards(tmp_path: Path) -> None:
    assert shard("m-Q4-00002-of-00003.gguf") == ("m-Q4", 2, 3)
    assert shard("m.gguf") is None
    names = [f"m-0000{i}-of-00002.gguf" for i in (1, 2)]
    first = tiny.write(tmp_path / names[0], {**tiny.LLAMA, "split.count": ("u16", 2)}, tiny.TENSORS[:2])
    assert shards(tmp_path / "whole.gguf") == [tmp_path / "whole.gguf"]
    with pytest.raises(BadGGUF, match=names[1]):
        shards(first)
    tiny.write(tmp_path / names[1], {"split.no": ("u16", 1)}, tiny.TENSORS[2:])
    paths = shards(tmp_path / names[1])
    assert [path.name for path in paths] == names
    both = read_shards(paths)
    assert (both.shard_count, len(both.tensors), both.architecture) == (2, 3, "llama")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (23_000, "23K"), (134_515_008, "134.52M"), (2_000_000, "2M"), (1_543_714_304, "1.5B")],
)
def test_human_number(count: int, text: str) -> None:
    assert human_number(count) == text
