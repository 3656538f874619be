"""/metrics: readable for Prometheus, true, and of bounded size whatever is asked."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from served import Live

from allod.home import Home
from allod.server.app import create_app

MODEL = "smollm2:135m"
LINE = re.compile(r"([a-z_:]+)(?:\{((?:[a-z_]+=\"(?:[^\"\\]|\\.)*\",?)*)\})? ([0-9.e+-]+|NaN|\+Inf)")


def read(text: str) -> dict[str, float]:
    """Samples by name and labels; every line has to be one of the format's."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# "):
            assert re.fullmatch(r"# (HELP|TYPE) [a-z_:]+ .+", line), line
            continue
        match = LINE.fullmatch(line)
        assert match, line
        key = match[1] + (f"{{{match[2]}}}" if match[2] else "")
        assert key not in found, f"{key} is there twice"
        found[key] = float(match[3])
    return found


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
        yield client


async def now(http: httpx.AsyncClient) -> dict[str, float]:
    answer = await http.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return read(answer.text)


async def test_what_was_done_is_counted(http: httpx.AsyncClient) -> None:
    await http.post("/api/generate", json={"model": MODEL, "keep_alive": 0, "stream": False})
    before = await now(http)
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5, "ignore_eos": True}
    for path in ("/v1/chat/completions", "/v1/nothing", "/v1/nothing/else"):
        await http.post(path, json=asked)
    after = await now(http)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('allod_requests_total{route="/v1/chat/completions",method="POST",status="200"}') == 1
    assert more('allod_requests_total{route="",method="POST",status="404"}') == 2
    assert more('allod_request_seconds_count{route="/v1/chat/completions"}') == 1
    assert more('allod_request_seconds_bucket{route="/v1/chat/completions",le="+Inf"}') == 1
    assert more('allod_request_seconds_sum{route="/v1/chat/completions"}') > 0
    assert more('allod_engine_events_total{event="load"}') == 1
    assert after[f'llamacpp:tokens_predicted_total{{model="{MODEL}"}}'] == 5, "of the child that is loaded now"
    assert after[f'allod_model_memory_bytes{{model="{MODEL}"}}'] > 50e6
    assert after["allod_requests_running"] == 1, "this one"
    assert (after["allod_queue_waiting"], after["allod_queue_limit"]) == (0, 512)


async def test_without_a_model(home: Home) -> None:
    transport = httpx.ASGITransport(create_app(home))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        found = await now(http)
    assert not any(name.startswith("llamacpp:") for name in found)


async def test_strange_requests_make_no_labels(http: httpx.AsyncClient) -> None:
    for number in range(20):
        await http.request("PROPFIND", f"/api/{number}")
        await http.get(f"/nothing/{number}")
        await http.get(f"/v1/models/nobody{number}")
    found = [name for name in await now(http) if name.startswith("allod_requests_total")]
    assert not any("PROPFIND" in name or "nobody" in name or "nothing" in name for name in found)
    assert any('method="other"' in name for name in found)


async def test_a_client_that_goes_away_is_counted_as_one(live: Live, http: httpx.AsyncClient) -> None:
    name = 'allod_requests_total{route="/api/chat",method="POST",status="499"}'
    before = (await now(http)).get(name, 0)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Tell a long story."}], "stream": False}
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(base_url=live.url, timeout=0.2) as hasty:
            await hasty.post("/api/chat", json=body | {"options": {"num_predict": 900, "temperature": 1.5}})
    found = before
    for _ in range(200):
        found = (await now(http)).get(name, 0)
        if found > before:
            break
    assert found == before + 1
