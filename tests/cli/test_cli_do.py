"""`allod do` from the command line: a scripted model behind ALLOD_HOST, the real kernel and sandbox, real files."""

import json
import re
import subprocess
from pathlib import Path

import pexpect
import pytest
from command_line import Allod, Script, terminal

from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.sandbox import Sandbox, landlock

SAVE = "Here it is:\n```python\nopen('total.txt', 'w').write('42')\nprint('total', 40 + 2)\n```\n"
TASK = "What is 40 plus 2? Write the total into total.txt"


@pytest.fixture(autouse=True)
def sandboxed() -> None:
    try:
        Sandbox.find()
    except SandboxFailed as error:
        pytest.skip(f"no sandbox here: {error.message}")


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
    (folder / "empty").touch()
    code = "os.mkdir('txt')\nos.rename('keep.txt', 'txt/keep.txt')\nos.remove('empty')\nprint(os.listdir())"
    move = f"```python\nimport os\n{code}\n```"
    model(move, "Moved.")
    done = allod(
        "do", "--yes", "--model", "scripted", "Sort the files into subfolders by their ending. Which are there?"
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "txt" / "keep.txt").read_text() == "keep me\n"
    assert not (folder / "keep.txt").exists()


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


# ── profiles and what code may reach ────────────────────────────────────────────────────────────────────────────────


def test_a_folder_to_read_and_one_to_change(allod: Allod, folder: Path, model: Script, tmp_path: Path) -> None:
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "list.csv").write_text("a,1\n")
    (tmp_path / "reports").mkdir()
    source, target = str(tmp_path / "prices" / "list.csv"), str(tmp_path / "reports" / "r.txt")
    code = f"open({target!r}, 'w').write(open({source!r}).read())\nprint('copied')"
    model(f"```python\n{code}\n```", "It is copied.")
    args = ("--read", str(tmp_path / "prices"), "--add-folder", str(tmp_path / "reports"))
    done = allod("do", "--yes", "--model", "scripted", *args, "Copy the list of prices to the reports. What is it?")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reports" / "r.txt").read_text() == "a,1\n"
    assert str(tmp_path / "reports" / "r.txt") in done.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--read", "/nowhere"], "no folder /nowhere"),
        (["--add-folder", "."], "is the job's own folder"),
        (["--net", "not a host"], "host"),
        (["--file", "nothing.txt"], "cannot read nothing.txt"),
        (["--file", "."], "is not a file"),
        (["--profile", "nobody"], "there is no profile 'nobody'"),
        (["--profile", "../x"], "there is no profile '../x'"),
        (["--resume", "nothing like it"], "no conversation has 'nothing like it' in it"),
        (["--resume", "--continue"], "do not go together"),
        (["--profile", "careful"], "no flag loosens that"),
    ],
)
def test_what_makes_no_sense_is_said_before_a_model_is_asked(
    allod: Allod, folder: Path, model: Script, args: list[str], said: str
) -> None:
    server = model(SAVE)
    done = allod("do", "--yes", "--model", "scripted", *args, TASK)
    assert done.returncode in (1, 2), done.stdout
    assert said in done.stderr and len(done.stderr.splitlines()) == 2, done.stderr
    assert server.requests == []


@pytest.mark.parametrize("rung", ["landlock", "none"])
@pytest.mark.parametrize("args", [["--net", "example.org"], ["--packages"], ["--add-folder", "../more"]])
def test_what_a_lesser_sandbox_cannot_do_is_said_before_a_model_is_asked(
    allod: Allod, folder: Path, model: Script, monkeypatch: pytest.MonkeyPatch, rung: str, args: list[str]
) -> None:
    if rung == "landlock" and not landlock.version():
        pytest.skip("this kernel has no Landlock")
    monkeypatch.setenv("ALLOD_SANDBOX", rung)
    (folder.parent / "more").mkdir()
    server = model(SAVE)
    done = allod("do", "--yes", "--unconfined", "--model", "scripted", *args, TASK)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        f"Error: the sandbox that is used here, {rung}, cannot do {args[0]}",
        "Leave that out, or have bubblewrap used: `allod doctor` says how.",
    ]
    assert server.requests == []


