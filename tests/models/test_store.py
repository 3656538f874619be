"""The store: Ollama's layout byte for byte, whole or not at all, and never a way out of its folder."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from allod.chat import Message
from allod.errors import BadName, Disk, ModelNotFound, NotFound
from allod.models import disk
from allod.models.manifest import go_json
from allod.models.store import CONFIG, LICENSE, MODEL, PARAMS, TEMPLATE, Layer, Manifest, ModelConfig, Store

NOWHERE = "sha256:" + "0" * 64


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def add(store: Store, name: str, weights: bytes = b"weights", *extra: Layer) -> None:
    """A model of one layer, and what else is given."""
    layers = [store.add_bytes(weights, MODEL), *extra]
    store.write(name, Manifest(store.add_bytes(ModelConfig(model_family="llama").encode(layers), CONFIG), layers))


def blobs(store: Store) -> set[str]:
    return {path.name.replace("-", ":") for path in store.folder.iterdir()}


# ── Ollama's layout ─────────────────────────────────────────────────────────────────────────────────────────────────

# What Ollama has on disk after `ollama create`, with weights, template and parameters shortened.
WEIGHTS = b"GGUF, shortened"
OLLAMA_PARAMS = b'{"stop":["\\u003c|im_start|\\u003e","\\u003c|im_end|\\u003e"],"temperature":0.2,"top_k":40}\n'
OLLAMA_CONFIG = (
    b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"134.52M",'
    b'"file_type":"Q4_1","architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["%s","%s"]}}\n'
)


def written_by_ollama(root: Path, newline: bool = True) -> bytes:
    """Lays out a model as Ollama does; returns the manifest's bytes."""
    weights = WEIGHTS
    config = OLLAMA_CONFIG % (sha(weights).encode(), sha(OLLAMA_PARAMS).encode())
    (root / "blobs").mkdir(parents=True)
    for data in (weights, config, OLLAMA_PARAMS):
        (root / "blobs" / sha(data).replace(":", "-")).write_bytes(data)
    manifest = (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        '"config":{"mediaType":"application/vnd.docker.container.image.v1+json",'
        f'"digest":"{sha(config)}","size":{len(config)}}},'
        f'"layers":[{{"mediaType":"application/vnd.ollama.image.model","digest":"{sha(weights)}",'
        f'"size":{len(weights)}}},{{"mediaType":"application/vnd.ollama.image.params",'
        f'"digest":"{sha(OLLAMA_PARAMS)}","size":{len(OLLAMA_PARAMS)}}}]}}'
    ).encode() + (b"\n" if newline else b"")
    path = root / "manifests" / "registry.ollama.ai" / "library" / "smollm2" / "135m"
    path.parent.mkdir(parents=True)
    path.write_bytes(manifest)
    return manifest


@pytest.mark.parametrize("newline", [True, False])
def test_a_folder_of_ollama_works_here(store: Store, newline: bool) -> None:
    manifest = written_by_ollama(store.root, newline)
    model = store.get("smollm2:135m")
    assert model.digest == hashlib.sha256(manifest).hexdigest()
    assert model.params == {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0.2, "top_k": 40}
    assert (model.config.model_type, model.config.file_type) == ("134.52M", "Q4_1")
    assert model.weights[0].read_bytes() == WEIGHTS
    assert model.size == sum(path.stat().st_size for path in store.folder.iterdir())
    assert store.list() == [model]


