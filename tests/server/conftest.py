"""A scripted application for what protocols look like, and one live server with SmolLM2 for what they do."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from served import Live, Scripted, add_all

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store's folder with the models of `add_all`, made once."""
    home = Home.open({"ALLOD_HOME": str(tmp_path_factory.mktemp("small"))})
    add_all(home)
    return home.models


@pytest.fixture
def scripted(home: Home, small_models: Path) -> Scripted:
    shutil.copytree(small_models, home.models)
    return Scripted(home)


@contextmanager
def serving(smollm2_path: Path, folder: Path) -> Generator[Live]:
    """A running server whose store holds smollm2:135m."""
    environ = {**os.environ, "ALLOD_HOME": str(folder), "ALLOD_ENGINE_THREADS": "2"}
    environ |= {"ALLOD_ENGINE_CONTEXT": "1024", "ALLOD_ENGINE_SLOTS": "4", "ALLOD_OFFLINE": "1"}
    home = Home.open(environ)
    for _ in create(Store(home.models), "smollm2:135m", parse(f"FROM {smollm2_path}"), smollm2_path.parent):
        pass
    code = "from allod.home import Home; from allod.server.app import serve; serve(Home.open(), '127.0.0.1:0')"
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"listens on (http://[\d.:]+)", line)
        assert found, line + process.stderr.read()
        try:
            yield Live(found[1], home, psutil.Process(process.pid))
        finally:
            process.terminate()
            rest = process.communicate(timeout=20)[1]
            sys.stderr.write(rest)
    assert process.returncode == 0


@pytest.fixture(scope="session")
def live(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running server for all tests."""
    with serving(smollm2_path, tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
def doomed(smollm2_path: Path, tmp_path: Path) -> Iterator[Live]:
    """A running server for one test, which kills its workers: what crashed thrice in a minute stays dead."""
    with serving(smollm2_path, tmp_path / "doomed") as server:
        yield server


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    try:
        subprocess.run(
            [*command, "-keyout", folder / "key.pem", "-out", folder / "cert.pem"], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both
