"""The interpreter as a program uses it: a scripted model, a real kernel in a real sandbox, a real database."""

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from allod import AsyncInterpreter, Interpreter
from allod.errors import AllodError, BadRequest, Conflict, DiskFull, ModelNotFound, NotFound
from allod.home import Home
from allod.interpreter import profiles
from allod.interpreter.attempt import Decision
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Answer, Applied, Changes, Code, Ended, Event, Notice, Output, Started
from allod.interpreter.given import Given
from allod.interpreter.workspace import Workspace, fonts
from scripted import ScriptedEngine, ScriptedRunner

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "note.txt").write_text("alpha\n")
    return path


def block(code: str) -> str:
    return f"```python\n{code}\n```\n"


def writes(name: str, text: str = "x") -> str:
    return block(f"open({name!r}, 'w').write({text!r})\nprint('written')")


SAVE = "Save the letter x as {}"


def engine(*replies: Any, **facts: Any) -> Any:
    return ScriptedEngine(ScriptedRunner(replies, **facts))


def plain(home: Home) -> Any:
    """The default profile, one attempt a job."""
    import msgspec

    profile = profiles.load(home)
    return msgspec.structs.replace(profile, bounds=msgspec.structs.replace(profile.bounds, attempts=1, agree=1))


def ended(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def test_importing_allod_loads_nothing() -> None:
    code = "import sys, allod; allod.__version__; print(sorted(m for m in sys.modules if m.startswith('allod')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['allod']"


def test_there_is_nothing_else_in_the_package() -> None:
    import allod

    with pytest.raises(AttributeError, match="no attribute 'Interpretr'"):
        _ = allod.Interpretr  # type: ignore[attr-defined]


# ── a job ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_its_changes_and_taking_them_back(home: Home, folder: Path) -> None:
    with Interpreter(folder, profile=plain(home), home=home, engine=engine(writes("a.txt"), "Done.")) as interpreter:
        events = list(interpreter.do(SAVE.format("a.txt")))
        assert isinstance(events[0], Started)
        assert ended(events).status == "done"
        assert not (folder / "a.txt").exists()
        assert [change.path for change in interpreter.changes()] == ["a.txt"]
        assert [change.path for change in interpreter.apply().changes] == ["a.txt"]
        assert (folder / "a.txt").read_text() == "x"
        assert interpreter.changes() == ()
        interpreter.undo()
        assert not (folder / "a.txt").exists()
        with pytest.raises(NotFound):
            interpreter.undo()


def test_some_changes_are_applied_and_the_others_dropped(home: Home, folder: Path) -> None:
    replies = [block("for name in 'ab': open(name + '.txt', 'w').write(name)"), "Done."]
    with Interpreter(folder, profile=plain(home), home=home, engine=engine(*replies)) as interpreter:
        list(interpreter.do("Save a.txt and b.txt"))
        interpreter.apply(["a.txt"])
        assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "note.txt"]
        with pytest.raises(NotFound):
            interpreter.apply(["../note.txt"])
        interpreter.discard()
        assert interpreter.changes() == ()
    assert not (folder / "b.txt").exists()


def test_variables_stay_when_changes_are_dropped(home: Home, folder: Path) -> None:
    replies = [block("number = 41\nopen('a.txt', 'w').write('a')"), "Done.", block("print(number + 1)"), "It is 42."]
    with Interpreter(folder, profile=plain(home), home=home, engine=engine(*replies)) as interpreter:
        list(interpreter.do("Save a.txt"))
        interpreter.discard()
        events = list(interpreter.do("What is number plus one?"))
        assert "42" in "".join(event.text for event in events if isinstance(event, Output))


def test_auto_applies_what_is_done(home: Home, folder: Path) -> None:
    with Interpreter(folder, profile=plain(home), home=home, auto=True, engine=engine(writes("a.txt"), "Done.")) as it:
        events = list(it.do(SAVE.format("a.txt")))
        (applied,) = (event for event in events if isinstance(event, Applied))
        assert applied.paths == ("a.txt",)
        assert (folder / "a.txt").read_text() == "x"
        it.undo()
    assert not (folder / "a.txt").exists()


def test_auto_never_deletes_everything(home: Home, folder: Path) -> None:
    script = engine(block("import os\nos.remove('note.txt')\nprint('gone')"), "Done.")
    with Interpreter(folder, profile=plain(home), home=home, auto=True, engine=script) as interpreter:
        events = list(interpreter.do("Delete note.txt"))
        assert any(isinstance(event, Changes) for event in events)
        assert not any(isinstance(event, Applied) for event in events)
    assert (folder / "note.txt").exists()


