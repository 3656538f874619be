"""Beginnings that several conversations share are kept on disk, those of a single one never."""

import json
from typing import Any

import msgspec
import pytest
from engine_helpers import ask
from test_snapshots import Begin, Watched, begin, counted, kept, said, snapshots, written

from allod.chat import ChatRequest, Message
from allod.engine.habits import KNOWN, LONG, Habits
from allod.engine.llama import LlamaRunner

__all__ = ["begin", "snapshots"]  # fixtures

LAMPS = "You look after a house. " + " ".join(f"Lamp {n} is {'on' if n % 3 else 'off'}." for n in range(80))


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def conversation(*turns: str, system: Any = LAMPS, role: str = "system", **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant") * len(turns)
    rest = [turn(who, text) for who, text in zip(roles, turns, strict=False)]
    return {"messages": [turn(role, system), *rest]} | more


def test_a_conversation_that_goes_on_is_still_one() -> None:
    habits = Habits()
    assert habits.shared(conversation("Light!")) is False
    assert habits.shared(conversation("Light!", "It is on.", "Off!")) is False
    assert habits.shared(conversation("Which lamps are on?")) is True
    assert habits.shared(conversation("Light!", "It is on.", "Off!", "It is off.", "Thanks")) is True


def test_what_it_begins_with_is_the_system_message_and_the_tools() -> None:
    habits = Habits()
    tools = [{"type": "function", "function": {"name": "light", "parameters": {}}}]
    assert habits.shared(conversation("Light!")) is False
    assert habits.shared(conversation("Dark!", tools=tools)) is False
    assert habits.shared(conversation("Dark!", system=LAMPS + "!")) is False
    assert habits.shared(conversation("Light!", tools=tools)) is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": None},
        {"messages": "system"},
        {"messages": [turn("system", LAMPS)]},
        {"messages": [3, 4]},
        {"messages": [{"role": ["system"], "content": LAMPS}, turn("user", "Light!")]},
        conversation("Light!", system="Be brief."),
        conversation("Light!", role="user"),
    ],
)
def test_what_is_not_worth_a_thought(body: dict[str, Any]) -> None:
    habits = Habits()
    assert habits.shared(body) is None
    assert habits.shared(body) is None


def test_raw_messages_and_parts_are_looked_at_too() -> None:
    habits = Habits()
    for role in ("system", "developer"):
        for words, expected in (("Light!", False), ("Dark!", True)):
            body = conversation(words, system=[{"type": "text", "text": LAMPS}], role=role)
            raw = [msgspec.Raw(msgspec.json.encode(message)) for message in body["messages"]]
            assert habits.shared({"messages": raw}) is expected


def test_it_does_not_remember_for_ever() -> None:
    habits = Habits()
    habits.shared(conversation("Light!"))
    for number in range(KNOWN):
        habits.shared(conversation("Light!", system=str(number) * LONG))
    assert habits.shared(conversation("Dark!")) is False


# ── with a model ────────────────────────────────────────────────────────────────────────────────────────────────────


def asked(question: str) -> ChatRequest:
    request = ask(question, max_tokens=4)
    request.messages.insert(0, Message("system", LAMPS))
    return request


async def forwarded(runner: LlamaRunner, question: str) -> int:
    """Tokens that were there already, for a raw body as a client writes it."""
    body = conversation(question, temperature=0, max_tokens=4)
    async with runner.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
        reply = json.loads(b"".join([data async for data in answer.body]))
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.anyio
@pytest.mark.parametrize("raw", [False, True])
async def test_the_second_one_keeps_it_and_the_next_process_reads_it(
    begin: Begin, snapshots: Watched, monkeypatch: pytest.MonkeyPatch, raw: bool
) -> None:
    async def cached(runner: LlamaRunner, question: str) -> int:
        return await forwarded(runner, question) if raw else (await said(runner, asked(question)))[1]

    async with begin(slots=1) as first:
        done = counted(first, monkeypatch)
        assert await cached(first, "Is lamp 1 on?") == 0
        await cached(first, "Is lamp 1 on?")
        assert (done, kept(snapshots)) == ([], []), "it may be the only one"
        assert await cached(first, "Which lamps are off?") > 300
        assert done == ["compute", "save"]
        await written(snapshots)
        await cached(first, "Is lamp 3 on?")
        assert done == ["compute", "save"], "once is enough"
    async with begin(slots=1) as second:
        done = counted(second, monkeypatch)
        assert await cached(second, "Is lamp 7 on?") > 300, "the first question of the next process"
        await cached(second, "Is lamp 8 on?")
        await cached(second, "Is lamp 9 on?")
        assert done == ["restore"]


@pytest.mark.anyio
async def test_nothing_of_the_conversation_is_kept(begin: Begin, snapshots: Watched) -> None:
    """What is on disk is what the system message alone would give."""
    async with begin(slots=1) as first:
        for question in ("Is lamp 1 on?", "Which lamps are off?"):
            await said(first, asked(question))
        (path,) = await written(snapshots)
    automatic = path.read_bytes()
    path.unlink()
    async with begin(slots=1) as second:
        request = asked("Something else?")
        request.keep = 1
        await said(second, request)
        (again,) = await written(snapshots)
    assert again.name == path.name, "the same tokens, by their hash"
    assert abs(again.stat().st_size - len(automatic)) < 64
