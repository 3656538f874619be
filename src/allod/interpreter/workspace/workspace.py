"""A folder of the user's that code may change freely without changing it.

    workspace = Workspace.create(home, Path("~/films"))
    …                                   # a Kernel runs code in it
    workspace.changes()                 # created, changed and deleted files, with diffs
    workspace.apply(["films.xlsx"])     # all, or some; undoable
    workspace.discard()

The code sees the folder through an overlay (see ``sandbox``), so that its changes land in an upper layer of the job
(``overlay`` reads it). ``fork`` copies the layer, so that several attempts at one job can run side by side. The
workspace owns the layers, knows how the folder was at the start, and refuses to apply over what changed meanwhile.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from allod.errors import Conflict, ReadOnly
from allod.home import Home
from allod.interpreter.sandbox import View
from allod.interpreter.workspace import fonts, jobs, overlay, places, transaction, tree
from allod.interpreter.workspace.changes import Applied, Change, change, choose, listed, with_blocked, within
from allod.interpreter.workspace.folders import checked, hidden
from allod.interpreter.workspace.grants import NOTHING, Grants
from allod.interpreter.workspace.jobs import Job, Seen
from allod.interpreter.workspace.overlay import Difference, printable


class Workspace:
    """The layers of one job over one folder."""

    def __init__(self, home: Home, path: Path, job: Job, held: BinaryIO, grants: Grants = NOTHING) -> None:
        self.home = home
        self.grants = grants
        self.path = path
        self.job = job
        self._held = held
        self.folder = Path(os.fsdecode(job.folder))
        self.layers = Path(os.fsdecode(job.layers))
        self.upper = self.layers / "upper"

    @classmethod
    def create(cls, home: Home, folder: Path, grants: Grants = NOTHING) -> Self:
        """Begins a job over ``folder``. What a killed process left half applied is finished first.

        Raises:
            NotFound, BadRequest: no such folder, one that belongs to the system, or grants that do not go with it.
            SandboxFailed: no disk here can hold the layers.
        """
        folder = checked(folder)
        grants.check(folder, home)
        jobs.recover(home)
        seen = jobs.note(folder, hidden(home, folder))
        return cls._make(home, folder, seen, grants)

    @classmethod
    def _make(cls, home: Home, folder: Path, seen: Seen, grants: Grants, began: int = 0) -> Self:
        name = jobs.new_id()
        path = jobs.jobs_folder(home) / name
        layers = places.layers_for(home, folder, name)
        try:
            path.mkdir(mode=0o700)
            held = jobs.lock(path)
            for part in ("upper", "work", "home", "tmp"):
                (layers / part).mkdir(parents=True, mode=0o700)
            (layers / "upper").chmod(folder.stat().st_mode & 0o777)  # the folder's own mode, as seen inside
            (path / "output").mkdir()
        except OSError as error:
            raise ReadOnly(
                f"cannot make {error.filename}: {error.strerror}", "Check the disk's permissions."
            ) from error
        fonts.give(home, layers / "home")
        job = Job(
            name,
            os.fsencode(folder),
            os.fsencode(layers),
            datetime.now(UTC).isoformat(timespec="microseconds"),
            began or time.time_ns(),
            os.getpid(),
        )
        (path / "seen").write_bytes(msgspec.msgpack.encode(seen))
        jobs.write(path, job)
        return cls(home, path, job, held, grants)

    def fork(self) -> Self:
        """Another job over the same folder that begins with this one's changes so far and goes its own way."""
        other = type(self)._make(self.home, self.folder, self._seen, self.grants, self.job.began)
        with tree.opened(self.upper) as source, tree.opened(other.upper) as target:
            copy_layer(source, target)
        return other

    @property
    def view(self) -> View:
        """What code in it sees."""
        layers = self.layers
        return View(
            folder=self.folder,
            upper=self.upper,
            work=layers / "work",
            home=layers / "home",
            tmp=layers / "tmp",
            hidden=hidden(self.home, self.folder),
        )

    @property
    def output(self) -> Path:
        """Where the output of its runs is kept."""
        return self.path / "output"

    @cached_property
    def _seen(self) -> Seen:
        return msgspec.msgpack.decode((self.path / "seen").read_bytes(), type=Seen)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def differences(self) -> list[Difference]:
        """Every path that is not as it is in the folder, folders included."""
        secret = [os.fsencode(path.relative_to(self.folder)) for path in hidden(self.home, self.folder)]
        found = overlay.differences(self.folder, self.upper)
        return with_blocked([d for d in found if not any(within(d.path, s) for s in secret)])

    def changes(self) -> list[Change]:
        """The same for people: files, and folders that nothing else in the list implies."""
        found = self.differences()
        with tree.opened(self.folder) as folder, tree.opened(self.upper) as upper:
            return sorted((change(d, folder, upper) for d in listed(found)), key=lambda c: c.path)

    # ── apply ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, paths: Sequence[str] | None = None, *, overwrite: bool = False) -> Applied:
        """Writes the changes into the user's folder: all, or those at or below ``paths``. All or nothing.

        Raises:
            NotFound: nothing changed at one of ``paths``.
            Conflict: a file changed in the folder since the job began (``overwrite``: then it is lost, but undoable).
            DiskFull, ReadOnly, Disk: it cannot be written.
        """
        jobs.recover(self.home)
        found = self.differences()
        chosen = found if paths is None else choose(found, paths)
        with tree.opened(self.folder) as folder, tree.opened(self.upper) as upper:
            good = [d for d in chosen if not d.refused]
            if not overwrite:
                self._check(good)
            done = tuple(change(d, folder, upper) for d in listed(good))
            left = tuple(change(d, folder, upper) for d in listed(chosen) if d.refused)
            if not good:
                return Applied("", str(self.folder), (), left)
            ops = [transaction.Op(d.path, d.before, d.after) for d in good]
            with transaction.exclusively(self.path.parent):
                record = jobs.new_record(self.path)
                journal = transaction.run(self.folder, record, ops, lambda op: tree.parent_of(upper, op.path))
        (record / "changes.json").write_bytes(msgspec.json.encode(done))
        self._leave(journal)
        return Applied(f"{self.path.name}/{record.name}", str(self.folder), done, left)

    def _check(self, chosen: list[Difference]) -> None:
        """Raises Conflict where a path is neither as it was when the job began nor as the job itself left it."""
        seen = self._seen
        now = {d.path: d.before for d in chosen if d.before is not None}
        moved: list[str] = []
        for path in {d.path for d in chosen}:
            there = now.get(path)
            fine = tree.alike(seen.nodes.get(path), there) or (path in seen.left and tree.alike(seen.left[path], there))
            if not fine and not seen.whole and path not in seen.nodes and there is not None:
                fine = there.ctime < self.job.began  # in the part of a huge folder that was not looked at
            if not fine:
                moved.append(printable(path))
        if moved:
            more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
            raise Conflict(
                f"changed in {self.folder} since the job began: {', '.join(sorted(moved)[:5])}{more}",
                "Nothing was applied. Apply the other files by name, or run the job again.",
            )

    def _leave(self, journal: transaction.Journal) -> None:
        """Notes what was applied as something that the next apply may find."""
        for op in journal.ops:
            self._seen.left[op.path] = None
        for op in journal.ops:
            if op.after is not None:
                self._seen.left[op.path] = op.after
        (self.path / "seen").write_bytes(msgspec.msgpack.encode(self._seen))

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def discard(self) -> None:
        """Drops what was not applied. What was applied stays undoable."""
        self.close()
        jobs.clear(self.path)

    def close(self) -> None:
        """Leaves the job as it is, for another process to go on with or for time to clear."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def copy_layer(source: int, target: int, depth: int = 0) -> None:
    """Copies an upper layer, whiteouts and opaque marks included; shares blocks where the disk can.

    What changes meanwhile is copied as it is found. Deeper than the reader of layers looks, nothing is copied.
    """
    for attribute in os.listxattr(source):
        if attribute in ("user.overlay.opaque", "user.overlay.impure"):
            os.setxattr(target, attribute, os.getxattr(source, attribute))
    for name in tree.names(source):
        node = tree.node_at(source, name)
        if node is None:
            continue
        if node.kind == "folder" and depth < overlay.DEEPEST:
            os.mkdir(name, 0o700, dir_fd=target)
            with contextlib.suppress(FileNotFoundError, PermissionError), contextlib.ExitStack() as stack:
                down, to = (stack.enter_context(tree.opened(name, at)) for at in (source, target))
                copy_layer(down, to, depth + 1)
                os.fchmod(to, node.mode)
        elif node.whiteout:
            os.mknod(name, 0o600 | 0o020000, 0, dir_fd=target)
        elif node.kind in ("file", "link"):
            with contextlib.suppress(FileNotFoundError):
                transaction.copy(source, name, target, os.fsdecode(name), sync=False)
