"""One conversation: settings, turns, pictures, printing. The model is scripted, so that it says what is needed."""

import asyncio
import io
from pathlib import Path

import pytest

from allod.chat import ChatChunk, ChatRequest, ImagePart, TextPart, Usage
from allod.cli.chat import Chat, Settings, parse_format, parse_keep_alive, parse_think
from allod.cli.pictures import parts_of, pictures_in, read_picture
from allod.cli.printer import Printer, go_duration, print_statistics
from allod.errors import BadRequest, RunnerCrashed
from scripted import ScriptedEngine, ScriptedRunner

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def chat_with(*replies: object, **settings: object) -> tuple[Chat, ScriptedRunner]:
    runner = ScriptedRunner(replies)  # type: ignore[arg-type]
    return Chat(ScriptedEngine(runner), "m", Settings(**settings)), runner  # type: ignore[arg-type]


async def say(chat: Chat, runner: ScriptedRunner, text: str, thinking: bool = True) -> str:
    out = io.StringIO()
    await chat.reply(text, runner, Printer(thinking=thinking, stream=out), 0.0)
    return out.getvalue()


async def test_turns_add_up():
    chat, runner = chat_with("Hello!", "Ada.", system="Be brief.")
    assert await say(chat, runner, "Hi, I am Ada") == "Hello!\n"
    assert await say(chat, runner, "Who am I?") == "Ada.\n"
    asked = runner.requests[1]
    assert isinstance(asked, ChatRequest)
    assert [(m.role, m.content) for m in asked.messages] == [
        ("system", "Be brief."),
        ("user", "Hi, I am Ada"),
        ("assistant", "Hello!"),
        ("user", "Who am I?"),
    ]


async def test_an_answer_that_was_stopped_is_kept_as_far_as_it_came():
    runner = ScriptedRunner(["one two three four five six"], chunk=4, pause=0.01)
    chat = Chat(ScriptedEngine(runner), "m", Settings())
    began = asyncio.Event()

    class Watch(Printer):
        def write(self, text: str) -> None:
            began.set()

    task = asyncio.ensure_future(chat.reply("count", runner, Watch(stream=io.StringIO()), 0.0))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert runner.left_early == 1
    assert [m.role for m in chat.messages] == ["user", "assistant"]
    assert "one two three four five six".startswith(chat.messages[1].text) and chat.messages[1].text


async def test_a_question_that_failed_is_not_kept():
    chat, runner = chat_with(RunnerCrashed("it died", "Ask again."), "Fine.")
    with pytest.raises(RunnerCrashed):
        await say(chat, runner, "Hi")
    assert chat.messages == []
    assert await say(chat, runner, "Hi") == "Fine.\n"


async def test_settings_reach_the_model():
    chat, runner = chat_with("x", format="json", think="low")
    for name, *values in (("temperature", "0.5"), ("num_predict", "7"), ("stop", "A", "B"), ("num_ctx", "4096")):
        chat.settings.set_parameter(name, *values)
    await say(chat, runner, "Hi")
    asked = runner.requests[0]
    assert isinstance(asked, ChatRequest)
    assert (asked.options.temperature, asked.options.max_tokens, asked.options.stop) == (0.5, 7, ["A", "B"])
    assert (asked.format, asked.think) == ("json", "low")
    load = chat.settings.load_options()
    assert load is not None and load.context == 4096
    assert Settings().load_options() is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_ctx", "9" * 300), ("num_ctx", "-1"), ("temperature", "hot"), ("temperature", "nan"), ("nonsense", "1")],
)
def test_parameters_that_make_no_sense(name: str, value: str):
    settings = Settings()
    with pytest.raises(BadRequest, match=name):
        settings.set_parameter(name, value)
    assert settings.params == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [("", None), ("json", "json"), ('"json"', "json"), ('{"type": "object"}', {"type": "object"})],
)
def test_format(text: str, value: object):
    assert parse_format(text) == value


