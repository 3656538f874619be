"""Copies of layers, for forks: as they lie on disk, whiteouts and opaque marks included."""

import contextlib
import os

from allod.interpreter.workspace import overlay, transaction, tree


def copy(source: int, target: int, depth: int = 0) -> None:
    """Copies an upper layer, whiteouts and opaque marks included; shares blocks where the disk can.

    What changes meanwhile is copied as it is found. Deeper than the reader of layers looks, nothing is copied.
    """
    for attribute in os.listxattr(source):
        if attribute in ("user.overlay.opaque", "user.overlay.impure"):
            os.setxattr(target, attribute, os.getxattr(source, attribute))
    for name in tree.names(source):
        copy_named(source, target, name, depth)


def copy_named(source: int, target: int, name: bytes, depth: int = 0) -> None:
    """Copies one thing of a layer, with all below it."""
    node = tree.node_at(source, name)
    if node is None:
        return
    if node.kind == "folder" and depth < overlay.DEEPEST:
        os.mkdir(name, 0o700, dir_fd=target)
        with contextlib.suppress(FileNotFoundError, PermissionError), contextlib.ExitStack() as stack:
            down, to = (stack.enter_context(tree.opened(name, at)) for at in (source, target))
            copy(down, to, depth + 1)
            os.fchmod(to, node.mode)
    elif node.whiteout:
        os.mknod(name, 0o600 | 0o020000, 0, dir_fd=target)
    elif node.kind in ("file", "link"):
        with contextlib.suppress(FileNotFoundError):
            transaction.copy(source, name, target, os.fsdecode(name), sync=False)
