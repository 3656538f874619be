"""Fixtures for the engine: one SmolLM2 child for all tests that only ask, and homes with models of their own."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from engine_helpers import small_load

from allod.engine.llama import LlamaRunner
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def smollm2(smollm2_path: Path) -> AsyncIterator[LlamaRunner]:
    """A loaded SmolLM2 with two slots of 1024 tokens; tests leave it as they found it."""
    runner = await LlamaRunner.start(small_load(smollm2_path))
    yield runner
    await runner.close()


@pytest.fixture
def open_home(tmp_path: Path, smollm2_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Home]:
    """``open_home("one", "two", ENGINE_MEMORY="400MB")``: a home with so many models and settings."""

    def opened(*names: str, **settings: str) -> Home:
        monkeypatch.setenv("ALLOD_HOME", str(tmp_path / "home"))
        for key, value in settings.items():
            monkeypatch.setenv(f"ALLOD_{key}", value)
        home = Home.open()
        store = Store(home.models)
        for name in names:
            modelfile = f"FROM {smollm2_path}\nSYSTEM You are {name}."  # its own digest for each
            for _ in create(store, name, parse(modelfile), smollm2_path.parent):
                pass
        return home

    return opened
