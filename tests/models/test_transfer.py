"""Transfers against a server that may do anything: whole blobs, right digests, nothing fetched twice."""

import dataclasses
import hashlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allod.egress import Egress
from allod.egress.answer import Answer
from allod.errors import Cancelled, DigestMismatch, Disk, DiskFull, Network, ReadOnly, Unreachable
from allod.home import Home
from allod.models.store import Store
from allod.models.transfer import Plan, Segment, Tuning, Watch, download, obtain
from allod.models.transfer.journal import Journal, bytes_recorded
from allod.models.transfer.plan import PIECE
from allod.models.transfer.space import journal_of
from models.servers import Fault, FileServer

MIB = 1 << 20
DATA = os.urandom(MIB) * 22 + b"the end"  # 6 pieces, the last a shorter one
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
HASTY = Tuning(stall=5, backoff=0.01, tries=4, measure=0.05, tick=0.01)

PATIENT = msgspec.structs.replace(HASTY, stall=30, streams=2, most_streams=2)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/blob": DATA}) as server:
        yield server


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "partial"


def plan_of(server: FileServer, path: str = "/blob", data: bytes = DATA, **fields: object) -> Plan:
    segment = Segment(server.url + path, 0, len(data), len(data), len(data))
    plan = Plan("test server", f"sha256:{hashlib.sha256(data).hexdigest()}", len(data), (segment,))
    return msgspec.structs.replace(plan, **fields)


def fetch(plan: Plan, partial: Path, home: Home, **tuning: object) -> int:
    return download(plan, partial, Egress(home), Watch(), msgspec.structs.replace(HASTY, **tuning))


# ── the plain way ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_blob_comes_in_parallel_ranges_each_byte_once(home: Home, server: FileServer, partial: Path) -> None:
    reports: list[int] = []
    download(plan_of(server), partial, Egress(home), Watch(reports.append), HASTY)
    assert partial.read_bytes() == DATA
    assert server.body_bytes() == len(DATA)
    assert sorted(seen.first for seen in server.requests()) == list(range(0, len(DATA), PIECE))
    assert reports == sorted(reports)
    assert reports[-1] == len(DATA)
    assert all(done < len(DATA) for done in reports[:-1])  # whole only when it is checked


def test_a_complete_download_is_not_read_again(
    home: Home, server: FileServer, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> bytes:
        raise AssertionError("the file was read")

    monkeypatch.setattr("allod.models.transfer.space.Space.read_back", read)
    fetch(plan_of(server), partial, home)
    assert partial.read_bytes() == DATA


def test_what_does_not_fit_into_the_window_is_read_back(home: Home, server: FileServer, partial: Path) -> None:
    fetch(plan_of(server), partial, home, window=0)
    assert partial.read_bytes() == DATA


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1])
def test_sizes_around_a_piece(home: Home, server: FileServer, partial: Path, size: int) -> None:
    data = server.files["/small"] = DATA[:size]
    plan = plan_of(server, "/small", data)
    fetch(plan if size else msgspec.structs.replace(plan, segments=()), partial, home)
    assert partial.read_bytes() == data
    assert server.body_bytes() == size


def test_segments_of_several_files_join_in_order(home: Home, server: FileServer, partial: Path) -> None:
    cuts = [0, 5 * MIB + 3, 5 * MIB + 4, 14 * MIB, len(DATA)]
    segments: list[Segment] = []
    for i, (first, end) in enumerate(itertools.pairwise(cuts)):
        server.files[f"/part{i}"] = b"head" + DATA[first:end] + b"tail"
        crc = zlib.crc32(DATA[first:end])
        segments.append(Segment(f"{server.url}/part{i}", 4, end - first, end - first, end - first + 8, crc32=crc))
    fetch(plan_of(server, segments=tuple(segments)), partial, home)
    assert partial.read_bytes() == DATA
    assert server.body_bytes() == len(DATA)


def test_deflated_segments_are_inflated_and_their_raw_bytes_removed(
    home: Home, server: FileServer, partial: Path
) -> None:
    fetch(deflated_plan(server), partial, home)
    assert partial.read_bytes() == DATA
    assert {path.name for path in partial.parent.iterdir()} - {"home"} == {"partial", "partial.journal"}


