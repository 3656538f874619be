"""``allod run`` as a person meets it: SmolLM2 through the real engine, on a pipe and on a terminal."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from command_line import Allod, Run

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store

Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture(autouse=True)
def few_threads(monkeypatch: pytest.MonkeyPatch):
    """Two threads and a small context: the tests share the machine. And no server of the user's is looked for."""
    monkeypatch.setenv("ALLOD_ENGINE_THREADS", "2")
    monkeypatch.setenv("ALLOD_ENGINE_CONTEXT", "2048")
    monkeypatch.setenv("ALLOD_HOST", "127.0.0.1:9")


@pytest.fixture
def tiny(smollm2_home: Home) -> str:
    """SmolLM2 that says the likeliest words, and not many of them."""
    name = "tiny:latest"
    recipe = parse("FROM smollm2:135m\nPARAMETER temperature 0\nPARAMETER num_predict 32\n")
    for _ in create(Store(smollm2_home.models), name, recipe, smollm2_home.data):
        pass
    return "tiny"


@pytest.fixture
def terminal(smollm2_home: Home) -> Iterator[Terminal]:
    """``child = terminal("run", "smollm2")`` on a terminal of 80 columns; ended with the test."""
    children: list[pexpect.spawn[str]] = []

    def start(*args: str) -> "pexpect.spawn[str]":
        # CPR: prompt_toolkit asks the terminal where the cursor is, and nobody answers here.
        env = os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm", "NO_COLOR": "1"}
        script = str(Path(sys.executable).with_name("allod"))
        child = pexpect.spawn(script, list(args), env=env, encoding="utf-8", timeout=60, dimensions=(24, 80))
        children.append(child)
        return child

    yield start
    for child in children:
        child.close(force=True)


def prompt(child: "pexpect.spawn[str]") -> str:
    """Waits for the prompt; returns what came before it, without the terminal's own codes."""
    child.expect(r">>> ")
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", child.before or "")


def ask(child: "pexpect.spawn[str]", line: str) -> str:
    """Types a line; returns what was answered until the next prompt."""
    child.sendline(line)
    child.expect("\r\n")  # the line as it was typed ends here
    return prompt(child)


def workers(child_pid: int) -> list[str]:
    """The processes below a process."""
    done = subprocess.run(["ps", "--ppid", str(child_pid), "-o", "args="], capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


# ── one-shot ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_answer_and_its_statistics(allod: Allod, tiny: str):
    done = allod("run", tiny, "Say hello", "--verbose")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) > 3 and done.stdout.endswith("\n") and "\x1b" not in done.stdout
    rows = dict(row.split(":", 1) for row in done.stderr.splitlines())
    assert list(rows) == [
        "total duration",
        "load duration",
        "prompt eval count",
        "prompt eval duration",
        "prompt eval rate",
        "eval count",
        "eval duration",
        "eval rate",
    ]
    assert 1 < int(rows["eval count"].split()[0]) <= 32
    again = allod("run", tiny, "Say", "hello")
    assert again.stdout == done.stdout


def test_what_is_piped_in_stands_before_the_prompt(allod: Allod, tiny: str):
    done = allod("run", tiny, "What is the secret word?", input="The secret word is BANANA.\n")
    assert done.returncode == 0, done.stderr
    assert "BANANA" in done.stdout.upper()


@pytest.mark.usefixtures("smollm2_home")
def test_a_schema_is_followed(allod: Allod):
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    done = allod("run", "smollm2", "A city in France, as JSON.", "--format", json.dumps(schema), "--temperature", "0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["city"] in ("Paris", "Rome")


def test_the_system_message_of_the_model_and_of_the_flag(allod: Allod, tiny: str):
    recipe = f"FROM {tiny}\nSYSTEM The secret word is BANANA.\n"
    assert allod("create", "told", "-f", "-", input=recipe).returncode == 0
    assert "BANANA" in allod("run", "told", "What is the secret word?").stdout.upper()
    answer = allod("run", "told", "What is the secret word?", "--system", "The secret word is CHERRY.").stdout.upper()
    assert "CHERRY" in answer and "BANANA" not in answer


@pytest.mark.usefixtures("smollm2_home")
@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--num-ctx", "9" * 300], "num_ctx"),
        (["--num-ctx", "many"], "num_ctx"),
        (["--format", "xml"], "not a format"),
        (["--think", "--keepalive", "soon"], "duration"),
        (["--think=a lot"], "think"),
    ],
)
def test_flags_that_make_no_sense(run: Run, args: list[str], said: str):
    code, out, err = run("run", "smollm2", "hi", *args)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[0] and len(err.splitlines()) == 2


@pytest.mark.usefixtures("smollm2_home")
def test_no_prompt_on_a_pipe(allod: Allod):
    done = allod("run", "smollm2")
    assert done.returncode == 2 and "there is no prompt" in done.stderr
    done = allod("run", "smollm2", "hi", input=b"\xff\xfe\x00", text=False)
    assert done.returncode == 2 and b"not UTF-8" in done.stderr


