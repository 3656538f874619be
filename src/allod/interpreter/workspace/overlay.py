"""What an overlay's upper layer changes in the folder below it.

overlayfs (as bubblewrap mounts it, with ``userxattr``, https://docs.kernel.org/filesystems/overlayfs.html) writes a
deleted name as a character device 0:0 (a whiteout) and a replaced folder as one with the extended attribute
``user.overlay.opaque`` = "y". ``redirect_dir`` and ``metacopy`` cannot be on with ``userxattr``, so a file in the upper
layer is always whole and a folder always stands where it says.

The upper layer was written by code that nobody vouches for. Nothing in it is followed, opened as anything but a plain
file, or taken over with more than permission bits; what cannot be taken over is given with a reason.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from allod.errors import Conflict
from allod.interpreter.workspace import tree
from allod.interpreter.workspace.tree import Node

MOST = 200_000  # entries looked at; a job that leaves more than this left something other than work
DEEPEST = 100  # folders within folders
OWN = "a name that allod itself uses"


class Difference(Struct, frozen=True):
    """One path that is not as it was. ``before`` or ``after`` is None where there was or will be nothing."""

    path: bytes  # relative to the folder
    before: Node | None
    after: Node | None
    refused: str = ""  # why it cannot be taken over; empty: it can
    folder: bytes = b""  # which of the job's folders, by its path; empty for the job's own

    @property
    def shown(self) -> str:
        """The path as people and code know it: from the job's folder, or whole where it lies in a further one."""
        return printable(self.folder + b"/" + self.path if self.folder else self.path)


class Reader:
    """Compares an upper layer with the folder it lies over."""

    def __init__(self, folder: int, upper: int) -> None:
        self.folder = folder
        self.upper = upper
        self.device = os.fstat(folder).st_dev
        self.count = 0

    def seen(self) -> None:
        """Counts an entry; raises Conflict beyond what anybody could look through."""
        self.count += 1
        if self.count > MOST:
            raise Conflict(
                f"the job left more than {MOST:,} changed files",
                "Discard it, or have it pack its results into fewer files.",
            )

    def walk(
        self, upper: int, lower: int | None, at: bytes, depth: int = 0, opaque: bool = False
    ) -> Iterator[Difference]:
        """Everything that differs in one folder of the upper layer.

        ``lower`` is the folder at the same path below, None where there is none; ``opaque``: a folder above hides it.
        """
        opaque = opaque or is_opaque(upper)
        uppers = tree.names(upper)
        for name in uppers:
            self.seen()
            path = at + name
            after, before = tree.node_at(upper, name), tree.node_at(lower, name) if lower is not None else None
            if after is None:
                continue
            if after.kind == "folder":
                yield from self.folder_in(upper, lower, name, path, before, after, depth, opaque)
                continue
            if after.whiteout:
                after = None
            if before is not None and before.kind == "folder":
                assert lower is not None
                yield from self.gone(lower, name, path, depth)
                before = None
            if after is None:
                if before is not None:
                    yield Difference(path, before, None)
            elif before is None or not unchanged(lower, upper, name, before, after):
                yield Difference(path, before, after, refusal(path, after))
        if opaque and lower is not None:
            for name in set(tree.names(lower)).difference(uppers):
                yield from self.gone(lower, name, at + name, depth)

    def folder_in(
        self,
        upper: int,
        lower: int | None,
        name: bytes,
        path: bytes,
        before: Node | None,
        after: Node,
        depth: int,
        opaque: bool,
    ) -> Iterator[Difference]:
        """A folder of the upper layer: new, put in the place of a file, or merged with the one below."""
        merged = before is not None and before.kind == "folder"
        if depth >= DEEPEST or is_own(path):
            why = OWN if is_own(path) else f"folders nested deeper than {DEEPEST} levels"
            yield Difference(path, before, after, why)
            return
        if not merged or (before is not None and before.mode != after.mode):
            yield Difference(path, before, after)
        try:
            with contextlib.ExitStack() as stack:
                up = stack.enter_context(tree.opened(name, upper))
                low = stack.enter_context(tree.opened(name, lower)) if merged else None
                yield from self.walk(up, low, path + b"/", depth + 1, opaque)
        except PermissionError:
            yield Difference(path, before, after, "its mode lets nobody read it")

    def gone(self, lower: int, name: bytes, path: bytes, depth: int) -> Iterator[Difference]:
        """A path of the folder that is deleted, with all below it, deepest first."""
        self.seen()
        before = tree.node_at(lower, name)
        if before is None:
            return
        if before.device != self.device:
            yield Difference(path, before, None, "another disk is mounted there")
            return
        if before.kind == "folder":
            if depth >= DEEPEST:
                yield Difference(path, before, None, f"folders nested deeper than {DEEPEST} levels")
                return
            with tree.opened(name, lower) as low:
                for each in tree.names(low):
                    yield from self.gone(low, each, path + b"/" + each, depth + 1)
        yield Difference(path, before, None)


def differences(folder: Path, upper: Path) -> list[Difference]:
    """What applying ``upper`` to ``folder`` would do. Within a new folder its contents follow it; within a deleted
    one they come before it.

    Raises:
        Conflict: more than anybody could look through.
    """
    with tree.opened(folder) as low, tree.opened(upper) as up:
        reader = Reader(low, up)
        return list(reader.walk(up, low, b""))


def is_opaque(folder: int) -> bool:
    """Whether a folder of the upper layer hides the one below."""
    try:
        return os.getxattr(folder, "user.overlay.opaque") == b"y"
    except OSError:
        return False


def unchanged(lower: int | None, upper: int, name: bytes, before: Node, after: Node) -> bool:
    """Whether a file or link that was copied up holds what it held."""
    if before.kind != after.kind or before.mode != after.mode:
        return False
    if before.kind == "link":
        return before.target == after.target
    if before.kind != "file" or before.size != after.size or lower is None:
        return False
    try:
        with tree.reading(lower, name) as one, tree.reading(upper, name) as other:
            return tree.same_bytes(one, other)
    except OSError:
        return False


def refusal(path: bytes, after: Node) -> str:
    """Why a thing that code left behind is not taken over; empty where it is."""
    parts = path.lower().split(b"/")  # on some disks .GIT is .git
    if b".git" in parts[:-1] and (b"hooks" in parts or parts[-1] in (b"config", b"config.worktree", b"commondir")):
        return "git would run it"
    if parts[-1] == b".git":
        return "git would take its settings from where it points"
    if is_own(path):
        return OWN
    if after.kind == "other":
        return "neither a file, a folder nor a link"
    if after.kind == "link":
        up = os.path.normpath(os.path.join(os.path.dirname(path), after.target))
        if os.path.isabs(after.target) or up == b".." or up.startswith(b"../"):
            return f"a link that leads out of the folder, to {printable(after.target)}"
    return ""


def is_own(path: bytes) -> bool:
    """Whether a path has the name of the folder in which allod keeps files while it applies changes."""
    return path.startswith(b".allod-") and b"/" not in path


def printable(path: bytes) -> str:
    """A name as text that can be shown: what is no UTF-8 and what controls a terminal is written as an escape."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
