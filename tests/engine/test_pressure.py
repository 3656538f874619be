"""Memory that other programs take while models are loaded. What is free is scripted; models and kills are real."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from engine_helpers import SMALL, answered
from test_engine import names, until, use

from allod.chat import ChatRequest, Message, Options
from allod.engine import Engine, pressure
from allod.engine import engine as engine_module
from allod.errors import RunnerCrashed
from allod.home import Home

pytestmark = pytest.mark.anyio
OpenHome = Callable[..., Home]
PLENTY = 1 << 40


class Free:
    """How much is free, as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory = self.swap = PLENTY
        self.looked = 0
        monkeypatch.setattr(engine_module, "available", self.look)
        monkeypatch.setattr(engine_module, "free_swap", lambda: self.swap)
        monkeypatch.setattr(pressure, "EVERY", 0.02)

    def look(self) -> int:
        self.looked += 1
        return self.memory


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Free:
    return Free(monkeypatch)


async def test_idle_models_go_the_longest_unused_first_until_there_is_enough(open_home: OpenHome, free: Free) -> None:
    async with Engine(open_home("one", "two")) as engine:
        await use(engine, "one")
        await use(engine, "two")
        seen = [names(engine)]

        def fewer() -> bool:
            if names(engine) != seen[-1]:
                seen.append(names(engine))
                free.memory = PLENTY  # one was enough
            return len(seen) > 1

        free.memory = pressure.LOW - 1
        await until(fewer)
        assert seen == [["one", "two"], ["two"]]
        free.memory = pressure.LOW - 1
        await until(lambda: not names(engine))
        free.memory = PLENTY
        assert await use(engine, "one"), "it comes back when there is room"


async def test_one_that_answers_is_ended_last_and_says_why(open_home: OpenHome, free: Free) -> None:
    async with Engine(open_home("one", "two")) as engine:
        await use(engine, "two")
        async with engine.lease("one", SMALL) as runner:
            stream = runner.chat(ChatRequest([Message("user", "Talk.")], Options(extra={"ignore_eos": True})))
            await anext(stream)
            free.memory = pressure.LEAST - 1
            await until(lambda: names(engine) == ["one"])
            for _ in range(20):
                await anext(stream)  # there is swap left: it goes on
            free.swap = 0
            with pytest.raises(RunnerCrashed, match="memory ran out, with other programs taking it") as error:
                await answered(stream)
            assert "smaller model" in error.value.remedy
            free.memory = PLENTY
            assert await use(engine, "one")


async def test_nothing_goes_while_memory_suffices(open_home: OpenHome, free: Free) -> None:
    free.memory = pressure.LOW
    async with Engine(open_home("one")) as engine:
        for _ in range(2):  # the watch ends with the last model and begins with the next
            await use(engine, "one")
            free.looked = 0
            await until(lambda: free.looked > 5)
            assert names(engine) == ["one"]
            await engine.unload("one")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes by a score")
async def test_the_kernel_is_offered_the_child_first(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one")
        child = engine.running()[0].pid
        assert int(Path(f"/proc/{child}/oom_score_adj").read_text()) == 800


async def test_a_model_counts_for_what_it_really_holds(
    open_home: OpenHome, free: Free, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Engine(open_home("one", "two")) as engine:
        await use(engine, "one")
        (instance,) = engine._instances
        looked = free.looked
        await until(lambda: free.looked > looked + 1)
        reckoned = instance.plan.memory.total
        assert 0 < instance.held <= 1.05 * reckoned and not caplog.records, "the sum was right"
        pid = instance.pid
        monkeypatch.setattr("allod.engine.instance.resident", lambda of: 3 * reckoned if of == pid else 0)
        await until(lambda: instance.memory == 3 * reckoned)
        assert engine.running()[0].size == 3 * reckoned
        monkeypatch.setattr(engine_module, "available", lambda: 2 * reckoned)  # enough, but for what one holds
        monkeypatch.setattr(instance, "private_memory", lambda: 0)
        await use(engine, "two")
        assert names(engine) == ["two"]
        looked = len([record for record in caplog.records if "were reckoned with" in record.message])
        assert looked == 1, "said once"
