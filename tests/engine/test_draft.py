"""A small model that guesses ahead: the same words, from both together. SmolLM2 guesses for itself, always right."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import SMALL

from allod.engine import Engine, LoadOptions
from allod.errors import TooLarge
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store

pytestmark = pytest.mark.anyio
OpenHome = Callable[..., Home]


@pytest.fixture
def drafted(open_home: OpenHome, smollm2_path: Path, tmp_path: Path) -> Callable[..., Home]:
    """``drafted(…)``: a home with `plain`, and `quick` that has a draft model."""

    def opened(more: str = "", **settings: str) -> Home:
        home = open_home(**settings)
        for name, recipe in (("plain", ""), ("quick", f"DRAFT {smollm2_path}\n{more}")):
            for _ in create(Store(home.models), name, parse(f"FROM {smollm2_path}\n{recipe}"), tmp_path):
                pass
        return home

    return opened


async def whole(engine: Engine, name: str, options: LoadOptions = SMALL) -> dict[str, Any]:
    """An answer with llama.cpp's own figures."""
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"messages": messages, "temperature": 0, "max_tokens": 24, "stream": False}
    async with (
        engine.lease(name, options) as runner,
        runner.forward("/v1/chat/completions", json.dumps(body).encode()) as answer,
    ):
        return json.loads(b"".join([piece async for piece in answer.body]))


async def test_it_guesses_and_nothing_else_changes(drafted: Callable[..., Home]) -> None:
    async with Engine(drafted(ENGINE_SPECULATE="true")) as engine:
        plain, quick = await whole(engine, "plain"), await whole(engine, "quick")
        assert len(engine.running()) == 2, "they share no child: one has a model more"
        assert quick["choices"][0]["message"] == plain["choices"][0]["message"]
        assert quick["timings"]["draft_n"] >= 10
        assert quick["timings"]["draft_n_accepted"] / quick["timings"]["draft_n"] > 0.8
        sizes = {running.name: running.size for running in engine.running()}
        assert sizes["quick:latest"] > sizes["plain:latest"] + 80e6, "its memory is counted"


@pytest.mark.parametrize("why", ["the settings", "the model", "the request"])
async def test_it_does_not_where_told_so(drafted: Callable[..., Home], why: str) -> None:
    off = "PARAMETER draft_num_predict 0" if why == "the model" else ""
    async with Engine(drafted(off, ENGINE_SPECULATE="false" if why == "the settings" else "true")) as engine:
        exact = LoadOptions(context=SMALL.context, slots=SMALL.slots, exact=why == "the request")
        answer = await whole(engine, "quick", exact)
        assert answer["timings"].get("draft_n", 0) < 10
        assert engine.running()[0].size < 250e6


async def test_both_have_to_fit(drafted: Callable[..., Home]) -> None:
    async with Engine(drafted(ENGINE_SPECULATE="true", ENGINE_MEMORY="260MB")) as engine:
        assert await whole(engine, "plain")
        with pytest.raises(TooLarge, match="draft model"):
            await whole(engine, "quick")
