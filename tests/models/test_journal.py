"""The journal: what it says is there was recorded, whatever happened to its file."""

import hashlib
import itertools
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from allod.models.transfer.journal import HEADER, RECORD, Journal, bytes_recorded, sample

KEY = hashlib.sha256(b"a file").digest()
SIZE = 1000

# Stretches that do not overlap: cut points, and which of the stretches between them are recorded.
stretches = st.lists(st.integers(1, SIZE - 1), unique=True, max_size=12).flatmap(
    lambda cuts: st.tuples(st.just(sorted({0, SIZE, *cuts})), st.lists(st.booleans(), min_size=13, max_size=13))
)


def recorded(cuts: list[int], chosen: list[bool]) -> list[tuple[int, int]]:
    return [(a, b) for (a, b), take in zip(itertools.pairwise(cuts), chosen, strict=False) if take]


@settings(deadline=None)
@given(stretches, st.randoms(), st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)))
def test_what_is_recorded_is_found_and_the_rest_are_gaps(made, random, window) -> None:
    wanted = recorded(*made)
    random.shuffle(wanted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        journal = Journal(path, KEY, SIZE)
        for start, end in wanted:
            journal.add(start, end - start, 7)
        journal.close()
        journal = Journal(path, KEY, SIZE)
        there = {i for start, end in wanted for i in range(start, end)}
        first, last = min(window), max(window)
        missing = {i for start, end in journal.gaps(first, last) for i in range(start, end)}
        assert missing == set(range(first, last)) - there
        assert journal.missing(first, last) == len(missing)
        for i in range(0, SIZE, 37):
            assert (journal.find(i) is not None) == (i in there)
        assert bytes_recorded(path) == len(there)
        for start, end in wanted:
            assert journal.find(start) == (start, end - start, 7)
            journal.drop(start)
        assert journal.gaps(0, SIZE) == [(0, SIZE)]
        journal.close()
        assert bytes_recorded(path) == 0


@settings(deadline=None)
@given(stretches, st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_a_damaged_file_never_says_more_than_was_recorded(made, at, byte, cut) -> None:
    wanted = recorded(*made)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        journal = Journal(path, KEY, SIZE)
        for start, end in wanted:
            journal.add(start, end - start, 7)
        journal.close()
        content = bytearray(path.read_bytes())
        at %= len(content)
        if cut:
            del content[at:]
        else:
            content[at] = byte
        path.write_bytes(content)
        journal = Journal(path, KEY, SIZE)
        found = [(start, start + length) for start, length, _ in journal.stretches()]
        assert set(found) <= set(wanted)
        if at >= HEADER.size:  # what stands before the damage is kept
            assert set(wanted[: (at - HEADER.size) // RECORD.size]) <= set(found)
        journal.add(0, SIZE, 9)  # and it goes on from there
        journal.close()


def test_another_files_journal_is_started_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, KEY, SIZE)
    journal.add(0, 10, 7)
    journal.close()
    for key, size in ((bytes(32), SIZE), (KEY, SIZE + 1)):
        journal = Journal(path, key, size)
        assert journal.stretches() == []
        journal.add(0, 5, 7)
        journal.close()


def test_lost_sectors_show_in_the_sample() -> None:
    data = hashlib.shake_256(b"x").digest(100_000)
    for start in range(0, 100_000, 4096):
        lost = data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]
        assert sample(lost) != sample(data)
    assert sample(data[:-1]) != sample(data)
    assert sample(b"") == sample(memoryview(b""))
