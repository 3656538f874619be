"""What the command line does where a server runs: on this machine, and on one elsewhere."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Allod, Run

from allod.cli import library, remote
from allod.errors import AllodError, ModelNotFound, Network
from allod.home import Home
from allod.models.store import Store


@pytest.fixture
def server(smollm2_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """``allod serve`` in a process of its own; ALLOD_HOST names it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("ALLOD_HOST", host)
    monkeypatch.setenv("ALLOD_ENGINE_THREADS", "2")
    script = Path(sys.executable).with_name("allod")
    child = subprocess.Popen([script, "serve"], stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert child.stderr is not None
    line = child.stderr.readline()
    assert host in line, line
    yield host
    child.terminate()
    assert child.wait(timeout=20) == 0


@pytest.mark.usefixtures("server")
def test_run_ps_and_stop_use_the_server(allod: Allod, run: Run):
    assert run("ps")[1].split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
    assert run("ps", "--json")[1] == "[]\n"
    done = allod("run", "smollm2", "Say hello", "--num-ctx", "1024", "--keepalive", "9m", "--format", '{"const": "hi"}')
    assert done.returncode == 0, done.stderr
    assert done.stdout == '"hi"\n'
    head, row = run("ps")[1].splitlines()
    name, digest, _, unit, *rest = row.split()
    assert (name, len(digest), unit, rest[:3]) == ("smollm2:135m", 12, "MB", ["100%", "CPU", "1024"])
    assert row[head.index("UNTIL") :] in ("8 minutes from now", "9 minutes from now")
    assert run("ps", "qwen")[1].splitlines()[1:] == []
    assert json.loads(run("ps", "--json")[1])[0]["processor"] == "100% CPU"
    assert run("stop", "nobody")[0] == 1
    assert run("stop", "smollm2") == (0, "", "")
    assert run("ps", "--json")[1] == "[]\n"
    code, _, err = run("stop", "smollm2")
    assert code == 1 and "not in memory" in err


@pytest.mark.usefixtures("home")
def test_without_a_server_nothing_is_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_HOST", "127.0.0.1:9")
    code, out, err = run("ps")
    assert code == 0 and out.split()[0] == "NAME" and "No server is running at 127.0.0.1:9" in err
    assert run("ps", "--json")[:2] == (0, "[]\n")
    assert run("stop", "smollm2")[0] == 1


@pytest.mark.usefixtures("server")
def test_the_models_of_another_machine(run: Run, monkeypatch: pytest.MonkeyPatch, smollm2_home: Home):
    here = json.loads(run("list", "--json")[1])
    shown = run("show", "smollm2", "--template")[1]
    monkeypatch.setattr(library, "is_here", lambda _host: False)
    there = json.loads(run("list", "--json")[1])
    assert [{k: v for k, v in m.items() if k != "modified_at"} for m in there] == [
        {k: v for k, v in m.items() if k != "modified_at"} for m in here
    ]
    assert there[0]["modified_at"][:19] == here[0]["modified_at"][:19]
    assert run("show", "smollm2", "--template")[1] == shown
    assert "architecture" in run("show", "smollm2")[1]
    assert run("cp", "smollm2:135m", "other")[0] == 0
    assert run("rm", "other")[1] == "deleted 'other'\n"
    code, _, err = run("rm", "other")
    assert code == 1 and "not found" in err
    code, out, _ = run("pull", "smollm2:135m", "--json")  # is there already, so the network is not needed
    assert code == 0 and json.loads(out.splitlines()[-1])["status"] == "success"
    assert [str(m.name) for m in Store(smollm2_home.models).list()] == ["smollm2:135m"]


@pytest.mark.usefixtures("home")
def test_another_machine_that_does_not_answer(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_HOST", "127.0.0.1:9")
    monkeypatch.setattr(library, "is_here", lambda _host: False)
    for command in (("list",), ("show", "x"), ("rm", "x"), ("cp", "x", "y"), ("pull", "x")):
        code, out, err = run(*command)
        assert (code, out) == (1, "") and "no server answers at http://127.0.0.1:9" in err


@pytest.mark.usefixtures("home")
def test_another_machine_in_offline_mode(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_HOST", "http://192.0.2.1:11435")
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    code, _, err = run("list")
    assert code == 1 and "offline mode" in err


def test_the_hosts_that_are_this_machine():
    here = (
        "127.0.0.1:11435",
        "localhost",
        "0.0.0.0:80",
        "[::1]:11435",
        "http://localhost:1/",
        "127.9.9.9",
        "box.localhost",
    )
    there = ("192.168.1.2:11435", "box.lan", "https://models.example.org", "[2001:db8::1]:80", "127.0.0.1.example.org")
    assert all(map(library.is_here, here))
    assert not any(map(library.is_here, there))


# ── what servers say ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, b'{"error": "model \'x\' not found"}', ModelNotFound, "model 'x' not found"),
        (500, b'{"error": "out of memory"}', AllodError, "out of memory"),
        (502, b"<html>Bad gateway</html>", AllodError, "status 502"),
        (500, b"\xff\xfe", AllodError, "status 500"),
        (400, b"[]", AllodError, "status 400"),
    ],
)
def test_error_answers(status: int, body: bytes, kind: type[AllodError], text: str):
    error = remote.said(status, body)
    assert isinstance(error, kind) and text in error.message and error.status == status


def test_an_error_within_a_stream():
    with pytest.raises(AllodError, match="digest mismatch"):
        remote.checked({"error": "digest mismatch"})


def test_answers_that_make_no_sense():
    with pytest.raises(Network):
        remote.rows({"models": [{"size": "many"}]}, remote.Tag)
    with pytest.raises(Network):
        remote.as_object(b"not json")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01T12:00:00Z", 1772366400),
        ("2026-03-01T12:00:00.123456789+01:00", 1772362800.123456),
        ("2026-03-01T12:00:00.5Z", 1772366400.5),
        ("nonsense", 0),
        ("", 0),
    ],
)
def test_gos_times(text: str, seconds: float):
    assert remote.when(text).timestamp() == pytest.approx(seconds)