def test_what_is_written_here_is_what_ollama_writes(store: Store, tmp_path: Path) -> None:
    manifest = written_by_ollama(tmp_path / "ollama")
    params = {"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0.2, "top_k": 40}
    layers = [store.add_bytes(WEIGHTS, MODEL), store.add_bytes(go_json(params), PARAMS)]
    config = ModelConfig("gguf", "llama", ("llama",), "134.52M", "Q4_1")
    model = store.write("smollm2:135m", Manifest(store.add_bytes(config.encode(layers), CONFIG), layers))
    assert (store.manifests / "registry.ollama.ai/library/smollm2/135m").read_bytes() == manifest
    assert blobs(store) == blobs(Store(tmp_path / "ollama"))
    assert model.digest == hashlib.sha256(manifest).hexdigest()
    modes = [path.stat().st_mode & 0o777 for path in store.root.rglob("*") if path.is_file()]
    assert set(modes) == {0o644}


def test_go_json() -> None:
    value = {"a": [1.0, 0.7, True, None, '<&>\u2028é"\\\n'], "b": {}}
    assert go_json(value) == (b'{"a":[1,0.7,true,null,"\\u003c\\u0026\\u003e\\u2028\xc3\xa9\\"\\\\\\n"],"b":{}}\n')


def test_a_registry_s_own_bytes_are_kept(store: Store) -> None:
    add(store, "a")
    raw = json.dumps(json.loads(store.read_manifest("a")), indent=3).encode()
    model = store.write("b", Manifest(store.get("a").manifest.config, []), raw)
    assert store.read_manifest("b") == raw
    assert model.digest == hashlib.sha256(raw).hexdigest()


def test_manifests_as_links_to_blobs(store: Store) -> None:
    """Ollama of 2026 keeps manifests as blobs, linked to from manifests-v2."""
    data = written_by_ollama(store.root)
    old = store.manifests / "registry.ollama.ai/library/smollm2/135m"
    new = store.manifests_v2 / "registry.ollama.ai/library/smollm2/135m"
    blob = store.blob(sha(data))
    old.rename(blob)
    new.parent.mkdir(parents=True)
    new.symlink_to(os.path.relpath(blob, new.parent))
    model = store.get("smollm2:135m")
    assert model.digest == hashlib.sha256(data).hexdigest()
    assert store.prune(grace=0) == 0
    # Written anew here: Ollama would prefer its own, so that has to go.
    store.copy("smollm2:135m", "kept")
    add(store, "smollm2:135m", b"other")
    assert store.get("smollm2:135m").weights[0].read_bytes() == b"other"
    assert not new.is_symlink()
    store.delete("smollm2:135m")
    store.delete("kept")
    assert blobs(store) == set()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../outside", "nowhere"])
def test_a_link_out_of_the_store_is_not_followed(store: Store, target: str) -> None:
    (store.root / "outside").parent.mkdir(parents=True, exist_ok=True)
    (store.root / "outside").write_bytes(b"{}")
    path = store.manifests_v2 / "registry.ollama.ai/library/m/latest"
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    assert store.list() == []
    assert "m:latest" in store.warnings[0]
    with pytest.raises((Disk, NotFound)):
        store.get("m")


def test_a_list_of_manifests(store: Store) -> None:
    """Ollama's form for models with a build an engine."""
    add(store, "plain")
    entry = json.loads(store.read_manifest("plain"))
    child = store.read_manifest("plain")
    digest = store.add_bytes(child, "").digest
    for name, entries in {
        "inline": [{**entry, "runner": "mlx", "layers": []}, {**entry, "runner": "ollama"}],
        "referenced": [{"mediaType": entry["mediaType"], "digest": digest, "runner": "llamacpp"}],
    }.items():
        whole = {"schemaVersion": 2, "mediaType": "application/vnd.ollama.manifest.list.v2+json", "manifests": entries}
        model = store.write(name, store.get("plain").manifest, json.dumps(whole).encode())
        assert model.weights == store.get("plain").weights
    store.delete("plain")
    assert store.prune(grace=0) == 0
    assert store.get("referenced").weights[0].read_bytes() == b"weights"


def test_layers_of_other_engines_are_kept(store: Store) -> None:
    tensor = store.add_bytes(b"tensor", "application/vnd.ollama.image.tensor")
    tensor = Layer(tensor.media_type, tensor.digest, tensor.size, name="model.embed_tokens.weight")
    foreign = store.add_bytes(b"{}", "application/x-who-knows")
    config = store.add_bytes(b'{"model_format":"safetensors","model_families":null,"context_length":"x"}', CONFIG)
    store.write("mlx", Manifest(config, [tensor, foreign]))
    store.copy("mlx", "copy")
    model = store.get("copy")
    assert [layer.name for layer in model.manifest.layers] == ["model.embed_tokens.weight", ""]
    assert (model.weights, model.config.model_format, model.config.context_length) == ((), "safetensors", 0)
    with pytest.raises(NotFound, match="no GGUF weights"):
        store.loadable(model)


def test_a_model_in_the_cloud(store: Store) -> None:
    config = store.add_bytes(b'{"remote_host":"https://ollama.com:443","remote_model":"big"}', CONFIG)
    assert store.write("big:cloud", Manifest(config, [])).config.remote_model == "big"


def test_texts(store: Store) -> None:
    extra = [
        store.add_bytes(b"{{ .Prompt }}", TEMPLATE),
        store.add_bytes(b"one", LICENSE),
        store.add_bytes(b"two \xff", LICENSE),
        store.add_bytes(b'[{"role":"user","content":"Hi","images":[]}]\n', "application/vnd.ollama.image.messages"),
        store.add_bytes(b"Be brief.", "application/vnd.ollama.image.system"),
    ]
    add(store, "m", b"w", *extra)
    model = store.get("m")
    assert (model.template, model.system) == ("{{ .Prompt }}", "Be brief.")
    assert model.licenses == ["one", "two \ufffd"]
    assert model.messages == [Message("user", "Hi")]


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_store_stays_empty(store: Store) -> None:
    assert store.list() == store.names() == []
    with pytest.raises(ModelNotFound) as caught:
        store.get("smollm2")
    assert caught.value.message == "model 'smollm2' not found"
    assert not store.root.exists()


def test_newest_first(store: Store) -> None:
    for i, name in enumerate(["b", "a", "c"]):
        add(store, name)
        os.utime(store.manifests.joinpath(*store.get(name).name.path), (1000 + i, 1000 + i))
    assert [str(model.name) for model in store.list()] == ["c:latest", "a:latest", "b:latest"]
    assert [str(name) for name in store.names()] == ["a:latest", "b:latest", "c:latest"]


def test_case_does_not_matter(store: Store) -> None:
    add(store, "Mistral:7B")
    assert str(store.get("mistral:7b").name) == "Mistral:7B"
    add(store, "MISTRAL:7b", b"newer")
    assert [str(name) for name in store.names()] == ["Mistral:7B"]
    add(store, "mistral:8b")
    assert [str(name) for name in store.names()] == ["Mistral:7B", "Mistral:8b"]
    store.delete("mIstral:7b")
    assert [str(name) for name in store.names()] == ["Mistral:8b"]


def test_the_nearest_names_are_offered(store: Store) -> None:
    add(store, "qwen2.5-coder:1.5b")
    add(store, "llama3:8b")
    with pytest.raises(ModelNotFound) as caught:
        store.get("qwen2.5coder:1.5b")
    assert caught.value.nearest == ("qwen2.5-coder:1.5b",)
    assert "qwen2.5-coder:1.5b" in caught.value.remedy


@pytest.mark.parametrize("name", ["../../etc/passwd", "m\0", "x" * 10_000, "", "mödel", "a/../../b"])
def test_hostile_names(store: Store, name: str) -> None:
    add(store, "m")
    for call in (store.get, store.delete, lambda n: store.copy("m", n), lambda n: store.copy(n, "m")):
        with pytest.raises(BadName):
            call(name)


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../etc/passwd", "sha256:" + "g" * 64, "md5:" + "0" * 64, NOWHERE + "\n", NOWHERE + "/x"],
)
def test_hostile_digests(store: Store, digest: str) -> None:
    for call in (store.has, store.blob, store.partial, store.lock, store.remove):
        with pytest.raises(BadName, match="invalid digest format"):
            call(digest)


