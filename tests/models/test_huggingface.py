"""The hub: which files make a build, where they are, and who sees the token."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from allod.egress import Egress
from allod.errors import ModelNotFound, Network
from allod.home import Home
from allod.models.sources.huggingface import Hub, HubFile, choose
from allod.models.sources.web import Web
from allod.models.transfer import Tuning, Watch, download
from models.servers import FileServer, HubServer

REPO = "someone/Tiny-GGUF"
DATA = os.urandom(5_000_000)


@pytest.fixture
def server() -> Iterator[HubServer]:
    server = HubServer()
    server.add(REPO, "tiny-q4_k_m.gguf", DATA)
    server.add(REPO, "README-large.md", b"# Tiny")
    with server:
        yield server


@pytest.fixture
def web(home: Home) -> Iterator[Web]:
    with Egress(home).door("pull", stall=2) as door:
        yield Web(door, Watch())


def file(path: str, size: int = 1) -> HubFile:
    return HubFile(path, size, hashlib.sha256(path.encode()).hexdigest())


def test_the_listing_tells_sizes_and_digests(server: HubServer, web: Web) -> None:
    found = Hub(web, server.url).files(REPO)
    assert found[0] == HubFile("tiny-q4_k_m.gguf", len(DATA), hashlib.sha256(DATA).hexdigest())
    with pytest.raises(ModelNotFound, match="has no repository someone/nothing"):
        Hub(web, server.url).files("someone/nothing")


def test_a_listing_in_several_pages(server: HubServer, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.models.sources.huggingface.PAGES", 5)
    entries = [{"path": f"{i}.gguf", "lfs": {"oid": "ab" * 32, "size": 1}} for i in range(3)]

    def page(seen: object) -> object:
        at = int(seen.path.partition("cursor=")[2] or 0)  # type: ignore[attr-defined]
        url = f"{server.url}/api/models/a/b/tree/main?cursor={at + 1}"
        return 200, {"Link": f'<{url}>; rel="next"'} if at < 2 else {}, json.dumps(entries[at : at + 1]).encode()

    server.files["/api/models/a/b/tree/main"] = page
    assert [f.path for f in Hub(web, server.url).files("a/b")] == ["0.gguf", "1.gguf", "2.gguf"]
    server.files["/api/models/a/b/tree/main"] = lambda seen: (
        200,
        {"Link": f'<{server.url}/api/models/a/b/tree/main>; rel="next"'},
        b"[]",
    )
    with pytest.raises(Network, match="too many files"):
        Hub(web, server.url).files("a/b")


@pytest.mark.parametrize("body", [b"", b"{}", b"5", b"<html>"])
def test_a_listing_that_is_none(server: HubServer, web: Web, body: bytes) -> None:
    server.files["/api/models/a/b/tree/main"] = body
    with pytest.raises(Network):
        Hub(web, server.url).files("a/b")


def test_entries_that_make_no_sense_are_left_out(server: HubServer, web: Web) -> None:
    odd = [5, None, {}, {"path": "a"}, {"path": "a", "lfs": None}, {"path": "a", "lfs": {"oid": "x", "size": 1}}]
    odd += [{"path": "a", "lfs": {"oid": "ab" * 32, "size": -1}}, {"path": "a", "lfs": {"oid": "ab" * 32, "size": "x"}}]
    server.files["/api/models/a/b/tree/main"] = json.dumps(odd).encode()
    assert Hub(web, server.url).files("a/b") == []


def test_the_token_is_for_the_hub_alone(home: Home, server: HubServer, web: Web, tmp_path: Path) -> None:
    sha = hashlib.sha256(DATA).hexdigest()
    with FileServer({f"/cdn/{sha}": DATA}) as cdn:
        away = {"Location": f"{cdn.url}/cdn/{sha}?signature=1"}
        server.files[f"/{REPO}/resolve/main/tiny-q4_k_m.gguf"] = lambda seen: (302, away, b"")
        hub = Hub(web, server.url, "hf_secret\n")
        found = hub.files(REPO)[0]
        plan = hub.plan(REPO, found.path, "main", f"sha256:{found.sha256}", found.size)
        download(plan, tmp_path / "partial", Egress(home), Watch(), Tuning(stall=2))
        assert (tmp_path / "partial").read_bytes() == DATA
        assert {seen.headers.get("authorization") for seen in server.seen} == {"Bearer hf_secret"}
        assert {seen.headers.get("authorization") for seen in cdn.seen} == {None}


FILES = [
    file("Tiny-Q4_K_M.gguf"),
    file("Tiny-Q4_K_S.gguf"),
    file("Tiny.Q8_0.gguf"),
    file("BF16/Tiny-BF16-00001-of-00002.gguf"),
    file("BF16/Tiny-BF16-00002-of-00002.gguf"),
    file("F16/Tiny-F16-00001-of-00003.gguf"),  # 2 and 3 are missing
    file("mmproj-Tiny-Q8_0.gguf"),
    file("mmproj-Tiny-f16.gguf"),
    file("config.json"),
]


@pytest.mark.parametrize(
    ("quant", "paths"),
    [
        ("", ["Tiny-Q4_K_M.gguf"]),
        ("latest", ["Tiny-Q4_K_M.gguf"]),
        ("q4_k_s", ["Tiny-Q4_K_S.gguf"]),
        ("Q8_0", ["Tiny.Q8_0.gguf"]),
        ("BF16", ["BF16/Tiny-BF16-00001-of-00002.gguf", "BF16/Tiny-BF16-00002-of-00002.gguf"]),
        ("Q4_K", None),
        ("F16", None),
        (".*", None),
    ],
)
def test_the_files_of_a_quantisation(quant: str, paths: list[str] | None) -> None:
    chosen = choose(FILES, quant)
    assert (chosen and [part.path for part in chosen.weights]) == paths
    if chosen:
        assert chosen.projector is not None
        assert chosen.projector.path == "mmproj-Tiny-f16.gguf"


def test_where_no_usual_quantisation_is_there() -> None:
    chosen = choose([file("odd.gguf"), file("readme.md")])
    assert chosen is not None
    assert (chosen.weights[0].path, chosen.projector) == ("odd.gguf", None)
    assert choose([file("readme.md"), file("mmproj-x.gguf")]) is None
    assert choose([]) is None