def test_a_profile_of_ones_own_asks_nothing(allod: Allod, folder: Path, model: Script, home: Home) -> None:
    model(SAVE, "The total is 42.")
    (home.config / "profiles" / "mine.toml").write_text('ask = "nothing"\nmodel = "scripted"\n[sampling]\nseed = 77\n')
    done = allod("do", "--profile", "mine", TASK)
    assert done.returncode == 0, done.stderr
    assert (folder / "total.txt").read_text() == "42"
    (kept,) = json.loads(allod("conversations", "list", "--json").stdout)
    assert (kept["profile"], kept["model"], kept["title"]) == ("mine", "scripted", TASK)


def test_no_apply_shows_and_applies_nothing(allod: Allod, folder: Path, model: Script) -> None:
    model(SAVE, "The total is 42.")
    done = allod("do", "--yes", "--no-apply", "--model", "scripted", TASK)
    assert done.returncode == 0
    assert "created  total.txt" in done.stdout and "Nothing was applied, as you said." in done.stderr
    assert not (folder / "total.txt").exists()


def test_a_large_model_gets_the_profile_for_large_ones(home: Home) -> None:
    from allod.cli.job import Wanted, chosen_profile

    def name(model: str) -> str:
        return chosen_profile(home, Wanted(task="t", folder=Path(), model=model), None)[0]

    assert [name(m) for m in ("qwen2.5-coder:1.5b", "x:3b", "x", "x:500m", "x:latest")] == ["default"] * 5
    assert [name(m) for m in ("llama3.1:8b", "qwen3-coder:30b-a3b", "x:70B-q4", "x:7b")] == ["large"] * 4
    (home.config / "profiles").mkdir(parents=True)
    (home.config / "profiles" / "default.toml").write_text("[sampling]\nseed = 3")
    assert name("llama3.1:8b") == "default"  # the person's own word


