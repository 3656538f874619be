"""One plan from start to end: what is there is kept, the rest fetched, all of it checked.

    download(plan, partial, egress, watch)      # returns with the whole blob in ``partial``, its digest right

Blocking; its own threads fetch and check while the caller's thread reports. Beside the partial file are its journal
and, for segments that come deflated, spools with their raw bytes: of the one being inflated and the next at most.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct, field

from allod.egress import Egress
from allod.errors import Cancelled, DiskFull, Network
from allod.models.disk import disk_error
from allod.models.manifest import canonical
from allod.models.transfer.check import Check, Part
from allod.models.transfer.plan import PIECE, Plan, Segment, Tuning
from allod.models.transfer.space import Run, Space, Torn, remove
from allod.models.transfer.streams import Piece, Streams


def unreported(_: int) -> None:
    """Nobody looks."""


class Watch(Struct):
    """Who looks on: told the bytes of the blob that are there, about 20 times a second; and may stop it."""

    report: Callable[[int], None] = unreported
    stop: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises Cancelled where it was stopped."""
        if self.stop.is_set():
            raise Cancelled("the transfer was stopped", "Run the same command again to go on where it stopped.")


def download(plan: Plan, partial: Path, egress: Egress, watch: Watch, tuning: Tuning | None = None) -> int:
    """Completes ``partial``; returns the bytes that were there before.

    Raises:
        Network, Offline, Refused: the source could not give it; what came is kept.
        DigestMismatch: it gave other bytes; these are dropped.
        DiskFull, ReadOnly, Disk: what came is kept.
        Cancelled: by ``watch``; what came is kept.
    """
    check_plan(plan)
    tuning = tuning or Tuning()
    while True:
        try:
            return attempt(plan, partial, egress, watch, tuning)
        except Torn:
            sweep(plan, partial, watch, tuning)


def attempt(plan: Plan, partial: Path, egress: Egress, watch: Watch, tuning: Tuning) -> int:
    """One go at a plan. Raises as `download` does, and Torn."""
    run = Run(watch.stop, tuning.window)
    with ExitStack() as files:
        target = files.enter_context(Space(partial, key_of(plan.digest), plan.size, run))
        had = plan.size - target.journal.missing(0, plan.size)
        parts = lay_out(plan, partial, target, run, files)
        check_room(plan, parts, target)
        check = Check(plan, parts, target, run)
        door = files.enter_context(egress.door("pull", stall=tuning.stall))
        streams = Streams(plan, pieces_of(parts, target), check, door, run, tuning)
        walker = threading.Thread(target=check.run, name="pull-check", daemon=True)
        already = float(plan.size) - sum(piece.length * piece.share for piece in streams.pending)
        try:
            walker.start()
            streams.start()
            while not run.done and run.failure is None:
                watch.check()
                watch.report(max(0, min(round(already + streams.completed), plan.size - 1)))  # all: when it is checked
                streams.adapt()
                with run.changed:
                    run.changed.wait_for(lambda: run.done or run.failure is not None, tuning.tick)
            if run.failure is not None:
                raise run.failure
        except BaseException as error:
            run.fail(error)
            raise
        finally:
            door.shut()
            streams.join()
            walker.join()
    watch.report(plan.size)
    return had


def check_plan(plan: Plan) -> None:
    """Returns where a plan adds up. Raises Network, as it is its source that said so."""
    if canonical(plan.digest) != plan.digest or sum(segment.size for segment in plan.segments) != plan.size:
        raise Network(f"{plan.source} offers {sum(s.size for s in plan.segments)} bytes instead of {plan.size}")
    for segment in plan.segments:
        if min(segment.start, segment.length, segment.size) < 0 or (segment.size > 0) != (segment.length > 0):
            raise Network(f"{plan.source} offers a part of {segment.length} bytes that becomes {segment.size}")
        if not segment.deflated and segment.size != segment.length:
            raise Network(f"{plan.source} offers a part of {segment.length} bytes that becomes {segment.size}")


def key_of(digest: str) -> bytes:
    """The 32 bytes of ``sha256:<hex>``."""
    return bytes.fromhex(digest.removeprefix("sha256:"))


def lay_out(plan: Plan, partial: Path, target: Space, run: Run, files: ExitStack) -> list[Part]:
    """The plan's segments in their places; those to be inflated with their spools."""
    parts: list[Part] = []
    at = 0
    for segment in plan.segments:
        if segment.deflated and target.gaps(at, at + segment.size):
            key = spool_key(segment)
            spool = Space(spool_path(partial, key), key, segment.length, run)
            parts.append(Part(segment, at, files.enter_context(spool)))
        else:
            parts.append(Part(segment, at, None))
        at += segment.size
    return parts


def spool_key(segment: Segment) -> bytes:
    """What raw bytes are known by: their file and their place in it."""
    return hashlib.sha256(f"{segment.sha256 or segment.url} {segment.start} {segment.length}".encode()).digest()


def spool_path(partial: Path, key: bytes) -> Path:
    """Where raw bytes are kept beside a partial file."""
    return partial.with_name(f"{partial.name}.raw-{key.hex()[:16]}")


def pieces_of(parts: list[Part], target: Space) -> list[Piece]:
    """What is missing, in order, cut at multiples of 4 MiB."""
    pieces: list[Piece] = []
    for i, part in enumerate(parts):
        space = part.spool or target
        begin, end = (0, part.segment.length) if part.spool else (part.at, part.end)
        for first, last in space.gaps(begin, end):
            while first < last:
                cut = min(last, (first // PIECE + 1) * PIECE)
                pieces.append(Piece(i, part, space, first, cut - first))
                first = cut
    return pieces


def check_room(plan: Plan, parts: list[Part], target: Space) -> None:
    """Returns where the disk has room for what is missing. Raises DiskFull with the arithmetic, Disk."""
    spools = sorted((part.spool.missing() for part in parts if part.spool), reverse=True)[:2]
    need_room(target.path.parent, target.missing() + sum(spools))


def need_room(folder: Path, needed: int) -> None:
    """Returns where ``folder``'s disk has ``needed`` bytes left. Raises DiskFull with the arithmetic, Disk."""
    try:
        disk = os.statvfs(folder)
    except OSError as error:
        raise disk_error(error, "look at", folder) from error
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < needed:
        raise DiskFull(
            f"not enough space in {folder}: {size(needed)} needed, {size(free)} free",
            f"Free {size(needed - free)} (`allod rm` drops a model), or set ALLOD_MODELS to a folder on another disk.",
        )


def size(count: int) -> str:
    """Bytes as people read them, in decimal units."""
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB" if count >= 1000 else f"{count} bytes"
    return f"{count / 1_000_000:.0f} MB" if count < 1_000_000_000 else f"{count / 1_000_000_000:.1f} GB"


def sweep(plan: Plan, partial: Path, watch: Watch, tuning: Tuning) -> None:
    """Drops from the journals what the disk has lost."""
    run = Run(watch.stop, tuning.window)
    with ExitStack() as files:
        target = files.enter_context(Space(partial, key_of(plan.digest), plan.size, run))
        spools = [part.spool for part in lay_out(plan, partial, target, run, files) if part.spool]
        for space in (target, *spools):
            space.sweep()


def drop(partial: Path) -> None:
    """Removes a partial file with all that is beside it. Raises ReadOnly, Disk."""
    remove(partial)
    for path in partial.parent.glob(f"{partial.name}.raw-*"):
        remove(path)
