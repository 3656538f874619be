"""Models that were made for vectors and for scores: encoders with random weights, real to llama.cpp."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from allod.engine import Engine, LoadOptions
from allod.engine.plan import ENCODER_SLOTS
from allod.errors import Unsupported
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import encoder

pytestmark = pytest.mark.anyio
OpenHome = Callable[..., Home]


@pytest.fixture
def encoders(open_home: OpenHome, tmp_path: Path) -> Home:
    """A home with `vectors` and `ranker`."""
    home = open_home()
    for name in ("vectors", "ranker"):
        path = encoder.write(tmp_path / f"{name}.gguf", ranks=name == "ranker")
        for _ in create(Store(home.models), name, parse(f"FROM {path}"), tmp_path):
            pass
    return home


async def test_vectors_one_by_one_and_at_once(encoders: Home) -> None:
    texts = [f"sea {number}" for number in range(20)] + ["harbour " * 40]
    async with Engine(encoders) as engine, engine.lease("vectors") as runner:
        assert runner.facts.embedding and runner.facts.slots == ENCODER_SLOTS
        at_once = (await runner.embed(texts)).vectors
        assert {len(vector) for vector in at_once} == {encoder.WIDTH}
        for text, vector in zip(texts, at_once, strict=True):
            (alone,) = (await runner.embed([text])).vectors
            together = sum(a * b for a, b in zip(alone, vector, strict=True))
            assert together == pytest.approx(math.hypot(*alone) * math.hypot(*vector), rel=1e-4)
        assert at_once[0] != at_once[1]


async def test_scores(encoders: Home) -> None:
    documents = ["sea 1", "lamp", "the sea", "lamp"]
    async with Engine(encoders) as engine, engine.lease("ranker") as runner:
        scores = await runner.rerank("sea", documents)
        assert len(scores) == 4 and scores[1] == pytest.approx(scores[3], abs=1e-5) and scores[0] != scores[1]
        backwards = await runner.rerank("sea", documents[::-1])
        assert backwards == pytest.approx(scores[::-1], abs=1e-4)
        assert await runner.rerank("sea", []) == []


async def test_a_chat_model_gives_no_scores(encoders: Home, smollm2_path: Path, tmp_path: Path) -> None:
    for _ in create(Store(encoders.models), "chat", parse(f"FROM {smollm2_path}"), tmp_path):
        pass
    async with Engine(encoders) as engine, engine.lease("chat", LoadOptions(context=512, slots=1)) as runner:
        with pytest.raises(Unsupported):
            await runner.rerank("sea", ["lamp"])
