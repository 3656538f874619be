"""Puts into words what a folder holds: structure in few tokens, so that a small model need not guess.

The looking is done by ``allod.interpreter.probe`` inside the sandbox; this module knows how its findings are worded, in
which order, and how much of them fits. What comes out of files is cut and kept to one line each, so a hostile file can
say little, and nothing outside the user's turn.
"""

import re

from msgspec import Struct, field

SECONDS = 20.0  # the whole look, at most
NAMES_SHOWN = 8  # of one folder


class Found(Struct, frozen=True):
    """One file that was looked at. ``load`` is tested code that reads it into ``name``, which is then ``what``."""

    path: str
    size: int
    kind: str = "file"
    about: str = ""
    lines: list[str] = field(default_factory=list[str])
    name: str = ""
    what: str = ""
    load: list[str] = field(default_factory=list[str])


class Listing(Struct, frozen=True):
    """The files of a folder: those looked at, most relevant first, and the names and sizes (bytes) of all."""

    files: list[Found] = field(default_factory=list[Found])
    names: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    more: bool = False  # there are more files than these

    def named(self, task: str) -> list[Found]:
        """The files that the task speaks of."""
        said = task.casefold()
        return [found for found in self.files if is_named(found.path, said)]

    def wanted(self, task: str) -> list[Found]:
        """The files to be read before the model is asked: those the task names, or, in a small folder, all data."""
        named = self.named(task)
        if not named and len(self.names) <= FEW:
            named = [found for found in self.files if found.kind in DATA]
        return [found for found in named if found.load][:FEW]

    def text(self, task: str, loaded: list[Found], limit: int) -> str:
        """The files in about ``limit`` characters: those the task names first, those in ``loaded`` in one line each."""
        said = task.casefold()
        paths = {found.path for found in loaded}
        shown = [f for f in self.files if f.about and (is_named(f.path, said) or len(self.names) <= 2 * FEW)]
        lines: list[str] = []
        told: set[str] = set()
        for found in shown:
            more = found.lines if found.kind in DATA and found.path not in paths else []
            lines += clipped([f"{found.path}: {found.about}", *more], limit // 3)
            told.add(found.path)
            if length(lines) > limit:
                break
        rest = [(path, size) for path, size in self.names if path not in told]
        lines += folders(rest, limit - length(lines))
        if self.more:
            lines.append("and more files")
        return "\n".join(lines) or "The folder is empty."


def limits(most: int) -> list[int]:
    """How many characters to try, where a prompt turns out too long: at last an eighth."""
    return [most, most * 2 // 3, most * 4 // 9, most // 4, most // 8]


def held(loaded: list[Found], limit: int) -> list[str]:
    """What the names hold that files were read into, in about ``limit`` characters."""
    return [line for f in loaded for line in clipped([f"{f.name} is {f.what}", *f.lines], limit // len(loaded))]


def length(lines: list[str]) -> int:
    """Characters."""
    return sum(map(len, lines))


DATA = ("table", "json", "xml", "settings", "log", "database", "document")
FEW = 4  # files that are read for the model at most


def clipped(lines: list[str], limit: int) -> list[str]:
    """The first line cut to ``limit``, and as many of the others as fit."""
    kept = [lines[0] if len(lines[0]) <= limit else lines[0][: max(limit, 80)] + "…"]
    for line in lines[1:]:
        if length(kept) + len(line) > limit:
            kept.append("  …")
            break
        kept.append("  " + line)
    return kept


def is_named(path: str, said: str) -> bool:
    """Whether a task speaks of the file: by its name, or by its name without the ending where that is a word."""
    name = path.rpartition("/")[2].casefold()
    stem = re.sub(r"\.\w+$", "", name)
    return name in said or (len(stem) > 2 and re.search(rf"\b{re.escape(stem)}\b", said) is not None)


def folders(names: list[tuple[str, int]], limit: int) -> list[str]:
    """Names by folder; many of the same shape as one of them and a count."""
    by_folder: dict[str, list[str]] = {}
    for path, _ in names:
        folder, slash, name = path.rpartition("/")
        by_folder.setdefault(folder + slash, []).append(name)
    lines: list[str] = []
    for folder, found in by_folder.items():
        line = (f"{folder}: " if folder else "") + shapes(found)
        if length(lines) + len(line) > max(limit, 200):
            lines.append(f"and {len(by_folder) - len(lines)} more folders")
            break
        lines.append(line)
    return lines


def shapes(names: list[str]) -> str:
    """``a.txt, b.txt``; or, of many, one name of each shape with how many are like it."""
    if len(names) <= NAMES_SHOWN:
        return ", ".join(names)
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\d+", "0", name), []).append(name)
    if len(groups) > NAMES_SHOWN:
        groups = {}
        for name in names:
            groups.setdefault(name.rpartition(".")[2], []).append(name)
    said = [group[0] + (f" ({len(group)} like this)" if len(group) > 1 else "") for group in groups.values()]
    return f"{len(names)} files: " + ", ".join(said[: 2 * NAMES_SHOWN])
