"""``allod pull``: bars, Ctrl-C and going on, from a registry on loopback that can be held."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from command_line import Allod, Run
from servers import FileServer

from allod.home import Home
from allod.models.manifest import CONFIG, MANIFEST, MODEL
from allod.models.store import Store

CONFIG_BLOB = b'{"model_format":"gguf","model_family":"llama"}'


@pytest.fixture
def registry(smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serves SmolLM2 as ``library/tiny:latest``; ``ALLOD_HOST`` is nobody."""
    monkeypatch.setenv("ALLOD_HOST", "127.0.0.1:9")
    weights = smollm2_path.read_bytes()
    layers = [(MODEL, weights), (CONFIG, CONFIG_BLOB)]
    entries = [
        {"mediaType": kind, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
        for kind, data in layers
    ]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": entries[1], "layers": entries[:1]}
    files: dict[str, object] = {"/v2/library/tiny/manifests/latest": json.dumps(manifest).encode()}
    for entry, (_, data) in zip(entries, layers, strict=True):
        files[f"/v2/library/tiny/blobs/{entry['digest']}"] = data
    with FileServer(files) as server:
        yield server


def name_at(server: FileServer) -> str:
    return f"http://{server.host}/library/tiny:latest"


def test_progress_goes_to_stderr_a_line_every_ten_per_cent(allod: Allod, registry: FileServer, home: Home):
    done = allod("pull", name_at(registry))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    lines = done.stderr.splitlines()
    assert lines[0] == "pulling manifest" and lines[-1] == "success"
    steps = [line for line in lines if line.startswith("pulling b179c9523d0e")]
    assert 2 <= len(steps) <= 11 and "100%  98 MB/98 MB" in steps[-1]
    assert "\x1b" not in done.stderr
    (model,) = Store(home.models).list()
    assert model.size > 98_000_000


def test_progress_as_json(allod: Allod, registry: FileServer, home: Home):
    done = allod("pull", name_at(registry), "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0] == {"status": "pulling manifest"} and events[-1] == {"status": "success"}
    assert any(event.get("total") == 98_362_432 for event in events)
    assert done.stderr == ""


@pytest.mark.usefixtures("home")
def test_ctrl_c_keeps_what_has_come_and_the_next_pull_goes_on(allod: Allod, registry: FileServer):
    registry.gate_at = 60 << 20
    child = subprocess.Popen(
        [Path(sys.executable).with_name("allod"), "pull", name_at(registry)], stderr=subprocess.PIPE, text=True
    )
    assert registry.held.wait(30)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert f"`allod pull {name_at(registry)}` goes on from here" in err and "Traceback" not in err
    registry.gate.set()
    before = registry.body_bytes("/blobs/")
    done = allod("pull", name_at(registry))
    assert done.returncode == 0, done.stderr
    fetched = registry.body_bytes("/blobs/") - before
    assert fetched < 75 << 20, "what was here is not fetched again"
    first = next(line for line in done.stderr.splitlines() if line.startswith("pulling b179"))
    assert int(re.findall(r"(\d+)%", first)[0]) > 20


@pytest.mark.usefixtures("home")
def test_bars_on_a_terminal(registry: FileServer):
    script = str(Path(sys.executable).with_name("allod"))
    child: pexpect.spawn[str] = pexpect.spawn(
        script, ["pull", name_at(registry)], env=dict(os.environ), encoding="utf-8", timeout=30, dimensions=(24, 80)
    )
    child.expect(r"pulling b179c9523d0e +\d+% ▕")
    child.expect(r"100% ▕█+▏ +98 MB")
    child.expect("success")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


@pytest.mark.usefixtures("home")
def test_what_cannot_be_pulled(run: Run, registry: FileServer):
    code, _, err = run("pull", f"http://{registry.host}/library/nobody:latest")
    assert code == 1 and "Error: " in err and "Traceback" not in err
    code, _, err = run("pull", "http://127.0.0.1:9/library/tiny:latest")
    assert code == 1 and "127.0.0.1:9" in err
    code, _, err = run("pull", "../../etc/passwd")
    assert code == 2 and "not a model name" in err


def test_run_pulls_what_is_missing(allod: Allod, registry: FileServer, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_ENGINE_THREADS", "2")
    done = allod("run", name_at(registry), "Say hello", "--num-ctx", "512", "--format", '{"const": "hi"}')
    assert (done.returncode, done.stdout) == (0, '"hi"\n'), done.stderr
    assert "success" in done.stderr
    assert len(Store(home.models).list()) == 1


def test_create_pulls_what_from_names(allod: Allod, registry: FileServer, home: Home):
    done = allod("create", "mine", "-f", "-", input=f"FROM {name_at(registry)}\nSYSTEM Be brief.\n")
    assert done.returncode == 0, done.stderr
    assert Store(home.models).get("mine").system == "Be brief."
    assert len(Store(home.models).list()) == 2
