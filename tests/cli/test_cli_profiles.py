"""allod profiles: listing, showing, making, editing; what is wrong is said on leaving the editor."""

import json
import sys
import tomllib
from pathlib import Path

import pexpect
import pytest
from command_line import Run

from allod.home import Home


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that stands for the person's editor; write the commands into it."""
    path = tmp_path / "editor.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(path))
    monkeypatch.delenv("VISUAL", raising=False)
    return path


def test_list(run: Run, home: Home) -> None:
    code, out, err = run("profiles", "list")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["NAME", "MODEL", "ABOUT"]
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "careful", "codestral", "default", "fast", "large", "llama3", "moondream", "small",
    ]  # fmt: skip
    rows = json.loads(run("profiles", "list", "--json")[1])
    assert {"name": "fast", "mine": False, "error": ""}.items() <= rows[3].items()


def test_a_broken_one_is_in_the_list(run: Run, home: Home) -> None:
    (home.config / "profiles").mkdir(parents=True)
    (home.config / "profiles" / "mine.toml").write_text("modle = 3")
    code, out, err = run("profiles", "list")
    assert code == 0 and "there is no setting 'modle'" in out
    assert err == "Cannot be used as they are: mine. `allod profiles edit NAME` mends one.\n"


def test_show_is_the_whole_of_it(run: Run, home: Home) -> None:
    code, out, _ = run("profiles", "show", "careful")
    assert code == 0 and tomllib.loads(out)["ask"] == "each"
    shown = json.loads(run("profiles", "show", "careful", "--json")[1])
    assert shown == tomllib.loads(out)
    code, _, err = run("profiles", "show", "carful")
    assert code == 1 and "there is no profile 'carful'" in err and "careful" in err.splitlines()[1]


def test_new(run: Run, home: Home) -> None:
    path = home.config / "profiles" / "mine.toml"
    code, out, _ = run("profiles", "new", "mine", "--from", "fast")
    assert (code, out) == (0, f"{path}\n")
    assert 'extends = "fast"' in path.read_text()
    code, _, err = run("profiles", "new", "mine")
    assert code == 1 and "already" in err
    code, _, err = run("profiles", "new", "../mine")
    assert code == 2 and "no name" in err
    code, _, err = run("profiles", "new", "other", "--from", "nobody")
    assert code == 1 and "'nobody'" in err
    assert [p.name for p in path.parent.iterdir()] == ["mine.toml"]


def test_edit_makes_ones_own_of_allods(run: Run, home: Home, editor: Path) -> None:
    path = home.config / "profiles" / "fast.toml"
    editor.write_text('#!/bin/sh\nsed -i "s/^# steps = .*/steps = 7/" "$1"\n')
    code, out, err = run("profiles", "edit", "fast")
    assert (code, out, err) == (0, f"{path}\n", "")
    assert json.loads(run("profiles", "show", "fast", "--json")[1])["bounds"]["steps"] == 7


def test_edit_without_a_change_makes_nothing(run: Run, home: Home, editor: Path) -> None:
    code, out, err = run("profiles", "edit", "fast")
    assert (code, out) == (0, "") and "Nothing was changed" in err
    assert list((home.config / "profiles").iterdir()) == []


def test_edit_says_what_is_wrong_and_keeps_the_file(run: Run, home: Home, editor: Path) -> None:
    path = home.config / "profiles" / "fast.toml"
    editor.write_text('#!/bin/sh\necho "modle = 1" > "$1"\n')
    code, _, err = run("profiles", "edit", "fast")
    assert code == 2
    assert err.splitlines() == [f"Error: {path}: there is no setting 'modle'", "Did you mean 'model'?"]
    assert path.read_text() == "modle = 1\n"


def test_an_editor_that_is_not_there(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "/nowhere/ed")
    run("profiles", "new", "mine")
    code, _, err = run("profiles", "edit", "mine")
    assert code == 2 and "the editor `/nowhere/ed` failed" in err
    code, _, err = run("profiles", "edit", "nobody")
    assert code == 1 and "there is no profile 'nobody'" in err


def test_in_a_terminal_one_edits_again(home: Home, editor: Path, tmp_path: Path) -> None:
    once = tmp_path / "once"
    editor.write_text(
        f'#!/bin/sh\nif [ -e {once} ]; then echo "[bounds]\nsteps = 9" > "$1"; else echo "steps =" > "$1"; fi\n'
        f"touch {once}\n"
    )
    script = Path(sys.executable).with_name("allod")
    shell = pexpect.spawn(str(script), ["profiles", "edit", "fast"], timeout=30, encoding="utf-8")
    shell.expect_exact("cannot be read")
    shell.expect_exact("Edit it again?")
    shell.send("y\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
    assert (home.config / "profiles" / "fast.toml").read_text() == "[bounds]\nsteps = 9\n"
