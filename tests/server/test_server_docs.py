"""The examples of docs/api.md, run as they stand, and the routes it names."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from served import Live, Scripted
from starlette.routing import Route

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_there_are_examples() -> None:
    assert len(BLOCKS) >= 4


@pytest.mark.parametrize(("language", "code"), BLOCKS)
def test_example(live: Live, language: str, code: str) -> None:
    if language == "sh" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    assert "http://127.0.0.1:11435" in code
    code = code.replace("http://127.0.0.1:11435", live.url)
    command = ["bash", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout


def test_every_route_is_on_the_page(scripted: Scripted) -> None:
    for route in scripted.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{(\w+)(:path)?\}", lambda found: ":id" if found[1] == "model" else f":{found[1]}", route.path)
        assert f"`{path}`" in PAGE or f" {path}`" in PAGE, path
