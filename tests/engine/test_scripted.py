"""The scripted runner itself: it must behave as a model would, or tests that lean on it prove nothing."""

import pytest

from allod.chat import ChatRequest, Message, Options, ToolCall
from allod.errors import RunnerCrashed
from scripted import ScriptedEngine, ScriptedRunner


def asked(text: str, **options: object) -> ChatRequest:
    return ChatRequest([Message("user", text)], Options(**options))


@pytest.mark.anyio
async def test_plays_replies_in_order_and_records_requests() -> None:
    engine = ScriptedEngine(ScriptedRunner(["one two three", lambda r: r.messages[-1].text.upper()]))
    async with engine.lease("any") as runner:
        chunks = [c async for c in runner.chat(asked("hi"))]
        assert "".join(c.text for c in chunks) == "one two three"
        assert [c.finish for c in chunks[:-1]] == [None] * (len(chunks) - 1)
        assert chunks[-1].finish == "stop" and chunks[-1].usage is not None
        assert "".join([c.text async for c in runner.chat(asked("again"))]) == "AGAIN"
        assert [r.messages[0].text for r in runner.requests] == ["hi", "again"]


@pytest.mark.anyio
async def test_stops_at_stop_strings_and_plays_calls_and_errors() -> None:
    runner = ScriptedRunner(["ab```rest", ToolCall("c1", "f", "{}"), ["half", RunnerCrashed("died")]])
    assert "".join([c.text async for c in runner.chat(asked("", stop=["```"]))]) == "ab"
    chunks = [c async for c in runner.chat(asked(""))]
    assert chunks[0].tool_calls[0].name == "f" and chunks[-1].finish == "tool_calls"
    with pytest.raises(RunnerCrashed):
        _ = [c async for c in runner.chat(asked(""))]


@pytest.mark.anyio
async def test_counts_iterators_that_are_left_early() -> None:
    runner = ScriptedRunner(["a long answer that nobody reads to its end"])
    stream = runner.chat(asked(""))
    async for _ in stream:
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert runner.left_early == 1
