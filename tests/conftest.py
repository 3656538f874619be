"""Fixtures everything uses: a home of its own for each test, and SmolLM2's real weights."""

import os
import signal
from pathlib import Path

import pytest

from allod.home import Home

# Nothing here may look at the user's own home or settings.
for key in [k for k in os.environ if k.startswith("ALLOD_")]:
    del os.environ[key]

# A shell starts what runs in the background deaf to Ctrl-C, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home; ALLOD_HOME points to it, so child processes find it too."""
    monkeypatch.setenv("ALLOD_HOME", str(tmp_path / "home"))
    return Home.open()


SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
QWEN_1_5B = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def pulled(digest: str, command: str) -> Path:
    """A blob of the store that `make test` fills, which only the tests use."""
    path = Path(__file__).parent.parent / ".cache" / "home" / "data" / "models" / "blobs" / f"sha256-{digest}"
    if not path.exists():
        pytest.skip(f"the weights are not fetched yet: {command}")
    return path


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """SmolLM2-135M-Instruct (Q4_1, 98 MB), as `make test` pulled it."""
    return pulled(SMOLLM2, "make test")


@pytest.fixture(scope="session")
def qwen_path() -> Path:
    """qwen2.5-coder:1.5b (Q4_K_M, 1.1 GB), as `make test-all` pulled it."""
    return pulled(QWEN_1_5B, "make test-all")


@pytest.fixture
def smollm2_home(home: Home, smollm2_path: Path) -> Home:
    """A home whose store holds smollm2:135m, linked in from the shared file."""
    from allod.models.create import create
    from allod.models.modelfile import parse
    from allod.models.store import Store

    for _ in create(Store(home.models), "smollm2:135m", parse(f"FROM {smollm2_path}"), smollm2_path.parent):
        pass
    return home