@pytest.mark.usefixtures("smollm2_home")
def test_a_prompt_longer_than_the_context(allod: Allod):
    done = allod("run", "smollm2", "sum up", input="word " * 100_000)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2 and "context" in done.stderr


def test_a_model_nobody_has(allod: Allod, smollm2_home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    done = allod("run", "smolm2:135m", "hi")
    assert done.returncode == 1 and done.stdout == ""
    assert "Error: " in done.stderr and "Traceback" not in done.stderr and "smollm2:135m" in done.stderr


def test_a_reader_that_goes_away_ends_it_quietly(tiny: str):
    script = Path(sys.executable).with_name("allod")
    line = f"{script} run {tiny} 'Count to 20.' --nowordwrap | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["/bin/bash", "-c", line], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True
    )
    assert done.stderr == ""
    assert done.stdout[1:].strip() == "141"


@pytest.mark.usefixtures("smollm2_home")
def test_ctrl_c_in_an_answer_ends_with_130_and_leaves_no_worker():
    script = Path(sys.executable).with_name("allod")
    child = subprocess.Popen(
        [script, "run", "smollm2", "Count from 1 to 1000.", "--temperature", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdout.read(1)
    assert workers(child.pid)
    child.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (130, b"")
    assert time.monotonic() - began < 2


def test_a_picture_is_not_shown_to_a_model_that_cannot_see(allod: Allod, tiny: str, tmp_path: Path):
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = allod("run", tiny, f"What is on {tmp_path}/photo.png?")
    assert done.returncode == 0 and "cannot see pictures" in done.stderr


# ── the conversation ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_conversation(terminal: Terminal, tiny: str, smollm2_home: Home):
    child = terminal("run", tiny)
    prompt(child)
    assert len(ask(child, "The secret word is BANANA.").strip()) > 3
    assert "BANANA" in ask(child, "What is the secret word?").upper()
    assert "Set num_predict to 5." in ask(child, "/set parameter num_predict 5")
    assert len(ask(child, "Tell me a story.").split()) <= 6
    assert "unknown parameter" in ask(child, "/set parameter nonsense 1")
    assert "num_predict" in ask(child, "/show parameters")
    assert "architecture" in ask(child, "/show info")
    assert "smollm2:135m" in ask(child, "/list")
    assert "there is no command /nonsense" in ask(child, "/nonsense")
    assert "Saved as ada." in ask(child, "/save ada")
    assert "forgotten" in ask(child, "/clear")
    assert "/set parameter" in ask(child, "/? set")
    child.sendline("/bye")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    saved = Store(smollm2_home.models).get("ada")
    assert saved.params["num_predict"] == 5
    assert [m.role for m in saved.messages] == ["user", "assistant"] * 3
    history = (smollm2_home.data / "history").read_text()
    assert "+What is the secret word?" in history
    assert (smollm2_home.data / "history").stat().st_mode & 0o077 == 0


def test_text_of_many_lines(terminal: Terminal, tiny: str):
    child = terminal("run", tiny)
    prompt(child)
    child.sendline('"""The secret word')
    child.expect(r"\.\.\. ")
    child.sendline("is BANANA.")
    child.expect(r"\.\.\. ")
    assert "BANANA" in ask(child, 'What is the secret word?"""').upper()
    assert "The system message is set." in ask(child, '/set system """You are a pirate."""')
    assert "You are a pirate." in ask(child, "/show system")


def test_ctrl_c_stops_an_answer_and_twice_leaves(terminal: Terminal, tiny: str):
    child = terminal("run", tiny)
    prompt(child)
    ask(child, "/set parameter num_predict 2000")
    child.sendline("Count from 1 to 1000, one number a line.")
    child.expect("\r\n")
    child.expect(r"[A-Za-z]{3}")  # the answer has begun
    child.sendintr()
    began = time.monotonic()
    prompt(child)
    assert time.monotonic() - began < 2
    ask(child, "/set parameter num_predict 8")
    assert len(ask(child, "Say hello.").strip()) > 1, "the model goes on answering"
    child.send("half a line")
    child.sendintr()  # clears the line
    child.sendintr()
    child.expect("once more")
    prompt(child)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_a_conversation_that_outgrows_the_context_goes_on(terminal: Terminal, tiny: str):
    child = terminal("run", tiny, "--num-ctx", "256", "--system", "You love the sea and the ships. " * 18)
    prompt(child)
    ask(child, "/set parameter num_predict 8")
    said = "".join(ask(child, f"Turn {turn}. Tell me about the sea.") for turn in range(5))
    assert "Left out, as it no longer fits the context: Turn 0." in said
    assert "Error" not in said


def test_ctrl_d_leaves_and_takes_the_worker_along(terminal: Terminal):
    child = terminal("run", "smollm2")
    prompt(child)
    assert workers(child.pid)
    child.sendeof()
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