async def test_settle_says_what_becomes_of_changes(home: Home, folder: Path) -> None:
    two = block("open('a.txt', 'w').write('x')\nopen('b.txt', 'w').write('y')\nprint('written')")
    asked: list[tuple[list[str], str]] = []

    async def settle(changes: Any, status: str, write: Any) -> Any:
        asked.append(([change.path for change in changes], status))
        return await write(["b.txt"]) if len(asked) == 1 else None

    script = engine(two, "Done.", writes("c.txt"), "Done.")
    async with AsyncInterpreter(folder, profile=plain(home), home=home, settle=settle, engine=script) as it:
        events = [event async for event in it.do("Save a.txt and b.txt")]
        assert [event.paths for event in events if isinstance(event, Applied)] == [("b.txt",)]
        assert not any(isinstance(event, Applied) for event in [e async for e in it.do(SAVE.format("c.txt"))])
        assert [change.path for change in await it.changes()] == ["a.txt", "c.txt"]
        await it.undo()
    assert asked == [(["a.txt", "b.txt"], "done"), (["a.txt", "c.txt"], "done")]
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


def test_what_cannot_be_written_down_is_done_all_the_same(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("no space left", "Free some space.")

    monkeypatch.setattr(Conversation, "record", full)
    script = engine(writes("a.txt"), "Done.", writes("b.txt"), "Done.")
    with Interpreter(folder, profile=plain(home), home=home, auto=True, engine=script) as interpreter:
        events = [event for name in ("a.txt", "b.txt") for event in interpreter.do(SAVE.format(name))]
    told = [event.text for event in events if isinstance(event, Notice) and "not kept" in event.text]
    assert told == ["this conversation is not kept: no space left. Free some space."]
    assert ended(events).status == "done" and (folder / "b.txt").exists()


def test_undo_keeps_its_hands_off_what_others_applied(home: Home, folder: Path) -> None:
    options: dict[str, Any] = {"profile": plain(home), "home": home}
    with (
        Interpreter(folder, engine=engine(writes("a.txt"), "Done."), **options) as one,
        Interpreter(folder, engine=engine(writes("b.txt"), "Done."), **options) as other,
    ):
        for interpreter, name in ((one, "a.txt"), (other, "b.txt")):
            list(interpreter.do(SAVE.format(name)))
            interpreter.apply()
        with pytest.raises(Conflict):
            one.undo()
        other.undo()
        one.undo()
    assert [path.name for path in folder.iterdir()] == ["note.txt"]


# ── who is asked ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("verdict", "status", "content"),
    [
        (True, "done", "x"),
        (False, "declined", None),
        ("open('a.txt', 'w').write('mine')", "done", "mine"),
        (Decision(True), "done", "x"),
    ],
)
def test_approve(home: Home, folder: Path, verdict: Any, status: str, content: str | None) -> None:
    seen: list[Code] = []

    def approve(code: Code) -> Any:
        seen.append(code)
        return verdict

    script = engine(writes("a.txt"), "Done.")
    with Interpreter(folder, profile=plain(home), home=home, engine=script, approve=approve) as interpreter:
        assert ended(list(interpreter.do(SAVE.format("a.txt")))).status == status
        assert len(seen) == 1
        interpreter.apply()
    path = folder / "a.txt"
    assert (path.read_text() if path.exists() else None) == content


def test_an_error_of_approve_is_the_callers(home: Home, folder: Path) -> None:
    def approve(code: Code) -> bool:
        raise ZeroDivisionError("mine")

    script = engine(writes("a.txt"), "Done.", "Hello.")
    with Interpreter(folder, profile=plain(home), home=home, engine=script, approve=approve) as interpreter:
        with pytest.raises(ZeroDivisionError, match="mine"):
            list(interpreter.do(SAVE.format("a.txt")))
        assert interpreter.changes() == ()


def test_input_is_answered(home: Home, folder: Path) -> None:
    script = engine(block("print('Hello ' + input('Who? '))"), "Done.")
    with Interpreter(
        folder, profile=plain(home), home=home, engine=script, ask=lambda prompt, password: f"{prompt}Ada {password}"
    ) as interpreter:
        events = list(interpreter.do("Greet whoever I name"))
        assert "Hello Who? Ada False" in "".join(event.text for event in events if isinstance(event, Output))


def test_a_strict_profile_needs_approve(home: Home, folder: Path) -> None:
    with pytest.raises(BadRequest, match="asks before everything"):
        Interpreter(folder, profile="careful", home=home, engine=engine())
    with pytest.raises(BadRequest, match="grants nothing"):
        Interpreter(folder, profile="careful", home=home, engine=engine(), approve=lambda _: True, packages=True)