def deflated_plan(server: FileServer, **fields: object) -> Plan:
    """DATA's first and last third deflated, the middle as it is, each a file with something around it."""
    segments: list[Segment] = []
    third = len(DATA) // 3
    for i, first in enumerate((0, third, 2 * third)):
        data = DATA[first : first + third] if i < 2 else DATA[first:]
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        raw = data if i == 1 else packer.compress(data) + packer.flush()
        file = b"before" + raw + b"after"
        server.files[f"/wheel{i}"] = file
        segment = Segment(
            url=f"{server.url}/wheel{i}",
            start=6,
            length=len(raw),
            size=len(data),
            total=len(file),
            deflated=i != 1,
            crc32=zlib.crc32(data),
            sha256=hashlib.sha256(file).hexdigest(),
            before=b"before",
            after=b"after",
        )
        segments.append(msgspec.structs.replace(segment, **fields))
    return Plan("test wheels", DIGEST, len(DATA), tuple(segments))


# ── servers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_without_ranges_is_read_once_in_order(home: Home, server: FileServer, partial: Path) -> None:
    server.faults.append(Fault(no_ranges=True))
    fetch(plan_of(server), partial, home)
    assert partial.read_bytes() == DATA
    assert [seen.body for seen in server.requests() if seen.body == len(DATA)]


def test_a_server_without_ranges_that_breaks_off_loses_no_pieces(home: Home, server: FileServer, partial: Path) -> None:
    server.faults += [Fault(no_ranges=True, cut=10 * MIB, times=2), Fault(no_ranges=True)]
    fetch(plan_of(server), partial, home, streams=1, most_streams=1)
    assert partial.read_bytes() == DATA


def test_cut_stalled_and_short_answers_are_asked_for_the_rest(home: Home, server: FileServer, partial: Path) -> None:
    server.faults += [
        Fault(cut=MIB, times=2),
        Fault(stall=2 * MIB, times=1),
        Fault(short=MIB, times=2),
        Fault(status=503, headers={"Retry-After": "0"}, times=1),
        Fault(status=500, times=1),
    ]
    fetch(plan_of(server), partial, home, stall=1.5)
    assert partial.read_bytes() == DATA
    # What had come before the break was not asked for again.
    assert sum(seen.body for seen in server.seen if seen.status == 206) == len(DATA)


def test_a_cut_with_headway_does_not_count_as_a_failed_try(home: Home, server: FileServer, partial: Path) -> None:
    server.faults.append(Fault(cut=MIB))  # always: four answers a piece, more than the tries
    fetch(plan_of(server), partial, home, tries=2)
    assert partial.read_bytes() == DATA


def test_a_server_that_wants_fewer_streams_gets_fewer(home: Home, server: FileServer, partial: Path) -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def blob(seen: object) -> object:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            refused = busy > 1
        time.sleep(0.05)
        with lock:
            busy -= 1
        return (429, {"Retry-After": "0"}, None) if refused else DATA

    server.files["/blob"] = blob
    fetch(plan_of(server), partial, home, tries=20)
    assert partial.read_bytes() == DATA
    assert most > 1
    assert sum(seen.status == 429 for seen in server.seen) <= 7  # each took a stream away


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=404), "answered 404"),
        (Fault(status=403), "answered 403"),
        (Fault(status=416), "shorter than announced"),
        (Fault(lie=5), f"has {len(DATA) + 5} bytes instead of {len(DATA)}"),
        (Fault(no_ranges=True, lie=5), f"has {len(DATA) + 5} bytes instead of {len(DATA)}"),
        (Fault(headers={"Content-Range": "bytes 7-9/100"}), "instead of bytes"),
        (Fault(headers={"Content-Range": "nonsense"}), "instead of bytes"),
        (Fault(headers={"Content-Encoding": "gzip"}), "encodes its files"),
        (Fault(status=503, headers={"Retry-After": "86400"}), "asks to come back in 86400 s"),
        (Fault(status=429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}), "asks to come back"),
        (Fault(status=500), "failed 4 times in a row: 127.0.0.1 answered 500"),
        (Fault(stall=0), "failed 4 times in a row: 127.0.0.1 sent nothing for too long"),
        (Fault(cut=10), "failed 4 times in a row: 127.0.0.1 broke off"),
    ],
    ids=str,
)
def test_what_cannot_be_helped_is_told(
    home: Home, server: FileServer, partial: Path, fault: Fault, message: str
) -> None:
    server.faults.append(dataclasses.replace(fault))
    with pytest.raises(Network, match=message):
        fetch(plan_of(server), partial, home, stall=0.2)


