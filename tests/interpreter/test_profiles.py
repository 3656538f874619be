"""Profiles: those allod brings, those a person writes, and those that a person should not have written."""

import os
import tomllib
from pathlib import Path

import pytest

from allod.errors import BadRequest, BadSettings, Conflict, NotFound
from allod.home import Home
from allod.interpreter import profiles
from allod.interpreter.profiles import Profile, load
from allod.interpreter.profiles.making import WORDS, commented, plain, shown

SHIPPED = ["careful", "codestral", "default", "fast", "large", "llama3", "moondream", "small"]


def write(home: Home, name: str, text: str | bytes) -> Path:
    path = home.config / "profiles" / f"{name}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# ── those allod brings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_all_that_are_promised_are_there(home: Home) -> None:
    assert profiles.names(home) == SHIPPED
    assert not any(each.error or each.mine or not each.about for each in profiles.listed(home))


@pytest.mark.parametrize("name", SHIPPED)
def test_each_loads_and_says_what_it_needs(home: Home, name: str) -> None:
    profile = load(home, name)
    assert ":" in profile.model
    assert len(profile.prompt.system) > 100
    assert profile.bounds.context > profile.sampling.max_tokens + 500  # room for the prompt
    assert profile.limits.wall > 0
    raw = tomllib.loads((profiles.BUILT_IN / f"{name}.toml").read_text())
    assert "extends" in raw or name == "default"


def test_what_sets_them_apart(home: Home) -> None:
    careful, fast, large, small = (load(home, name) for name in ("careful", "fast", "large", "small"))
    default = load(home)
    assert careful.strict and careful.ask == "each" and not careful.grants.net and not careful.grants.packages
    assert fast.ask == "changes" and fast.bounds.attempts == 1
    assert large.bounds.steps > default.bounds.steps > 0 and not large.prompt.examples
    assert small.bounds.context < default.bounds.context and small.prompt.examples == default.prompt.examples
    assert load(home, "codestral").bounds.patience == large.bounds.patience  # through two files


# ── a person's own ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_file_does_not_say_is_the_defaults(home: Home) -> None:
    write(home, "mine", 'model = "m:1b"\n[limits]\nmemory = "3GB"\nwall = 5\n[grants]\nnet = ["example.org"]')
    mine, default = load(home, "mine"), load(home)
    assert (mine.model, mine.limits.memory, mine.limits.wall) == ("m:1b", 3_000_000_000, 5)
    assert mine.grants.net == ["example.org"]
    assert mine.limits.idle == default.limits.idle
    assert mine.prompt == default.prompt and mine.about == ""


def test_a_file_goes_over_the_one_of_the_same_name(home: Home) -> None:
    write(home, "fast", 'extends = "fast"\n[bounds]\nsteps = 7')
    assert load(home, "fast").bounds.steps == 7
    assert load(home, "fast").ask == "changes"
    write(home, "default", "[sampling]\nseed = 9")
    assert load(home).sampling.seed == 9
    assert load(home, "large").sampling.seed == 9


