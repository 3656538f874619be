"""A blob in the store, brought by one process at a time."""

import time
from collections.abc import Callable
from pathlib import Path

from allod.egress import Egress
from allod.errors import DigestMismatch
from allod.models.blobs import Blobs
from allod.models.transfer.download import Watch, download, drop
from allod.models.transfer.journal import bytes_recorded
from allod.models.transfer.plan import Plan, Tuning
from allod.models.transfer.space import journal_of

LOOK = 0.25  # seconds between two looks at another process's progress


def obtain(
    blobs: Blobs,
    digest: str,
    plan: Callable[[], Plan],
    egress: Egress,
    watch: Watch,
    tuning: Tuning | None = None,
) -> None:
    """Makes sure that a blob is in the store; ``plan`` is asked only where it is not, and may ask the network.

    Where another process is bringing it, waits and reports its progress; if that one fails, goes on where it stopped.
    What came from another source before is used: the digest decides.

    Raises:
        DigestMismatch: the source has other bytes; what it gave is dropped.
        Network, Offline, Refused: the source cannot give it; what came is kept for the next one.
        DiskFull, ReadOnly, Disk, Cancelled: what came is kept.
    """
    if blobs.has(digest):
        return
    partial = blobs.partial(digest)
    with blobs.lock(digest, Onlooker(blobs, digest, watch)):
        if blobs.has(digest):
            return
        bring(partial, digest, plan(), egress, watch, tuning)
        blobs.commit(digest, partial)
        drop(partial)


def bring(partial: Path, digest: str, plan: Plan, egress: Egress, watch: Watch, tuning: Tuning | None) -> None:
    """Downloads; if bytes of an earlier source were among them and do not fit, once more without these."""
    if plan.digest != digest:
        raise DigestMismatch(f"{plan.source} offers {plan.digest} instead of {digest}")
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