# ── broken manifests ────────────────────────────────────────────────────────────────────────────────────────────────


def manifest(**changes: object) -> bytes:
    layer = {"mediaType": MODEL, "digest": NOWHERE, "size": 1}
    whole = {"schemaVersion": 2, "config": {**layer, "mediaType": CONFIG}, "layers": [layer], **changes}
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"schemaVersion":2,"layers":[{"mediaTy',
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b" " * (17 << 20),
        manifest(layers=None),
        manifest(layers={}),
        manifest(layers=[1]),
        manifest(config=[]),
        manifest(layers=[{"mediaType": MODEL, "digest": "../../../etc/passwd", "size": 1}]),
        manifest(layers=[{"mediaType": MODEL, "digest": NOWHERE, "size": "1"}]),
        manifest(layers=[{"mediaType": MODEL, "digest": NOWHERE, "size": -1}]),
        manifest(layers=[{"mediaType": MODEL, "digest": NOWHERE, "size": 1 << 60}]),
        manifest(layers=[{"mediaType": 5, "digest": NOWHERE, "size": 1}]),
        manifest(mediaType="application/vnd.ollama.manifest.list.v2+json", manifests=[{"digest": "x"}]),
        manifest(),  # the blobs are not there
    ],
)
def test_a_broken_manifest_spoils_nothing_else(store: Store, data: bytes) -> None:
    add(store, "good")
    path = store.manifests / "registry.ollama.ai" / "library" / "bad" / "latest"
    path.parent.mkdir()
    path.write_bytes(data)
    assert [str(model.name) for model in store.list()] == ["good:latest"]
    assert len(store.warnings) == 1
    assert store.warnings[0].startswith("bad:latest: ")
    with pytest.raises((Disk, NotFound)) as caught:
        store.get("bad")
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    store.delete("bad")
    assert store.get("good").weights[0].exists()


def test_foreign_files_among_the_manifests(store: Store) -> None:
    add(store, "good")
    library = store.manifests / "registry.ollama.ai" / "library"
    (library / ".DS_Store").write_bytes(b"x")
    (library / "good" / ".DS_Store").write_bytes(b"x")
    (library / "good" / "a folder").mkdir()
    (library / "good" / "folder").mkdir()
    (store.manifests / "registry.ollama.ai" / "a.b").mkdir()
    assert [str(model.name) for model in store.list()] == ["good:latest"]
    assert store.warnings == []


