"""One folder of a job: the layer over it, how it was at the start, and what is different.

A job has one part for its own folder and one for each further folder that was granted. A part reads its layer and
notes conflicts; what is done about all of them together is the workspace's business.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from allod.errors import AllodError
from allod.interpreter.sandbox import Layer
from allod.interpreter.workspace import copied, layer, overlay, seen, tree
from allod.interpreter.workspace.changes import with_blocked, within
from allod.interpreter.workspace.copied import Copies
from allod.interpreter.workspace.journal import Op
from allod.interpreter.workspace.overlay import Difference
from allod.interpreter.workspace.seen import Seen, note


class Part:
    """``number`` 0 is the job's own folder. ``noted``: the file in which its state at the start is kept; ``copied``:
    whether its layer is a copy of the folder and no overlay."""

    def __init__(
        self, number: int, folder: Path, layers: Path, hidden: tuple[Path, ...], noted: Path, copied: bool
    ) -> None:
        self.number = number
        self.folder = folder
        self.hidden = hidden
        self.label = os.fsencode(folder) if number else b""
        self.copied = copied
        place = layers / "more" / str(number) if number else layers
        self.upper = place / "upper"
        self.work = place / "work"
        self._noted = noted
        self._seen: Seen | None = None
        self._copies: Copies | None = None

    @property
    def layer(self) -> Layer:
        """For the sandbox."""
        return Layer(self.folder, self.upper, self.work)

    @property
    def seen(self) -> Seen:
        """How the folder was at the start."""
        if self._seen is None:
            self._seen = msgspec.msgpack.decode(self._noted.read_bytes(), type=Seen)
        return self._seen

    @property
    def copies(self) -> Copies:
        """What was copied at the start, where the layer is a copy."""
        if self._copies is None:
            self._copies = msgspec.msgpack.decode(self._copies_file.read_bytes(), type=Copies)
        return self._copies

    @property
    def _copies_file(self) -> Path:
        return self._noted.with_name(self._noted.name + "-copies")

    def begin(self) -> None:
        """Makes the layer and notes how the folder is now. Raises DiskFull where the layer is a copy, too large."""
        self._make()
        self.note(note(self.folder, self.hidden, seen.MOST if not self.copied else None))
        if self.copied:
            self._note_copies(copied.fill(self.folder, self.upper, self.hidden))

    def fork(self, other: "Part") -> None:
        """Makes the layer of ``other``, a part of a new job over the same folder, like this one is now."""
        other._make()
        other.note(Seen(self.seen.nodes, self.seen.whole, dict(self.seen.left)))
        with tree.opened(self.upper) as source, tree.opened(other.upper) as target:
            layer.copy(source, target)
            if self.copied:
                other._note_copies(copied.forked(source, target, self.copies))

    def _make(self) -> None:
        for each in (self.upper, self.work):
            each.mkdir(parents=True, mode=0o700)
        self.upper.chmod(self.folder.stat().st_mode & 0o777)  # the folder's own mode, as seen inside

    def note(self, seen: Seen) -> None:
        """Keeps the state at the start."""
        self._seen = seen
        self._noted.write_bytes(msgspec.msgpack.encode(seen))

    def _note_copies(self, copies: Copies) -> None:
        self._copies = copies
        self._copies_file.write_bytes(msgspec.msgpack.encode(copies))

    def touched(self) -> bool:
        """Whether there may be differences; told without looking at all of them where that is possible."""
        if not self.copied:
            return any(self.upper.glob("*"))
        with contextlib.suppress(OSError, AllodError):
            return bool(self.differences())
        return False

    def differences(self) -> list[Difference]:
        """Every path that is not as it is in the folder, folders included."""
        secret = [os.fsencode(path.relative_to(self.folder)) for path in self.hidden]
        if self.copied:
            found = copied.differences(self.folder, self.upper, self.copies)
        else:
            found = overlay.differences(self.folder, self.upper)
        kept = with_blocked([d for d in found if not any(within(d.path, s) for s in secret)])
        return [msgspec.structs.replace(d, folder=self.label) for d in kept] if self.label else kept

    def moved(self, chosen: Iterable[Difference], began: int) -> list[str]:
        """The paths that are neither as they were when the job began nor as the job itself left them."""
        seen = self.seen
        mine = [d for d in chosen if d.folder == self.label]
        now = {d.path: d.before for d in mine if d.before is not None}
        found: list[str] = []
        for d in {d.path: d for d in mine}.values():
            there = now.get(d.path)
            fine = tree.alike(seen.nodes.get(d.path), there)
            fine = fine or (d.path in seen.left and tree.alike(seen.left[d.path], there))
            if not fine and not seen.whole and d.path not in seen.nodes and there is not None:
                fine = there.ctime < began  # in the part of a huge folder that was not looked at
            if not fine:
                found.append(d.shown)
        return found

    def leave(self, ops: Iterable[Op]) -> None:
        """Notes what was applied here as something that the next apply may find."""
        mine = list(ops)
        if not mine:
            return
        left = self.seen.left
        left.update((op.path, None) for op in mine)
        left.update((op.path, op.after) for op in mine if op.after is not None)
        self.note(self.seen)
        if self.copied:
            self.copies.update((op.path, None) for op in mine)
            self._note_copies(self.copies)