# ── bad input ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"folder": "/no/such/folder"},
        {"folder": "/etc"},
        {"folder": "a\0b"},
        {"profile": "no-such-profile"},
        {"profile": "../default"},
        {"conversation": "0123456789abcdef"},
        {"conversation": "' OR 1=1 --"},
        {"read": ["/no/such/folder"]},
        {"net": ["not a host!"]},
    ],
)
def test_wrong_arguments_are_errors_of_one_line(home: Home, folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(AllodError) as caught:
        Interpreter(**{"folder": folder, "home": home, "engine": engine(), **options})
    assert caught.value.remedy
    assert "\n" not in caught.value.message


def test_before_it_begins_and_after_its_end(home: Home, folder: Path) -> None:
    interpreter = Interpreter(folder, home=home, engine=engine())
    for call in (interpreter.changes, interpreter.apply, interpreter.stop, lambda: list(interpreter.do("Hi"))):
        with pytest.raises(BadRequest, match="not open"):
            call()
    interpreter.close()
    with interpreter:
        pass
    interpreter.close()
    with pytest.raises(BadRequest, match="not open"):
        interpreter.changes()


def test_an_empty_job_and_a_missing_model(home: Home, folder: Path) -> None:
    with Interpreter(folder, "no-such-model", home=home) as interpreter:
        with pytest.raises(BadRequest, match="no job"):
            list(interpreter.do(" \n"))
        with pytest.raises(ModelNotFound):
            list(interpreter.do("Count the files"))
        assert not interpreter.changes()


def test_what_nobody_said_anything_in_is_not_kept(home: Home, folder: Path) -> None:
    with Interpreter(folder, home=home, engine=engine()):
        pass
    assert Conversation.list(home) == []


# ── stopping, several at once, going on ─────────────────────────────────────────────────────────────────────────────


def test_stop_from_another_thread(home: Home, folder: Path) -> None:
    script = engine(block("import time\nprint('begun', flush=True)\ntime.sleep(60)"))
    with Interpreter(folder, profile=plain(home), home=home, engine=script) as interpreter:
        events: list[Event] = []
        begun = time.monotonic()
        for event in interpreter.do("Wait a minute and save it"):
            events.append(event)
            if isinstance(event, Output):
                threading.Thread(target=interpreter.stop).start()
        assert ended(events).status == "stopped"
        assert time.monotonic() - begun < 30


def test_leaving_the_loop_ends_the_job_and_keeps_what_was_said(home: Home, folder: Path) -> None:
    script = engine(block("import time\nprint('begun', flush=True)\ntime.sleep(60)"), writes("a.txt"), "Done.")
    with Interpreter(folder, profile=plain(home), home=home, engine=script) as interpreter:
        for event in interpreter.do("Wait a minute and save it"):
            if isinstance(event, Output):
                break
        id_ = interpreter.conversation.id
        assert ended(list(interpreter.do(SAVE.format("a.txt")))).status == "done"
    first, second = Conversation.get(home, id_).turns()
    assert (first.status, second.status) == ("", "done")
    assert any(isinstance(event, Code) for event in first.events)


def test_closing_from_another_thread_ends_the_job(home: Home, folder: Path) -> None:
    script = engine(block("import time\nprint('begun', flush=True)\ntime.sleep(60)"))
    interpreter = Interpreter(folder, profile=plain(home), home=home, engine=script)
    interpreter.open()
    with pytest.raises(BadRequest, match="closed"):
        for event in interpreter.do("Wait a minute and save it"):
            if isinstance(event, Output):
                threading.Thread(target=interpreter.close).start()


def test_several_at_once_in_threads(home: Home, folder: Path) -> None:
    results: dict[str, list[str]] = {}

    def work(name: str) -> None:
        with Interpreter(folder, profile=plain(home), home=home, engine=engine(writes(name), "Done.")) as interpreter:
            list(interpreter.do(SAVE.format(name)))
            results[name] = [change.path for change in interpreter.changes()]
            interpreter.apply()

    names = ["a.txt", "b.txt"]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {name: [name] for name in names}
    assert sorted(path.name for path in folder.iterdir()) == [*names, "note.txt"]


def test_going_on_with_a_conversation(home: Home, folder: Path) -> None:
    options: dict[str, Any] = {"profile": plain(home), "home": home}
    with Interpreter(folder, engine=engine(block("number = 41\nprint(number)"), "It is 41."), **options) as interpreter:
        list(interpreter.do("Set number to 41 and tell me"))
        id_ = interpreter.conversation.id
    again = engine(block("print(number + 1)"), "It is 42.")
    with Interpreter(conversation=id_, engine=again, **options) as interpreter:
        assert interpreter.folder == folder.resolve()
        events = list(interpreter.do("What is number plus one?"))
    assert [event.text for event in events if isinstance(event, Answer)] == ["It is 42."]
    assert len(Conversation.get(home, id_).turns()) == 2


def test_what_is_kept_is_taken_up_again(home: Home, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "order.txt").write_text("7")
    options: dict[str, Any] = {"profile": plain(home), "home": home, "keep": True}
    with Interpreter(folder, engine=engine(writes("a.txt"), "Done."), **options) as interpreter:
        list(interpreter.do(SAVE.format("a.txt"), files=[tmp_path / "order.txt"]))
        id_ = interpreter.conversation.id
    with Interpreter(conversation=id_, engine=engine(), **options) as interpreter:
        assert [change.path for change in interpreter.changes()] == ["a.txt"]  # and not order.txt
        with pytest.raises(Conflict, match="in use by another process"):
            Interpreter(conversation=id_, engine=engine(), **options).open()
        interpreter.apply()
    with Interpreter(conversation=id_, engine=engine(), **options) as interpreter:
        assert interpreter.changes() == ()
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "note.txt"]


