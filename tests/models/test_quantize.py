"""Quantizing: llama.cpp's choice of types, sound files, small errors, and a model that still answers."""

import ctypes
import struct
from pathlib import Path

import pytest
import tiny

from allod.chat import CompletionRequest, Options
from allod.engine.llama import LlamaRunner, Load
from allod.errors import BadRequest, DiskFull
from allod.models import quantize as module
from allod.models import quantize_plan
from allod.models.create import create
from allod.models.gguf import read_header
from allod.models.gguf_format import Tensor
from allod.models.modelfile import parse
from allod.models.quantize_plan import TYPES, Item, chosen, header, planned
from allod.models.quantize_worker import convert, library
from allod.models.store import MODEL, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


class Traits(ctypes.Structure):
    """ggml_type_traits, as far as here."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("values", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("bytes", ctypes.c_size_t),
        ("quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    ]


def floats(data: bytes, kind: int, count: int) -> bytes:
    """Values of any type as float32."""
    if kind == TYPES["F32"]:
        return data
    ggml = library()
    ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
    out = ctypes.create_string_buffer(4 * count)
    ggml.ggml_get_type_traits(kind).contents.to_float(ctypes.create_string_buffer(data, len(data)), out, count)
    return out.raw


@pytest.fixture(scope="session")
def half(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 in F16, unpacked from the Q4_1 file."""
    path = tmp_path_factory.mktemp("f16") / "smollm2-f16.gguf"
    ggml = library()
    with smollm2_path.open("rb") as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize_plan, "refuse_quantized", lambda tensors: None)
        patch.setattr(
            quantize_plan, "chosen", lambda ts, kind: [TYPES["F16" if len(t.shape) > 1 else "F32"] for t in ts]
        )
        plan = planned([smollm2_path], "F16")
        with path.open("wb") as out:
            out.write(plan.head)
            for item in plan.items:
                file.seek(item.start)
                count = item.tensor.elements
                values = floats(file.read(item.tensor.size), item.tensor.type, count)
                data = convert(ggml, values, TYPES["F32"], item.target, 1, count)
                out.write(data + bytes(item.padded - len(data)))
    return path


def types(path: Path) -> dict[str, str]:
    return {tensor.name: tensor.type_name for tensor in read_header(path).tensors}


# ── real weights ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["Q8_0", "q4_K_M"])
async def test_a_quantized_model_answers_and_is_small(store: Store, half: Path, kind: str) -> None:
    steps = list(create(store, "small", parse(f"FROM {half}"), half.parent, kind))
    said = [step for step in steps if step.status == f"quantizing F16 model to {kind.upper()}"]
    assert len(said) > 30
    assert [step.completed for step in said] == sorted(step.completed for step in said)
    assert said[-1].total - said[-1].completed < 32 * 300  # what pads the tensors
    model = store.get("small")
    path = model.weights[0]
    read_header(path).check_complete()
    assert model.config.file_type == kind.upper() == read_header(path).quantization
    assert path.stat().st_size < (0.6 if kind == "Q8_0" else 0.45) * half.stat().st_size
    assert (
        read_header(path, arrays=True).metadata["tokenizer.ggml.tokens"]
        == (read_header(half, arrays=True).metadata["tokenizer.ggml.tokens"])
    )
    runner = await LlamaRunner.start(Load(name="small", model=path, context=512, slots=1, threads=2))
    try:
        question = CompletionRequest("The capital of France is", Options(temperature=0, max_tokens=4))
        assert "".join([chunk.text async for chunk in runner.complete(question)]).startswith(" Paris")
    finally:
        await runner.close()
    assert not [file for file in store.root.rglob("*") if file.is_file() and file.name.startswith(".")]


def test_what_is_quantized_is_not_quantized_again(store: Store, smollm2_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"the model is Q\d_\d already"):
        list(create(store, "twice", parse(f"FROM {smollm2_path}"), smollm2_path.parent, "Q8_0"))
    assert not store.list()


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_half_a_file_of_parts_becomes_one(store: Store, tmp_path: Path) -> None:
    names = ["token_embd.weight", "blk.0.ffn_up.weight", "output_norm.weight"]
    for number, name in enumerate(names):
        tensors = [each for each in tiny.TENSORS if each[0] == name]
        split = {"split.no": ("u16", number), "split.count": ("u16", 3), "split.tensors.count": ("i32", 3)}
        metadata = (tiny.LLAMA if not number else {"general.architecture": "llama"}) | split
        (tmp_path / f"tiny-0000{number + 1}-of-00003.gguf").write_bytes(tiny.gguf(metadata, tensors))
    list(create(store, "whole", parse("FROM ./tiny-00001-of-00003.gguf"), tmp_path, "Q8_0"))
    [layer] = [each for each in store.get("whole").manifest.layers if each.media_type == MODEL]
    made = read_header(store.blob(layer.digest))
    assert [tensor.name for tensor in made.tensors] == names
    assert [tensor.type_name for tensor in made.tensors] == ["Q8_0", "Q8_0", "F32"]
    assert not [key for key in made.metadata if key.startswith("split.")]
    assert made.metadata["general.file_type"] == 7
    made.check_complete()


def test_the_same_type_is_left_alone(store: Store, tmp_path: Path) -> None:
    tiny.write(tmp_path / "tiny.gguf")
    list(create(store, "same", parse("FROM ./tiny.gguf"), tmp_path, "F16"))
    assert store.get("same").weights[0].read_bytes() == (tmp_path / "tiny.gguf").read_bytes()


