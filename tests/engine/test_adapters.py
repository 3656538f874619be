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
