"""Fixtures for the engine: one SmolLM2 child for all tests that only ask, and homes with models of their own."""

import shutil
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


@pytest.fixture(scope="session")
def weights(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """``weights(2)``: SmolLM2 in a file that differs by a letter of its name; models on the same file share a child."""
    folder = tmp_path_factory.mktemp("weights")

    def of(number: int) -> Path:
        path = folder / f"{number}.gguf"
        if number and not path.exists():
            shutil.copyfile(smollm2_path, path)
            with path.open("r+b") as file:
                at = file.read(65536).index(b"general.name") + len("general.name") + 4 + 8
                file.seek(at)
                file.write(b"%d" % number)
        return path if number else smollm2_path

    return of


@pytest.fixture
def open_home(tmp_path: Path, weights: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Home]:
    """``open_home("one", "two", ENGINE_MEMORY="400MB")``: a home with so many models and settings."""

    def opened(*names: str, **settings: str) -> Home:
        monkeypatch.setenv("ALLOD_HOME", str(tmp_path / "home"))
        for key, value in settings.items():
            monkeypatch.setenv(f"ALLOD_{key}", value)
        home = Home.open()
        store = Store(home.models)
        for number, name in enumerate(names):
            modelfile = f"FROM {weights(number)}\nSYSTEM You are {name}."
            for _ in create(store, name, parse(modelfile), tmp_path):
                pass
        return home

    return opened