@pytest.mark.parametrize("job", ["", "..", "../..", "20260101-000000000000-abcd", "x/../y"])
def test_no_job_is_reopened_that_is_none(home: Home, job: str) -> None:
    with pytest.raises(NotFound, match="is gone"):
        Workspace.reopen(home, job)


async def test_the_same_without_threads(home: Home, folder: Path) -> None:
    script = engine(writes("a.txt"), "Done.")

    async def approve(code: Code) -> bool:
        return "a.txt" in code.code

    async with AsyncInterpreter(folder, profile=plain(home), home=home, engine=script, approve=approve) as interpreter:
        async for _ in interpreter.do(SAVE.format("a.txt")):
            assert interpreter.busy
            with pytest.raises(Conflict):
                await interpreter.changes()
            with pytest.raises(Conflict):
                await anext(interpreter.do("Another"))
        await interpreter.rest()
        assert [change.path for change in await interpreter.changes()] == ["a.txt"]
        await interpreter.apply()
    assert (folder / "a.txt").exists()


async def until(happened: Any) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.02)


def processes(interpreter: AsyncInterpreter) -> list[str]:
    """Those of kernels over the interpreter's workspace: the command lines name its layers."""
    layers, found = str(interpreter.agent.workspace.layers), list[str]()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [path.parent.name] if layers in path.read_text(errors="replace") else []
    return found


async def test_kernels_are_let_go_after_a_while_and_come_back(home: Home, folder: Path) -> None:
    code = block("number = 41\nopen('a.txt', 'w').write('a')\nprint(number)")
    script = engine(code, "It is 41.", block("print(number + 1, open('a.txt').read())"), "It is 42.")
    async with AsyncInterpreter(folder, profile=plain(home), home=home, rest=0.1, engine=script) as interpreter:
        async for event in interpreter.do("Save a.txt and print number"):
            if isinstance(event, Output):
                assert processes(interpreter)
        await until(lambda: not processes(interpreter))
        assert [change.path for change in await interpreter.changes()] == ["a.txt"]
        events = [event async for event in interpreter.do("What is number plus one?")]
        assert "42 a" in "".join(event.text for event in events if isinstance(event, Output))
        assert processes(interpreter)


async def test_a_job_that_comes_while_kernels_are_let_go_waits_for_that(home: Home, folder: Path) -> None:
    script = engine(block("number = 41\nprint(number)"), "It is 41.", block("print(number + 1)"), "It is 42.")
    async with AsyncInterpreter(folder, profile=plain(home), home=home, rest=0, engine=script) as interpreter:
        async for _ in interpreter.do("Set number to 41 and print it"):
            pass
        await asyncio.sleep(0)  # the timer of nought seconds is over
        events = [event async for event in interpreter.do("What is number plus one?")]
        assert "42" in "".join(event.text for event in events if isinstance(event, Output))


