"""create: from GGUF files of every kind and from models, with Ollama's words and layers."""

from pathlib import Path
from typing import Any

import pytest
import tiny

from allod.chat import Message
from allod.errors import BadGGUF, BadModelfile, BadName, ModelNotFound, NotFound
from allod.models.create import create
from allod.models.modelfile import parse, render
from allod.models.progress import Progress
from allod.models.store import ADAPTER, LICENSE, MODEL, PARAMS, PROJECTOR, Model, Store

LORA = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
MMPROJ = {"general.architecture": "clip", "general.type": "mmproj", "clip.has_vision_encoder": True}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder with one GGUF of each kind."""
    folder = tmp_path / "base"
    folder.mkdir()
    tiny.write(folder / "tiny.gguf")
    tiny.write(folder / "lora.gguf", LORA)
    tiny.write(folder / "mmproj.gguf", MMPROJ)
    return folder


def make(store: Store, name: str, text: str, base: Path) -> tuple[Model, list[Progress]]:
    steps = list(create(store, name, parse(text), base))
    return store.get(name), steps


def media(model: Model) -> list[str]:
    return [layer.media_type.rpartition(".")[2] for layer in model.manifest.layers]


def test_from_a_file(store: Store, base: Path) -> None:
    size = (base / "tiny.gguf").stat().st_size
    model, steps = make(store, "mine", "FROM ./tiny.gguf", base)
    assert [step.status for step in steps] == ["parsing GGUF", "hashing tiny.gguf", "writing manifest", "success"]
    assert (steps[1].total, steps[1].completed) == (size, size)
    assert media(model) == ["model"]
    assert model.weights[0].read_bytes() == (base / "tiny.gguf").read_bytes()
    config = model.config
    assert (config.model_format, config.model_family, config.model_families) == ("gguf", "llama", ("llama",))
    assert (config.model_type, config.file_type) == ("11K", "F16")
    assert (config.context_length, config.embedding_length) == (1024, 64)


def test_smollm2(store: Store, smollm2_path: Path) -> None:
    model, steps = make(store, "smollm2:135m", f"FROM {smollm2_path}", smollm2_path.parent)
    assert (model.config.model_type, model.config.file_type) == ("134.52M", "Q4_1")
    assert model.weights[0].name == "sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    done = [step.completed for step in steps if step.total]
    assert done == sorted(done)
    assert done[-1] == smollm2_path.stat().st_size


def test_everything_a_modelfile_says(store: Store, base: Path) -> None:
    text = """FROM tiny.gguf
