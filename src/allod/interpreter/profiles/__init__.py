"""Profiles: what a job runs with, as data. A profile names the model and holds the prompt, the limits, the sampling.

    profile = load(home)                    # the built-in default
    profile = load(home, "careful")         # <config>/profiles/careful.toml, else a built-in of that name

TOML files; ``extends = "default"`` (which is also what a file without it does) takes what is not said from another one.
A profile never runs code, and a misspelt key is an error that names it.
"""

import tomllib
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct, field

from allod.errors import BadSettings, NotFound
from allod.home import Home


class Example(Struct, frozen=True, forbid_unknown_fields=True):
    """A worked job, shown to the model in the words of the real turns. The one that fits the job at hand is shown."""

    kind: str
    files: str  # the listing
    job: str
    code: str  # the block that does the job, its output, the files it wrote
    output: str
    answer: str
    written: str = ""
    reads: list[str] = field(default_factory=list[str])  # files that were read before the job,
    read: str = ""  # the code that did, and what its names then hold
    names: str = ""
    words: list[str] = field(default_factory=list[str])  # fits jobs with these words,
    kinds: list[str] = field(default_factory=list[str])  # about files of these kinds,
    tables: int = 0  # about so many tables or more,
    empty: bool = False  # in an empty folder


class Prompt(Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is told. ``listing`` and ``output`` are in characters."""

    system: str
    examples: list[Example] = field(default_factory=list[Example])
    listing: int = 1600
    output: int = 1200


class Sampling(Struct, frozen=True, forbid_unknown_fields=True):
    """How it answers. ``afresh`` is the temperature of every attempt but the first."""

    temperature: float = 0.0
    repair: float = 0.3
    afresh: float = 0.6
    max_tokens: int = 1000
    seed: int = 1


class Bounds(Struct, frozen=True, forbid_unknown_fields=True):
    """How long it may go on."""

    steps: int = 4  # blocks an attempt may run
    attempts: int = 3
    patience: float = 150.0  # seconds after which no new attempt is begun
    wall: float = 600.0  # seconds one block may run
    context: int = 8192  # tokens
    brief: bool = True  # a job that asks for nothing but files ends when the checks find nothing wrong with them


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a job runs with."""

    model: str
    prompt: Prompt
    sampling: Sampling = field(default_factory=Sampling)
    bounds: Bounds = field(default_factory=Bounds)


def load(home: Home, name: str = "default") -> Profile:
    """The profile of that name.

    Raises:
        NotFound: there is none.
        BadSettings: it cannot be understood.
    """
    try:
        return msgspec.convert(read(home, name, ()), Profile)
    except msgspec.ValidationError as error:
        raise BadSettings(f"the profile '{name}' is wrong: {error}", "Mend it, or take another one.") from error


BUILT_IN = Path(__file__).parent


def read(home: Home, name: str, above: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of a profile over those of the one it extends. ``above``: the files that led here."""
    found = [path for path in places(home, name) if path.is_file()] if name == Path(name).name else []
    if not found:
        raise NotFound(f"there is no profile '{name}'", f"Profiles: {', '.join(names(home))}.")
    path = next((path for path in found if path not in above), None)
    if path is None:
        raise BadSettings(f"the profile '{name}' extends itself", f"Change `extends` in {above[-1]}.")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"the profile {path} cannot be read: {error}", f"Mend or remove {path}.") from error
    below = raw.pop("extends", None if path == BUILT_IN / "default.toml" else "default")
    return raw if below is None else merged(read(home, str(below), (*above, path)), raw)


def places(home: Home, name: str) -> tuple[Path, Path]:
    """Where a profile may be: the user's folder first."""
    return home.config / "profiles" / f"{name}.toml", BUILT_IN / f"{name}.toml"


def names(home: Home) -> list[str]:
    """Every profile there is."""
    folders = (home.config / "profiles", BUILT_IN)
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")})


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merged key by key; everything else replaced."""
    whole = dict(below)
    for key, value in above.items():
        old = whole.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        whole[key] = merged(cast(dict[str, Any], old), cast(dict[str, Any], value)) if both else value
    return whole
