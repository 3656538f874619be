"""Layers without an overlay: the whole folder copied, for the sandboxes that cannot lay one over another.

``fill`` copies, ``differences`` tells what code did to the copy: what is not as it was copied and not as it is in the
folder, and what was copied and is gone. What only the user changed meanwhile is no difference.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from allod.errors import DiskFull
from allod.interpreter.workspace import overlay, transaction, tree
from allod.interpreter.workspace.overlay import Difference, Reader
from allod.interpreter.workspace.tree import Node

SPARE = 0.9  # of the free space that a copy may take

# What was copied, as the copy was made. None: code changed it, and that was applied; deleting it is a difference too.
Copies = dict[bytes, Node | None]


def fill(folder: Path, upper: Path, hidden: Iterable[Path]) -> Copies:
    """Copies the folder into an empty layer, but for what is hidden, what cannot be read and what lies on other disks.

    Raises:
        DiskFull: there is no space for it; nothing is copied.
    """
    secret = {os.fsencode(path.relative_to(folder)) for path in hidden}
    check_space(folder, upper, secret)
    copies: Copies = {}
    with tree.opened(folder) as source, tree.opened(upper) as target:
        copy(source, target, b"", os.fstat(source).st_dev, secret, copies)
    return copies


def check_space(folder: Path, upper: Path, secret: set[bytes]) -> None:
    """Raises DiskFull where a copy would not fit."""
    needed = 0
    root = os.fsencode(folder)
    for base, folders, files in os.walk(root):
        at = os.path.relpath(base, root) + b"/" if base != root else b""
        folders[:] = [name for name in folders if at + name not in secret]
        for name in files:
            with contextlib.suppress(OSError):
                st = os.lstat(os.path.join(base, name))
                needed += min(st.st_size, st.st_blocks * 512) if at + name not in secret else 0
    free = shutil.disk_usage(upper).free
    if needed > free * SPARE:
        raise DiskFull(
            f"a job needs a copy of {folder} here: {needed:,} bytes, and the disk of {upper} has {free:,} free",
            "Free some space, run allod in a smaller folder, or see `allod doctor` for a sandbox that needs no copy.",
        )


def copy(source: int, target: int, at: bytes, device: int, secret: set[bytes], copies: Copies, depth: int = 0) -> None:
    """Copies what is in one open folder into another. Contents first, then a folder's mode and times."""
    for name in tree.names(source):
        path = at + name
        node = tree.node_at(source, name)
        if node is None or path in secret or node.kind == "other" or node.whiteout:
            continue
        with contextlib.suppress(FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            if node.kind != "folder":
                transaction.copy(source, name, target, os.fsdecode(name), sync=False)
            elif depth < overlay.DEEPEST:
                os.mkdir(name, 0o700, dir_fd=target)
                with contextlib.ExitStack() as stack:
                    to = stack.enter_context(tree.opened(name, target))
                    if node.device == device:
                        down = stack.enter_context(tree.opened(name, source))
                        copy(down, to, path + b"/", device, secret, copies, depth + 1)
                    os.fchmod(to, node.mode)
                    os.utime(to, ns=(node.mtime, node.mtime))
        if (made := tree.node_at(target, name)) is not None:
            copies[path] = made


def forked(mine: int, theirs: int, copies: Copies) -> Copies:
    """The same for a copy of the layer: what was untouched there is untouched here."""
    found: Copies = {}
    for path, node in copies.items():
        now = tree.node(mine, path)
        found[path] = tree.node(theirs, path) if untouched(now, node) else None
    return found


def untouched(now: Node | None, copied: Node | None) -> bool:
    """Whether nothing was done to a copy. Its ctime tells, which no program can set; a folder's changes with each name
    in it."""
    if now is None or copied is None or now.kind != copied.kind or now.mode != copied.mode:
        return False
    return now.kind == "folder" or (now.same(copied) and now.ctime == copied.ctime)


class CopyReader(Reader):
    """Compares a copy that code worked on with the folder."""

    def __init__(self, folder: int, upper: int, copies: Copies) -> None:
        super().__init__(folder, upper)
        self.copies = copies

    def walk(
        self, upper: int, lower: int | None, at: bytes, depth: int = 0, opaque: bool = False
    ) -> Iterator[Difference]:
        """Everything that differs in one folder of the copy."""
        uppers = tree.names(upper)
        for name in uppers:
            path = at + name
            after, before = tree.node_at(upper, name), tree.node_at(lower, name) if lower is not None else None
            if after is None:
                continue
            if after.kind == "folder":
                yield from self.folder_in(upper, lower, name, path, before, after, depth, opaque)
                continue
            if untouched(after, self.copies.get(path)):
                continue
            self.seen()
            if before is not None and before.kind == "folder":
                assert lower is not None
                yield from self.gone(lower, name, path, depth)
                before = None
            if before is None or not overlay.unchanged(lower, upper, name, before, after):
                yield Difference(path, before, after, overlay.refusal(path, after))
        if lower is not None:
            for name in set(tree.names(lower)).difference(uppers):
                if at + name in self.copies:
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
        """A folder of the copy. One that the code left as it was is a difference only for what is in it."""
        found = super().folder_in(upper, lower, name, path, before, after, depth, opaque)
        if not untouched(after, self.copies.get(path)):
            yield from found
            return
        inside = [d for d in found if d.path != path or d.refused]
        if inside and (before is None or before.kind != "folder"):
            yield Difference(path, before, after)
        yield from inside


def differences(folder: Path, upper: Path, copies: Copies) -> list[Difference]:
    """What applying the copy to the folder would do; see ``overlay.differences``.

    Raises:
        Conflict: more than anybody could look through.
    """
    with tree.opened(folder) as low, tree.opened(upper) as up:
        return list(CopyReader(low, up, copies).walk(up, low, b""))
