"""Adapters: each request gets the ones it names, and never what another's left in the cache."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from engine_helpers import SMALL, answered, ask, lora, small_load

from allod.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.errors import BadRequest, EngineFailed
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store

pytestmark = pytest.mark.anyio
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.fixture(scope="module")
async def adapted(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaRunner]:
    """SmolLM2 with two adapters, and a single slot for them to meet in."""
    folder = tmp_path_factory.mktemp("adapters")
    adapters = ((ONE, lora(folder / "1.gguf", 1)), (TWO, lora(folder / "2.gguf", 2)))
    runner = await LlamaRunner.start(small_load(smollm2_path, slots=1, adapters=adapters))
    yield runner
    await runner.close()


async def said(runner: LlamaRunner, *adapters: tuple[str, float]) -> str:
    request = ask("What is the capital of France?", max_tokens=12)
    request.adapters = list(adapters)
    return (await answered(runner.chat(request)))[0]


async def test_what_one_said_never_leaks_into_another(adapted: LlamaRunner, smollm2: LlamaRunner) -> None:
    base = await said(smollm2)
    none, one, two = ((ONE, 0.0),), ((ONE, 1.0),), ((TWO, 1.0),)
    found = [await said(adapted, *which) for which in (none, one, two, none, two, one, none, one)]
    assert found[0] == found[3] == found[6] == base
    assert found[1] == found[5] == found[7] and found[2] == found[4]
    assert len({base, found[1], found[2]}) == 3


async def test_all_apply_where_none_is_named(adapted: LlamaRunner) -> None:
    both = await said(adapted, (ONE, 1.0), (TWO, 1.0))
    await said(adapted, (ONE, 0.0))
    assert await said(adapted) == both != await said(adapted, (ONE, 0.0))


@pytest.mark.parametrize("stream", [True, False])
async def test_forwarded_requests_get_them_too(adapted: LlamaRunner, stream: bool) -> None:
    both = await said(adapted)
    await said(adapted, (ONE, 0.0))
    body = {
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 12,
        "stream": stream,
    }
    async with adapted.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
        data = b"".join([piece async for piece in answer.body]).decode()
    if stream:
        events = [json.loads(line[6:]) for line in data.splitlines() if line.startswith("data: {")]
        text = "".join(c["delta"].get("content") or "" for event in events for c in event["choices"])
    else:
        text = json.loads(data)["choices"][0]["message"]["content"]
    assert text == both


async def test_an_unknown_one_is_refused(adapted: LlamaRunner) -> None:
    with pytest.raises(BadRequest, match="no adapter"):
        await said(adapted, ("sha256:" + "3" * 64, 1.0))


async def test_one_that_is_damaged(smollm2_path: Path, tmp_path: Path) -> None:
    whole = lora(tmp_path / "whole.gguf", 1).read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineFailed):
        await LlamaRunner.start(small_load(smollm2_path, adapters=((ONE, tmp_path / "cut.gguf"),)))


async def test_a_model_of_the_store_with_one(
    open_home: Callable[..., Home], smollm2_path: Path, tmp_path: Path, smollm2: LlamaRunner
) -> None:
    home = open_home()
    modelfile = parse(f"FROM {smollm2_path}\nADAPTER {lora(tmp_path / 'adapter.gguf', 1)}")
    for _ in create(Store(home.models), "tuned", modelfile, tmp_path):
        pass
    async with Engine(home) as engine, engine.lease("tuned", SMALL) as runner:
        digest = next(
            layer.digest for layer in Store(home.models).get("tuned").manifest.layers if "adapter" in layer.media_type
        )
        assert isinstance(runner, LlamaRunner)
        tuned = await said(runner)
        assert await said(runner, (digest, 0.0)) == await said(smollm2) != tuned == await said(runner, (digest, 1.0))


# ── models on the same weights ──────────────────────────────────────────────────────────────────────────────────────


def made(home: Home, name: str, modelfile: str) -> None:
    for _ in create(Store(home.models), name, parse(modelfile), home.models):
        pass


async def spoken(engine: Engine, name: str) -> tuple[str, int]:
    """What a model says, and the process that said it."""
    async with engine.lease(name, SMALL) as runner:
        assert isinstance(runner, LlamaRunner)
        assert runner.facts.model == f"{name}:latest"
        return await said(runner), runner.child.pid


async def test_models_on_the_same_weights_share_a_child(
    open_home: Callable[..., Home], smollm2_path: Path, tmp_path: Path
) -> None:
    home = open_home()
    made(home, "base", f"FROM {smollm2_path}")
    for number in (1, 2):
        made(home, f"mine{number}", f"FROM {smollm2_path}\nADAPTER {lora(tmp_path / f'{number}.gguf', number)}")
    names = ["base", "mine1", "mine2", "base", "mine2", "mine1", "base"]
    async with Engine(home) as engine:
        found = [await spoken(engine, name) for name in names]
        assert {entry.name for entry in engine.running()} == {"base:latest", "mine1:latest", "mine2:latest"}
        await engine.unload("base")
        assert {entry.name for entry in engine.running()} == {"mine1:latest", "mine2:latest"}
    assert len({pid for _, pid in found}) == 1
    said_by = {(name, text) for name, (text, _) in zip(names, found, strict=True)}
    assert len(said_by) == len({text for _, text in said_by}) == 3  # base → A → B → base: each the same every time


async def test_a_model_that_was_made_since_is_loaded_with_the_others(
    open_home: Callable[..., Home], smollm2_path: Path, tmp_path: Path
) -> None:
    home = open_home()
    made(home, "base", f"FROM {smollm2_path}")
    async with Engine(home) as engine:
        before, first = await spoken(engine, "base")
        made(home, "mine", f"FROM {smollm2_path}\nADAPTER {lora(tmp_path / '1.gguf', 1)}")
        tuned, second = await spoken(engine, "mine")
        after, third = await spoken(engine, "base")
    assert first != second == third
    assert before == after != tuned


async def test_an_adapter_that_does_not_fit_harms_its_own_model_alone(
    open_home: Callable[..., Home], smollm2_path: Path, tmp_path: Path
) -> None:
    home = open_home()
    made(home, "base", f"FROM {smollm2_path}")
    made(home, "odd", f"FROM {smollm2_path}\nADAPTER {unfit(lora(tmp_path / 'odd.gguf', 1))}")
    async with Engine(home) as engine:
        text, _ = await spoken(engine, "base")
        assert text
        with pytest.raises(EngineFailed):
            await spoken(engine, "odd")
        assert (await spoken(engine, "base"))[0] == text


def unfit(path: Path) -> Path:
    """An adapter whose tensors no layer of the model has."""
    data = path.read_bytes().replace(b"blk.", b"zzz.")
    path.write_bytes(data)
    return path


async def test_a_raw_request_names_adapters_by_the_models_own_numbers(
    open_home: Callable[..., Home], smollm2_path: Path, tmp_path: Path
) -> None:
    home = open_home()
    made(home, "base", f"FROM {smollm2_path}")
    for number in (1, 2):
        made(home, f"mine{number}", f"FROM {smollm2_path}\nADAPTER {lora(tmp_path / f'{number}.gguf', number)}")

    async def raw(runner: LlamaRunner, entries: object) -> str:
        messages = [{"role": "user", "content": "What is the capital of France?"}]
        body = {"messages": messages, "temperature": 0, "max_tokens": 12, "lora": entries}
        async with runner.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
            data = b"".join([piece async for piece in answer.body])
        return json.loads(data)["choices"][0]["message"]["content"]

    async with Engine(home) as engine:
        async with engine.lease("base", SMALL) as runner:
            assert isinstance(runner, LlamaRunner)
            base = await said(runner)
            with pytest.raises(BadRequest, match="no adapter number 0"):
                await raw(runner, [{"id": 0, "scale": 1.0}])
            with pytest.raises(BadRequest, match="invalid lora"):
                await raw(runner, "all")
        async with engine.lease("mine2", SMALL) as runner:
            assert isinstance(runner, LlamaRunner)
            mine = await said(runner)
            assert await raw(runner, [{"id": 0, "scale": 1.0}]) == mine != base
            assert await raw(runner, [{"id": 0, "scale": 0.0}]) == base
