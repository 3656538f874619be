"""/api/tokenize and /api/detokenize, with SmolLM2's own vocabulary."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from served import Live, Scripted

MODEL = "smollm2:135m"
TEXT = "Grüße aus 東京! <|im_start|>\n"


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
        yield client


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await http.post(path, json={"model": MODEL, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_there_and_back(http: httpx.AsyncClient) -> None:
    there = await post(http, "/api/tokenize", content=TEXT)
    assert (there["model"], there["total_duration"] > there["load_duration"] > 0) == (MODEL, True)
    assert 1 in there["tokens"], "<|im_start|> is one token"
    back = await post(http, "/api/detokenize", tokens=there["tokens"])
    assert back["content"] == TEXT
    plain = await post(http, "/api/tokenize", prompt=TEXT, parse_special=False)
    assert 1 not in plain["tokens"] and len(plain["tokens"]) > len(there["tokens"])


async def test_nothing(http: httpx.AsyncClient) -> None:
    assert (await post(http, "/api/tokenize", content=""))["tokens"] == []
    assert (await post(http, "/api/detokenize", tokens=[]))["content"] == ""


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/api/tokenize", {"model": MODEL}, 400, "content is required"),
        ("/api/tokenize", {"content": "x"}, 404, "model '' not found"),
        ("/api/tokenize", {"model": "nobody", "content": "x"}, 404, "model 'nobody' not found"),
        ("/api/tokenize", {"model": MODEL, "content": 7}, 400, "content"),
        ("/api/tokenize", {"model": MODEL, "content": "word " * 10_000_000}, 400, "context"),
        ("/api/detokenize", {"model": MODEL}, 400, "tokens must be a list of token ids"),
        ("/api/detokenize", {"model": MODEL, "tokens": ["a"]}, 400, "tokens must be a list of token ids"),
        ("/api/detokenize", {"model": MODEL, "tokens": [True]}, 400, "tokens must be a list of token ids"),
        ("/api/detokenize", {"model": MODEL, "tokens": [10**9]}, 400, "outside the vocabulary"),
        ("/api/detokenize", {"model": MODEL, "tokens": [-1]}, 400, "outside the vocabulary"),
        ("/api/detokenize", {"model": MODEL, "tokens": [10**30]}, 400, "token"),
    ],
)
async def test_what_makes_no_sense(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, says: str
) -> None:
    answer = await http.post(path, json=body)
    assert (answer.status_code, says in answer.json()["error"]) == (status, True), answer.text[:300]


async def test_a_body_that_is_none(scripted: Scripted) -> None:
    for path in ("/api/tokenize", "/api/detokenize"):
        for body in (b"", b"[", b"[]", b'"x"', b"\xff"):
            assert (await scripted.post(path, body)).status_code == 400
