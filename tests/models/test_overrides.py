"""models.toml: what holds for one model, read when it changes, told when it is wrong."""

import os
from pathlib import Path

import pytest

from allod.errors import BadSettings
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.name import Name
from allod.models.overrides import Override, Overrides
from allod.models.store import Store

MINE = """
["mine"]
num_ctx = 2048
temperature = 0.5
stop = ["END"]
keep_alive = "24h"
slots = 2
speculate = false

["example.org/them/Theirs:1b"]
top_k = 1
"""


@pytest.fixture
def overrides(home: Home) -> Overrides:
    home.folder("", "config")
    return Overrides(home)


def test_without_a_file_nothing_is_set(overrides: Overrides) -> None:
    assert overrides.of(Name.parse("mine")) == Override()
    assert overrides.names == []


def test_each_model_has_its_own(overrides: Overrides) -> None:
    overrides.path.write_text(MINE)
    params = {"num_ctx": 2048, "temperature": 0.5, "stop": ["END"]}
    assert overrides.of(Name.parse("MINE:latest")) == Override(params, "24h", 2, False)
    assert overrides.of(Name.parse("example.org/them/theirs:1B")).params == {"top_k": 1}
    assert overrides.of(Name.parse("other")) == Override()


def test_they_lie_over_the_model_s_own(overrides: Overrides, home: Home, smollm2_path: Path, tmp_path: Path) -> None:
    store = Store(home.models)
    recipe = f"FROM {smollm2_path}\nPARAMETER temperature 0.9\nPARAMETER top_p 0.7"
    for name in ("mine", "other"):
        for _ in create(store, name, parse(recipe), tmp_path):
            pass
    overrides.path.write_text(MINE)
    params = overrides.over(store.get("mine")).params
    assert params == {"num_ctx": 2048, "temperature": 0.5, "stop": ["END"], "top_p": 0.7}
    assert overrides.over(store.get("other")).params == {"temperature": 0.9, "top_p": 0.7}
    assert store.get("mine").params == {"temperature": 0.9, "top_p": 0.7}, "the model itself stays as it was made"


def test_a_changed_file_is_read_again(overrides: Overrides) -> None:
    name = Name.parse("mine")
    overrides.path.write_text('["mine"]\ntop_k = 1')
    assert overrides.of(name).params == {"top_k": 1}
    overrides.path.write_text('["mine"]\ntop_k = 2')
    os.utime(overrides.path, ns=(1, 1))
    assert overrides.of(name).params == {"top_k": 2}
    overrides.path.unlink()
    assert overrides.of(name) == Override()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'["mine"\n', "is no TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b"top_k = 1", "stands before the first model"),
        (b'["../../etc/passwd"]\ntop_k = 1', "passwd"),
        (b'["mine"]\ntop_kk = 1', "did you mean 'top_k'"),
        (b'["mine"]\ntemperature = "hot"', "temperature must be a number"),
        (b'["mine"]\nnum_ctx = -1', "num_ctx must be between"),
        (b'["mine"]\nslots = true', "slots = True makes no sense"),
        (b'["mine"]\nslots = 1000', "slots = 1000 makes no sense"),
        (b'["mine"]\nkeep_alive = 5', "keep_alive = 5 makes no sense"),
        (b'["mine"]\nspeculate = "no"', "speculate = 'no' makes no sense"),
        (b'["mine"]\n[mine.x]\ny = 1', "there is no setting"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(overrides: Overrides, text: bytes, says: str) -> None:
    overrides.path.write_bytes(text)
    with pytest.raises(BadSettings, match=says.replace("[", r"\[")) as error:
        overrides.of(Name.parse("mine"))
    assert str(overrides.path) in error.value.message


def test_a_folder_in_its_place(overrides: Overrides) -> None:
    overrides.path.mkdir()
    with pytest.raises(BadSettings, match="cannot be read"):
        overrides.of(Name.parse("mine"))


def test_the_example_of_the_manual_works(overrides: Overrides) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    _, _, rest = manual.partition("test_overrides.py loads this example -->\n```toml\n")
    overrides.path.write_text(rest.partition("```")[0])
    found = overrides.of(Name.parse("qwen2.5-coder:1.5b"))
    assert found == Override({"num_ctx": 16384, "temperature": 0.2}, "24h", 2, False)
