"""A running `allod serve` for the clients; started by ``make clients``, which says where by ALLOD_CLIENTS_URL."""

import os

import pytest

MODEL = "smollm2:135m"


@pytest.fixture(scope="session")
def url() -> str:
    found = os.environ.get("ALLOD_CLIENTS_URL", "")
    if not found:
        pytest.skip("run them by `make clients`: they need packages of their own, and a server")
    return found


@pytest.fixture
def model() -> str:
    return MODEL
