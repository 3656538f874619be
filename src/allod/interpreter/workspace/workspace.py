"""Folders of the user's that code may change freely without changing them.

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
import errno
import os
import time
from collections.abc import Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from allod.errors import BadRequest, Conflict, DiskFull, NotFound, ReadOnly
from allod.home import Home
from allod.interpreter.sandbox import Layer, Sandbox, View
from allod.interpreter.workspace import fonts, jobs, layer, packages, places, transaction, tree
from allod.interpreter.workspace.changes import Applied, Change, change, choose, listed
from allod.interpreter.workspace.folders import checked, hidden
from allod.interpreter.workspace.grants import NOTHING, Grants
from allod.interpreter.workspace.jobs import Job
from allod.interpreter.workspace.journal import Op
from allod.interpreter.workspace.overlay import Difference
from allod.interpreter.workspace.part import Part
from allod.interpreter.workspace.previews import Previews

Pairs = dict[bytes, tuple[int, int]]  # of each part, by its label: the open folder and the open upper layer


class Workspace:
    """The layers of one job over its folder, and over further ones that were granted."""

    def __init__(self, home: Home, path: Path, job: Job, held: BinaryIO, grants: Grants = NOTHING) -> None:
        self.home = home
        self.grants = grants
        self.path = path
        self.job = job
        self._held = held
        self.folder = Path(os.fsdecode(job.folder))
        self.layers = Path(os.fsdecode(job.layers))
        self.parts = jobs.parts_of(home, path, job)
        self.upper = self.parts[0].upper
        self._given: dict[str, bytes] | None = None

    @classmethod
    def create(cls, home: Home, folder: Path, grants: Grants = NOTHING) -> Self:
        """Begins a job over ``folder``. What a killed process left half applied is finished first.

        Raises:
            NotFound, BadRequest: no such folder, one that belongs to the system, or grants that do not go with it.
            BadSettings, Unsupported: packages are granted, and there is no index to get them from, or no pip.
            SandboxFailed: no disk here can hold the layers.
        """
        folder = checked(folder)
        grants.check(folder, home)
        jobs.recover(home)
        return cls._make(home, folder, grants)

    @classmethod
    def _make(cls, home: Home, folder: Path, grants: Grants, like: "Workspace | None" = None) -> Self:
        name = jobs.new_id()
        path = jobs.jobs_folder(home) / name
        if grants.packages:
            packages.index_hosts(home)  # an index that code cannot use is told now, not in the middle of the job
        copied = like.job.copied if like else not can_hold(Sandbox.find(), grants).overlays
        layers = places.layers_for(home, (folder, *grants.folders), name, overlays=not copied)
        job = Job(
            name,
            os.fsencode(folder),
            os.fsencode(layers),
            datetime.now(UTC).isoformat(timespec="microseconds"),
            like.job.began if like else time.time_ns(),
            os.getpid(),
            tuple(os.fsencode(more) for more in grants.folders),
            copied,
        )
        try:
            path.mkdir(mode=0o700)
            workspace = cls(home, path, job, jobs.lock(path), grants)
            try:
                workspace._fill(like)
            except BaseException:
                workspace.close()
                tree.remove_tree(layers)
                tree.remove_tree(path)
                raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFull(f"no space left on the disk of {layers}", "Free some space and try again.") from error
            raise ReadOnly(
                f"cannot make {error.filename}: {error.strerror}", "Check the disk's permissions."
            ) from error
        return workspace

    def _fill(self, like: "Workspace | None") -> None:
        """Makes what a new job needs on disk. ``like``: the job that it is a fork of."""
        jobs.write(self.path, self.job)  # first, so that what a kill leaves behind is found
        home = self.layers / "home"
        for part in (home, self.layers / "tmp"):
            part.mkdir(parents=True, mode=0o700)
        for shown in () if self.job.copied else self._shown():
            shown.upper.mkdir(parents=True, mode=0o700)
            shown.upper.chmod(shown.folder.stat().st_mode & 0o777)
            shown.work.mkdir(mode=0o700)
        for n, part in enumerate(self.parts):
            if like is None:
                part.begin()
            else:
                like.parts[n].fork(part)
        for path, digest in like.given.items() if like else ():
            self.note_given(path, digest)
        self.output.mkdir()
        fonts.give(self.home, home)
        if self.grants.packages and like is None:
            packages.prepare(home)
        elif self.grants.packages and like is not None:
            with tree.opened(like.layers / "home") as source, tree.opened(home) as target:
                layer.copy_named(source, target, os.fsencode(packages.NAME))

    def fork(self) -> Self:
        """Another job over the same folders that begins with this one's changes so far and goes its own way."""
        return type(self)._make(self.home, self.folder, self.grants, self)

    @classmethod
    def reopen(cls, home: Home, job: str, grants: Grants = NOTHING) -> Self:
        """A job that was left with ``close``, or by a process that was killed. Its folders stay those that it had.

        Raises:
            NotFound: it was discarded, or its time was over.
            Conflict: another process works in it.
        """
        jobs.recover(home)
        path = jobs.jobs_folder(home) / job
        found = jobs.read(path)
        if found is None or not cls.is_kept(home, job):
            raise NotFound(
                "what was changed and not applied is gone",
                f"It is kept for {jobs.KEEP_PENDING.days} days. Run it again.",
            )
        folders = tuple(Path(os.fsdecode(more)) for more in found.more)
        installs = grants.packages and packages.prepared(Path(os.fsdecode(found.layers)) / "home")
        grants = msgspec.structs.replace(grants, folders=folders, packages=installs)
        return cls(home, path, found, jobs.lock(path), grants)

    @staticmethod
    def is_kept(home: Home, job: str) -> bool:
        """Whether there is a job of that name with its layers."""
        found = jobs.read(jobs.jobs_folder(home) / job) if jobs.is_id(job) else None
        return found is not None and Path(os.fsdecode(found.layers)).is_dir()

    @property
    def given(self) -> dict[str, bytes]:
        """Files that were put into it with a job, by path: the digest of what they held."""
        if self._given is None:
            try:
                self._given = msgspec.msgpack.decode((self.path / "given").read_bytes(), type=dict[str, bytes])
            except (OSError, msgspec.MsgspecError):
                self._given = {}
        return self._given

    def note_given(self, path: str, digest: bytes) -> None:
        """Notes one, so that it counts as no change for as long as it is as it came."""
        self._given = self.given | {path: digest}
        (self.path / "given").write_bytes(msgspec.msgpack.encode(self._given))

    @property
    def view(self) -> View:
        """What code in it sees."""
        own, *more = self.parts
        return View(
            folder=own.folder,
            upper=own.upper,
            work=own.work,
            home=self.layers / "home",
            tmp=self.layers / "tmp",
            folders=(*(part.layer for part in more), *(() if self.job.copied else self._shown())),
            hidden=self._hidden(),
            readable=tuple((path, str(path)) for path in self.grants.read) if self.job.copied else (),
        )

    def _shown(self) -> tuple[Layer, ...]:
        """The folders to read."""
        places = ((path, self.layers / "read" / str(n)) for n, path in enumerate(self.grants.read))
        return tuple(Layer(path, place / "upper", place / "work", sealed=True) for path, place in places)

    def _hidden(self) -> tuple[Path, ...]:
        """What is not shown of the folders, those to read included; but not where it is itself granted."""
        given = {part.folder for part in self.parts} | set(self.grants.read)
        found = {path for part in self.parts for path in part.hidden}
        found |= {path for shown in self.grants.read for path in hidden(self.home, shown)}
        return tuple(sorted(found - given))

    @property
    def output(self) -> Path:
        """Where the output of its runs is kept."""
        return self.path / "output"

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def differences(self) -> list[Difference]:
        """Every path that is not as it is in its folder, folders included."""
        return [d for part in self.parts for d in part.differences()]

    def changes(self) -> list[Change]:
        """The same for people: files, and folders that nothing else in the list implies."""
        found = self.differences()
        moved = self._moved([d for d in found if not d.refused])
        with opened(self.parts) as pairs:
            made = changes_in(found, pairs)
        return [
            msgspec.structs.replace(c, conflict=True) if c.place.rstrip("/") in moved and not c.refused else c
            for c in made
        ]

    # ── apply ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, paths: Sequence[str] | None = None, *, overwrite: bool = False) -> Applied:
        """Writes the changes into the user's folders: all, or those at or below ``paths``. All or nothing.

        Raises:
            NotFound: nothing changed at one of ``paths``.
            Conflict: a file changed in its folder since the job began (``overwrite``: then it is lost, but undoable).
            DiskFull, ReadOnly, Disk: it cannot be written.
        """
        jobs.recover(self.home)
        found = self.differences()
        chosen = found if paths is None else choose(found, paths)
        with opened(self.parts) as pairs:
            good = [d for d in chosen if not d.refused]
            if not overwrite:
                self._check(good)
            done = tuple(changes_in(good, pairs))
            left = tuple(changes_in([d for d in chosen if d.refused], pairs))
            if not good:
                return Applied("", str(self.folder), (), left)
            used = [part for part in self.parts if not part.number or any(d.folder == part.label for d in good)]
            roots = {part.label: n for n, part in enumerate(used)}
            uppers = [pairs[part.label][1] for part in used]
            ops = [Op(d.path, d.before, d.after, root=roots[d.folder]) for d in good]
            with transaction.exclusively(self.path.parent):
                record = jobs.new_record(self.path)
                journal = transaction.run(
                    [part.folder for part in used], record, ops, lambda op: tree.parent_of(uppers[op.root], op.path)
                )
        (record / "changes.json").write_bytes(msgspec.json.encode(done))
        for n, part in enumerate(used):
            part.leave(op for op in journal.ops if op.root == n)
        return Applied(f"{self.path.name}/{record.name}", str(self.folder), done, left)

    def _moved(self, chosen: list[Difference]) -> set[str]:
        return {path for part in self.parts for path in part.moved(chosen, self.job.began)}

    def _check(self, chosen: list[Difference]) -> None:
        """Raises Conflict where a path is neither as it was when the job began nor as the job itself left it."""
        if moved := sorted(self._moved(chosen)):
            more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
            raise Conflict(
                f"changed in {self.folder} since the job began: {', '.join(moved[:5])}{more}",
                "Nothing was applied. Apply the other files by name, or run the job again.",
            )

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


