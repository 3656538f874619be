"""One answer of the model: a block that the limit of tokens cut off is gone on with, and never run half."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from allod.chat import ChatChunk, ChatRequest, Message, Options
from allod.engine.runner import Facts
from allod.interpreter.events import CodeText
from allod.interpreter.turn import RepeatedFence, Turn
from scripted import Script, ScriptedRunner

pytestmark = pytest.mark.anyio

ASKED = [Message("system", "Be brief."), Message("user", "Print the numbers.")]
WHOLE = "Sure.\n```python\nfor n in range(3):\n    print(n, '  ')\n\n\nprint('é — done')\n```\n"


class Limited(ScriptedRunner):
    """Keeps to the limit of tokens, a chunk being one."""

    async def chat(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        left = request.options.max_tokens
        async for chunk in super().chat(request):
            if chunk.text and not left:
                yield ChatChunk(finish="length")
                return
            left -= bool(chunk.text)
            yield chunk


async def said(replies: list[Script], limit: int, context: int = 8192) -> tuple[Turn, ScriptedRunner, str]:
    """The turn, its runner and the code as it was streamed. ``limit`` is in chunks of four characters."""
    runner = Limited(replies, facts=Facts(model="scripted", context=context, slots=1))
    turn = Turn(runner, asyncio.Event())
    events = [event async for event in turn.run(ASKED, Options(max_tokens=limit))]
    return turn, runner, "".join(event.text for event in events if isinstance(event, CodeText))


@pytest.mark.parametrize("limit", [7, 9, 11, 14])
async def test_a_block_that_was_cut_off_is_joined_byte_for_byte(limit: int) -> None:
    def rest(request: object) -> str:
        return WHOLE.removeprefix(request.messages[-1].text)  # type: ignore[attr-defined]

    turn, runner, streamed = await said([WHOLE, rest, rest], limit)
    assert turn.block is not None
    assert turn.block.code == "for n in range(3):\n    print(n, '  ')\n\n\nprint('é — done')"
    assert streamed == turn.block.code + "\n"
    assert turn.text == WHOLE[: len(turn.text)]
    assert runner.requests[1].messages[:2] == ASKED  # type: ignore[union-attr]
    assert runner.requests[1].messages[2].role == "assistant"  # type: ignore[union-attr]


async def test_a_call_that_was_cut_off_is_joined() -> None:
    call = '{"name": "execute", "arguments": {"language": "python", "code": "print(6 * 7)"}}'
    turn, _, _ = await said([call, lambda r: call.removeprefix(r.messages[-1].text)], 12)
    assert turn.block is not None and turn.block.code == "print(6 * 7)"


async def test_a_block_without_an_end_is_not_run() -> None:
    """Three pieces, and still none: asked for a shorter one, by ``cut``."""
    lines = [f"line_{n} = {n}\n" * 1 for n in range(100)]
    turn, runner, _ = await said(["```python\n" + "".join(lines), "".join(lines), "".join(lines)], 20)
    assert turn.block is None and turn.cut
    assert len(runner.requests) == 3


async def test_a_block_that_turns_in_circles_is_not_gone_on_with() -> None:
    turn, runner, _ = await said(["```python\n" + "x = x + 1  # and so on, again and again\n" * 100], 150)
    assert turn.block is None and turn.cut
    assert len(runner.requests) == 1


async def test_a_block_that_would_not_fit_is_not_gone_on_with() -> None:
    turn, runner, _ = await said([WHOLE], 9, context=30)
    assert turn.block is None and turn.cut
    assert len(runner.requests) == 1


async def test_words_that_were_cut_off_are_not_gone_on_with() -> None:
    turn, runner, _ = await said(["It is a long story, and it has no code at all in it."], 5)
    assert turn.block is None and turn.cut
    assert len(runner.requests) == 1


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("x = 1\n```", "x = 1\n```"),
        ("```python\nx = 1\n```", "x = 1\n```"),
        ("\n```py\nx = 1\n```", "x = 1\n```"),
        ("``x", "``x"),
        ("  x", "  x"),
        ("```", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_a_fence_that_is_repeated_is_taken_off(said: str, text: str, size: int):
    fence = RepeatedFence()
    assert "".join(fence.feed(said[at : at + size]) for at in range(0, len(said), size)) == text
