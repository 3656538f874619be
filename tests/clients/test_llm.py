"""Simon Willison's llm with llm-ollama, by its command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("llm_ollama", reason="run them by `make clients`")


def llm(url: str, folder: Path, *words: str) -> str:
    environ = {**os.environ, "OLLAMA_HOST": url, "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", "llm", *words], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command(url: str, model: str, tmp_path: Path) -> None:
    assert model in llm(url, tmp_path, "ollama", "models")
    assert model in llm(url, tmp_path, "models")
    assert llm(url, tmp_path, "-m", model, "-o", "num_predict", "12", "Say hello.").strip()
    assert llm(url, tmp_path, "-m", model, "--no-stream", "-o", "num_predict", "12", "-c", "Again.").strip()
