"""Counts of tokens: what is remembered, and what is guessed where nobody counts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.chat import ImagePart, Message, TextPart, ToolCall
from allod.engine.counting import KEPT, PICTURE, Counts, estimate
from allod.engine.llama import LlamaRunner

TEXTS = {
    "prose": "The quick brown fox jumps over the lazy dog, and nobody wondered why it would do so again. " * 9,
    "code": Path(__file__).read_text(encoding="utf-8"),
    "table": "\n".join(f"{n},{n * 37 % 1000}.{n % 7}5,2024-01-{n:02d},Ulm" for n in range(40)),
    "script": "Ärger über große Bären; 漢字かな交じり文。 Дом у моря. 🦊🦊" * 5,
    "lines": "a\n\n\n  b\n" * 30,
}


def test_only_the_last_counts_are_remembered() -> None:
    counts = Counts()
    assert counts.of(b"first") is None
    assert counts.put(b"first", 1) == 1
    for n in range(KEPT - 1):
        counts.put(b"%d" % n, n)
    assert counts.of(b"first") == 1, "used again, so it stays"
    counts.put(b"one more", 7)
    assert (counts.of(b"first"), counts.of(b"0"), counts.of(b"one more")) == (1, None, 7)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", TEXTS)
async def test_an_estimate_is_rather_too_high(smollm2: LlamaRunner, kind: str) -> None:
    messages = [Message("system", "Be brief."), Message("user", TEXTS[kind])]
    exact = await smollm2.count_tokens(messages)
    assert exact <= estimate(messages) <= 3 * exact


def test_an_estimate_minds_pictures_and_calls() -> None:
    bare = [Message("user", "Look.")]
    seen = [Message("user", [TextPart("Look."), ImagePart(b"x")])]
    called = [Message("user", "Look.", tool_calls=[ToolCall("1", "add", '{"a": 12345}')])]
    assert estimate(seen) == estimate(bare) + PICTURE
    assert estimate(called) > estimate(bare)
    assert estimate([]) < 50


@given(st.text())
def test_an_estimate_exists_for_every_text(text: str) -> None:
    assert estimate([Message("user", text)]) >= estimate([Message("user", "")])
