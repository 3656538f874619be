"""Slots: neighbours work together, and who goes on with a conversation finds its cache again."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from engine_helpers import answered, ask, small_load
from hypothesis import given
from hypothesis import strategies as st

from allod.chat import ChatRequest, Message, Options
from allod.engine.llama import LlamaRunner
from allod.engine.slots import GRAIN, Slots, common, prompt_of, with_slot


@given(st.binary(max_size=50), st.binary(max_size=50), st.binary(max_size=50))
def test_a_common_beginning(head: bytes, one: bytes, other: bytes) -> None:
    length = common(head + one, head + other)
    assert (head + one)[:length] == (head + other)[:length] and length >= len(head)
    assert (head + one)[length : length + 1] != (head + other)[length : length + 1] or length in (
        len(head + one),
        len(head + other),
    )


def test_strangers_work_side_by_side() -> None:
    slots = Slots(4)
    for slot in range(4):
        slots.release(slots.take(bytes(slot)))
    slots.release(slots.take(b"x"))
    for count in range(1, 5):
        slots.take(b"y")
        assert max(slots.busy) - min(slots.busy) == count - 1


def test_the_one_unused_longest_where_nobody_works() -> None:
    slots = Slots(3)
    for prompt in (b"a", b"b", b"c"):
        slots.release(slots.take(prompt))
    assert slots.take(b"d") == 0


def test_the_same_again_however_short() -> None:
    slots = Slots(3)
    for prompt in (b"a", b"b", b"c"):
        slots.release(slots.take(prompt))
    for prompt, slot in ((b"b", 1), (b"c and more", 2), (b"a", 0), (b"c and more", 2)):
        assert slots.take(prompt) == slot
        slots.release(slot)


def test_who_goes_on_finds_its_slot() -> None:
    slots = Slots(4)
    long = [letter * GRAIN * 3 for letter in (b"a", b"b", b"c", b"d")]
    taken = [slots.take(prompt) for prompt in long]
    for slot in taken:
        slots.release(slot)
    for n in (2, 0, 3, 1):
        slot = slots.take(long[n] + b" and more")
        assert slot == taken[n]
        slots.release(slot)


def test_a_shared_beginning_is_not_worth_another_ones_conversation() -> None:
    slots = Slots(2)
    rules = b"be good " * GRAIN
    slots.release(slots.take(rules + b"a" * 100))
    assert slots.take(rules + b"b") == 0, "much in common, little to lose"
    slots = Slots(2)
    slots.release(slots.take(rules + b"a" * 10_000))
    assert slots.take(rules + b"b") == 1, "much to lose"


def test_a_gap_is_filled_first() -> None:
    slots = Slots(4)
    a, b, c = (slots.take(x) for x in (b"a", b"b", b"c"))
    slots.release(b)
    assert slots.take(b"d") == b and (a, c) == (0, 2)


@pytest.mark.parametrize(
    "body,found",
    [
        (b'{"messages": []}', b'{"id_slot":3,"messages": []}'),
        (b"  { }", b'{"id_slot":3}'),
        (b'{"n":1}', b'{"id_slot":3,"n":1}'),
        (b'{"n": 2}', b'{"n": 2}'),
        (b'{"prompt":[1, 2]}', b'{"id_slot":3,"prompt":[1, 2]}'),
        (b'{"prompt": ["a", "b"]}', b'{"prompt": ["a", "b"]}'),
        (b'{"prompt":[[1], [2]]}', b'{"prompt":[[1], [2]]}'),
        (b'{"content": "\\"n\\": 2"}', b'{"id_slot":3,"content": "\\"n\\": 2"}'),
        (b"[1]", b"[1]"),
        (b"", b""),
        (b"nonsense", b"nonsense"),
    ],
)
def test_a_raw_body_says_which_slot(body: bytes, found: bytes) -> None:
    assert with_slot("/v1/chat/completions", body, 3) == found
    assert with_slot("/v1/embeddings", body, 3) == body


def test_a_raw_prompt() -> None:
    assert prompt_of(b'{"model": "m", "messages": [1], "prompt": 2}') == b'"messages": [1], "prompt": 2}'
    assert prompt_of(b"{}") == b""


# ── with a real model ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
async def four(smollm2_path: Path) -> AsyncIterator[LlamaRunner]:
    runner = await LlamaRunner.start(small_load(smollm2_path, slots=4))
    yield runner
    await runner.close()


async def at_work(runner: LlamaRunner) -> set[int]:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {runner.key}"}) as http:
        slots = (await http.get(f"{runner.url}/slots")).json()
    return {slot["id"] for slot in slots if slot["is_processing"]}


def endless(text: str) -> ChatRequest:
    return ChatRequest([Message("user", text)], Options(max_tokens=900, extra={"ignore_eos": True}))


@pytest.mark.anyio
async def test_streams_at_once_are_neighbours(four: LlamaRunner) -> None:
    chat = four.chat(endless("One."))
    await anext(chat)
    body = {"messages": [{"role": "user", "content": "Two."}], "max_tokens": 900, "ignore_eos": True, "stream": True}
    async with four.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
        await anext(answer.body)
        low, high = sorted(await at_work(four))
        assert high == low + 1
    await chat.aclose()  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_conversations_by_turns_keep_their_caches(four: LlamaRunner) -> None:
    talks = [ask("word " * 20 + f"{n} again " * 80 + "Say one word.", max_tokens=4) for n in range(3)]
    for talk in talks:
        await answered(four.chat(talk))
    for talk in (talks[1], talks[2], talks[0]):
        talk.messages += [Message("assistant", "Yes."), Message("user", "And another.")]
        _, last = await answered(four.chat(talk))
        assert last.usage and last.usage.cached_tokens > 200
