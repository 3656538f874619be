"""Pushing: to Debian's docker-registry, and to registries that break off, lie, or want the model elsewhere."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from servers import docker_registry

from allod.egress import Egress
from allod.errors import BadName, ModelNotFound, Network, Offline
from allod.home import Home
from allod.models import push as module
from allod.models.progress import Progress
from allod.models.pull import pull
from allod.models.push import push
from allod.models.store import MODEL, PARAMS, Manifest, Store

pytestmark = pytest.mark.anyio
BLOB = os.urandom(300_000)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 100_000)
    monkeypatch.setattr(module, "PAUSE", 0.01)


@pytest.fixture
def store(home: Home) -> Store:
    return Store(home.models)


def put(store: Store, name: str) -> bytes:
    """A model of two layers; its manifest's bytes."""
    layers = [store.add_bytes(BLOB, MODEL), store.add_bytes(b'{"seed":1}', PARAMS)]
    store.write(name, Manifest(store.add_bytes(b'{"model_format":"gguf"}', "application/json"), layers))
    return store.read_manifest(name)


async def pushed(home: Home, store: Store, name: str, **more: Any) -> list[Progress]:
    return [step async for step in push(name, home, store, Egress(home), **more)]


# ── a real registry ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    with docker_registry(tmp_path) as host:
        yield host


async def test_what_was_pushed_is_pulled_with_the_same_digest(home: Home, store: Store, registry: str) -> None:
    name = f"{registry}/office/letters:1b"
    raw = put(store, name)
    steps = await pushed(home, store, name)
    assert [step.status for step in steps if not step.digest] == [
        "retrieving manifest",
        "pushing manifest",
        "success",
    ]
    counts = [step.completed for step in steps if step.digest == digest(BLOB)]
    assert counts == [0, 100_000, 200_000, 300_000]
    assert not list((store.state / "pushes").iterdir())

    store.delete(name)
    async for _ in pull(name, home, store, Egress(home)):
        pass
    assert store.read_manifest(name) == raw
    again = await pushed(home, store, name)
    assert [step.completed for step in again if step.digest == digest(BLOB)] == [300_000], "it has that already"
    rows = [dict(row) for row in home.db().execute("SELECT * FROM ledger")]
    assert any(row["purpose"] == "push" for row in rows), "and all of it is in the ledger"


async def test_a_push_that_was_left_goes_on(home: Home, store: Store, registry: str) -> None:
    name = f"{registry}/office/letters:1b"
    put(store, name)
    steps = push(name, home, store, Egress(home))
    async for step in steps:
        if step.digest == digest(BLOB) and step.completed == 200_000:
            break
    await steps.aclose()
    counts = [step.completed for step in await pushed(home, store, name) if step.digest == digest(BLOB)]
    assert counts == [200_000, 300_000]


# ── registries that are not what they should be ─────────────────────────────────────────────────────────────────────