FROM mmproj.gguf
ADAPTER lora.gguf
TEMPLATE {{ .Prompt }}
SYSTEM Be brief.
LICENSE one
LICENSE two
PARAMETER temperature 1.0
PARAMETER stop <|im_end|>
MESSAGE user Hi
REQUIRES 0.14.0
"""
    model, steps = make(store, "mine", text, base)
    assert media(model) == [
        "model",
        "projector",
        "adapter",
        "template",
        "system",
        "license",
        "license",
        "params",
        "messages",
    ]
    params = next(layer for layer in model.manifest.layers if layer.media_type == PARAMS)
    assert store.blob(params.digest).read_bytes() == b'{"stop":["\\u003c|im_end|\\u003e"],"temperature":1}\n'
    assert f"creating new layer {params.digest}" in [step.status for step in steps]
    assert (model.template, model.system, model.licenses) == ("{{ .Prompt }}", "Be brief.", ["one", "two"])
    assert model.messages == [Message("user", "Hi")]
    assert model.projector is not None
    assert len(model.adapters) == 1
    assert model.config.requires == "0.14.0"


def test_from_a_model(store: Store, base: Path) -> None:
    first = "FROM tiny.gguf\nPARAMETER seed 1\nPARAMETER top_k 5\nSYSTEM old\nLICENSE one\nTEMPLATE a"
    parent, _ = make(store, "parent", first, base)
    child, steps = make(
        store, "child", "FROM PARENT\nPARAMETER seed 2\nSYSTEM new\nLICENSE two\nADAPTER lora.gguf", base
    )
    assert child.params == {"seed": 2, "top_k": 5}  # merged, the child wins
    assert (child.system, child.template, child.licenses) == ("new", "a", ["one", "two"])
    assert child.weights == parent.weights
    assert len(child.adapters) == 1
    assert child.config == parent.config
    again, steps = make(store, "child", "FROM child\nSYSTEM new", base)
    assert (again.system, again.params) == ("new", {"seed": 2, "top_k": 5})
    assert "using existing layer" in steps[0].status


def test_a_model_over_itself(store: Store, base: Path) -> None:
    make(store, "m", "FROM tiny.gguf\nSYSTEM old", base)
    model, _ = make(store, "m", "FROM m\nSYSTEM new", base)
    assert model.system == "new"
    assert model.weights[0].exists()
    assert not any(path.read_bytes() == b"old" for path in store.folder.iterdir())


def test_a_draft(store: Store, base: Path) -> None:
    tiny.write(base / "small.gguf", {"general.name": "small"})
    make(store, "small", "FROM ./small.gguf", base)
    model, _ = make(store, "mine", "FROM ./tiny.gguf\nDRAFT ./small.gguf\nPARAMETER draft_num_predict 6", base)
    assert media(model) == ["model", "draft", "params"]
    assert model.draft and model.draft.read_bytes() == (base / "small.gguf").read_bytes()
    assert f"DRAFT {model.draft}" in render(model)
    assert make(store, "again", render(model), base)[0].draft == model.draft
    assert make(store, "child", "FROM mine\nDRAFT small", base)[0].draft == model.draft
    other, _ = make(store, "other", "FROM mine\nDRAFT ./tiny.gguf", base)
    assert other.draft == other.weights[0], "the new one is in the old one's place"


@pytest.mark.parametrize(
    ("draft", "error", "says"),
    [
        ("./lora.gguf", BadModelfile, "cannot guess for this model: they do not share a vocabulary"),
        ("./words.gguf", BadModelfile, "cannot guess for this model: they do not share a vocabulary"),
        ("./none.gguf", NotFound, "no such file"),
        ("nobody", ModelNotFound, "nobody"),
        (".", BadModelfile, "is not one GGUF file"),
    ],
)
def test_a_draft_that_is_none(store: Store, base: Path, draft: str, error: type[Exception], says: str) -> None:
    tiny.write(base / "words.gguf", {"tokenizer.ggml.model": "other"})
    with pytest.raises(error, match=says):
        make(store, "mine", f"FROM ./tiny.gguf\nDRAFT {draft}", base)
    assert not store.list()


def test_from_a_folder(store: Store, base: Path) -> None:
    (base / "lora.gguf").unlink()
    model, _ = make(store, "mine", "FROM .", base)
    assert media(model) == ["model", "projector"]
    tiny.write(base / "second.gguf", {**tiny.LLAMA, "general.name": "Second"})
    with pytest.raises(BadModelfile, match=r"several models: second\.gguf, tiny\.gguf"):
        make(store, "mine", f"FROM {base}", base)
    (base / "empty").mkdir()
    with pytest.raises(BadModelfile, match="no GGUF file"):
        make(store, "mine", "FROM ./empty", base)


def test_a_folder_named_like_a_model_does_not_hide_it(store: Store, base: Path) -> None:
    make(store, "smollm2", "FROM tiny.gguf", base)
    (base / "smollm2").mkdir()
    assert make(store, "b", "FROM smollm2", base)[0].weights == store.get("smollm2").weights


def split(folder: Path, count: int = 2) -> None:
    for i in range(count):
        metadata: dict[str, Any] = {
            **(tiny.LLAMA if i == 0 else {}),
            "split.no": ("u16", i),
            "split.count": ("u16", count),
        }
        tiny.write(folder / f"big-0000{i + 1}-of-0000{count}.gguf", metadata, tiny.TENSORS[i : i + 1])


def test_shards(store: Store, base: Path) -> None:
    split(base)
    model, _ = make(store, "big", "FROM big-00001-of-00002.gguf", base)
    assert [layer.name for layer in model.manifest.layers] == ["big-00001-of-00002.gguf", "big-00002-of-00002.gguf"]
    assert model.config.model_type == "11K"  # tensors of both
    assert store.loadable(model).name.endswith("-00001-of-00002.gguf")
    (base / "big-00001-of-00002.gguf").rename(base / "alone.gguf")
    with pytest.raises(BadGGUF, match="one of 2 parts"):
        make(store, "alone", "FROM alone.gguf", base)
    with pytest.raises(BadGGUF, match="shards are missing"):
        make(store, "alone", "FROM big-00002-of-00002.gguf", base)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("FROM ./none.gguf", NotFound, r"no such file: \./none\.gguf"),
        ("FROM none.gguf", NotFound, "no such file"),
        ("FROM ~nobody-here/x", NotFound, "no such file"),
        ("FROM nothing", ModelNotFound, "model 'nothing' not found"),
        ("FROM no thing", BadName, "not a model name"),
        ("FROM " + "x" * 5000, BadName, "too long"),
        ("FROM notes.txt", BadGGUF, "supplied file was not in GGUF format"),
        ("FROM short.gguf", BadGGUF, r"cut short: 500 of \d+ bytes are missing"),
        ("FROM lora.gguf", BadModelfile, "FROM gives no model"),
        ("FROM tiny.gguf\nFROM other.gguf", BadModelfile, "more than one model"),
        ("FROM tiny.gguf\nADAPTER other.gguf", BadGGUF, "is a model, not an adapter"),
        ("FROM tiny.gguf\nADAPTER nothing", NotFound, "no such adapter"),
        ("FROM tiny.gguf\nADAPTER ./nothing", NotFound, "no such file"),
    ],
)
def test_errors_leave_no_model(store: Store, base: Path, text: str, error: type[Exception], says: str) -> None:
    (base / "notes.txt").write_text("Dear diary")
    (base / "short.gguf").write_bytes(tiny.gguf()[:-500])
    tiny.write(base / "other.gguf", {**tiny.LLAMA, "general.name": "Other"})
    with pytest.raises(error, match=says) as caught:
        make(store, "mine", text, base)
    assert caught.value.remedy  # type: ignore[attr-defined]
    assert store.names() == []


def test_nothing_is_named_before_the_end(store: Store, base: Path) -> None:
    steps = create(store, "mine", parse("FROM tiny.gguf"), base)
    while next(steps).status != "writing manifest":
        pass
    steps.close()  # type: ignore[attr-defined]
    assert store.names() == []
    with pytest.raises(BadName):
        list(create(store, "../x", parse("FROM tiny.gguf"), base))


def test_projector_of_a_child_takes_the_parent_s_place_in_the_manifest(store: Store, base: Path) -> None:
    make(store, "parent", "FROM tiny.gguf", base)
    child, _ = make(store, "child", "FROM parent\nFROM mmproj.gguf", base)
    assert [layer.media_type for layer in child.manifest.layers] == [MODEL, PROJECTOR]
    assert ADAPTER not in media(child)
    assert LICENSE not in media(child)
