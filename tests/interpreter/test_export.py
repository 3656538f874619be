"""Conversations as files: a notebook that runs again, Markdown to read, lines to train on. Code stands as it ran."""

import base64
import json
import re
from pathlib import Path

import pytest
from jupyter_client.manager import AsyncKernelManager

from allod.chat import Message
from allod.home import Home
from allod.interpreter.conversations import Conversation
from allod.interpreter.conversations.export import export
from allod.interpreter.events import (
    Answer,
    Applied,
    Code,
    Ended,
    Error,
    Event,
    Notice,
    Output,
    Prose,
    Started,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
READ = 'frame = pd.DataFrame({"a": [1, 2]})\n'
WRITE = (
    "# a note with ``` in it, a tab\t and \\n, \N{EURO SIGN}\n"
    'text = """# Title\n\n```python\nx = 1\n```\n"""\n\n\n'
    'Path("note.md").write_text(text)\n'
    'print(len(text), frame["a"].sum(), Counter("aab")["a"])\n'
    "text[:3]"
)
SECOND = "print(text.count('`'), np.array([1, 2]).sum())"


def talk(home: Home, folder: Path) -> Conversation:
    """Two jobs: the first was tried twice, the second was done at once; a third was cut off."""
    conversation = Conversation.begin(home, folder, "m:1b", "A note", "careful")
    events: list[Event] = [
        Started("Write a note\nin Markdown", "m:1b", str(folder)),
        Code(READ, author="allod"),
        Prose("Let me try."),
        Code("note = 1 / 0"),
        Error("ZeroDivisionError", "division by zero", "ZeroDivisionError: division by zero"),
        Notice("it is tried afresh"),
        Code(READ, author="allod"),
        Code(WRITE),
        Output("29 3 2\n"),
        Output("'# T'\n", "result"),
        Output("a warning\n", "stderr"),
        Output("", "picture", PNG),
        Prose("The note is in `note.md`."),
        Answer("The note is in `note.md`."),
        Applied(str(folder), ("note.md",)),
        Ended("done"),
    ]
    conversation.record(*events)
    first = [Message("user", "Job: Write a note"), Message("assistant", f"````python\n{WRITE}\n````")]
    conversation.add(first, [READ, WRITE], [])
    conversation.record(Started("Count the ticks", "m:1b", ""), Code(SECOND), Output("6 3\n"), Answer("Six."))
    conversation.record(Ended("done"))
    second = [*first, Message("user", "Job: Count"), Message("assistant", "Six.")]
    conversation.add(second, [READ, WRITE, SECOND], [])
    conversation.record(Started("Loop", "m:1b", ""), Code("ok = 1"), Code("while True: pass"))
    conversation.leave()
    return conversation


def sources(text: str, kind: str = "code") -> list[str]:
    return [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]


# ── notebook ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notebook_has_the_code_that_counted_byte_for_byte(home: Home, tmp_path: Path) -> None:
    whole = json.loads(text := export(talk(home, tmp_path), "ipynb"))
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    imports, *code = sources(text)
    assert code == [READ, WRITE, SECOND, "ok = 1"]
    assert imports.splitlines() == [
        "from collections import Counter",
        "from pathlib import Path",
        "import numpy as np",
        "import pandas as pd",
    ]
    prose = sources(text, "markdown")
    assert prose[:2] == ["# A note", "> Write a note\n> in Markdown"]
    assert any("1 / 0" in cell and "not kept" in cell for cell in prose)
    assert any("while True" in cell for cell in prose)
    assert "The note is in `note.md`." in prose
    ids = [cell["id"] for cell in whole["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id_) for id_ in ids)


def test_its_outputs_are_jupyters(home: Home, tmp_path: Path) -> None:
    cells = json.loads(export(talk(home, tmp_path), "ipynb"))["cells"]
    (outputs,) = [cell["outputs"] for cell in cells if cell["source"] == WRITE]
    assert outputs == [
        {"output_type": "stream", "name": "stdout", "text": "29 3 2\n"},
        {"output_type": "execute_result", "data": {"text/plain": "'# T'"}, "metadata": {}, "execution_count": 2},
        {"output_type": "stream", "name": "stderr", "text": "a warning\n"},
        {"output_type": "display_data", "data": {"image/png": base64.b64encode(PNG).decode()}, "metadata": {}},
    ]


def test_it_is_valid_by_the_formats_own_rules(home: Home, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbformat.validate(json.loads(export(talk(home, tmp_path), "ipynb")))


async def test_it_runs_again_in_a_plain_kernel(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    text = export(talk(home, tmp_path), "ipynb")
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    printed: list[str] = []

    def hear(message: dict[str, object]) -> None:
        content = message["content"]
        assert isinstance(content, dict)
        if message["msg_type"] == "stream":
            printed.append(content["text"])

    try:
        await client.wait_for_ready(timeout=60)
        for source in sources(text):
            reply = await client.execute_interactive(source, output_hook=hear, timeout=60)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
    assert "".join(printed) == "29 3 2\n6 3\n"
    assert (tmp_path / "note.md").read_text() == "# Title\n\n```python\nx = 1\n```\n"


def test_shell_runs_in_a_notebook_too_and_other_languages_are_shown(home: Home, tmp_path: Path) -> None:
    conversation = Conversation.begin(home, tmp_path, "m", "t")
    bash, r = "ls | wc -l\n", 'cat("x")'
    conversation.record(Started("t", "m", ""), Code(bash, "shell"), Code(r, "r"), Ended("done"))
    conversation.add([Message("user", "t"), Message("assistant", "a")], [bash, r], [])
    text = export(conversation, "ipynb")
    assert sources(text) == [f"%%bash\n{bash}"]
    assert any(f"```r\n{r}\n```" in cell for cell in sources(text, "markdown"))


def test_an_empty_conversation_is_an_empty_notebook(home: Home, tmp_path: Path) -> None:
    conversation = Conversation.begin(home, tmp_path, "m", "t")
    assert sources(export(conversation, "ipynb")) == []
    assert export(conversation, "md") == "# t\n\n*m*\n"
    assert export(conversation, "jsonl") == ""


# ── Markdown ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_markdown_holds_code_as_it_ran(home: Home, tmp_path: Path) -> None:
    text = export(talk(home, tmp_path), "md")
    assert f"\n````python\n{WRITE}\n````\n" in text
    assert "\n```python\nnote = 1 / 0\n```\n" in text  # what was tried is told, too
    assert "> Write a note\n> in Markdown" in text
    assert "\n```text\n29 3 2\n'# T'\na warning\n```\n" in text
    assert "*Written: `note.md`*" in text
    (address,) = re.findall(r"!\[figure\]\(data:image/png;base64,(.*)\)", text)
    assert base64.b64decode(address) == PNG


def test_figures_of_markdown_may_be_kept_beside_it(home: Home, tmp_path: Path) -> None:
    pngs: list[bytes] = []

    def keep(png: bytes) -> str:
        pngs.append(png)
        return "note_files/figure-1.png"

    text = export(talk(home, tmp_path), "md", keep=keep)
    assert "![figure](note_files/figure-1.png)" in text and pngs == [PNG]


# ── training data ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_training_data_is_one_line_of_what_was_done(home: Home, tmp_path: Path) -> None:
    asked: list[str] = []

    def system(profile: str) -> str:
        asked.append(profile)
        return "Be brief.\n"

    text = export(talk(home, tmp_path), "jsonl", system=system)
    assert text.count("\n") == 1 and text.endswith("\n") and asked == ["careful"]
    messages = json.loads(text)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[0]["content"] == "Be brief."
    assert messages[2]["content"] == f"````python\n{WRITE}\n````"
    assert all(set(message) == {"role", "content"} for message in messages)


def test_what_was_not_done_is_not_learned(home: Home, tmp_path: Path) -> None:
    conversation = Conversation.begin(home, tmp_path, "m", "t")
    conversation.record(Started("t", "m", ""), Ended("gave_up", "no result"))
    conversation.add([Message("user", "t"), Message("assistant", "Hm.")], [], [])
    assert export(conversation, "jsonl") == ""
    conversation.record(Started("u", "m", ""), Ended("done"))
    conversation.add([*conversation.messages, Message("user", "u"), Message("assistant", "Yes.")], [], [])
    messages = json.loads(export(conversation, "jsonl"))["messages"]
    assert [message["content"] for message in messages] == ["u", "Yes."]
