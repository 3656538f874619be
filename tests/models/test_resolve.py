"""resolve: the name itself, then the catalogue's default tag, then the nearest names; nothing is guessed."""

from pathlib import Path

import pytest

from allod.errors import BadName, Disk, ModelNotFound
from allod.home import Home
from allod.models.catalogue import Catalogue
from allod.models.resolve import resolve
from allod.models.store import CONFIG, MODEL, Manifest, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def catalogue(home: Home) -> Catalogue:
    return Catalogue.load(home)


def add(store: Store, name: str) -> None:
    store.write(name, Manifest(store.add_bytes(b"{}", CONFIG), [store.add_bytes(name.encode(), MODEL)]))


def test_a_bare_name_is_the_catalogue_s_default(store: Store, catalogue: Catalogue) -> None:
    add(store, "smollm2:135m")
    assert str(resolve("smollm2", store, catalogue).name) == "smollm2:135m"
    assert str(resolve("SmolLM2", store, catalogue).name) == "smollm2:135m"
    add(store, "smollm2")
    assert str(resolve("smollm2", store, catalogue).name) == "smollm2:latest"


def test_a_name_with_a_tag_is_that(store: Store, catalogue: Catalogue) -> None:
    add(store, "smollm2:135m")
    with pytest.raises(ModelNotFound):
        resolve("smollm2:1.7b", store, catalogue)


def test_another_tag_is_not_guessed(store: Store, catalogue: Catalogue) -> None:
    add(store, "smollm2:1.7b")
    with pytest.raises(ModelNotFound) as caught:
        resolve("smollm2", store, catalogue)
    assert caught.value.message == "model 'smollm2' not found"
    assert caught.value.remedy == "`allod pull smollm2` gets it (smollm2:135m)."


def test_unknown_names(store: Store, catalogue: Catalogue) -> None:
    add(store, "my-own-model:7b")
    with pytest.raises(ModelNotFound) as caught:
        resolve("my-own-modle:7b", store, catalogue)
    assert caught.value.nearest[0] == "my-own-model:7b"
    with pytest.raises(ModelNotFound) as caught:
        resolve("qwen2.5coder:1.5b", store, catalogue)
    assert "qwen2.5-coder:1.5b" in caught.value.nearest
    with pytest.raises(ModelNotFound) as caught:
        resolve("zzzzzz", store, None)
    assert caught.value.nearest == ()


@pytest.mark.parametrize("text", ["", "../x", "a b", "x" * 10_000, "\0"])
def test_bad_names(store: Store, catalogue: Catalogue, text: str) -> None:
    with pytest.raises(BadName):
        resolve(text, store, catalogue)


def test_a_broken_model_is_not_an_unknown_one(store: Store, catalogue: Catalogue) -> None:
    add(store, "smollm2:135m")
    store.get("smollm2:135m").weights[0].write_bytes(b"")
    with pytest.raises(Disk):
        resolve("smollm2", store, catalogue)
