"""Grants: what is asked for is given and nothing else; what makes no sense is told in words."""

import os
from pathlib import Path

import pytest

from allod.errors import AllodError, BadRequest, NotFound, ReadOnly
from allod.home import Home
from allod.interpreter.workspace import Grants, Workspace
from allod.interpreter.workspace.grants import host_of, parse

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "a.txt").write_text("a\n")
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other"
    (path / "deep").mkdir(parents=True)
    (path / "b.txt").write_text("b\n")
    (path / "deep" / "c.txt").write_text("c\n")
    return path


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.org", "example.org"),
        (" Example.ORG. ", "example.org"),
        ("*.example.org", "*.example.org"),
        ("*.example.org:8443", "*.example.org:8443"),
        ("localhost:8000", "localhost:8000"),
        ("nas", "nas"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("::1", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ("_dmarc.example.org", "_dmarc.example.org"),
    ],
)
def test_hosts_are_written_one_way(text: str, host: str) -> None:
    assert host_of(text) == host
    assert host_of(host) == host


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "*", "*.", "*.org", "*.127.0.0.1", "https://example.org", "example.org/path", "user@example.org",
        "example.org:", "example.org:0", "example.org:65536", "example.org:http", "example.org:８０", "exa mple.org",
        "a..b", "-a.org", "a-.org", "127.1", "0x7f.1", "2130706433", "0x7f000001", "1.2.3.4.5", "[::1", "[::1]x",
        "*.*.example.org", "ex*mple.org", "a\n.org", "x" * 64 + ".org", ".".join(["abc"] * 80), "a\0.org", "[nas]:x",
        "[nas]",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        host_of(text)
    assert caught.value.remedy
    assert "\n" not in caught.value.message


def test_parse_keeps_each_thing_once(other: Path, folder: Path) -> None:
    grants = parse(read=[other, str(other)], folders=[folder], net=["a.org", "A.org"], packages=True)
    assert grants == Grants((other,), (folder,), ("a.org",), True)
    assert parse() == Grants()
    assert grants.outside
    assert not parse(packages=True).outside


@pytest.mark.parametrize("text", ["/", "/etc", "/proc/self", "/dev", "/home", "/sys"])
def test_folders_of_the_system_are_not_granted(text: str) -> None:
    for wanted in ({"read": [text]}, {"folders": [text]}):
        with pytest.raises(BadRequest, match="belongs to the system"):
            parse(**wanted)


def test_folders_that_cannot_be_granted(folder: Path, other: Path, tmp_path: Path, home: Home) -> None:
    for bad in ("missing", "nul\0", "~nobody-of-this-name/x"):
        with pytest.raises(NotFound, match="no folder"):
            parse(read=[tmp_path / bad])
    with pytest.raises(BadRequest, match="is not a folder"):
        parse(folders=[folder / "a.txt"])
    with pytest.raises(BadRequest, match="is in"):
        parse(folders=[other, other / "deep"])
    with pytest.raises(BadRequest, match="is in"):
        parse(folders=[other], read=[other / "deep"])
    link = tmp_path / "link"
    link.symlink_to(other)
    for grants in (parse(folders=[other / "deep"]), parse(folders=[link]), parse(read=[other / "deep"])):
        with pytest.raises(BadRequest, match=r"is in|own folder"):
            Workspace.create(home, other, grants)
    with pytest.raises(BadRequest, match="is in"):
        Workspace.create(home, other / "deep", parse(folders=[other]))
    for own in (home.data, home.config):
        own.mkdir(parents=True, exist_ok=True)
        with pytest.raises(BadRequest, match="allod's own"):
            Workspace.create(home, folder, parse(read=[own]))
        with pytest.raises(BadRequest, match="allod's own"):
            Workspace.create(home, folder, parse(folders=[own]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_read(other: Path) -> None:
    other.chmod(0)
    try:
        with pytest.raises(ReadOnly):
            parse(read=[other])
    finally:
        other.chmod(0o700)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AllodError) as caught:
        parse(net=["https://example.org/x"])
    assert "example.org:8080" in caught.value.remedy


def test_forks_keep_the_grants(home: Home, folder: Path, other: Path) -> None:
    grants = parse(read=[other], net=["example.org"])
    with Workspace.create(home, folder, grants) as workspace:
        assert workspace.grants == grants
        fork = workspace.fork()
        assert fork.grants == grants
        fork.discard()
        workspace.discard()
