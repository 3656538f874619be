"""How a folder was when a job began: what conflicts are told by."""

import contextlib
import os
from pathlib import Path

from msgspec import Struct

from allod.interpreter.workspace import tree
from allod.interpreter.workspace.tree import Node

MOST = 20_000  # files whose state is noted when a job begins; beyond it, their ctime must do


class Seen(Struct, frozen=True):
    """How the folder was when the job began."""

    nodes: dict[bytes, Node]
    whole: bool  # False: there were more than MOST, and only the upper levels are in ``nodes``
    left: dict[bytes, Node | None] = {}  # how the job itself left what it applied


def note(folder: Path, hidden: tuple[Path, ...], most: int | None) -> Seen:
    """How the folder's files are now: breadth first, so that what is left out of a huge tree lies deep."""
    nodes: dict[bytes, Node] = {}
    skip = {os.fsencode(path) for path in hidden}
    root = os.fsencode(folder)
    device = os.stat(root).st_dev
    level = [b""]
    while level:
        below: list[bytes] = []
        for prefix in level:
            with contextlib.suppress(OSError), os.scandir(os.path.join(root, prefix)) as entries:
                for entry in entries:
                    if most is not None and len(nodes) >= most:
                        return Seen(nodes, False)
                    with contextlib.suppress(OSError):
                        st = entry.stat(follow_symlinks=False)
                        path = prefix + entry.name
                        nodes[path] = tree.node_of(st, os.readlink(entry.path) if entry.is_symlink() else b"")
                        if nodes[path].kind == "folder" and st.st_dev == device and entry.path not in skip:
                            below.append(path + b"/")
        level = below
    return Seen(nodes, True)
