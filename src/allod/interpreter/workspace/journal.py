"""What one step writes, as kept on disk from before its first change on: the paths, and how far it has come."""

import os
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from allod.interpreter.workspace import tree
from allod.interpreter.workspace.tree import Node

State = Literal["staging", "committed", "done", "rolling back", "rolled back"]


class Op(Struct, frozen=True):
    """One path: what was there, and what shall be. ``after`` is the staged thing itself, inode and all."""

    path: bytes
    before: Node | None
    after: Node | None
    name: str = ""  # of its file in the stage and among the backups
    root: int = 0  # which of the journal's folders it lies in

    @property
    def place(self) -> tuple[int, bytes]:
        """Folder and path: what makes it another than the others."""
        return self.root, self.path

    @property
    def depth(self) -> int:
        """How far down it is."""
        return self.path.count(b"/")


class Journal(Struct):
    """One step, as kept on disk in ``record/journal.json``."""

    folder: bytes
    stage: bytes  # name of the stage, in each folder
    at: str
    ops: list[Op]
    state: State = "staging"
    undoes: str = ""  # the name of the record of the same job that this step takes back
    more: list[bytes] = []  # further folders

    @property
    def folders(self) -> list[bytes]:
        """Every folder that it writes into; the job's own first, even where nothing in it is changed."""
        return [self.folder, *self.more]

    def write(self, record: Path) -> None:
        """Replaces the journal on disk, durably."""
        new = record / "journal.new"
        with new.open("wb") as file:
            file.write(msgspec.json.encode(self))
            file.flush()
            os.fsync(file.fileno())
        new.rename(record / "journal.json")
        with tree.opened(record) as fd:
            os.fsync(fd)

    @classmethod
    def read(cls, record: Path) -> "Journal":
        """The journal of a record; OSError or msgspec.DecodeError where there is none to read."""
        return msgspec.json.decode((record / "journal.json").read_bytes(), type=cls)