def test_a_trickle_is_a_stall(home: Home, server: FileServer, partial: Path) -> None:
    gone = threading.Event()

    def trickle(handler: Any) -> None:
        first = int(handler.headers["range"][6:].partition("-")[0])
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{PIECE - 1}/{len(DATA)}")
        handler.send_header("Content-Length", str(PIECE - first))
        handler.end_headers()
        while not gone.wait(0.05):
            handler.wfile.write(b"x")

    server.answer = trickle  # type: ignore[method-assign]
    with pytest.raises(Network, match=r"sent \d+ bytes in 0 s"):
        fetch(plan_of(server), partial, home, streams=1, most_streams=1, tries=2, stall=0.2)
    gone.set()


def test_a_host_that_is_not_there_is_given_up_quickly(home: Home, server: FileServer, partial: Path) -> None:
    plan = plan_of(server)
    server.httpd.server_close()
    with pytest.raises(Unreachable, match="refused"):
        fetch(plan, partial, home, tries=1000)


# ── redirects and credentials ───────────────────────────────────────────────────────────────────────────────────────


class Token:
    """Credentials for one server; a 401 gives the next of ``tokens``."""

    def __init__(self, server: FileServer, tokens: list[str]) -> None:
        self.server = server
        self.tokens = tokens

    def headers(self, url: str) -> dict[str, str]:
        return {"Authorization": self.tokens[0]} if url.startswith(self.server.url) else {}

    def renew(self, answer: Answer) -> bool:
        if len(self.tokens) == 1:
            return False
        self.tokens.pop(0)
        return True


def test_credentials_go_to_the_registry_and_not_to_where_it_redirects(
    home: Home, server: FileServer, partial: Path
) -> None:
    with FileServer() as registry:
        registry.files["/blob"] = lambda seen: (307, {"Location": f"{server.url}/blob?sig=1"}, b"")
        plan = plan_of(registry, auth=Token(registry, ["Bearer a"]))
        fetch(plan, partial, home)
        assert all(seen.headers["authorization"] == "Bearer a" for seen in registry.seen)
        assert all("authorization" not in seen.headers for seen in server.seen)
        assert len(registry.seen) < len(server.seen)  # the address is asked for once a stream at most
    assert partial.read_bytes() == DATA


def test_an_address_that_expires_is_asked_for_again(home: Home, server: FileServer, partial: Path) -> None:
    count = 0

    def cdn(seen: object) -> object:
        nonlocal count
        count += 1
        fresh = seen.path.endswith("sig=2")  # type: ignore[attr-defined]
        return DATA if fresh or count <= 3 else (403, {}, None)

    with FileServer() as registry:
        server.files["/cdn"] = cdn
        registry.files["/blob"] = lambda seen: (
            307,
            {"Location": f"{server.url}/cdn?sig={1 if count < 3 else 2}"},
            b"",
        )
        fetch(plan_of(registry), partial, home, streams=2)
    assert partial.read_bytes() == DATA
    assert any(seen.path.endswith("sig=2") for seen in server.seen)


def test_a_token_that_runs_out_midway_is_renewed(home: Home, server: FileServer, partial: Path) -> None:
    used: list[str] = []

    def blob(seen: object) -> object:
        token = seen.headers.get("authorization", "")  # type: ignore[attr-defined]
        used.append(token)
        return DATA if token == "b" or (token == "a" and len(used) < 4) else (401, {"WWW-Authenticate": "x"}, None)

    server.files["/blob"] = blob
    fetch(plan_of(server, auth=Token(server, ["a", "b"])), partial, home)
    assert partial.read_bytes() == DATA
    with pytest.raises(Network, match="answered 401"):
        fetch(plan_of(server, auth=Token(server, ["c"])), partial.with_name("other"), home)


# ── digests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_wrong_bytes_are_found_and_dropped(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    server.faults.append(Fault(flip=9 * MIB))
    plan = plan_of(server)
    with pytest.raises(DigestMismatch, match="test server gave bytes of the digest sha256:"):
        obtain(store, DIGEST, lambda: plan, Egress(home), Watch(), HASTY)
    assert not store.has(DIGEST)
    assert not store.partial(DIGEST).exists()
    server.faults.clear()
    obtain(store, DIGEST, lambda: plan, Egress(home), Watch(), HASTY)
    assert store.blob(DIGEST).read_bytes() == DATA


