"""`allod do` as a conversation: going on, resuming, the commands within it. The model is scripted, the rest is real."""

import contextlib
import json
import signal
import time
from pathlib import Path

import pexpect
import pytest
from command_line import Allod, Script, terminal

from allod.chat import Message
from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Answer, Ended, Started
from allod.interpreter.sandbox import Sandbox

SAVE = "Here it is:\n```python\nopen('total.txt', 'w').write('42')\nprint('total', 40 + 2)\n```\n"
TASK = "What is 40 plus 2? Write the total into total.txt"


@pytest.fixture(autouse=True)
def sandboxed() -> None:
    try:
        Sandbox.find()
    except SandboxFailed as error:
        pytest.skip(f"no sandbox here: {error.message}")


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


def test_kernels_start_while_the_person_types(folder: Path, model: Script) -> None:
    model("```python\nprint('ran')\n```", "It ran.")
    shell = terminal()
    shell.expect_exact(">>> ")

    def kernels() -> list[Path]:
        """Processes of sandboxes over the folder: their command lines name it."""
        found: list[Path] = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [path] if str(folder) in path.read_text(errors="replace") else []
        return found

    until = time.monotonic() + 20
    while not kernels() and time.monotonic() < until:
        time.sleep(0.05)
    assert kernels()
    shell.send("/bye\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
    assert not kernels()


def test_resume_by_words(allod: Allod, folder: Path, model: Script) -> None:
    model("```python\nfares = [3, 4]\nprint(sum(fares))\n```", "It is 7.")
    assert allod("do", "--yes", "--model", "scripted", "Add the fares 3 and 4").returncode == 0
    model("```python\nprint(1)\n```", "One.")
    assert allod("do", "--yes", "--model", "scripted", "Print one").returncode == 0
    second = model("```python\nprint(len(fares) * 100)\n```", "It is 200.")
    done = allod("do", "--yes", "--resume", "fares", "How many were it, times 100?")
    assert "  200" in done.stdout, done.stdout + done.stderr
    assert "Going on with: Add the fares 3 and 4 (1 job, " in done.stderr
    assert any("Add the fares" in str(message["content"]) for message in second.requests[0]["messages"])
    listed = json.loads(allod("conversations", "list", "--json").stdout)
    assert [(each["title"], each["turns"]) for each in listed] == [("Add the fares 3 and 4", 2), ("Print one", 1)]
    many = allod("do", "--yes", "--resume=", "And now?")
    assert many.returncode == 2 and "2 conversations may be meant" in many.stderr


def test_one_is_picked_in_a_terminal(folder: Path, model: Script, home: Home) -> None:
    for task in ("First", "Second"):
        conversation = Conversation.begin(home, folder, "scripted")
        conversation.record(Started(task, "scripted", str(folder)), Answer(f"{task}!"), Ended("done"))
        conversation.add([Message("user", task), Message("assistant", f"{task}!")], [], [])
    model()
    shell = terminal("--resume")
    shell.expect_exact("Go on with which one? [1-2]")
    shell.send("7\r2\r")
    shell.expect_exact("Going on with: First (1 job")
    shell.expect_exact(">>> ")
    shell.send("%tokens\r")
    shell.expect(r"\d+ tokens; the context holds")
    shell.send("/bye\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
    assert len(Conversation.list(home)) == 2


def test_percent_commands(folder: Path, model: Script, home: Home, tmp_path: Path) -> None:
    server = model(SAVE, "The total is 42.", "Good.", "Fine.")
    shell = terminal()
    shell.expect_exact(">>> ")

    def type_in(line: str, *expected: str) -> None:
        shell.send(f"{line}\r")
        for text in expected:
            shell.expect_exact(text)
        shell.expect_exact(">>> ")

    type_in("%help", "%undo", "/undo", "%jupyter", "%load")
    type_in("%nonsense", "There is no %nonsense; %help lists what there is.")
    type_in("%undo", "Nothing was said yet.")
    type_in("%info", "model         scripted", "profile       default, asks before each block", "sandbox       ")
    type_in("%auto_run maybe", "Error: 'maybe' is neither true nor false")
    type_in("%auto_run true", "Blocks run without asking")
    shell.send(f"{TASK}\r")
    shell.expect_exact("Apply it to")
    shell.send("d\r")
    shell.expect_exact("Apply it to")
    shell.send("y\r")
    shell.expect_exact("Applied:")
    shell.expect_exact(">>> ")
    type_in("%% echo shell sees $(cat total.txt) and it", "  shell sees 42 and it")
    type_in("%jupyter", str(folder / "What-is-40-plus-2-Write-the-total-into-t.ipynb"))
    type_in("%markdown notes.md", str(folder / "notes.md"))
    type_in("%markdown notes.md", "is there already")
    type_in(f"%save {tmp_path / 'said.json'}", str(tmp_path / "said.json"))
    type_in("%undo", "Forgotten: What is 40 plus 2?", "/undo takes back what was applied")
    assert (folder / "total.txt").read_text() == "42"
    type_in("/undo", "Taken back in", "total.txt")
    assert not (folder / "total.txt").exists()
    type_in("Without code, say good", "Good.")
    assert not any("40 plus 2" in str(m["content"]) for m in server.requests[-1]["messages"][1:])
    type_in("%reset", "A new conversation. The old one: allod do --resume ")
    type_in(f"%load {tmp_path / 'said.json'}", "messages from")
    type_in("Without code, say fine", "Fine.")
    assert any("40 plus 2" in str(m["content"]) for m in server.requests[-1]["messages"][1:])
    type_in(f"%load {folder / 'keep.txt'}", "cannot read")
    type_in("%verbose", "whole from here on")
    shell.send("/bye\r")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 0
    assert "40 + 2" in (folder / "notes.md").read_text()
    cells = json.loads((folder / "What-is-40-plus-2-Write-the-total-into-t.ipynb").read_text())["cells"]
    assert any("open('total.txt', 'w')" in cell["source"] for cell in cells if cell["cell_type"] == "code")


def test_what_is_interrupted_by_a_kill_can_be_gone_on_with(folder: Path, model: Script, home: Home) -> None:
    model("```python\nx = 41\nprint('looping')\nwhile True: pass\n```")
    shell = terminal("Loop for ever")
    shell.expect_exact("Run it?")
    shell.send("y\r")
    shell.expect_exact("  looping\r\n")
    time.sleep(1.2)  # what goes on is written once a second
    shell.kill(signal.SIGKILL)
    shell.wait()
    conversation = Conversation.last(home, folder)
    assert conversation is not None and conversation.title == "Loop for ever"
    assert "x = 41" in conversation.messages[1].text and "interrupted" in conversation.messages[1].text


@pytest.mark.parametrize(
    ("text", "takes"),
    [
        ("/undo", True),
        ("/?", True),
        ("%help", True),
        ("%nonsense x", True),
        ("%% ls", True),
        ("%%ls", True),
        ("/home/me/films.csv: how many rows?", False),
        ("/tmp", True),
        ("% of sales in each region", False),
        ("%5 of what?", False),
        ("100 %", False),
        ("", False),
    ],
)
def test_what_is_a_command_and_what_a_job(text: str, takes: bool) -> None:
    from allod.cli.percent import TABLE, Commands

    assert Commands(None).takes(text) is takes  # type: ignore[arg-type] - no desk is needed to tell
    names = [name for command in TABLE for name in (command.name, *command.others)]
    assert len(set(names)) == len(names)
    upstream = ["help", "reset", "undo", "save", "load", "tokens", "info", "jupyter", "markdown", "auto_run", "verbose"]
    assert {f"%{name}" for name in upstream} <= set(names)


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
