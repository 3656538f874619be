"""The command line as a person meets it: in this process for its words, in one of its own for start-up and signals."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Allod, Run, Script
from scripted_server import ScriptedServer

from allod.cli import app
from allod.home import Home

sys.path.append(str(Path(__file__).parent.parent / "models"))  # servers.py: registries on loopback


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``code, out, err = run("list", "--json")`` in this process."""

    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = app.run(args)
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def allod() -> Allod:
    """``allod("run", "m", input="text")``: the installed console script in a process of its own; stdin is empty."""
    script = Path(sys.executable).with_name("allod")
    assert script.exists(), "pip install -e . makes it"

    def call(*args: str, **kwargs: object) -> "subprocess.CompletedProcess[str]":
        options: dict[str, object] = {"text": True, "capture_output": True, "timeout": 60}
        if "input" not in kwargs:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run([script, *args], **options | kwargs)

    return call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "keep.txt").write_text("keep me\n")
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def model(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    running: list[ScriptedServer] = []
    # One attempt, so that the script says all that is asked for.
    (home.config / "profiles").mkdir(parents=True)
    (home.config / "profiles" / "default.toml").write_text("[bounds]\nattempts = 1\nagree = 1\n")

    def script(*replies: str) -> ScriptedServer:
        server = ScriptedServer(list(replies))
        server.__enter__()
        running.append(server)
        monkeypatch.setenv("ALLOD_HOST", server.host)
        return server

    yield script
    for server in running:
        server.__exit__()