def test_the_next_source_uses_what_came_before(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    gone = Fault(status=404, when=lambda seen: seen.first >= 8 * MIB)
    server.faults.append(gone)
    with pytest.raises(Network, match="404"):
        obtain(store, DIGEST, lambda: plan_of(server), Egress(home), Watch(), HASTY)
    had = bytes_recorded(journal_of(store.partial(DIGEST)))
    with FileServer() as other:
        obtain(store, DIGEST, lambda: deflated_plan(other), Egress(home), Watch(), HASTY)  # other seams, other packing
        assert had == 0 or other.body_bytes("/wheel0") <= len(other.files["/wheel0"])
    assert store.blob(DIGEST).read_bytes() == DATA


def test_a_good_source_after_a_bad_one_that_failed(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    server.faults += [Fault(flip=MIB, times=8, when=lambda s: s.first < 8 * MIB), Fault(status=404)]
    with pytest.raises(Network):
        obtain(store, DIGEST, lambda: plan_of(server), Egress(home), Watch(), HASTY)
    with FileServer({"/blob": DATA}) as good:  # the first go mixes the bad bytes in, the second is clean
        obtain(store, DIGEST, lambda: plan_of(good), Egress(home), Watch(), HASTY)
    assert store.blob(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crc32": 1}, "CRC32"),
        ({"sha256": "0" * 64}, "instead of 0000"),
        ({"before": b"befoRe"}, "has the sha256"),
        ({"after": b""}, "has the sha256"),
    ],
)
def test_each_file_of_a_plan_is_checked_as_it_passes(
    home: Home, server: FileServer, partial: Path, change: dict[str, object], message: str
) -> None:
    plan = deflated_plan(server, **change)
    with pytest.raises(DigestMismatch, match=message):
        fetch(plan, partial, home)


def test_a_bad_wheel_costs_only_itself(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    server.faults.append(Fault(path="/wheel2", flip=MIB))
    with pytest.raises(DigestMismatch, match="wheel2"):
        obtain(store, DIGEST, lambda: deflated_plan(server), Egress(home), Watch(), HASTY)
    server.faults.clear()
    server.seen.clear()
    obtain(store, DIGEST, lambda: deflated_plan(server), Egress(home), Watch(), HASTY)
    assert {seen.path for seen in server.seen} == {"/wheel2"}


@pytest.mark.parametrize("change", [{"size": 10 * MIB}, {"size": 11 * MIB}, {"length": 1000}])
def test_a_deflated_file_that_lies_about_its_size(
    home: Home, server: FileServer, partial: Path, change: dict[str, int]
) -> None:
    plan = deflated_plan(server)
    first = msgspec.structs.replace(plan.segments[0], **change)
    size = plan.size - plan.segments[0].size + first.size
    with pytest.raises(DigestMismatch, match=r"inflates to|cannot be inflated"):
        fetch(msgspec.structs.replace(plan, size=size, segments=(first, *plan.segments[1:])), partial, home)


def test_a_zip_bomb_stops_at_its_announced_size(home: Home, server: FileServer, partial: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = server.files["/bomb"] = b"".join(packer.compress(bytes(MIB)) for _ in range(64)) + packer.flush()
    segment = Segment(f"{server.url}/bomb", 0, len(bomb), 5 * MIB, deflated=True)
    with pytest.raises(DigestMismatch, match="more than the 5242880 bytes announced"):
        fetch(Plan("bomb", DIGEST, 5 * MIB, (segment,)), partial, home)
    assert partial.stat().st_blocks * 512 <= 9 * MIB


def test_plans_that_do_not_add_up(home: Home, server: FileServer, partial: Path) -> None:
    good = plan_of(server)
    for wrong in (
        msgspec.structs.replace(good, size=5),
        msgspec.structs.replace(good, segments=(msgspec.structs.replace(good.segments[0], length=1),)),
        msgspec.structs.replace(good, segments=(msgspec.structs.replace(good.segments[0], start=-1),)),
    ):
        with pytest.raises(Network, match="offers"):
            fetch(wrong, partial, home)


# ── going on ────────────────────────────────────────────────────────────────────────────────────────────────────────

CHILD = """
import sys, msgspec
from pathlib import Path
from allod.egress import Egress
from allod.home import Home
from allod.models.transfer import Plan, Segment, Tuning, Watch, download
raw = msgspec.json.decode(sys.argv[1])
segments = tuple(msgspec.convert(s, Segment) for s in raw["segments"])
plan = Plan(raw["source"], raw["digest"], raw["size"], segments)
download(plan, Path(sys.argv[2]), Egress(Home.open()), Watch(), Tuning(streams=2, most_streams=2))
"""


def kill_midway(server: FileServer, plan: Plan, partial: Path, after: int) -> None:
    """Lets a child process download until so many bytes were sent, and kills it."""
    server.gate_at = after
    child = subprocess.Popen([sys.executable, "-c", CHILD, msgspec.json.encode(plan).decode(), str(partial)])
    try:
        assert server.held.wait(30)
        raw = [partial, *partial.parent.glob("partial.raw-????????????????")]
        while sum(bytes_recorded(journal_of(path)) for path in raw) < after - 2 * PIECE:  # until what came is noted
            time.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        server.gate.set()
        server.gate_at = None


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "deflated"])
def test_a_killed_download_loses_a_piece_a_stream_at_most(
    home: Home, server: FileServer, partial: Path, packed: bool
) -> None:
    plan = deflated_plan(server) if packed else plan_of(server)
    whole = sum(segment.length for segment in plan.segments)
    kill_midway(server, plan, partial, after=15 * MIB)
    before = server.body_bytes()
    assert before >= 14 * MIB
    had = fetch(plan, partial, home)
    again = server.body_bytes()
    assert partial.read_bytes() == DATA
    assert again - whole <= 2 * PIECE  # two streams
    if not packed:
        assert had >= before - 2 * PIECE


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_torn_journal_is_noticed(home: Home, server: FileServer, partial: Path, damage: str) -> None:
    kill_midway(server, plan_of(server), partial, after=15 * MIB)
    journal = journal_of(partial)
    content = bytearray(journal.read_bytes())
    if damage == "cut":
        content = content[:-7]
    elif damage == "flipped":
        content[60] ^= 1  # within the first record: nothing after it counts
    elif damage == "foreign":
        content[10] ^= 1  # another file's
    else:
        content.clear()
    journal.write_bytes(content)
    fetch(plan_of(server), partial, home)
    assert partial.read_bytes() == DATA


def test_what_the_disk_lost_is_fetched_again_and_no_more(home: Home, server: FileServer, partial: Path) -> None:
    kill_midway(server, plan_of(server), partial, after=15 * MIB)
    start, length, _ = Journal(journal_of(partial), bytes.fromhex(DIGEST[7:]), len(DATA)).stretches()[1]
    with partial.open("r+b") as file:  # a power cut: the record is there, the data is not
        file.seek(start)
        file.write(bytes(length))
    missing = len(DATA) - bytes_recorded(journal_of(partial))
    server.seen.clear()
    fetch(plan_of(server), partial, home, streams=2, most_streams=2)
    assert partial.read_bytes() == DATA
    assert server.body_bytes() <= missing + length + 2 * PIECE
    assert start in [seen.first for seen in server.seen]


def test_a_partial_file_without_its_journal_is_not_trusted(home: Home, server: FileServer, partial: Path) -> None:
    partial.write_bytes(bytes(len(DATA)))
    assert fetch(plan_of(server), partial, home) == 0
    assert partial.read_bytes() == DATA


def test_a_journal_without_its_partial_file_is_not_trusted(home: Home, server: FileServer, partial: Path) -> None:
    fetch(plan_of(server), partial, home)
    partial.unlink()
    assert fetch(plan_of(server), partial, home) == 0
    assert partial.read_bytes() == DATA


def test_a_stop_is_quick_and_keeps_what_came(home: Home, server: FileServer, partial: Path) -> None:
    stop = threading.Event()
    server.gate_at = 12 * MIB
    failures: list[BaseException] = []

    def work() -> None:
        try:
            download(plan_of(server), partial, Egress(home), Watch(stop=stop), msgspec.structs.replace(HASTY, stall=60))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert server.held.wait(10)
    since = time.monotonic()
    stop.set()
    thread.join(10)
    assert time.monotonic() - since < 2
    assert [type(failure) for failure in failures] == [Cancelled]
    had = bytes_recorded(journal_of(partial))
    server.gate.set()
    server.gate_at = None
    assert fetch(plan_of(server), partial, home) == had
    assert partial.read_bytes() == DATA


# ── two at once ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_two_one_fetches_and_the_other_waits_with_progress(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    server.gate_at = 14 * MIB
    reports: list[list[int]] = [[], []]
    waiting = threading.Event()

    def work(report: list[int]) -> None:
        def tell(done: int) -> None:
            report.append(done)
            if report is reports[1] and done >= 4 * MIB:
                waiting.set()

        obtain(store, DIGEST, lambda: plan_of(server), Egress(home), Watch(tell), PATIENT)

    first = threading.Thread(target=work, args=(reports[0],))
    second = threading.Thread(target=work, args=(reports[1],))
    first.start()
    assert server.held.wait(10)
    second.start()
    assert waiting.wait(10)
    server.gate.set()
    first.join(20)
    second.join(20)
    assert store.blob(DIGEST).read_bytes() == DATA
    assert server.body_bytes() == len(DATA)


def test_who_waits_goes_on_when_the_first_is_killed(home: Home, server: FileServer, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    script = CHILD.replace("import download", "import obtain").replace("Watch, download", "Watch, obtain")
    script = script[: script.index("download(plan,")] + (
        "from allod.models.store import Store\n"
        "obtain(Store(Path(sys.argv[2])), plan.digest, lambda: plan, Egress(Home.open()), Watch(), Tuning())\n"
    )
    server.gate_at = 14 * MIB
    plan = plan_of(server)
    child = subprocess.Popen([sys.executable, "-c", script, msgspec.json.encode(plan).decode(), str(store.root)])
    assert server.held.wait(30)
    waits = threading.Event()
    other = threading.Thread(
        target=obtain,
        args=(store, DIGEST, lambda: plan, Egress(home), Watch(lambda done: waits.set()), PATIENT),
    )
    other.start()
    assert waits.wait(10)
    child.kill()
    child.wait()
    server.gate.set()
    other.join(20)
    assert store.blob(DIGEST).read_bytes() == DATA
    assert server.body_bytes() <= len(DATA) + 8 * PIECE


# ── disks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 40 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_space_is_looked_at_first(home: Home, server: FileServer, small_disk: Path) -> None:
    (small_disk / "other").write_bytes(bytes(28 * MIB))
    with pytest.raises(DiskFull, match=r"not enough space in .*: 23 MB needed, 1\d MB free") as caught:
        fetch(plan_of(server), small_disk / "partial", home)
    assert server.seen == []
    assert "Free " in caught.value.remedy


def test_a_disk_that_fills_midway_keeps_what_came(home: Home, server: FileServer, small_disk: Path) -> None:
    partial = small_disk / "partial"
    other = small_disk / "other"

    def fill(done: int) -> None:
        if server.held.is_set() and not other.exists():
            other.write_bytes(bytes(25 * MIB))
            server.gate.set()

    slow = msgspec.structs.replace(HASTY, streams=1, most_streams=1)
    server.gate_at = 10 * MIB
    with pytest.raises(DiskFull, match="No space left on device"):
        download(plan_of(server), partial, Egress(home), Watch(fill), slow)
    assert partial.exists()
    had = bytes_recorded(journal_of(partial))
    assert had > 0
    other.unlink()
    server.gate_at = None
    assert fetch(plan_of(server), partial, home) == had
    assert partial.read_bytes() == DATA


def test_a_folder_that_cannot_be_written(home: Home, server: FileServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(Disk):
        fetch(plan_of(server), file / "partial", home)
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", sealed], capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        with pytest.raises(ReadOnly, match="Read-only file system"):
            fetch(plan_of(server), sealed / "partial", home)
    finally:
        subprocess.run(["umount", "-l", sealed], check=True)


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_download_is_one_row_of_the_ledger(home: Home, server: FileServer, partial: Path) -> None:
    egress = Egress(home)
    download(plan_of(server), partial, egress, Watch(), HASTY)
    (row,) = egress.ledger.rows()
    assert (row["purpose"], row["path"], row["status"], row["outcome"]) == ("pull", "/blob", 206, "done")
    assert len(DATA) < int(str(row["received"])) < len(DATA) + 10_000
