"""Tokens guessed ahead: the same text sooner, and none where their probabilities are wanted."""

import msgspec
import pytest
from engine_helpers import SMALL

from allod.chat import ChatRequest, Message, Options
from allod.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.errors import Unsupported
from allod.home import Home

pytestmark = pytest.mark.anyio
SAME = ChatRequest(
    [Message("user", "Repeat this word for word: one two three four five six seven eight nine ten eleven twelve.")],
    Options(max_tokens=60, temperature=0.0),
)
EXACT = msgspec.structs.replace(SMALL, exact=True)


class Timings(msgspec.Struct):
    draft_n: int = 0
    draft_n_accepted: int = 0


class Answer(msgspec.Struct):
    content: str
    timings: Timings


async def complete(runner: LlamaRunner) -> Answer:
    """Counts on, which every model of this size does."""
    body = {"prompt": "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, " * 4, "n_predict": 40, "temperature": 0, "ignore_eos": True}
    return await runner.ask("/completion", body, Answer)


async def test_it_guesses_what_came_before_and_says_the_same(smollm2_home: Home) -> None:
    async with Engine(smollm2_home) as engine:
        async with engine.lease("smollm2:135m", SMALL) as runner:
            assert isinstance(runner, LlamaRunner) and runner.load.speculate
            guessed = await complete(runner)
        async with engine.lease("smollm2:135m", EXACT) as runner:
            assert isinstance(runner, LlamaRunner) and not runner.load.speculate
            plain = await complete(runner)
    assert guessed.timings.draft_n_accepted > 5
    assert plain.timings.draft_n == 0
    assert guessed.content == plain.content


async def test_probabilities_are_those_of_a_model_that_does_not_guess(smollm2_home: Home) -> None:
    wanted = msgspec.structs.replace(SAME, top_logprobs=2)
    async with Engine(smollm2_home) as engine:
        async with engine.lease("smollm2:135m", SMALL) as runner:
            with pytest.raises(Unsupported, match="guess tokens ahead"):
                async for _ in runner.chat(wanted):
                    pass
            pid = engine.running()[0].pid
        async with engine.lease("smollm2:135m", EXACT) as runner:
            assert engine.running()[0].pid != pid
            found = [entry async for chunk in runner.chat(wanted) for entry in chunk.logprobs]
        assert len(found) > 10
        assert all(entry.top and entry.logprob < 0 for entry in found[:10])
        async with engine.lease("smollm2:135m", SMALL):  # it is not loaded a third time
            assert len(engine.running()) == 1


async def test_the_setting_turns_it_off(smollm2_home: Home) -> None:
    smollm2_home.settings.engine.speculate = False
    async with Engine(smollm2_home) as engine, engine.lease("smollm2:135m", SMALL) as runner:
        assert isinstance(runner, LlamaRunner) and not runner.load.speculate
