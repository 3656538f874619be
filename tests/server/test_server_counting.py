"""allod's own count of tokens."""

import asyncio

import httpx
import pytest
from served import Live, Scripted

from allod.chat import ChatRequest, Message, Options
from allod.egress import Egress
from allod.engine import RemoteEngine

pytestmark = pytest.mark.anyio
PATH = "/allod/v1/count_tokens"


async def test_counts_without_answering(scripted: Scripted) -> None:
    body = {"model": "clever", "messages": [{"role": "user", "content": "a" * 400}]}
    reply = await scripted.post(PATH, body)
    assert (reply.status_code, reply.json()) == (200, {"tokens": 104})
    assert not scripted.runner.requests


async def test_the_models_own_beginning_counts(scripted: Scripted, live: Live) -> None:
    async with RemoteEngine(live.url, egress=Egress(scripted.home)) as engine:
        async with engine.lease("smollm2:135m") as runner:
            exact = await runner.count_tokens([Message("user", "Hi")])
        async with httpx.AsyncClient(base_url=live.url) as http:
            body = {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
            told = (await http.post("/v1/chat/completions", json=body)).json()["usage"]["prompt_tokens"]
    assert exact == told


async def test_what_is_to_be_kept_travels_and_is_kept_by_the_server(scripted: Scripted, live: Live) -> None:
    request = ChatRequest(
        [Message("system", "You know cities. " + "Every city has houses, streets and people. " * 20)],
        Options(temperature=0.0, max_tokens=4),
        keep=1,
    )
    request.messages.append(Message("user", "What is a city?"))
    async with (
        RemoteEngine(live.url, egress=Egress(scripted.home)) as engine,
        engine.lease("smollm2:135m") as runner,
    ):
        chunks = [chunk async for chunk in runner.chat(request)]
    assert chunks[-1].usage and chunks[-1].usage.cached_tokens > 150
    async with asyncio.timeout(10):
        while not list((live.home.cache / "snapshots").glob("*.snapshot")):
            await asyncio.sleep(0.02)


async def test_no_message_is_no_token_and_loads_nothing(scripted: Scripted) -> None:
    assert (await scripted.post(PATH, {"model": "clever"})).json() == {"tokens": 0}
    assert not scripted.engine.leases


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        ({"model": "nobody", "messages": []}, 404),
        ({"model": "vectors", "messages": [{"role": "user", "content": "Hi"}]}, 400),
        ({"model": "clever", "messages": [{"role": "king", "content": "Hi"}]}, 400),
        ({"model": "clever", "messages": "Hi"}, 400),
        ({"model": "clever", "messages": [{"role": "user"}], "options": {"num_ctx": "many"}}, 400),
        ({"model": "clever", "messages": [{"role": "user"}], "keep_alive": "soon"}, 400),
    ],
)
async def test_what_cannot_be_counted_is_refused(scripted: Scripted, body: object, status: int) -> None:
    reply = await scripted.post(PATH, body)
    assert reply.status_code == status and reply.json()["error"]
