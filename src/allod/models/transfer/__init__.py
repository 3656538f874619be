"""Fetching a blob: parallel ranges, resumable, its digest known at the last byte.

    plan = Plan("PyPI", digest, size, (Segment(url, start, length, size), …))
    obtain(store, digest, lambda: plan, egress, watch)

A source says in a `Plan` which stretches of which files, one after the other, make the blob; the same machinery fetches
all of them. Several streams take 4 MiB pieces in rising order, write each into the partial file and then note it in the
journal beside it, so a kill loses at most the piece each stream was at. One thread follows in order, hashes the pieces
from memory as they come (and from the disk only those of an earlier run), and inflates what came deflated.

    plan.py       Plan, Segment, Tuning: the data
    journal.py    which stretches of a partial file are there
    space.py      a partial file with its journal, filled in any order and walked in order
    check.py      the walk: hash, inflate, compare
    streams.py    the threads that ask for pieces: ranges, redirects, retries
    download.py   one plan from start to end
    obtain.py     a blob in the store, one process at a time
"""

from allod.models.transfer.download import Watch, download
from allod.models.transfer.obtain import obtain
from allod.models.transfer.plan import Auth, Plan, Segment, Tuning

__all__ = ["Auth", "Plan", "Segment", "Tuning", "Watch", "download", "obtain"]
