"""Reads the catalogue's data files and finds models in them.

    catalogue = Catalogue.load(home)         built-in families, under the user's own files
    catalogue.find("smollm2")                what a name stands for: an entry and one of its builds, or None
    catalogue.nearest("qwen2.5coder 1.5b")   names that look like it, best first

A data file is TOML: tables ``[[models]]``, one an `Entry`, and optionally one table ``[shared]`` whose keys every model
of the file has unless it sets them itself. Built-in files lie in ``data/``, one a family, named after the part of their
models' names before the colon: so most look-ups read one file, and the rest is read when a look-up needs it.

The user's files are ``<config>/catalogue/*.toml``. They are read first, and an entry of theirs replaces the built-in
one of its id.
"""

import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from allod.errors import BadName, BadSettings
from allod.models.catalogue.entry import Build, Entry, Listed, squashed
from allod.models.name import HOST, NAMESPACE, TAG, Name

if TYPE_CHECKING:
    from allod.home import Home

DATA = Path(__file__).parent / "data"
OVERLAY = "catalogue"  # the folder in the user's config
NEAREST = 5
LONGEST_GUESS = 200  # characters of a misspelt name that are compared


class Catalogue:
    """The models there are. Families are read at first need and kept."""

    def __init__(self, own: tuple[Entry, ...] = (), data: Path = DATA) -> None:
        """``own`` are the user's entries: they come first, and hide built-in ones of the same id."""
        self.own = own
        self.data = data
        self._families: dict[str, tuple[Entry, ...]] = {}

    @classmethod
    def load(cls, home: "Home") -> Self:
        """The built-in catalogue under the user's files.

        Raises:
            BadSettings: one of the user's files cannot be read, or says what makes no sense; names file and key.
        """
        folder = home.config / OVERLAY
        own = tuple(entry for path in sorted(folder.glob("*.toml")) for entry in read(path))
        check_unique(own, folder)
        return cls(own)

    # ── looking up ──────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, name: str) -> Listed | None:
        """What ``name`` stands for: a build by its name, or the first build of the model that has it as an alias.

        Case does not matter, nor do ``registry.ollama.ai/`` and ``library/`` in front. ``:latest`` is the same as no
        tag. None for what is unknown, cannot be run, or is no name at all.
        """
        wanted = short(name)
        if not wanted:
            return None
        for entry in self._likely(wanted):
            for build in entry.builds:
                if build.name == wanted:
                    return Listed(entry, build)
            if wanted in entry.aliases:
                return Listed(entry, entry.builds[0])
        return None

    def entry(self, name: str) -> Entry | None:
        """The model of that id, build name or alias, whether it can be run here or not."""
        listed = self.find(name)
        if listed is not None:
            return listed.entry
        wanted = short(name)
        return next((entry for entry in self._likely(wanted) if entry.id == wanted), None)

    def default(self, entry: Entry) -> Build | None:
        """The build that is meant where none is named; None for a model that cannot be run here."""
        return entry.builds[0] if entry.builds else None

    def names(self) -> list[str]:
        """The name, with its tag, of every build there is."""
        return list(dict.fromkeys(build.name for entry in self.entries() for build in entry.builds))

    def nearest(self, name: str) -> tuple[str, ...]:
        """Up to five names that look like ``name``, best first; separators and case count for nothing."""
        guess = squashed(name[:LONGEST_GUESS])
        if not guess:
            return ()
        spelt: dict[str, str] = {}
        for entry in self.entries():
            for known in (*(build.name for build in entry.builds), *entry.aliases):
                spelt.setdefault(squashed(known), known)
        close = difflib.get_close_matches(guess, spelt, NEAREST, 0.6)
        within = [known for known in spelt if known not in close and len(guess) > 2 and guess in known]
        return tuple(spelt[known] for known in (*close, *within))[:NEAREST]

    def entries(self) -> tuple[Entry, ...]:
        """Every model, the user's own first, then family by family."""
        return tuple(self._likely(""))

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _likely(self, wanted: str) -> Iterator[Entry]:
        """Every entry, those of the file named after ``wanted`` before the rest, so that the rest is seldom read."""
        yield from self.own
        replaced = {entry.id for entry in self.own}
        stems = sorted(path.stem for path in self.data.glob("*.toml"))
        first = wanted.partition(":")[0]
        for stem in sorted(stems, key=lambda stem: stem != first):  # a stable sort: only ``first`` moves
            for entry in self._family(stem):
                if entry.id not in replaced:
                    yield entry

    def _family(self, stem: str) -> tuple[Entry, ...]:
        if stem not in self._families:
            self._families[stem] = read(self.data / f"{stem}.toml")
        return self._families[stem]


def short(name: str) -> str:
    """A name as the catalogue writes it: ``smollm2:135m``, or ``smollm2``; empty for a name of elsewhere."""
    try:
        parsed = Name.parse(name.strip())
    except BadName:
        return ""
    if parsed.host.lower() != HOST or parsed.namespace.lower() != NAMESPACE:
        return ""
    tag = parsed.tag.lower()
    return parsed.model.lower() if tag == TAG else f"{parsed.model.lower()}:{tag}"


# ── one file ────────────────────────────────────────────────────────────────────────────────────────────────────────


class DataFile(msgspec.Struct, forbid_unknown_fields=True):
    """A data file before its shared keys are spread over its models."""

    models: list[dict[str, Any]]
    shared: dict[str, Any] = {}


def read(path: Path) -> tuple[Entry, ...]:
    """The entries of one data file.

    Raises:
        BadSettings: it cannot be read, or a row of it is wrong; names the file, the model and the key.
    """
    remedy = f"Mend or remove {path}; docs/models.md shows what a file of the catalogue looks like."
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), DataFile)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadSettings(f"{path} cannot be read: {one_line(error)}", remedy) from error
    except msgspec.ValidationError as error:
        raise BadSettings(f"{path} is not a catalogue file: {one_line(error)}", remedy) from error
    entries: list[Entry] = []
    for number, row in enumerate(file.models, 1):
        try:
            entries.append(msgspec.convert({**file.shared, **row}, Entry))
        except msgspec.ValidationError as error:
            known = cast(object, row.get("id"))
            which = f"model '{known}'" if isinstance(known, str) else f"model number {number}"
            raise BadSettings(f"{path}: {which}: {one_line(error)}", remedy) from error
    check_unique(tuple(entries), path)
    return tuple(entries)


def check_unique(entries: tuple[Entry, ...], where: Path) -> None:
    """Raises BadSettings where two of the entries claim one id or one name."""
    claimed: set[tuple[str, str]] = set()
    for entry in entries:
        names = [*(build.name for build in entry.builds), *entry.aliases]
        for claim in [("id", entry.id), *(("name", name) for name in names)]:
            if claim in claimed:
                kind, value = claim
                raise BadSettings(
                    f"{where}: two models have the {kind} '{value}'", f"Give each its own {kind} in {where}."
                )
            claimed.add(claim)


def one_line(error: Exception) -> str:
    """The error's text without line breaks."""
    return " ".join(str(error).split())
