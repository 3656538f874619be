"""Packages that a job installs for itself: into its own layer, from the index alone, gone with the job."""

import sys
import sysconfig
from pathlib import Path

import pytest
from workspace_tools import output, shell

from allod.egress import Egress
from allod.egress.ledger import Ledger
from allod.errors import BadSettings, Network, Unsupported
from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.workspace import Workspace, packages
from allod.interpreter.workspace.grants import parse

pytestmark = pytest.mark.anyio
TINY = "peppercorn"  # 5 kB, no dependencies, in nobody's standard set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def index(home: Home) -> None:
    """Skips where no package index answers."""
    try:
        url = f"{packages.index(home)}/{TINY}/"
        with Egress(home).door("pull", connect=5, stall=10) as door, door.open(url) as got:
            if got.status != 200:
                pytest.skip(f"the package index answers {got.status}")
    except Network as error:
        pytest.skip(f"no package index: {error.message}")


def installed() -> set[str]:
    return {path.name for path in Path(sysconfig.get_path("purelib")).iterdir()}


async def test_packages_are_installed_for_the_job_and_gone_with_it(home: Home, folder: Path, index: None) -> None:
    before = installed()
    workspace = Workspace.create(home, folder, parse(packages=True))
    async with Kernel.start(workspace) as kernel:
        said = await output(kernel, f"import {TINY}")
        assert f"%pip install {TINY}" in said
        said = await output(kernel, f"%pip install -q {TINY}==0.6")
        assert "ERROR" not in said
        assert "0.6" in await output(kernel, f"import {TINY}, importlib.metadata as m; m.version('{TINY}')")
        where = await output(kernel, f"{TINY}.__file__")
        assert packages.INSIDE in where
        # What allod's own Python has is there, and is left alone.
        said = await output(kernel, "%pip install msgspec\nimport msgspec; print(msgspec.__file__)")
        assert "already satisfied" in said
        assert packages.INSIDE not in said.splitlines()[-1]
    # A later kernel of the job, a shell of it and a fork have it too.
    assert packages.INSIDE in await shell(workspace, f"python3 -c 'import {TINY}; print({TINY}.__file__)'")
    fork = workspace.fork()
    assert packages.INSIDE in await shell(fork, f"python -c 'import {TINY}; print({TINY}.__file__)'; pip --version")
    assert workspace.changes() == []
    assert installed() == before
    hosts = {(row["purpose"], row["host"]) for row in Ledger(home).rows() if row["purpose"] == "job"}
    assert hosts
    for each in (workspace, fork):
        each.discard()
        assert not each.layers.exists()
    with Workspace.create(home, folder, parse(packages=True)) as other:
        assert "ModuleNotFoundError" in await shell(other, f"! python -c 'import {TINY}'")
        other.discard()


async def test_pip_works_from_the_shell_and_from_a_program(home: Home, folder: Path, index: None) -> None:
    workspace = Workspace.create(home, folder, parse(packages=True))
    async with Kernel.start(workspace) as kernel:
        said = await output(kernel, f"!pip install -q {TINY}\nimport {TINY}; print({TINY}.__file__)")
        assert packages.INSIDE in said
        said = await output(
            kernel,
            "import subprocess, sys\n"
            f"subprocess.run([sys.executable, '-m', 'pip', 'uninstall', '-y', '{TINY}'], check=True)\n"
            f"print(subprocess.run(['pip', 'list'], capture_output=True, text=True).stdout.count('{TINY}'))",
        )  # fmt: skip
        assert said.rstrip().endswith("0")
    workspace.discard()


async def test_another_version_of_what_is_there_comes_first_and_the_old_one_stays(
    home: Home, folder: Path, index: None
) -> None:
    import importlib.metadata

    old = importlib.metadata.version("iniconfig")
    other = "2.0.0" if old != "2.0.0" else "2.1.0"
    workspace = Workspace.create(home, folder, parse(packages=True))
    code = "import importlib.metadata as m; print(m.version('iniconfig'))"
    assert (await shell(workspace, f'python -c "{code}"')).strip() == old
    said = await shell(workspace, f'pip install -q iniconfig=={other}; python -c "{code}"')
    assert said.splitlines()[-1] == other
    assert importlib.metadata.version("iniconfig") == old
    workspace.discard()


async def test_only_the_index_is_reached(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder, parse(packages=True))
    fetch = "import urllib.request; urllib.request.urlopen('http://example.org/', timeout=5)"
    said = await shell(workspace, '! "$1" -c "$2"', sys.executable, fetch)
    assert "HTTP Error 403: example.org:80 is not granted" in said
    workspace.discard()


async def test_offline_says_so(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    home = Home.open()
    workspace = Workspace.create(home, folder, parse(packages=True))
    said = await shell(workspace, f"! pip install --retries 1 {TINY} 2>&1")
    assert "403 offline mode" in said
    workspace.discard()


async def test_without_the_grant_the_error_names_it_and_another_way(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    async with Kernel.start(workspace) as kernel:
        said = await output(kernel, "import xlwt")
        assert "openpyxl" in said
        assert "allod do --packages" in said
        said = await output(kernel, f"import {TINY}.sub")
        assert f"{TINY} is not installed" in said
        assert "allod do --packages" in said
        assert "use PIL" in await output(kernel, "import cv2")
        assert "allod do" not in await output(kernel, "import json.nothing")
    workspace.discard()


async def test_a_job_cannot_have_its_environment_made_elsewhere(home: Home, folder: Path, tmp_path: Path) -> None:
    """A link that code puts in the place of the environment is never written through."""
    victim = tmp_path / "victim"
    victim.mkdir()
    workspace = Workspace.create(home, folder, parse(packages=True))
    await shell(workspace, 'rm -r ~/.packages; ln -s "$1" ~/.packages', str(victim))
    fork = workspace.fork()
    assert list(victim.iterdir()) == []
    for each in (workspace, fork):
        each.discard()
    assert victim.exists()


def test_an_index_that_code_cannot_use_is_told_at_once(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://user:secret@pypi.example.org/simple")
    with pytest.raises(BadSettings) as caught:
        Workspace.create(home, folder, parse(packages=True))
    assert "secret" not in caught.value.message
    monkeypatch.setenv("PIP_INDEX_URL", "file:///srv/wheels")
    with pytest.raises(BadSettings):
        Workspace.create(home, folder, parse(packages=True))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:3141/team/pypi")
    assert packages.index_hosts(home) == ("127.0.0.1:3141",)
    monkeypatch.delenv("PIP_INDEX_URL")
    assert packages.index_hosts(home) == ("pypi.org:443", "files.pythonhosted.org:443")


def test_without_pip_the_one_that_python_brings_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert packages.pip_wheel() == ""
    real = packages.importlib.util.find_spec
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    try:
        wheel = packages.pip_wheel()
    except Unsupported as error:
        assert "ensurepip" in error.remedy
    else:
        assert Path(wheel).name.startswith("pip-")
        assert wheel in packages.parents(wheel)
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(packages, "WHEELS", tmp_path)
    with pytest.raises(Unsupported):
        packages.pip_wheel()
