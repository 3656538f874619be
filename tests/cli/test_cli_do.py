"""`allod do` from the command line: a scripted model behind ALLOD_HOST, the real kernel and sandbox, real files."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from command_line import Allod
from scripted_server import ScriptedServer

from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.sandbox import Sandbox

SAVE = "Here it is:\n```python\nopen('total.txt', 'w').write('42')\nprint('total', 40 + 2)\n```\n"
TASK = "What is 40 plus 2? Write the total into total.txt"
Script = Callable[..., ScriptedServer]


@pytest.fixture(autouse=True)
def sandboxed() -> None:
    try:
        Sandbox.find()
    except SandboxFailed as error:
        pytest.skip(f"no sandbox here: {error.message}")


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


def test_yes_does_it_says_where_and_undo_takes_it_back(allod: Allod, folder: Path, model: Script) -> None:
    model(SAVE, "The total is 42.")
    done = allod("do", "--yes", "--model", "scripted", TASK)
    assert done.returncode == 0, done.stderr
    assert (folder / "total.txt").read_text() == "42"
    assert f"Applied: {folder / 'total.txt'}" in done.stdout
    assert "│ open('total.txt', 'w').write('42')" in done.stdout
    assert "  total 42" in done.stdout
    assert "created  total.txt" in done.stdout
    assert "The total is 42." in done.stdout
    listed = json.loads(allod("changes", "--json").stdout)
    assert [(each["state"], each["paths"]) for each in listed] == [("applied", ["total.txt"])]
    back = allod("undo")
    assert back.returncode == 0, back.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["keep.txt"]
    again = allod("undo")
    assert (again.returncode, "no job's changes" in again.stderr) == (1, True)


def test_json_is_one_event_a_line(allod: Allod, folder: Path, model: Script) -> None:
    model(SAVE, "The total is 42.")
    done = allod("do", "--yes", "--model", "scripted", "--output", "json", TASK)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-1]) == ("started", "ended")
    assert [event["text"] for event in events if event["type"] == "prose"] == ["Here it is:"]
    assert [event["text"] for event in events if event["type"] == "answer"] == ["The total is 42."]
    assert [event["text"] for event in events if event["type"] == "output"] == ["total 42\n"]
    assert [event["paths"] for event in events if event["type"] == "applied"] == [["total.txt"]]
    assert events[-1]["status"] == "done"
    assert "task" not in events[0]


def test_nobody_to_ask_is_an_error_before_anything_runs(allod: Allod, folder: Path, model: Script) -> None:
    server = model(SAVE)
    done = allod("do", "--model", "scripted", TASK)
    assert done.returncode == 2
    assert "nobody to ask" in done.stderr
    assert "--yes" in done.stderr
    assert server.requests == []


def test_a_folder_of_the_systems_is_refused(allod: Allod, model: Script) -> None:
    model(SAVE)
    done = allod("do", "--yes", "--model", "scripted", "--folder", "/", TASK)
    assert (done.returncode, "belongs to the system" in done.stderr) == (2, True)


def test_code_that_deletes_everything_harms_nothing(allod: Allod, folder: Path, model: Script) -> None:
    model("```python\nimport os\nfor n in os.listdir(): os.remove(n)\nprint(os.listdir())\n```", "All gone.")
    done = allod("do", "--yes", "--model", "scripted", "Print what is in the folder")
    assert (folder / "keep.txt").read_text() == "keep me\n"
    assert "would delete every file" in done.stderr


def test_moving_every_file_is_not_deleting_them(allod: Allod, folder: Path, model: Script) -> None:
    move = "```python\nimport os\nos.mkdir('txt')\nos.rename('keep.txt', 'txt/keep.txt')\nprint(os.listdir())\n```"
    model(move, "Moved.")
    done = allod(
        "do", "--yes", "--model", "scripted", "Sort the files into subfolders by their ending. Which are there?"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "txt" / "keep.txt").read_text() == "keep me\n"
    assert not (folder / "keep.txt").exists()


def test_continue_has_the_messages_and_the_variables(allod: Allod, folder: Path, model: Script) -> None:
    first = model("```python\nfares = [3, 4]\nprint(sum(fares))\n```", "It is 7.")
    assert allod("do", "--yes", "--model", "scripted", "Add 3 and 4").returncode == 0
    assert len(first.requests) == 2
    second = model("```python\nprint(len(fares) * 100)\n```", "It is 200.")
    done = allod("do", "--yes", "--model", "scripted", "--continue", "How many were it, times 100?")
    assert "  200" in done.stdout, done.stdout + done.stderr
    said = [message["content"] for message in second.requests[0]["messages"]]
    assert any("Add 3 and 4" in text for text in said)
    assert "It is 7." in said


def terminal(*args: str) -> pexpect.spawn:
    script = Path(sys.executable).with_name("allod")
    return pexpect.spawn(str(script), ["do", "--model", "scripted", *args], timeout=60, encoding="utf-8")


def test_each_block_and_the_changes_are_asked_for(folder: Path, model: Script) -> None:
    model(SAVE, "The total is 42.")
    shell = terminal(TASK)
    shell.expect_exact("Run it? [y]es [n]o [e]dit [a]ll")
    assert not (folder / "total.txt").exists()
    shell.send("y\r")
    shell.expect_exact("[y]es [n]o")
    assert not (folder / "total.txt").exists()
    shell.send("y\r")
    shell.expect_exact("Applied:")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
    assert (folder / "total.txt").read_text() == "42"


def test_no_to_a_block_runs_nothing(folder: Path, model: Script) -> None:
    server = model(SAVE)
    shell = terminal(TASK)
    shell.expect_exact("Run it?")
    shell.send("n\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 1
    assert len(server.requests) == 1
    assert not (folder / "total.txt").exists()


def test_an_edited_block_is_what_runs(
    folder: Path, model: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i s/42/43/ "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    model(SAVE, "The total is 43.")
    shell = terminal(TASK)
    shell.expect_exact("Run it?")
    shell.send("e\r")
    shell.expect_exact("Apply it to")
    shell.send("y\r")
    shell.expect(pexpect.EOF)
    assert (folder / "total.txt").read_text() == "43"


def test_ctrl_c_ends_code_that_loops_and_the_conversation_goes_on(folder: Path, model: Script) -> None:
    model("```python\nx = 41\nprint('looping')\nwhile True: pass\n```", "```python\nprint(x + 1)\n```", "It is 42.")
    shell = terminal()
    shell.expect_exact(">>> ")
    shell.send("Loop for ever\r")
    shell.expect_exact("Run it?")
    shell.send("a\r")
    shell.expect_exact("  looping\r\n")
    shell.sendintr()
    shell.expect_exact(">>> ", timeout=5)
    shell.send("Print x plus one\r")
    shell.expect_exact("  42", timeout=20)
    shell.expect_exact(">>> ")
    shell.send("/bye\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
