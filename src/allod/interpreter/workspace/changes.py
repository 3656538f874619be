"""Changes as people see and choose them, from the differences between a folder and what code made of it."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from allod.errors import NotFound
from allod.interpreter.workspace import diffs, tree, wary
from allod.interpreter.workspace.overlay import Difference, printable
from allod.interpreter.workspace.previews import Previews


class Change(Struct, frozen=True):
    """One file that is not as it was."""

    path: str  # below the folder; a folder ends in "/". Unprintable characters are written as escapes
    kind: Literal["created", "changed", "deleted"]
    before: int | None  # bytes
    after: int | None
    diff: str = ""  # unified; empty for what is not text
    note: str = ""  # a changed mode, a link's target, or why it cannot be applied
    refused: bool = False  # it will not be applied
    folder: str = ""  # the further folder it lies in; empty for the job's own
    preview: str = ""  # what an image or a table holds
    conflict: bool = False  # it changed in the user's folder while the job ran, too

    @property
    def place(self) -> str:
        """The path that names it to ``apply``: from the job's folder, or whole where it lies in a further one."""
        return f"{self.folder}/{self.path}" if self.folder else self.path


class Applied(Struct, frozen=True):
    """What was written into the user's folder, or taken back."""

    id: str  # job and record, for undo
    folder: str
    changes: tuple[Change, ...]
    refused: tuple[Change, ...] = ()  # left out; the note says why


def within(path: bytes, top: bytes) -> bool:
    """Whether ``path`` is ``top`` or below it."""
    return path == top or path.startswith(top + b"/")


def is_folder(d: Difference) -> bool:
    """Whether a difference is about nothing but a folder."""
    return all(node is None or node.kind == "folder" for node in (d.before, d.after))


def listed(found: list[Difference]) -> Iterator[Difference]:
    """Those a person wants to see: a new or deleted folder only where nothing in it is in the list."""
    parents: set[bytes] = set()
    for d in found:
        parents.update(folders_of(d.path))
    for d in found:
        if not is_folder(d) or d.path not in parents or (d.before is not None and d.after is not None):
            yield d


def folders_of(path: bytes) -> Iterator[bytes]:
    """The folders on the way to a path, outermost first."""
    end = path.find(b"/", 1)
    while end > 0:
        yield path[:end]
        end = path.find(b"/", end + 1)


def with_blocked(found: list[Difference]) -> list[Difference]:
    """The same, where what cannot be because something else is refused is refused too: what lies in the place of a
    refused folder, and the removal of a folder in which something stays."""
    bad = {d.path for d in found if d.refused}
    stays = {folder for path in bad for folder in folders_of(path)}
    marked: list[Difference] = []
    for d in found:
        why = ""
        if not d.refused and (d.path in bad or any(folder in bad for folder in folders_of(d.path))):
            why = (
                "what is to come in its place cannot be applied" if d.after is None else "its folder cannot be applied"
            )
        elif not d.refused and d.after is None and d.path in stays:
            why = "something in it stays"
        marked.append(msgspec.structs.replace(d, refused=why) if why else d)
    return marked


def choose(found: list[Difference], paths: Sequence[str]) -> list[Difference]:
    """The differences at or below the given paths (as ``Difference.shown`` writes them), with the folders they need.

    Raises:
        NotFound: nothing changed at one of them.
    """
    tops = {text.rstrip("/").encode("utf-8", "replace"): False for text in paths}
    wanted: set[tuple[bytes, bytes]] = set()
    for d in found:
        place = d.shown.encode("utf-8", "replace")
        hits = [top for top in (place, *folders_of(place)) if top in tops]
        if hits:
            wanted.add((d.folder, d.path))
            tops.update(dict.fromkeys(hits, True))
    for top, hit in tops.items():
        if not hit:
            raise NotFound(f"nothing changed at {printable(top)}", "See the list of changes for the paths.")
    needed = {(folder, up) for folder, path in wanted for up in folders_of(path)}
    around = {(d.folder, d.path) for d in found if is_folder(d) and (d.folder, d.path) in needed} - wanted
    left = [d for d in found if (d.folder, d.path) not in wanted | around]
    stays = {(d.folder, up) for d in left for up in folders_of(d.path)}
    for d in found:  # where the whole contents of a folder go, it goes too
        place = (d.folder, d.path)
        if (place in around and (d.after is not None or place not in stays)) or (
            d.after is not None and d.after.kind == "folder" and place in needed
        ):
            wanted.add(place)
    return [d for d in found if (d.folder, d.path) in wanted]


def change(d: Difference, folder: int, upper: int, previews: Previews) -> Change:
    """A difference as people read it."""
    path = printable(d.path)
    kind = "created" if d.before is None else "deleted" if d.after is None else "changed"
    before, after = (None if n is None else n.size if n.kind != "folder" else 0 for n in (d.before, d.after))
    notes = [d.refused] if d.refused else []
    if d.before is not None and d.after is not None and d.before.kind == d.after.kind and d.before.mode != d.after.mode:
        notes.append(f"mode {d.before.mode:o} → {d.after.mode:o}")
    if d.after is not None and d.after.kind == "link" and not d.refused:
        notes.append(f"link to {printable(d.after.target)}")
    if not d.refused and (reason := wary.why(d)):
        notes.append(reason)
    where = printable(d.folder)
    if is_folder(d):
        return Change(path + "/", kind, before, after, note="; ".join(notes), refused=bool(d.refused), folder=where)
    texts: list[bytes] = []
    for at, node in ((folder, d.before), (upper, d.after)):
        data = b""
        if node is not None and node.kind == "file":
            with contextlib.suppress(OSError):
                data = tree.head(at, d.path, diffs.LARGEST + 1)
        texts.append(data)
    return Change(
        path,
        kind,
        before,
        after,
        diffs.unified(path, *texts),
        "; ".join(notes),
        bool(d.refused),
        where,
        previews.of(d, folder, upper),
    )


def empties(folder: Path, changes: Sequence[Change]) -> bool:
    """Whether the changes delete every file in the folder: hardly what anybody said yes to beforehand.

    Where as many files are new as are gone, empty ones apart, they were moved or renamed.
    """
    own = [change for change in changes if not change.folder]
    gone = {change.path: change.before for change in own if change.kind == "deleted"}
    new = [change.path for change in own if change.kind == "created" and not change.path.endswith("/")]
    if not gone or (new and len(new) >= sum(bool(size) for size in gone.values())):
        return False
    files = (Path(top, name).relative_to(folder) for top, _, names in os.walk(folder) for name in names)
    return all(str(file) in gone for file in files)
