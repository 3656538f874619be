"""Fixtures everything uses: a home of its own for each test, and SmolLM2's real weights."""

import os
from pathlib import Path

import pytest

from allod.home import Home

# Nothing here may look at the user's own home or settings.
for key in [k for k in os.environ if k.startswith("ALLOD_")]:
    del os.environ[key]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home; ALLOD_HOME points to it, so child processes find it too."""
    monkeypatch.setenv("ALLOD_HOME", str(tmp_path / "home"))
    return Home.open()


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct (Q4_1, 98 MB), fetched once by `make test` into .cache/models."""
    path = Path(__file__).parent.parent / ".cache" / "smollm2-135m-q4_1.gguf"
    if not path.exists():
        pytest.skip("SmolLM2 is not fetched yet: run `make test`")
    return path


@pytest.fixture
def smollm2_home(home: Home, smollm2_path: Path) -> Home:
    """A home whose store holds smollm2:135m, linked in from the shared file."""
    from allod.models.create import create
    from allod.models.modelfile import parse
    from allod.models.store import Store

    for _ in create(Store(home.models), "smollm2:135m", parse(f"FROM {smollm2_path}"), smollm2_path.parent):
        pass
    return home