@pytest.mark.parametrize("text", ["xml", "[1]", "{", "[" * 100_000])
def test_no_format(text: str):
    with pytest.raises(BadRequest):
        parse_format(text)


def test_think():
    assert [parse_think(t) for t in ("", "true", "False", "high")] == [None, True, False, "high"]
    with pytest.raises(BadRequest):
        parse_think("a lot")


def test_keep_alive():
    assert [parse_keep_alive(t) for t in ("", "300", "5m", "1h30m")] == [None, 300, 300, 5400]
    assert parse_keep_alive("-1") == float("inf")
    with pytest.raises(BadRequest):
        parse_keep_alive("soon")


# ── printing ────────────────────────────────────────────────────────────────────────────────────────────────────────


def printed(*chunks: ChatChunk, thinking: bool = True) -> str:
    out = io.StringIO()
    printer = Printer(thinking=thinking, stream=out)
    for chunk in chunks:
        printer.add(chunk)
    printer.end()
    return out.getvalue()


def test_thinking_comes_before_the_answer():
    chunks = (ChatChunk(thinking="Hm"), ChatChunk(thinking="m.\n"), ChatChunk(text="Yes"))
    assert printed(*chunks) == "Thinking...\nHmm.\n...done thinking.\n\nYes\n"
    assert printed(*chunks, thinking=False) == "Yes\n"


def test_a_model_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    printer = Printer(stream=out)
    printer.live = True
    printer.add(ChatChunk(text="a\x1b]0;title\x07b\x9b31m\tc\n", thinking="\x1b[2J"))
    assert not set(out.getvalue()) & {"\x1b", "\x07", "\x9b"}
    assert "\tc\n" in out.getvalue()


def test_an_answer_ends_with_one_newline():
    assert printed(ChatChunk(text="a\n")) == "a\n"
    assert printed() == ""


def test_statistics_are_ollamas(capsys: pytest.CaptureFixture[str]):
    print_statistics(Usage(26, 20, 298, 0.12, 4.799921), total=62.5, load=0.0201)
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.splitlines() == [
        "total duration:       1m2.5s",
        "load duration:        20.1ms",
        "prompt eval count:    26 token(s)",
        "prompt eval duration: 120ms",
        "prompt eval rate:     50.00 tokens/s",
        "eval count:           298 token(s)",
        "eval duration:        4.799921s",
        "eval rate:            62.08 tokens/s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0µs"), (0.0000124, "12.4µs"), (0.5, "500ms"), (1, "1s"), (3723.5, "1h2m3.5s")]
)
def test_go_duration(seconds: float, text: str):
    assert go_duration(seconds) == text


# ── pictures ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "written",
    ["{path}", "'{path}'", '"{path}"', "{escaped}", "look at {escaped}, please", "{escaped}?", "x\n{escaped}\ny"],
)
def test_paths_of_pictures_are_found(tmp_path: Path, written: str):
    path = tmp_path / ("my photo.PNG" if "{path}" not in written or "'" in written or '"' in written else "photo.PNG")
    path.write_bytes(PNG)
    text = written.format(path=path, escaped=str(path).replace(" ", "\\ "))
    assert pictures_in(text) == [path]


@pytest.mark.parametrize(
    "text", ["", "no picture", "/nowhere/photo.png", "photo.pngx", "x" * 9000 + ".png", "~nobody/a.png", "a\0.png"]
)
def test_what_is_no_picture(text: str):
    assert pictures_in(text) == []


def test_a_picture_becomes_a_part(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(PNG)
    assert parts_of("look", [tmp_path / "a.png"]) == [TextPart("look"), ImagePart(PNG, "image/png")]


@pytest.mark.parametrize("content", [b"", b"text", b"RIFF1234WAVE"])
def test_files_that_only_look_like_pictures(tmp_path: Path, content: bytes):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadRequest, match="not a PNG"):
        read_picture(tmp_path / "a.png")