async def test_kernels_are_warmed_and_rest_only_when_idle(home: Home, folder: Path) -> None:
    script = engine(block("import time\ntime.sleep(0.6)\nprint('slept')"), "Done.")
    async with AsyncInterpreter(folder, profile=plain(home), home=home, rest=0.2, engine=script) as interpreter:
        assert not processes(interpreter)
        await interpreter.warm()
        assert processes(interpreter)
        events = [event async for event in interpreter.do("Sleep, then print slept")]
        assert "slept" in "".join(event.text for event in events if isinstance(event, Output))
        async with interpreter.session() as session:
            await asyncio.sleep(0.5)
            assert processes(interpreter)
            with pytest.raises(Conflict):
                await interpreter.warm()
            assert session.kernel.language == "python"
        await until(lambda: not processes(interpreter))


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_files_from_elsewhere_are_seen_and_are_no_change(home: Home, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("beta")
    replies = [block("print(open('note-2.txt').read())"), "It says beta.", block("open('note-2.txt', 'a').write('!')")]
    script = engine(*replies, "Done.")
    with Interpreter(folder, profile=plain(home), home=home, engine=script) as interpreter:
        events = list(interpreter.do("What does the file say?", files=[tmp_path / "note.txt", folder / "note.txt"]))
        assert "beta" in "".join(event.text for event in events if isinstance(event, Output))
        (started,) = (event for event in events if isinstance(event, Started))
        assert started.task.endswith("Files given with this job: note-2.txt, note.txt")
        assert not any(isinstance(event, Changes) for event in events)
        assert interpreter.changes() == ()
        assert interpreter.apply().changes == ()
        list(interpreter.do("Add a mark to note-2.txt"))
        assert [change.path for change in interpreter.changes()] == ["note-2.txt"]


def test_a_file_of_any_size_is_seen(home: Home, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.interpreter.given.LARGEST", 1000)
    (tmp_path / "large.bin").write_bytes(bytes(5000))
    (tmp_path / "large.png").write_bytes(PNG + bytes(5000))  # too large to be shown
    script = engine(block("import os\nprint(os.stat('large.bin').st_size, os.stat('large.png').st_size)"), "Done.")
    with Interpreter(folder, profile=plain(home), home=home, engine=script) as interpreter:
        events = list(interpreter.do("How large are they?", files=[tmp_path / "large.bin", tmp_path / "large.png"]))
        assert interpreter.changes() == ()
    assert f"5000 {len(PNG) + 5000}" in "".join(event.text for event in events if isinstance(event, Output))
    assert isinstance(script.runner.requests[0].messages[-1].content, str)


@pytest.mark.parametrize("sees", [True, False])
def test_a_picture_is_shown_to_a_model_that_sees(home: Home, folder: Path, tmp_path: Path, sees: bool) -> None:
    from allod.engine.runner import Facts

    (tmp_path / "sign.png").write_bytes(PNG)
    script = engine(block("print(1)"), "It says stop.", facts=Facts(model="eyes", context=8192, vision=sees))
    with Interpreter(folder, profile=plain(home), home=home, engine=script) as interpreter:
        events = list(interpreter.do("Hello, what is this?", files=[tmp_path / "sign.png"]))
    parts = script.runner.requests[0].messages[-1].content
    assert isinstance(parts, list) is sees
    assert any(isinstance(event, Notice) and "cannot see" in event.text for event in events) is not sees


@pytest.mark.parametrize(
    "name", ["../a", "/etc/passwd", "a\0b", "", ".", "..", "a/b", "a\\b", "x" * 300, "\ud800", "a\n"]
)
def test_no_name_is_a_path(name: str) -> None:
    with pytest.raises(BadRequest):
        Given.named(name, b"")


def test_a_file_that_cannot_be_read(home: Home, folder: Path) -> None:
    with Interpreter(folder, profile=plain(home), home=home, engine=engine()) as interpreter:
        for path in (folder / "none.txt", folder, "a\0b"):
            with pytest.raises(BadRequest):
                list(interpreter.do("Read it", files=[path]))


# ── docs/python.md ──────────────────────────────────────────────────────────────────────────────────────────────────

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS: list[str] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
COUNT = block("count = len(open('films.csv').readlines())\nopen('count.txt', 'w').write(str(count))\nprint(count)")
SAID = {
    0: ["Started", "Changes", "Ended", "created count.txt"],
    1: ["print(count)", "There are 2.", "done"],
    2: ["Applied"],
}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_example(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.csv").write_text("name\nAlien\n")
    monkeypatch.chdir(tmp_path)
    script = engine(COUNT, "There are 2.", COUNT, "There are 2.")

    @contextlib.asynccontextmanager
    async def connect(_: Home) -> AsyncGenerator[Any]:
        yield script

    monkeypatch.setattr("allod.interpreter.interpreter.connect", connect)
    exec(compile(BLOCKS[number], "docs/python.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert [words for words in SAID[number] if words not in printed] == [], printed
    assert (folder / "count.txt").exists() is (number == 2)
