"""A blob from the first of several sources that has it, brought by one process at a time."""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from allod.egress import Egress
from allod.errors import AllodError, DigestMismatch, Network, Offline, Refused
from allod.models.blobs import Blobs
from allod.models.transfer.download import Watch, download, drop
from allod.models.transfer.journal import bytes_recorded
from allod.models.transfer.plan import Plan, Tuning
from allod.models.transfer.space import journal_of

LOOK = 0.25  # seconds between two looks at another process's progress


class Source(Struct, frozen=True):
    """A place a blob may be had from. ``plan`` may ask the network; it raises Network where the place has it not."""

    name: str  # as errors name it
    plan: Callable[[], Plan]


def obtain(
    blobs: Blobs,
    digest: str,
    sources: Sequence[Source],
    egress: Egress,
    watch: Watch,
    tuning: Tuning | None = None,
) -> None:
    """Makes sure that a blob is in the store.

    Where another process is bringing it, waits and reports its progress; if that one fails, goes on where it stopped.

    Raises:
        DigestMismatch: every source had other bytes.
        Offline, Network: no source could give it; the message says what came of each.
        DiskFull, ReadOnly, Disk, Cancelled.
    """
    if blobs.has(digest):
        return
    partial = blobs.partial(digest)
    with blobs.lock(digest, Onlooker(blobs, digest, watch)):
        if blobs.has(digest):
            return
        failures: list[tuple[Source, AllodError]] = []
        for source in sources:
            try:
                bring(blobs, digest, source, egress, watch, tuning)
            except (Network, Refused) as error:
                failures.append((source, error))
                continue
            blobs.commit(digest, partial)
            drop(partial)
            return
    raise no_source(digest, failures)


def bring(blobs: Blobs, digest: str, source: Source, egress: Egress, watch: Watch, tuning: Tuning | None) -> None:
    """Downloads from one source; if bytes of an earlier one were among them and do not fit, once more without these.

    Raises as `obtain` does, for this source.
    """
    plan = source.plan()
    if plan.digest != digest:
        raise DigestMismatch(f"{source.name} offers {plan.digest} instead of {digest}")
    partial = blobs.partial(digest)
    for last in (False, True):
        fresh = bytes_recorded(journal_of(partial)) == 0
        try:
            download(plan, partial, egress, watch, tuning)
            return
        except DigestMismatch:
            # Short of bytes: one part was wrong and is dropped. Whole: which bytes were wrong, nobody can tell.
            if bytes_recorded(journal_of(partial)) == plan.size:
                drop(partial)
            if fresh or last:
                raise


class Onlooker:
    """Called while another process brings the blob: reports how far it is, and gives up when told to."""

    def __init__(self, blobs: Blobs, digest: str, watch: Watch) -> None:
        self.journal = journal_of(blobs.partial(digest))
        self.watch = watch
        self._looked = 0.0

    def __call__(self) -> None:
        """Raises Cancelled where the watch was stopped."""
        self.watch.check()
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self.watch.report(bytes_recorded(self.journal))


def no_source(digest: str, failures: list[tuple[Source, AllodError]]) -> AllodError:
    """The error where every source failed, naming each."""
    short = digest.removeprefix("sha256:")[:12]
    if not failures:
        return Network(f"nobody is known to have {short}", "Give a registry or a repository in the name.")
    told = "; ".join(f"{source.name}: {error.message}" for source, error in failures)
    errors = [error for _, error in failures]
    if all(isinstance(error, Offline) for error in errors):
        return Offline(f"cannot fetch {short}: {told}", errors[0].remedy)
    if all(isinstance(error, DigestMismatch) for error in errors):
        return DigestMismatch(f"cannot fetch {short}, every source has other bytes: {told}", "Report it to the source.")
    if all(isinstance(error, Refused) for error in errors):
        return Refused(f"cannot fetch {short}: {told}", errors[0].remedy)
    remedy = "Check the connection and run the same command again: it goes on where it stopped."
    return Network(f"cannot fetch {short}; tried {told}", remedy)