class Strange(BaseHTTPRequestHandler):
    """A registry in memory. ``faults`` are taken one by one: what goes wrong with the next piece."""

    protocol_version = "HTTP/1.1"
    faults: ClassVar[list[str]] = []
    uploads: ClassVar[dict[str, bytes]] = {}
    blobs: ClassVar[dict[str, bytes]] = {}
    manifests: ClassVar[dict[str, bytes]] = {}
    elsewhere: ClassVar[str] = ""

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.say(200 if self.path.rpartition("/")[2] in self.blobs else 404)

    def do_GET(self) -> None:
        held = self.uploads.get(self.path)
        if held is None:
            self.say(404)
        else:
            self.say(204, location=self.path, range=f"0-{max(0, len(held) - 1)}")

    def do_POST(self) -> None:
        fault = self.faults.pop(0) if self.faults and self.faults[0].startswith("post") else ""
        if fault == "post 403":
            self.say(403, b'{"errors": []}')
        elif fault == "post elsewhere":
            self.say(202, location="http://127.0.0.2:9/v2/x/blobs/uploads/1")
        elif fault == "post nowhere":
            self.say(202)
        elif fault == "post redirect":
            self.say(307, location="http://127.0.0.2:9/")
        else:
            path = f"{self.path}{len(self.uploads)}"
            self.uploads[path] = b""
            self.say(202, location=path, range="0-0")

    def do_PATCH(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "break":
            self.uploads[self.path] += data[:1234]
            self.close_connection = True
            self.connection.close()
            return
        if fault == "503":
            self.say(503)
            return
        if fault == "forget":
            self.uploads.clear()
            self.say(500)
            return
        start = int((re.match(r"(\d+)-", self.headers["content-range"]) or [0, 0])[1])
        if start != len(self.uploads[self.path]):
            self.say(416, range=f"0-{len(self.uploads[self.path]) - 1}")
            return
        self.uploads[self.path] += data
        self.say(202, location=self.path, range=f"0-{len(self.uploads[self.path]) - 1}")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if "/manifests/" in self.path:
            self.manifests[self.path] = data
            self.say(201)
            return
        path, _, query = self.path.partition("?digest=")
        wanted = query.replace("%3A", ":")
        if digest(self.uploads[path]) != wanted:
            self.say(400, b"digest invalid")
            return
        self.blobs[wanted] = self.uploads.pop(path)
        self.say(201)


@pytest.fixture
def strange() -> Iterator[tuple[str, type[Strange]]]:
    class Own(Strange):
        faults: ClassVar[list[str]] = []
        uploads: ClassVar[dict[str, bytes]] = {}
        blobs: ClassVar[dict[str, bytes]] = {}
        manifests: ClassVar[dict[str, bytes]] = {}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", Own
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("faults", [["break"], ["503", "503"], ["forget"], ["break", "503", "break"]])
async def test_what_breaks_off_goes_on(
    home: Home, store: Store, strange: tuple[str, type[Strange]], faults: list[str]
) -> None:
    host, registry = strange
    registry.faults.extend(faults)
    name = f"{host}/me/mine:1b"
    raw = put(store, name)
    assert (await pushed(home, store, name))[-1].status == "success"
    assert registry.blobs[digest(BLOB)] == BLOB
    assert registry.manifests == {"/v2/me/mine/manifests/1b": raw}
    assert not registry.faults


async def test_it_gives_up_and_the_next_push_goes_on(
    home: Home, store: Store, strange: tuple[str, type[Strange]]
) -> None:
    host, registry = strange
    registry.faults.extend(["", *["503"] * module.TRIES])
    name = f"{host}/me/mine:1b"
    put(store, name)
    with pytest.raises(Network, match="answered 503") as error:
        await pushed(home, store, name)
    assert "goes on where it stopped" in error.value.remedy
    assert not registry.manifests, "nothing is listed that is not whole"
    counts = [step.completed for step in await pushed(home, store, name) if step.digest == digest(BLOB)]
    assert counts == [100_000, 200_000, 300_000]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("post 403", "does not let us push"),
        ("post elsewhere", "which is not its own host"),
        ("post nowhere", "does not say where"),
        ("post redirect", "sends the upload elsewhere"),
    ],
)
async def test_refusals(home: Home, store: Store, strange: tuple[str, type[Strange]], fault: str, says: str) -> None:
    host, registry = strange
    registry.faults.append(fault)
    name = f"{host}/me/mine:1b"
    put(store, name)
    with pytest.raises(Network, match=says):
        await pushed(home, store, name)
    assert not registry.manifests and not registry.blobs


async def test_a_blob_that_was_changed_on_disk(home: Home, store: Store, strange: tuple[str, type[Strange]]) -> None:
    host, registry = strange
    name = f"{host}/me/mine:1b"
    put(store, name)
    path = store.blob(digest(BLOB))
    path.chmod(0o644)
    path.write_bytes(b"x" * len(BLOB))
    with pytest.raises(Network, match="answered 400: digest invalid"):
        await pushed(home, store, name)
    assert not registry.manifests


async def test_what_is_not_here_and_names_that_are_none(home: Home, store: Store) -> None:
    with pytest.raises(ModelNotFound):
        await pushed(home, store, "127.0.0.1:1/me/none")
    with pytest.raises(BadName):
        await pushed(home, store, "../../etc/passwd")
    put(store, "registry.example.org/me/mine")
    with pytest.raises(BadName, match="without TLS is refused"):
        await pushed(home, store, "http://registry.example.org/me/mine")
    home.settings.offline = True
    with pytest.raises(Offline):
        await pushed(home, store, "registry.example.org/me/mine")


async def test_nobody_listens(home: Home, store: Store) -> None:
    put(store, "127.0.0.1:9/me/mine")
    with pytest.raises(Network, match="cannot be reached"):
        await pushed(home, store, "127.0.0.1:9/me/mine")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", json.dumps({"base": "x", "url": "http://elsewhere/"}).encode()])
async def test_notes_of_earlier_pushes_that_make_no_sense(
    home: Home, store: Store, strange: tuple[str, type[Strange]], data: bytes
) -> None:
    host, _ = strange
    name = f"{host}/me/mine:1b"
    put(store, name)
    folder = store.state / "pushes"
    folder.mkdir(parents=True)
    (folder / f"{digest(BLOB).replace(':', '-')}.json").write_bytes(data)
    assert (await pushed(home, store, name))[-1].status == "success"