@pytest.mark.parametrize("kind", ["Q5_K_M", "int4", "../../etc/passwd", "Q" * 10_000])
def test_no_such_type(store: Store, tmp_path: Path, kind: str) -> None:
    tiny.write(tmp_path / "tiny.gguf")
    with pytest.raises(BadRequest, match="unknown quantization type") as error:
        list(create(store, "mine", parse("FROM ./tiny.gguf"), tmp_path, kind))
    assert len(str(error.value)) < 300


def test_no_room(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write(tmp_path / "tiny.gguf")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(DiskFull, match="are needed for the quantized model"):
        list(create(store, "mine", parse("FROM ./tiny.gguf"), tmp_path, "Q8_0"))
    assert not store.list()


def test_left_early_nothing_goes_on(store: Store, half: Path) -> None:
    steps = create(store, "small", parse(f"FROM {half}"), half.parent, "Q4_K_M")
    for step in steps:
        if step.status.startswith("quantizing") and step.completed:
            break
    steps.close()
    assert not store.list()
    assert not [path for path in store.state.rglob("*") if path.is_file() and path.stat().st_size > 2**20]


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"])
def test_values_come_back(kind: str) -> None:
    count = 2048
    values = [((i * 7919) % 2003 / 1001.5 - 1) for i in range(count)]
    data = struct.pack(f"<{count}f", *values)
    packed = convert(library(), data, TYPES["F32"], TYPES[kind], 2, count // 2)
    found = struct.unpack(f"<{count}f", floats(packed, TYPES[kind], count))
    worst = max(abs(a - b) for a, b in zip(values, found, strict=True))
    assert worst < {"F16": 0.001, "BF16": 0.005, "Q8_0": 0.01, "Q6_K": 0.05}.get(kind, 0.12)


def llama(layers: int, tied: bool = False, width: int = 512) -> list[Tensor]:
    """The tensors of a model of the usual kind."""
    shapes = {"token_embd.weight": (width, 1000), "output_norm.weight": (width,)}
    if not tied:
        shapes["output.weight"] = (width, 1000)
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            shapes[f"blk.{layer}.{name}.weight"] = (width, width)
        shapes[f"blk.{layer}.attn_norm.weight"] = (width,)
        shapes[f"blk.{layer}.ffn_gate_inp.weight"] = (width, 8)
    return [Tensor(name, shape, TYPES["F16" if len(shape) > 1 else "F32"], 0) for name, shape in shapes.items()]


def given(tensors: list[Tensor], kind: str) -> dict[str, str]:
    names = {number: name for name, number in TYPES.items()}
    return {t.name: names[number] for t, number in zip(tensors, chosen(tensors, kind), strict=True)}


def test_q4_k_m_as_llama_cpp_does_it(qwen_path: Path) -> None:
    """The types in a file that llama-quantize made. It counted layers in the file's order, which was by name then."""
    tensors = read_header(qwen_path).tensors
    order: dict[str, int] = {}
    for tensor in tensors:
        if found := quantize_plan.LAYER.match(tensor.name):
            order.setdefault(found[1], len(order))
    float_ = [
        Tensor(
            quantize_plan.LAYER.sub(lambda found: f"blk.{order[found[1]]}.", tensor.name),
            tensor.shape,
            TYPES["F16" if len(tensor.shape) > 1 else "F32"],
            0,
        )
        for tensor in tensors
    ]
    assert chosen(float_, "Q4_K_M") == [tensor.type for tensor in tensors]


def test_which_tensors_get_more() -> None:
    types = given(llama(16), "Q4_K_M")
    more = [layer for layer in range(16) if types[f"blk.{layer}.ffn_down.weight"] == "Q6_K"]
    assert more == [0, 1, 4, 7, 10, 13, 14, 15]
    assert [layer for layer in range(16) if types[f"blk.{layer}.attn_v.weight"] == "Q6_K"] == more
    assert (types["output.weight"], types["token_embd.weight"]) == ("Q6_K", "Q4_K")
    assert (types["blk.3.attn_norm.weight"], types["blk.3.ffn_gate_inp.weight"]) == ("F32", "F16")
    small = given(llama(16), "Q4_K_S")
    assert [layer for layer in range(16) if small[f"blk.{layer}.attn_v.weight"] == "Q5_K"] == [0, 1, 2, 3]
    assert [layer for layer in range(16) if small[f"blk.{layer}.ffn_down.weight"] == "Q5_K"] == [0, 1]


def test_tied_embeddings_are_the_output() -> None:
    assert given(llama(2, tied=True), "Q4_K_M")["token_embd.weight"] == "Q6_K"


@pytest.mark.parametrize(("width", "kinds"), [(576, ("Q5_0", "Q8_0")), (100, ("F16", "F16")), (512, ("Q4_K", "Q6_K"))])
def test_rows_that_are_no_whole_blocks(width: int, kinds: tuple[str, str]) -> None:
    types = given(llama(8, width=width), "Q4_K_M")
    assert (types["blk.3.attn_q.weight"], types["output.weight"]) == kinds


def test_a_header_is_read_as_it_was_written(tmp_path: Path) -> None:
    item = Item("", 0, Tensor("a.weight", (32, 2), 1, 0), TYPES["Q8_0"], 0, 68)
    path = tmp_path / "made.gguf"
    path.write_bytes(header(quantize_plan.number_pair("general.alignment", 32), 1, [item]) + bytes(item.padded))
    made = read_header(path)
    assert made.tensors == (Tensor("a.weight", (32, 2), TYPES["Q8_0"], 0),)
    made.check_complete()
