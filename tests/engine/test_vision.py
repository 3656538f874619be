"""Pictures reach the model. The projector is random, so nothing is said of what it sees."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_helpers import answered, picture, projector, small_load

from allod.chat import ChatRequest, CompletionRequest, ImagePart, Message, Options, TextPart
from allod.engine.llama import LlamaRunner
from allod.errors import BadRequest, EngineFailed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def seeing(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LlamaRunner]:
    path = projector(tmp_path_factory.mktemp("projector") / "mmproj.gguf")
    runner = await LlamaRunner.start(small_load(smollm2_path, slots=1, projector=path))
    yield runner
    await runner.close()


def shown(*pictures: bytes) -> ChatRequest:
    parts = [TextPart("What is this?"), *(ImagePart(data) for data in pictures)]
    return ChatRequest([Message("user", parts)], Options(temperature=0.0, max_tokens=4), top_logprobs=1)


async def seen(runner: LlamaRunner, request: ChatRequest) -> tuple[int, list[float]]:
    """Tokens of the prompt, and how sure it was of each token."""
    chunks = [chunk async for chunk in runner.chat(request)]
    assert chunks[-1].usage
    return chunks[-1].usage.prompt_tokens, [t.logprob for chunk in chunks for t in chunk.logprobs]


async def test_pictures_reach_the_model(seeing: LlamaRunner) -> None:
    assert seeing.facts.vision
    red, blue = picture(250, 10, 10), picture(10, 10, 250)
    none, _ = await seen(seeing, shown())
    one, of_red = await seen(seeing, shown(red))
    two, _ = await seen(seeing, shown(red, blue))
    assert one >= none + 16 and two >= one + 16
    assert (await seen(seeing, shown(red)))[1] == pytest.approx(of_red, abs=1e-3)
    assert (await seen(seeing, shown(blue)))[1] != pytest.approx(of_red, abs=1e-3)


async def test_pictures_in_a_raw_prompt(seeing: LlamaRunner) -> None:
    request = CompletionRequest(
        "What is it?", Options(temperature=0.0, max_tokens=3), images=[ImagePart(picture(1, 2, 3))]
    )
    text, last = await answered(seeing.complete(request))
    assert text and last.usage and last.usage.prompt_tokens > 16


@pytest.mark.parametrize("data", [b"", b"no picture", picture(1, 2, 3)[:60]])
async def test_what_is_no_picture(seeing: LlamaRunner, data: bytes) -> None:
    with pytest.raises(BadRequest):
        await answered(seeing.chat(shown(data)))
    assert (await seen(seeing, shown()))[0]


async def test_a_projector_that_is_none(smollm2_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(b"GGUF nonsense")
    with pytest.raises(EngineFailed):
        await LlamaRunner.start(small_load(smollm2_path, projector=path))