def can_hold(sandbox: Sandbox, grants: Grants) -> Sandbox:
    """The sandbox, if it can show what is granted. Raises BadRequest."""
    named = {"--net": grants.net, "--packages": grants.packages, "--add-folder": grants.folders}
    wanted = [flag for flag, given in named.items() if given]
    if wanted and not sandbox.mounts:
        raise BadRequest(
            f"the sandbox that is used here, {sandbox.name}, cannot do {' and '.join(wanted)}",
            "Leave that out, or have bubblewrap used: `allod doctor` says how.",
        )
    return sandbox


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def opened(parts: Sequence[Part]) -> Generator[Pairs]:
    """The open folder and upper layer of each part."""
    with contextlib.ExitStack() as stack:
        both = {part.label: (part.folder, part.upper) for part in parts}
        yield {
            label: (stack.enter_context(tree.opened(folder)), stack.enter_context(tree.opened(upper)))
            for label, (folder, upper) in both.items()
        }


def changes_in(found: list[Difference], pairs: Pairs) -> list[Change]:
    """Differences of all parts as people read them, the job's own folder first."""
    previews = Previews()
    made = [
        change(d, folder, upper, previews)
        for label, (folder, upper) in pairs.items()
        for d in listed([d for d in found if d.folder == label])
    ]
    return sorted(made, key=lambda c: (c.folder, c.path))
