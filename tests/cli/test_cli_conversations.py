"""allod conversations: what was said is listed, found, shown, exported, deleted."""

import json
from pathlib import Path

import pytest
from command_line import Allod, Run

from allod.chat import Message
from allod.home import Home
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Answer, Applied, Code, Ended, Event, Output, Prose, Started

PNG = b"\x89PNG\r\n\x1a\nx"


def talk(home: Home, folder: Path, task: str, answer: str, *events: Event) -> Conversation:
    conversation = Conversation.begin(home, folder, "m:1b")
    conversation.record(Started(task, "m:1b", str(folder), conversation.id), *events)
    conversation.record(Prose(answer), Answer(answer), Ended("done"))
    conversation.add([Message("user", f"Job: {task}"), Message("assistant", answer)], [], [])
    return conversation


@pytest.fixture
def films(home: Home, tmp_path: Path) -> Conversation:
    return talk(home, tmp_path / "films", "Sort the films", "By length.", Code("print(117)"), Output("117\n"))


@pytest.fixture
def books(home: Home, tmp_path: Path, films: Conversation) -> Conversation:
    return talk(home, tmp_path / "books", "Count the books\nof Ursula", "Seven.", Applied(str(tmp_path), ("n.txt",)))


def test_list(run: Run, films: Conversation, books: Conversation, tmp_path: Path) -> None:
    code, out, err = run("conversations", "list")
    head, first, second = out.splitlines()
    assert (code, err) == (0, "")
    assert head.split() == ["ID", "WHEN", "JOBS", "LAST", "FOLDER", "TITLE"]
    assert first.startswith(books.id) and first.endswith("Count the books of Ursula")
    assert second.startswith(films.id) and "    done    " in second
    rows = json.loads(run("conversations", "list", "--json", "--limit", "1")[1])
    assert [(row["id"], row["turns"], row["status"]) for row in rows] == [(books.id, 1, "done")]
    rows = json.loads(run("conversations", "list", "--json", "-C", str(tmp_path / "films"))[1])
    assert [row["id"] for row in rows] == [films.id]


@pytest.mark.usefixtures("home")
def test_list_of_nothing(run: Run) -> None:
    assert run("conversations", "list", "--json")[:2] == (0, "[]\n")
    assert run("conversations", "list")[1].split() == ["ID", "WHEN", "JOBS", "LAST", "FOLDER", "TITLE"]
    code, _, err = run("conversations", "show", "last")
    assert code == 1 and "no conversation yet" in err


@pytest.mark.usefixtures("books")
def test_search(run: Run, films: Conversation) -> None:
    code, out, _ = run("conversations", "search", "length")
    assert code == 0 and films.id in out and "By length." in out
    assert [row["id"] for row in json.loads(run("conversations", "search", "sort films", "--json")[1])] == []
    assert [row["id"] for row in json.loads(run("conversations", "search", "films", "sort", "--json")[1])] == [films.id]
    code, out, err = run("conversations", "search", "nobody said that")
    assert (code, out) == (1, "") and "nothing was found" in err


def test_show(run: Run, films: Conversation) -> None:
    code, out, _ = run("conversations", "show", films.id[:6])
    assert code == 0
    assert out.split("\n") == [">>> Sort the films", "│ print(117)", "  117", "By length.", "", ""]
    whole = json.loads(run("conversations", "show", films.id, "--json")[1])
    (turn,) = whole["turns"]
    assert (turn["task"], turn["status"], turn["parent"]) == ("Sort the films", "done", None)
    assert [message["role"] for message in turn["messages"]] == ["user", "assistant"]
    assert [event["type"] for event in turn["events"]] == ["started", "code", "output", "answer", "ended"]


def test_export_to_files_and_stdout(run: Run, films: Conversation, tmp_path: Path) -> None:
    out = tmp_path / "films.ipynb"
    assert run("conversations", "export", "last", "--out", str(out))[:2] == (0, f"{out}\n")
    assert json.loads(out.read_text())["nbformat"] == 4
    code, _, err = run("conversations", "export", films.id, "-o", str(out))
    assert code == 1 and "is there already" in err
    assert run("conversations", "export", films.id, "-o", str(out), "--force")[0] == 0
    code, text, _ = run("conversations", "export", films.id, "-f", "md")
    assert code == 0 and text.startswith("# Sort the films\n") and "```python\nprint(117)\n```" in text
    code, text, _ = run("conversations", "export", films.id, "-f", "jsonl")
    roles = [message["role"] for message in json.loads(text)["messages"]]
    assert code == 0 and roles == ["system", "user", "assistant"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_export_puts_figures_beside_markdown(run: Run, home: Home, tmp_path: Path) -> None:
    talk(home, tmp_path, "Draw", "Drawn.", Code("plot()"), Output("", "picture", PNG), Output("", "picture", PNG))
    out = tmp_path / "my film.md"
    assert run("conversations", "export", "last", "-o", str(out))[0] == 0
    assert "![figure](my%20film_files/figure-1.png)\n\n![figure](my%20film_files/figure-2.png)" in out.read_text()
    assert (tmp_path / "my film_files" / "figure-2.png").read_bytes() == PNG


def test_export_of_several(run: Run, films: Conversation, books: Conversation) -> None:
    code, text, _ = run("conversations", "export", films.id, books.id, "--format", "jsonl")
    assert code == 0 and len(text.splitlines()) == 2
    code, _, err = run("conversations", "export", films.id, books.id, "--format", "md")
    assert code == 2 and "several conversations" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["last"], "in which format"),
        (["last", "-o", "films.txt"], "in which format"),
        (["nothing", "-f", "md"], "there is no conversation 'nothing'"),
        (["last", "-o", "/nowhere/films.md"], "no folder /nowhere"),
    ],
)
@pytest.mark.usefixtures("films")
def test_export_that_cannot_be(run: Run, args: list[str], said: str) -> None:
    code, out, err = run("conversations", "export", *args)
    assert code in (1, 2) and out == "" and said in err and len(err.splitlines()) == 2


def test_rename(run: Run, films: Conversation, home: Home) -> None:
    assert run("conversations", "rename", "last", "My", "films")[:2] == (0, f"{films.id}    My films\n")
    assert Conversation.get(home, films.id).title == "My films"


def test_rm(run: Run, films: Conversation, books: Conversation, home: Home) -> None:
    assert run("conversations", "rm", films.id[:6])[:2] == (0, f"deleted '{films.id}'\n")
    assert [each.id for each in Conversation.list(home)] == [books.id]
    for args in ([], ["--all", books.id]):
        code, _, err = run("conversations", "rm", *args)
        assert code == 2 and "which ones" in err
    assert run("conversations", "rm", "--all", "--yes")[:2] == (0, f"deleted '{books.id}'\n")
    assert Conversation.list(home) == []


def test_all_are_not_deleted_unasked(allod: Allod, films: Conversation, home: Home) -> None:
    done = allod("conversations", "rm", "--all")
    assert done.returncode == 2 and "nobody to ask" in done.stderr
    assert len(Conversation.list(home)) == 1


def test_what_was_said_does_not_steer_the_terminal(run: Run, home: Home, tmp_path: Path) -> None:
    talk(home, tmp_path, "Evil \x1b[31m title", "Answer \x1b]0;x\x07 here")
    for args in (["list"], ["search", "evil"], ["search", "answer"]):
        assert "\x1b" not in run("conversations", *args)[1]