def test_a_blob_of_another_size_is_noticed(store: Store) -> None:
    add(store, "m")
    store.get("m").weights[0].write_bytes(b"half")
    with pytest.raises(Disk, match="4 bytes instead of 7"):
        store.get("m")


def test_huge_or_wrong_small_layers(store: Store) -> None:
    huge = store.folder / ("sha256-" + "1" * 64)
    store.folder.mkdir(parents=True)
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    for name, layer in {
        "template": Layer(TEMPLATE, "sha256:" + "1" * 64, 1 << 30),
        "params": store.add_bytes(b"[1]", PARAMS),
        "messages": store.add_bytes(b'[{"role":"martian"}]', "application/vnd.ollama.image.messages"),
    }.items():
        with pytest.raises(Disk, match="broken"):
            add(store, name, b"w", layer)
    assert store.names() == []


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_manifest_needs_its_blobs(store: Store) -> None:
    config = store.add_bytes(b"{}", CONFIG)
    with pytest.raises(NotFound, match=NOWHERE):
        store.write("m", Manifest(config, [Layer(MODEL, NOWHERE, 5)]))
    assert store.names() == []


def test_replacing_removes_what_only_the_old_one_used(store: Store) -> None:
    shared = store.add_bytes(b"licence", LICENSE)
    add(store, "m", b"old weights", shared)
    add(store, "other", b"x", shared)
    add(store, "m", b"new weights")
    assert sha(b"old weights") not in blobs(store)
    assert {sha(b"new weights"), sha(b"licence")} <= blobs(store)


def test_copy_and_delete(store: Store) -> None:
    add(store, "a")
    copy = store.copy("a", "me/b:2")
    assert str(copy.name) == "me/b:2"
    assert store.delete("a") == 0
    assert copy.weights[0].read_bytes() == b"weights"
    with pytest.raises(ModelNotFound):
        store.get("a")
    with pytest.raises(ModelNotFound):
        store.copy("a", "c")
    assert store.delete("me/b:2") == copy.size
    assert blobs(store) == set()
    assert list(store.manifests.iterdir()) == []


def test_prune(store: Store) -> None:
    add(store, "m")
    lost = store.add_bytes(b"lost", MODEL)
    partial = store.partial(NOWHERE)
    partial.write_bytes(b"half")
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / ".allod-killed").write_bytes(b"half a copy")
    assert store.prune() == 0  # too young
    assert store.prune(grace=0) == 4 + 11
    assert not store.has(lost.digest)
    assert not (store.folder / ".allod-killed").exists()
    assert partial.exists()
    assert (store.folder / "notes.txt").exists()
    assert store.get("m")


def test_prune_keeps_what_a_broken_manifest_names(store: Store) -> None:
    add(store, "m")
    path = store.manifests.joinpath(*store.get("m").name.path)
    path.write_bytes(path.read_bytes()[:-3])
    assert store.prune(grace=0) == 0


def test_no_half_written_file_is_left(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "m")
    before = store.read_manifest("m")

    def power_cut(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(disk.os, "fsync", power_cut)
    with pytest.raises(Disk, match="Input/output error"):
        add(store, "m", b"other")
    monkeypatch.undo()
    assert store.read_manifest("m") == before
    assert not list(store.root.rglob(".allod-*"))


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_shards_get_the_names_llama_cpp_wants(store: Store) -> None:
    parts = [store.add_bytes(data, MODEL) for data in (b"one", b"two", b"three")]
    named = [Layer(MODEL, p.digest, p.size, name=f"m-0000{i}-of-00003.gguf") for i, p in enumerate(parts, 1)]
    store.write("m", Manifest(store.add_bytes(b"{}", CONFIG), [named[1], named[0], named[2]]))
    model = store.get("m")
    assert [path.read_bytes() for path in model.weights] == [b"one", b"two", b"three"]
    first = store.loadable(model)
    assert first.name.endswith("-00001-of-00003.gguf")
    assert sorted(path.name for path in first.parent.iterdir()) == [
        first.name.replace("-00001-", f"-0000{i}-") for i in (1, 2, 3)
    ]
    assert [path.read_bytes() for path in sorted(first.parent.iterdir())] == [b"one", b"two", b"three"]
    assert store.loadable(model) == first
    store.prune(grace=0)
    assert first.exists()
    store.delete("m")
    store.prune(grace=0)
    assert not first.parent.exists()