def test_a_windows_editor_wrote_it(home: Home) -> None:
    write(home, "mine", b'\xef\xbb\xbfmodel = "m:1b"\r\n')
    assert load(home, "mine").model == "m:1b"


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ('modle = "m"', "there is no setting 'modle'", "Did you mean 'model'?"),
        ("[bounds]\nstep = 3", "there is no setting 'bounds.step'", "Did you mean 'bounds.steps'?"),
        ('[[prompt.examples]]\nkind = "k"\nanswr = "a"', "'prompt.examples.answr'", "'prompt.examples.answer'"),
        ('[bounds]\nsteps = "3"', "Expected `int`, got `str` - at `bounds.steps`", "profiles edit"),
        ("[bounds]\nsteps = 0", ">= 1", "profiles edit"),
        ("[bounds]\nsteps = 9223372036854775808123", "bounds.steps", "profiles edit"),
        ("[sampling]\ntemperature = 3.0", "<= 2", "profiles edit"),
        ("[sampling]\ntemperature = nan", "", "profiles edit"),
        ("[limits]\nwall = inf", "inf", "profiles edit"),
        ('[limits]\nmemory = "much"', "which is no amount", "profiles edit"),
        ('limits = "none"', "limits", "profiles edit"),
        ("bounds = []", "bounds", "profiles edit"),
        ("model = 3", "Expected `str`, got `int` - at `model`", "profiles edit"),
        ('model = ""', "model", "profiles edit"),
        ('model = "a\\nb"', "model", "profiles edit"),
        ('ask = "never"', "Invalid enum value 'never'", "profiles edit"),
        ('languages = "python"', "languages", "profiles edit"),
        ('[grants]\nnet = "example.org"', "grants.net", "profiles edit"),
        ("extends = 3", "`extends` is not the name", "extends ="),
        ('extends = "mine"', "extends itself", "Mend"),
        ("model = ", "cannot be read", "Mend or remove"),
        ("x = " + "[" * 100_000, "nested too deeply", "Mend or remove"),
        ("# " + "x" * (1 << 20), "larger than 1 MB", "a few pages"),
        (b"\xff\xfem\x00o\x00", "cannot be read", "Mend or remove"),
        (b'model = "\xe4"', "cannot be read", "Mend or remove"),
        (b"\x00\x01\x02", "cannot be read", "Mend or remove"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_file(home: Home, text: str | bytes, said: str, remedy: str) -> None:
    path = write(home, "mine", text)
    with pytest.raises(BadSettings) as caught:
        load(home, "mine")
    assert str(path) in caught.value.message or "'mine'" in caught.value.message
    assert said in caught.value.message
    assert remedy in caught.value.remedy
    assert "\n" not in caught.value.message and len(caught.value.message) < 500
    (listed,) = [each for each in profiles.listed(home) if each.name == "mine"]
    assert listed.error == caught.value.message


def test_the_file_that_is_wrong_is_the_one_that_is_named(home: Home) -> None:
    below = write(home, "below", 'extends = "default"\nmodel = 3')
    write(home, "above", 'extends = "below"\nmodel = "m:1b"')
    with pytest.raises(BadSettings, match=str(below)):
        load(home, "above")


def test_circles_and_long_chains_end(home: Home) -> None:
    write(home, "a", 'extends = "b"')
    write(home, "b", 'extends = "a"')
    with pytest.raises(BadSettings, match="extends itself"):
        load(home, "a")
    for n in range(30):
        write(home, f"c{n}", f'extends = "c{n + 1}"')
    with pytest.raises(BadSettings, match="extends more than 20"):
        load(home, "c0")


def test_one_that_extends_nothing_that_is_there(home: Home) -> None:
    path = write(home, "mine", 'extends = "nobody"')
    with pytest.raises(NotFound, match=f"'nobody', which {path} extends"):
        load(home, "mine")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../etc/passwd", "/etc/passwd", "a\0b", "x" * 5000, "a b", "\x1b[31m"]
)
def test_names_are_not_paths(home: Home, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        load(home, name)
    assert "\x1b" not in caught.value.message and len(caught.value.message) < 200
    with pytest.raises(BadRequest):
        profiles.make(home, name)


def test_what_is_no_file_is_no_profile(home: Home) -> None:
    folder = home.config / "profiles"
    (folder / "dir.toml").mkdir(parents=True)
    os.mkfifo(folder / "fifo.toml")
    for name in ("dir", "fifo"):
        with pytest.raises(NotFound):
            load(home, name)


# ── making ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("base", SHIPPED)
def test_a_new_one_is_its_base_whether_commented_or_not(home: Home, base: str) -> None:
    path = profiles.make(home, "mine", base)
    expected = load(home, base)
    assert plain(load(home, "mine")) == plain(expected) | {"about": ""}
    text = commented(expected, base)
    bare = "\n".join(line.removeprefix("# ") for line in text.splitlines()[2:])
    path.write_text(bare)
    assert plain(load(home, "mine")) == plain(expected) | {"about": ""}


def test_everything_that_can_be_set_is_explained() -> None:
    keys = {key for key in WORDS if "." not in key}
    assert keys | {"prompt", "sampling", "bounds", "limits", "grants"} == set(Profile.__struct_fields__)
    for table, kind in (("bounds", profiles.Bounds), ("sampling", profiles.Sampling), ("grants", profiles.Granted)):
        assert {f"{table}.{field}" for field in kind.__struct_fields__} == {k for k in WORDS if k.startswith(table)}


def test_making_one_that_is_there_is_refused(home: Home) -> None:
    path = profiles.make(home, "mine")
    path.write_text('model = "m:1b"')
    with pytest.raises(Conflict, match="'mine' already"):
        profiles.make(home, "mine")
    assert path.read_text() == 'model = "m:1b"'


def test_what_is_shown_is_the_whole_profile(home: Home) -> None:
    write(home, "again", shown(load(home, "careful")))
    assert load(home, "again") == load(home, "careful")
