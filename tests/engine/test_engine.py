"""Leases: loads shared, waited for, evicted, refused and restarted. Real models, small."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from engine_helpers import SMALL, alive, answered, ask

from allod.chat import ChatRequest, Message, Options
from allod.engine import Engine, LoadOptions
from allod.engine import engine as engine_module
from allod.engine.llama import LlamaRunner
from allod.errors import (
    BadGGUF,
    BadRequest,
    Busy,
    Disk,
    EngineFailed,
    ModelNotFound,
    RunnerCrashed,
    TooLarge,
)
from allod.home import Home
from allod.models.store import Store

pytestmark = pytest.mark.anyio
OpenHome = Callable[..., Home]
TWO = "430MB"  # memory for two small loads and not for three


def names(engine: Engine) -> list[str]:
    return sorted(r.name.removesuffix(":latest") for r in engine.running())


async def use(engine: Engine, name: str, options: LoadOptions = SMALL, keep_alive: float | None = None) -> str:
    async with engine.lease(name, options, keep_alive) as runner:
        return (await answered(runner.chat(ask("Say hello.", max_tokens=3))))[0]


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def held(engine: Engine, name: str, options: LoadOptions = SMALL) -> AsyncIterator[asyncio.Event]:
    """Holds a lease until the event is set."""
    taken, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with engine.lease(name, options):
            taken.set()
            await release.wait()

    task = asyncio.create_task(hold())
    await asyncio.wait({task, waiting := asyncio.create_task(taken.wait())}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    yield release
    release.set()
    await task


# ── sharing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_answers_and_the_model_stays(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        assert await use(engine, "one")
        (running,) = engine.running()
        assert (running.name, running.context, running.slots, running.in_use) == ("one:latest", 512, 1, 0)
        assert running.size > 100_000_000 and running.size_vram == 0 and alive(running.pid)
        left = running.expires_at - datetime.now(UTC)
        assert timedelta(minutes=4) < left <= timedelta(minutes=5)
        await use(engine, "ONE")
        assert engine.running()[0].pid == running.pid
    assert not alive(running.pid)


async def test_leases_at_once_share_one_load(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine, AsyncExitStack() as stack:
        runners = await asyncio.gather(*(stack.enter_async_context(engine.lease("one", SMALL)) for _ in range(5)))
        assert len({id(runner) for runner in runners}) == 1
        assert [r.in_use for r in engine.running()] == [5]


async def test_models_load_side_by_side(open_home: OpenHome) -> None:
    async with Engine(open_home("one", "two")) as engine:
        await asyncio.gather(use(engine, "one"), use(engine, "two"))
        assert names(engine) == ["one", "two"]


async def test_a_smaller_context_uses_what_is_loaded_a_larger_one_loads_anew(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one", LoadOptions(context=1024, slots=1, threads=2))
        pid = engine.running()[0].pid
        await use(engine, "one", LoadOptions(context=512))
        assert engine.running()[0].pid == pid
        await use(engine, "one", LoadOptions(context=2048, slots=1, threads=2))
        await until(lambda: len(engine.running()) == 1)
        assert engine.running()[0].context == 2048 and not alive(pid)
        await use(engine, "one", LoadOptions(context=2048, threads=1, slots=1))
        await until(lambda: len(engine.running()) == 1)
        assert engine.running()[0].pid != pid, "threads were asked for, so it is loaded with those"


async def test_more_slots_load_anew_fewer_do_not(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one", LoadOptions(context=512, slots=2, threads=2))
        await use(engine, "one", LoadOptions(context=512, slots=1, threads=2))
        assert [r.slots for r in engine.running()] == [2]
        await use(engine, "one", LoadOptions(context=512, slots=3, threads=2))
        await until(lambda: [r.slots for r in engine.running()] == [3])


async def test_a_larger_context_does_not_disturb_who_is_answering(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine, engine.lease("one", SMALL) as small:
        stream = small.chat(ChatRequest([Message("user", "Talk.")], Options(max_tokens=60, extra={"ignore_eos": True})))
        await anext(stream)
        await use(engine, "one", LoadOptions(context=1024, slots=1, threads=2))
        text, last = await answered(stream)
        assert last.usage and last.usage.output_tokens == 60 and text


async def test_a_chat_model_gives_vectors_in_a_load_of_its_own(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one")
        async with engine.lease("one", LoadOptions(context=512, slots=1, threads=2, embedding=True)) as runner:
            assert len((await runner.embed(["a", "b"])).vectors) == 2
        assert names(engine) == ["one", "one"]


@pytest.mark.parametrize("shift", [True, False])
async def test_an_answer_goes_on_where_the_context_is_full(open_home: OpenHome, shift: bool) -> None:
    options = LoadOptions(context=256, slots=1, shift=shift)
    endless = ChatRequest([Message("user", "Tell a story.")], Options(max_tokens=400, extra={"ignore_eos": True}))
    async with Engine(open_home("one")) as engine, engine.lease("one", options) as runner:
        _, last = await answered(runner.chat(endless))
        assert last.usage and last.finish == "length"
        assert (last.usage.output_tokens == 400) is shift
        assert shift or last.usage.output_tokens + last.usage.prompt_tokens <= 257


async def test_who_did_not_ask_for_that_gets_it_not(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        for shift in (True, False, True):
            async with engine.lease("one", LoadOptions(context=256, slots=1, shift=shift)) as runner:
                assert isinstance(runner, LlamaRunner) and runner.load.shift is shift


async def test_the_models_own_parameters(open_home: OpenHome, smollm2_path: Path) -> None:
    from allod.models.create import create
    from allod.models.modelfile import parse

    home = open_home()
    modelfile = parse(f"FROM {smollm2_path}\nPARAMETER num_ctx 600")
    for _ in create(Store(home.models), "own", modelfile, smollm2_path.parent):
        pass
    async with Engine(home) as engine, engine.lease("own", LoadOptions(slots=1, threads=2)):
        assert engine.running()[0].context == 768, "600, rounded up by llama.cpp"


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_more_requests_than_slots_take_turns(open_home: OpenHome) -> None:
    order: list[int] = []

    async def one(engine: Engine, n: int) -> None:
        await use(engine, "one")
        order.append(n)

    async with Engine(open_home("one")) as engine:
        await use(engine, "one")
        await asyncio.gather(*(one(engine, n) for n in range(5)))
    assert order == [0, 1, 2, 3, 4]


async def test_a_full_queue_is_busy(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_QUEUE="2")) as engine:
        await use(engine, "one")
        found = await asyncio.gather(*(use(engine, "one") for _ in range(6)), return_exceptions=True)
        refused = [error for error in found if isinstance(error, Busy)]
        assert len(refused) == 3 and all(error.retry_after > 0 and error.status == 503 for error in refused)
        assert [type(answer) for answer in found[:3]] == [str] * 3
        assert await use(engine, "one"), "and later it is served again"


async def test_a_queue_of_none_serves_who_need_not_wait(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_QUEUE="0")) as engine:
        assert await use(engine, "one")
        assert await use(engine, "one")


# ── staying and going ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_it_goes_when_its_time_is_up(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_KEEP_ALIVE="300ms")) as engine:
        await use(engine, "one")
        pid = engine.running()[0].pid
        await until(lambda: not engine.running())
        await until(lambda: not alive(pid))


async def test_a_lease_says_how_long(open_home: OpenHome) -> None:
    async with Engine(open_home("one", "two")) as engine:
        await use(engine, "one", keep_alive=0)
        await until(lambda: not engine.running())
        await use(engine, "two", keep_alive=-1)
        assert engine.running()[0].expires_at.year > 2200
        async with engine.lease("two", SMALL, keep_alive=0):
            async with engine.lease("two", SMALL):
                pass
            assert names(engine) == ["two"], "somebody still uses it"
        await until(lambda: not engine.running())


async def test_a_later_use_starts_the_clock_anew(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one", keep_alive=0.3)
        async with engine.lease("one", SMALL):
            await asyncio.sleep(0.5)
            assert names(engine) == ["one"]


async def test_unloading_by_name(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        await use(engine, "one")
        await engine.unload("one")
        assert not engine.running()
        await engine.unload("one")
        await engine.unload("never heard of")
        async with engine.lease("one", SMALL) as runner:
            await engine.unload("one")
            assert (await answered(runner.chat(ask("Hi"))))[0], "who uses it may end"
        await until(lambda: not engine.running())


# ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_longest_unused_makes_room(open_home: OpenHome) -> None:
    async with Engine(open_home("one", "two", "three", ENGINE_MEMORY=TWO)) as engine:
        await use(engine, "one")
        await use(engine, "two")
        assert names(engine) == ["one", "two"]
        await use(engine, "one")
        await use(engine, "three")
        assert names(engine) == ["one", "three"]


async def test_one_in_use_is_never_evicted(open_home: OpenHome) -> None:
    async with Engine(open_home("one", "two", "three", ENGINE_MEMORY=TWO)) as engine, held(engine, "one"):
        await use(engine, "two")
        await use(engine, "three")
        assert names(engine) == ["one", "three"]


async def test_who_needs_room_waits_for_it(open_home: OpenHome) -> None:
    home = open_home("one", "two", "three", ENGINE_MEMORY=TWO)
    async with Engine(home) as engine, held(engine, "one") as first, held(engine, "two"):
        waiting = asyncio.create_task(use(engine, "three"))
        await until(lambda: engine.queue.waiting == 1)
        first.set()
        assert await asyncio.wait_for(waiting, 20)
        assert names(engine) == ["three", "two"]


async def test_those_who_wait_are_served_in_order(open_home: OpenHome) -> None:
    order: list[str] = []

    async def one(engine: Engine, name: str) -> None:
        await use(engine, name)
        order.append(name)

    async with Engine(open_home("one", "two", "three", ENGINE_MEMORY="250MB")) as engine:
        async with held(engine, "one"):
            waiting: list[asyncio.Task[None]] = []
            for name in ("two", "three", "one"):
                waiting.append(asyncio.create_task(one(engine, name)))
                await until(lambda: engine.queue.waiting == len(waiting))
        await asyncio.wait_for(asyncio.gather(*waiting), 30)
    assert order == ["two", "three", "one"]


async def test_who_leaves_while_waiting_holds_nobody_up(open_home: OpenHome) -> None:
    async with Engine(open_home("one", "two", "three", ENGINE_MEMORY="250MB")) as engine:
        async with held(engine, "one"):
            gone = asyncio.create_task(use(engine, "two"))
            await until(lambda: engine.queue.waiting == 1)
            stays = asyncio.create_task(use(engine, "three"))
            await until(lambda: engine.queue.waiting == 2)
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
        assert await asyncio.wait_for(stays, 20)
        assert names(engine) == ["three"]


async def test_what_does_not_fit_is_refused_with_the_sum(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_MEMORY="150MB")) as engine:
        with pytest.raises(TooLarge) as caught:
            await use(engine, "one")
    message = caught.value.message
    assert "weights 98 MB" in message and "cache" in message and "150 MB" in message and "one" in message
    assert caught.value.remedy


async def test_a_context_that_does_not_fit_is_refused_with_one_that_does(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_MEMORY="250MB")) as engine:
        with pytest.raises(TooLarge, match="250 MB") as caught:
            await use(engine, "one", LoadOptions(context=8192, slots=1))
        assert "context of" in caught.value.remedy
        assert await use(engine, "one", LoadOptions(slots=1, threads=2)), "unasked, it takes what fits"
        assert 1024 <= engine.running()[0].context < 8192
        pid = engine.running()[0].pid
        await use(engine, "one", LoadOptions(threads=2))
        assert engine.running()[0].pid == pid


async def test_fewer_slots_where_memory_is_short(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_MEMORY="300MB")) as engine:
        await use(engine, "one", LoadOptions(context=2048, threads=2))
        assert 1 <= engine.running()[0].slots < 4


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unknown_model_is_answered_with_the_nearest(open_home: OpenHome) -> None:
    async with Engine(open_home("storyteller")) as engine:
        with pytest.raises(ModelNotFound) as caught:
            await use(engine, "storytellor")
        assert "storyteller" in caught.value.nearest[0]


async def test_a_default_tag_of_the_catalogue(smollm2_home: Home) -> None:
    async with Engine(smollm2_home) as engine:
        assert await use(engine, "smollm2")
        assert engine.running()[0].name == "smollm2:135m"


@pytest.mark.parametrize("context", [-1, -(10**300)])
async def test_a_context_that_makes_no_sense(open_home: OpenHome, context: int) -> None:
    async with Engine(open_home("one")) as engine:
        with pytest.raises(BadRequest):
            await use(engine, "one", LoadOptions(context=context))


async def test_a_context_of_300_digits_is_what_the_model_has(open_home: OpenHome) -> None:
    async with Engine(open_home("one", ENGINE_MEMORY="250MB")) as engine:
        with pytest.raises(TooLarge):
            await use(engine, "one", LoadOptions(context=10**299, slots=1))


async def test_a_file_that_was_cut_short_is_refused_before_it_is_loaded(open_home: OpenHome) -> None:
    home = open_home("one")
    model = Store(home.models).get("one")
    data = model.weights[0].read_bytes()
    model.weights[0].unlink()  # a hard link: the file itself is shared
    model.weights[0].write_bytes(data[:50_000_000])
    async with Engine(home) as engine:
        with pytest.raises(BadGGUF, match="cut short"):
            async with engine.lease(model, SMALL):
                pass
        with pytest.raises(Disk):  # the store looks at the length by itself
            await use(engine, "one")
        assert not engine.running()


async def test_one_that_was_killed_is_loaded_anew(open_home: OpenHome) -> None:
    async with Engine(open_home("one")) as engine:
        async with engine.lease("one", SMALL) as runner:
            stream = runner.chat(ChatRequest([Message("user", "Talk.")], Options(extra={"ignore_eos": True})))
            await anext(stream)
            os.kill(engine.running()[0].pid, signal.SIGKILL)
            began = time.monotonic()
            with pytest.raises(RunnerCrashed):
                await answered(stream)
            assert time.monotonic() - began < 1
            assert await use(engine, "one"), "beside the lease that still holds the dead one"
        assert names(engine) == ["one"]


async def test_one_that_only_crashes_is_not_started_for_ever(
    open_home: OpenHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CRASH_SPAN", 1.5)
    async with Engine(open_home("one")) as engine:
        for _ in range(engine_module.CRASHES):
            await use(engine, "one")
            os.kill(engine.running()[0].pid, signal.SIGABRT)
            await until(lambda: not engine.running())
        monkeypatch.setattr(engine_module, "CRASH_SPAN", 60.0)
        with pytest.raises(EngineFailed, match="crashed 3 times"):
            await use(engine, "one")
        monkeypatch.setattr(engine_module, "CRASH_SPAN", 0.0)
        assert await use(engine, "one")


async def test_a_failed_load_is_told_to_all_who_waited_and_leaves_nothing(open_home: OpenHome, tmp_path: Path) -> None:
    async with Engine(open_home("one", ENGINE_BINARY=str(tmp_path / "none"))) as engine:
        found = await asyncio.gather(*(use(engine, "one") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [EngineFailed] * 3
        assert not engine.running()


async def test_closing_ends_everything(open_home: OpenHome) -> None:
    engine = Engine(open_home("one", "two", "three", ENGINE_MEMORY="250MB"))
    async with held(engine, "one"):
        pid = engine.running()[0].pid
        waiting = asyncio.create_task(use(engine, "two"))
        await until(lambda: engine.queue.waiting == 1)
        await engine.close()
        with pytest.raises(EngineFailed, match="closing"):
            await waiting
        assert not alive(pid)
    with pytest.raises(EngineFailed, match="closed"):
        await use(engine, "one")


async def test_closing_amid_an_answer(open_home: OpenHome) -> None:
    engine = Engine(open_home("one"))
    async with engine.lease("one", SMALL) as runner:
        stream = runner.chat(ChatRequest([Message("user", "Talk.")], Options(extra={"ignore_eos": True})))
        await anext(stream)
        await engine.close()
        with pytest.raises(EngineFailed, match="unloaded"):
            await answered(stream)


async def test_closing_while_it_loads(open_home: OpenHome) -> None:
    engine = Engine(open_home("one"))
    loading = asyncio.create_task(use(engine, "one"))
    await until(lambda: engine._instances)  # pyright: ignore[reportPrivateUsage]
    await engine.close()
    with pytest.raises(EngineFailed):
        await loading
    assert not engine.running()


async def test_settings_for_one_model(open_home: OpenHome) -> None:
    home = open_home("one", "two")
    home.folder("", "config")
    (home.config / "models.toml").write_text('["one"]\nnum_ctx = 512\nslots = 3\nkeep_alive = "0"\nspeculate = false\n')
    async with Engine(home) as engine:
        async with engine.lease("one") as one, engine.lease("two", SMALL) as two:
            assert isinstance(one, LlamaRunner) and isinstance(two, LlamaRunner)
            assert (one.load.context, one.load.slots, one.load.speculate) == (512, 3, False)
            assert (two.load.slots, two.load.speculate) == (SMALL.slots, home.settings.engine.speculate)
        await until(lambda: names(engine) == ["two"])
        (home.config / "models.toml").write_text('["one"]\nkeep_alive = "soon"\n')
        with pytest.raises(BadRequest, match="'soon' is no duration"):
            await use(engine, "one")