def test_where_nothing_confines_code_it_is_said_and_asked(
    folder: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from allod.cli.job import Wanted, as_asked, check_sandbox
    from allod.interpreter import profiles

    monkeypatch.setattr(Sandbox, "confines", False)
    with pytest.raises(SandboxFailed, match="there is no sandbox on this machine"):
        check_sandbox(Wanted(task=TASK, folder=folder, yes=True))
    assert not check_sandbox(Wanted(task=TASK, folder=folder))
    assert capsys.readouterr().err.startswith("WARNING: there is no sandbox on this machine.")
    assert not check_sandbox(Wanted(task=TASK, folder=folder, yes=True, unconfined=True))
    fast = profiles.load(home, "fast")
    assert as_asked(fast, Wanted(task=TASK, folder=folder), confined=True).ask == "changes"
    assert as_asked(fast, Wanted(task=TASK, folder=folder), confined=False).ask == "each"


# ── files that go along ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_from_elsewhere_can_be_read(allod: Allod, folder: Path, model: Script, tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_text("7 films\n")
    server = model("```python\nprint(open('order.txt').read())\n```", "7.")
    done = allod("do", "--yes", "--model", "scripted", "--file", str(tmp_path / "order.txt"), "How many films?")
    assert done.returncode == 0 and "  7 films" in done.stdout, done.stdout + done.stderr
    assert "Files given with this job: order.txt" in json.dumps(server.requests[0]["messages"][-1])
    assert "created" not in done.stdout and "Applied" not in done.stdout
    assert [path.name for path in folder.iterdir()] == ["keep.txt"]


def test_a_file_from_elsewhere_stays_out_of_what_is_applied(
    allod: Allod, folder: Path, model: Script, tmp_path: Path
) -> None:
    (tmp_path / "order.txt").write_text("7 films\n")
    model(SAVE, "The total is 42.")
    done = allod("do", "--yes", "--model", "scripted", "--file", str(tmp_path / "order.txt"), TASK)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["keep.txt", "total.txt"]


def test_a_picture_is_shown_to_a_model_that_sees(allod: Allod, folder: Path, model: Script) -> None:
    (folder / "sign.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 20)
    server = model("```python\nprint(1)\n```", "It says STOP.")
    done = allod("do", "--yes", "--model", "scripted", "--file", "sign.png", "What does the sign say? Print it")
    assert done.returncode == 0, done.stderr
    text, picture = server.requests[0]["messages"][-1]["content"]
    assert "Files given with this job: sign.png" in text["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,iVBORw0K")
    (folder / "fake.png").write_text("no picture")
    done = allod("do", "--yes", "--model", "scripted", "--file", "fake.png", "What is it?")
    assert done.returncode == 2 and "is not a PNG, JPEG or WebP picture" in done.stderr


def test_careful_asks_for_each_file_and_offers_no_all(folder: Path, model: Script, home: Home) -> None:
    two = "```python\nopen('a.txt', 'w').write('1')\nopen('b.txt', 'w').write('2')\nprint('two')\n```"
    (home.config / "profiles").mkdir(parents=True, exist_ok=True)
    model(two, "Both are written.")
    shell = terminal("--profile", "careful", "Write a.txt and b.txt, and say how many they are")
    shell.expect_exact("Run it? [y]es [n]o [e]dit")
    shell.send("a\ry\r")
    shell.expect_exact("Apply created a.txt?")
    shell.send("n\r")
    shell.expect_exact("Apply created b.txt?")
    shell.send("y\r")
    shell.expect_exact("Applied:")
    shell.expect(pexpect.EOF)
    assert sorted(path.name for path in folder.iterdir()) == ["b.txt", "keep.txt"]


def test_a_figure_is_kept_where_it_is_said_to_be(allod: Allod, folder: Path, model: Script, home: Home) -> None:
    pytest.importorskip("matplotlib")
    model("```python\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nprint('drawn')\n```", "Drawn.")
    done = allod("do", "--yes", "--model", "scripted", "Show me a line. Print drawn")
    (path,) = re.findall(r"\[figure: (.+\.png)\]", done.stdout)
    assert Path(path).read_bytes().startswith(b"\x89PNG")
    assert Path(path).is_relative_to(home.data / "figures")


def test_a_file_that_changed_meanwhile_is_asked_for(allod: Allod, folder: Path, model: Script) -> None:
    code = "```python\nopen('keep.txt', 'a').write('more')\nprint('added')\n```"
    model(code, "Added.")
    shell = terminal("Add to keep.txt and print added")
    shell.expect_exact("Run it?")
    shell.send("y\r")
    shell.expect_exact("Apply it to")
    (folder / "keep.txt").write_text("mine, meanwhile\n")
    shell.send("y\r")
    shell.expect_exact("Write over them?")
    assert (folder / "keep.txt").read_text() == "mine, meanwhile\n"
    shell.send("y\r")
    shell.expect_exact("Applied:")
    shell.expect(pexpect.EOF)
    assert (folder / "keep.txt").read_text() == "keep me\nmore"
    assert allod("undo").returncode == 0
    assert (folder / "keep.txt").read_text() == "mine, meanwhile\n"


def test_what_was_cut_is_said_before_the_answer(allod: Allod, folder: Path, model: Script) -> None:
    model("```python\nfor i in range(60):\n    print('line', i)\n```", "Sixty.")
    both = {"stderr": subprocess.STDOUT, "stdout": subprocess.PIPE, "capture_output": False}
    done = allod("do", "--yes", "--model", "scripted", "Print sixty lines", **both)
    *_, last, more, answer, _ = done.stdout.splitlines()
    assert (last, answer) == ("  line 39", "Sixty.")
    assert more.strip().startswith("… 20 more lines")
