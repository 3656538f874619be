"""Profiles as files: finding them, reading them over the ones they extend, saying what is wrong with one.

A file may be anything that a person put there or was sent: too large, in another encoding, extending itself, of the
wrong types. Each is a BadSettings of one line that names the file.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from msgspec import Struct

from allod.errors import BadSettings, NotFound
from allod.home import Home, check_keys
from allod.interpreter.profiles.profile import Example, Profile
from allod.models.ram import parse_bytes

BUILT_IN = Path(__file__).parent
LARGEST = 1 << 20  # bytes of a file
DEEPEST = 20  # profiles that extend one another
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
SIZES = ("memory", "file", "disk", "kept")  # of limits: also as text, such as "4GB"


class Listed(Struct, frozen=True):
    """A profile in a list. ``error`` says what is wrong with one that cannot be loaded."""

    name: str
    about: str
    model: str
    path: str
    mine: bool  # it is in the user's folder
    error: str = ""


def load(home: Home, name: str = "default") -> Profile:
    """The profile of that name.

    Raises:
        NotFound: there is none.
        BadSettings: it cannot be understood.
    """
    return converted(read(home, name, ()), where(home, name))


def read(home: Home, name: str, above: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of a profile over those of the one it extends. ``above``: the files that led here."""
    found = [path for path in places(home, name) if path.is_file()] if NAME.fullmatch(name) else []
    if not found:
        said = f"there is no profile '{printable(name)}'" + (f", which {above[-1]} extends" if above else "")
        raise NotFound(said, f"Profiles: {', '.join(names(home))}.")
    path = next((path for path in found if path not in above), None)
    if path is None or len(above) >= DEEPEST:
        what = "extends itself" if path is None else f"extends more than {DEEPEST} others"
        raise BadSettings(f"the profile '{(above[0] if above else found[0]).stem}' {what}", f"Mend {above[-1]}.")
    raw = parsed(path)
    below = raw.pop("extends", None if path == BUILT_IN / "default.toml" else "default")
    if below is not None and not isinstance(below, str):
        raise BadSettings(f"{path}: `extends` is not the name of a profile", 'Write it like extends = "default".')
    check(raw, path)
    if below is None:
        return raw
    base = read(home, below, (*above, path))
    base.pop("about", None)  # is about that one
    whole = merged(base, raw)
    converted(whole, path)  # what is wrong now is wrong in this file, as the one below was right
    return whole


def parsed(path: Path) -> dict[str, Any]:
    """A file's tables as they stand there."""
    try:
        if path.stat().st_size > LARGEST:
            raise BadSettings(f"the profile {path} is larger than 1 MB", "A profile is a few pages of text.")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise BadSettings(f"the profile {path} cannot be read: {said}", f"Mend or remove {path}.") from error


def check(raw: Mapping[str, Any], path: Path) -> None:
    """Raises BadSettings for a key that profiles lack, naming the nearest one they have."""
    check_keys(raw, Profile, path)
    prompt: Any = raw.get("prompt")
    examples: Any = cast("dict[str, Any]", prompt).get("examples") if isinstance(prompt, dict) else None
    for example in cast("list[Any]", examples) if isinstance(examples, list) else ():
        if isinstance(example, dict):
            check_keys(cast("dict[str, Any]", example), Example, path, "prompt.examples.")


def converted(tables: dict[str, Any], path: Path) -> Profile:
    """The profile that these tables are. Raises BadSettings, naming ``path`` as where the fault is."""
    remedy = f"Mend it: `allod profiles edit {path.stem}`."
    try:
        whole = dict(tables)
        limits = whole.get("limits")
        if isinstance(limits, dict):
            whole["limits"] = {k: size(k, v) for k, v in cast("dict[str, Any]", limits).items()}
        profile = msgspec.convert(whole, Profile)
    except (msgspec.ValidationError, BadSettings, OverflowError, RecursionError) as error:
        raise BadSettings(f"{path}: {str(error).replace('`$.', '`')}", remedy) from error
    numbers = [*msgspec.structs.astuple(profile.limits), *msgspec.structs.astuple(profile.sampling)]
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise BadSettings(f"{path}: nan and inf are no amounts", remedy)
    return profile


def size(key: str, value: object) -> object:
    """Bytes that may be written as text."""
    return parse_bytes(value, f"limits.{key}") if key in SIZES and isinstance(value, str) else value


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Tables merged key by key; everything else replaced."""
    whole = dict(below)
    for key, value in above.items():
        old = whole.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        whole[key] = merged(cast(dict[str, Any], old), cast(dict[str, Any], value)) if both else value
    return whole


# ── where they are ──────────────────────────────────────────────────────────────────────────────────────────────────


def places(home: Home, name: str) -> tuple[Path, Path]:
    """Where a profile may be: the user's folder first."""
    return home.config / "profiles" / f"{name}.toml", BUILT_IN / f"{name}.toml"


def where(home: Home, name: str) -> Path:
    """The file that is taken for a name; the user's own where there is none."""
    mine, built_in = places(home, name)
    return built_in if built_in.is_file() and not mine.is_file() else mine


def names(home: Home) -> list[str]:
    """Every profile there is."""
    folders = (home.config / "profiles", BUILT_IN)
    found = {path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    return sorted(name for name in found if NAME.fullmatch(name))


def listed(home: Home) -> list[Listed]:
    """All of them, those that cannot be loaded too."""
    found: list[Listed] = []
    for name in names(home):
        path = where(home, name)
        mine = path.parent != BUILT_IN
        try:
            profile = load(home, name)
            found.append(Listed(name, profile.about, profile.model, str(path), mine))
        except (BadSettings, NotFound) as error:
            found.append(Listed(name, "", "", str(path), mine, error.message))
    return found


def printable(name: str) -> str:
    """A name that somebody typed, fit to be printed."""
    return "".join(char if char.isprintable() else "?" for char in name[:80])
