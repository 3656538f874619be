"""Models behind a URL: what is found out of each kind of server, and what goes wrong on the way. Servers are scripted
where no real one of that kind is at hand; the contract with a real one is in test_contract."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from engine_helpers import SMALL, answered, ask

from allod.chat import Message
from allod.egress import Egress
from allod.engine import Engine, LoadOptions, RemoteEngine, connect
from allod.engine.counting import estimate
from allod.engine.llama import LlamaRunner
from allod.engine.remote import base_url
from allod.errors import BadSettings, EngineFailed, ModelNotFound, Network, Offline, Refused, Unsupported
from allod.home import Home

OpenHome = Callable[..., Home]
Reply = tuple[int, object] | bytes


@asynccontextmanager
async def server(replies: dict[str, Reply]) -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that answers each path in its own way: (status, JSON), or bytes as they are; 404 for the others. Gives
    its URL and what it was asked."""
    asked: list[tuple[str, Any]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0].strip()
                body = await reader.readexactly(int(length or 0))
                asked.append((path, json.loads(body or b"null")))
                reply = replies.get(path, (404, {"error": "404 page not found"}))
                if isinstance(reply, bytes):
                    writer.write(reply)
                    await writer.drain()
                    break
                data = json.dumps(reply[1]).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (reply[0], len(data)) + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", asked
    listener.close()


def stream(*events: object, end: bytes = b"data: [DONE]\n\n") -> bytes:
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + end
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body


HELLO = stream(
    {"choices": [{"delta": {"role": "assistant", "content": "Hel"}}]},
    {"choices": [{"delta": {"content": "lo"}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}},
)
VLLM: dict[str, Reply] = {
    "/v1/models": (200, {"data": [{"id": "org/model", "max_model_len": 4096, "owned_by": "vllm"}]}),
    "/v1/chat/completions": HELLO,
}
OLLAMA: dict[str, Reply] = {
    "/api/show": (200, {"capabilities": ["completion", "tools"], "model_info": {"llama.context_length": 9000}}),
    "/api/generate": (200, {"done_reason": "load"}),
    "/api/ps": (200, {"models": [{"name": "m:latest", "model": "m:latest", "context_length": 2048}]}),
    "/v1/models": (200, {"data": [{"id": "m:latest"}, {"id": "mistral:7b"}]}),
    "/v1/chat/completions": HELLO,
}


# ── kinds of servers ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_one_that_only_lists_its_models(home: Home) -> None:
    async with server(VLLM) as (url, asked), RemoteEngine(url + "/v1/", "secret", egress=Egress(home)) as engine:
        async with engine.lease("org/model") as runner:
            assert runner.facts.context == 4096
            text, last = await answered(runner.chat(ask("Hi")))
            assert text == "Hello" and last.usage and last.usage.output_tokens == 2
            with pytest.raises(Unsupported):
                await runner.tokenize("text")
        assert asked[-2][1]["model"] == "org/model"
        with pytest.raises(ModelNotFound) as caught:
            async with engine.lease("org/modell"):
                pass
        assert caught.value.nearest == ("org/model",)


@pytest.mark.anyio
async def test_an_allod_or_an_ollama_loads_it_as_asked(home: Home) -> None:
    async with server(OLLAMA) as (url, asked), RemoteEngine(url, egress=Egress(home)) as engine:
        async with engine.lease("m", LoadOptions(context=2000), keep_alive=60) as runner:
            assert (runner.facts.context, runner.facts.tools, runner.facts.vision) == (2048, True, False)
            await answered(runner.chat(ask("Hi")))
        bodies = dict(asked)
        assert bodies["/api/generate"]["options"] == {"num_ctx": 2000} and bodies["/api/generate"]["keep_alive"] == 60
        assert bodies["/v1/chat/completions"]["keep_alive"] == 60
        await engine.unload("m")
        assert asked[-1] == ("/api/generate", {"model": "m", "keep_alive": 0, "stream": False})


@pytest.mark.anyio
async def test_only_an_allod_is_told_what_to_keep(home: Home) -> None:
    request = ask("Hi")
    request.keep = 1
    allod = OLLAMA | {"/allod/v1/count_tokens": (200, {"tokens": 0})}
    for replies, told in ((VLLM, False), (OLLAMA, False), (allod, True)):
        async with server(replies) as (url, asked), RemoteEngine(url, egress=Egress(home)) as engine:
            async with engine.lease("org/model" if replies is VLLM else "m") as runner:
                await answered(runner.chat(request))
            body = dict(asked)["/v1/chat/completions"]
            assert body.get("allod_keep") == (1 if told else None) and "keep" not in body


@pytest.mark.anyio
async def test_counts_where_the_server_does_and_estimates_where_not(home: Home) -> None:
    messages = [Message("user", "How many tokens are these?")]
    allod = OLLAMA | {"/allod/v1/count_tokens": (200, {"tokens": 42})}
    llama = VLLM | {"/apply-template": (200, {"prompt": "x"}), "/tokenize": (200, {"tokens": [1, 2, 3]})}
    for replies, name, count in ((allod, "m", 42), (llama, "org/model", 3), (VLLM, "org/model", estimate(messages))):
        async with (
            server(replies) as (url, asked),
            RemoteEngine(url, egress=Egress(home)) as engine,
            engine.lease(name, LoadOptions(context=512)) as runner,
        ):
            assert await runner.count_tokens(messages) == count
            assert await runner.count_tokens([*messages, *messages]) > 0
        if replies is allod:
            assert asked[-1][1]["options"] == {"num_ctx": 512}, "it must not be loaded anew for this"
        if replies is VLLM:
            assert [path for path, _ in asked].count("/apply-template") == 1, "asked once, known from then on"


@pytest.mark.anyio
async def test_a_server_that_is_puzzled_by_our_own_path_is_no_allod(home: Home) -> None:
    for reply in ((400, {"error": "model is required"}), (500, {}), (404, {"error": "model not found"}), (200, [])):
        replies = OLLAMA | {"/allod/v1/count_tokens": reply}
        async with (
            server(replies) as (url, _),
            RemoteEngine(url, egress=Egress(home)) as engine,
            engine.lease("m") as runner,
        ):
            assert (await answered(runner.chat(ask("Hi"))))[0] == "Hello"


@pytest.mark.anyio
async def test_vectors_and_scores_in_the_order_of_the_inputs(home: Home) -> None:
    vectors: list[dict[str, object]] = [{"index": 1, "embedding": [0, 1]}, {"index": 0, "embedding": [1, 0]}]
    scores = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": -2}]
    replies = VLLM | {
        "/v1/embeddings": (200, {"data": vectors, "usage": {"prompt_tokens": 7}}),
        "/v1/rerank": (200, {"results": scores}),
    }
    async with (
        server(replies) as (url, asked),
        RemoteEngine(url, egress=Egress(home)) as engine,
        engine.lease("org/model") as runner,
    ):
        found = await runner.embed(["a", "b"])
        assert (found.vectors, found.prompt_tokens) == ([[1.0, 0.0], [0.0, 1.0]], 7)
        assert asked[-1][1] == {"model": "org/model", "input": ["a", "b"], "encoding_format": "float"}
        vectors[0]["embedding"], vectors[1]["embedding"] = "AAAAAAAAgD8=", "AACAPwAAAAA="
        assert (await runner.embed(["a", "b"])).vectors == [[1.0, 0.0], [0.0, 1.0]]
        for none in ("", [], "AAA", "AAAAAAA=", "not base64", 7, [None]):
            vectors[0]["embedding"] = none
            with pytest.raises(EngineFailed):
                await runner.embed(["a", "b"])
        assert await runner.rerank("q", ["a", "b"]) == [-2.0, 0.9]
        assert asked[-1][1] == {"model": "org/model", "query": "q", "documents": ["a", "b"]}
        assert await runner.rerank("q", []) == []
        for wrong in (["a"], ["a", "b", "c"]):
            with pytest.raises(EngineFailed):
                await runner.embed(wrong)
            with pytest.raises(EngineFailed):
                await runner.rerank("q", wrong)


@pytest.mark.anyio
async def test_a_name_that_an_ollama_does_not_know(home: Home) -> None:
    replies = OLLAMA | {"/api/show": (404, {"error": "model 'mistrall' not found"})}
    async with server(replies) as (url, _), RemoteEngine(url, egress=Egress(home)) as engine:
        with pytest.raises(ModelNotFound) as caught:
            async with engine.lease("mistrall"):
                pass
        assert caught.value.nearest == ("mistral:7b",)


@pytest.mark.anyio
async def test_a_load_that_fails_there_fails_here(home: Home) -> None:
    replies = OLLAMA | {"/api/generate": (500, {"error": "m needs 9 GB, but 1 GB are free"})}
    async with server(replies) as (url, _), RemoteEngine(url, egress=Egress(home)) as engine:
        with pytest.raises(EngineFailed, match="needs 9 GB"):
            async with engine.lease("m"):
                pass


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_nobody_there(home: Home) -> None:
    async with RemoteEngine(f"http://127.0.0.1:{free_port()}", egress=Egress(home)) as engine:
        with pytest.raises(Network, match="nobody answers"):
            async with engine.lease("m"):
                pass


@pytest.mark.anyio
@pytest.mark.parametrize(
    "reply",
    [
        stream({"choices": [{"delta": {"content": "Hel"}}]}, end=b""),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nda",
        b"HTTP/1.1 200 OK\r\n\r\ndata: nonsense\n\n",
        b"nonsense",
        b"",
    ],
)
async def test_an_answer_that_breaks_off(home: Home, reply: bytes) -> None:
    replies = VLLM | {"/v1/chat/completions": reply}
    async with (
        server(replies) as (url, _),
        RemoteEngine(url, egress=Egress(home)) as engine,
        engine.lease("org/model") as runner,
    ):
        with pytest.raises((Network, EngineFailed)):
            await answered(runner.chat(ask("Hi")))


@pytest.mark.anyio
async def test_a_forwarded_answer_that_breaks_off_says_so_where_it_is_read(home: Home) -> None:
    replies = VLLM | {"/v1/chat/completions": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nda"}
    async with (
        server(replies) as (url, _),
        RemoteEngine(url, egress=Egress(home)) as engine,
        engine.lease("org/model") as runner,
        runner.forward("/v1/chat/completions", b"{}") as answer,
    ):
        with pytest.raises(Network, match="broke off"):
            _ = [piece async for piece in answer.body]


@pytest.mark.anyio
async def test_the_policy_is_asked(home: Home) -> None:
    async with RemoteEngine("https://api.example.com/v1", egress=Egress(home)) as engine:
        with pytest.raises(Refused, match=r"api\.example\.com"):
            async with engine.lease("m"):
                pass
    rows = Egress(home).ledger.rows()
    assert (rows[0]["purpose"], rows[0]["host"], rows[0]["outcome"]) == ("hosted-model", "api.example.com", "refused")


@pytest.mark.anyio
async def test_offline_nothing_leaves(open_home: OpenHome) -> None:
    async with RemoteEngine("https://api.example.com", egress=Egress(open_home(OFFLINE="1"))) as engine:
        with pytest.raises(Offline):
            async with engine.lease("m"):
                pass


@pytest.mark.anyio
async def test_loopback_is_in_the_ledger_too(home: Home) -> None:
    async with (
        server(VLLM) as (url, _),
        RemoteEngine(url, egress=Egress(home)) as engine,
        engine.lease("org/model") as r,
    ):
        await answered(r.chat(ask("Hi")))
    row = Egress(home).ledger.rows()[0]
    assert (row["path"], row["loopback"]) == ("/v1/chat/completions", 1)


# ── connect ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.anyio
async def test_without_a_server_an_engine_of_our_own(open_home: OpenHome) -> None:
    home = open_home("one", HOST=f"127.0.0.1:{free_port()}")
    began = time.monotonic()
    async with connect(home) as engine:
        assert time.monotonic() - began < 1
        assert isinstance(engine, Engine)
        async with engine.lease("one", SMALL) as runner:
            assert (await answered(runner.chat(ask("Hi"))))[0]


@pytest.mark.anyio
async def test_a_server_that_answers_is_used(open_home: OpenHome, smollm2: LlamaRunner) -> None:
    async with server(VLLM) as (url, _), connect(open_home(HOST=url)) as engine:
        assert isinstance(engine, RemoteEngine)
        async with engine.lease("org/model") as runner:
            assert (await answered(runner.chat(ask("Hi"))))[0] == "Hello"


@pytest.mark.anyio
async def test_a_server_that_wants_a_key_is_not_passed_over(open_home: OpenHome, smollm2: LlamaRunner) -> None:
    async with connect(open_home(HOST=smollm2.url)) as engine:
        assert isinstance(engine, RemoteEngine)
        with pytest.raises(Refused, match="API Key"):
            async with engine.lease("smollm2"):
                pass


@pytest.mark.anyio
async def test_something_else_on_that_port_is_passed_over(open_home: OpenHome) -> None:
    other: dict[str, Reply] = {"/v1/models": b"SSH-2.0-OpenSSH_9.9\r\n"}
    async with server(other) as (url, _), connect(open_home(HOST=url)) as engine:
        assert isinstance(engine, Engine)


@pytest.mark.anyio
async def test_a_host_elsewhere_is_not_replaced_by_this_machine(open_home: OpenHome) -> None:
    async with connect(open_home("one", HOST="192.0.2.1:9", OFFLINE="1")) as engine:
        with pytest.raises(Offline):
            async with engine.lease("one"):
                pass


@pytest.mark.parametrize(
    "host,url",
    [
        ("127.0.0.1:11435", "http://127.0.0.1:11435"),
        ("localhost", "http://localhost:11435"),
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        ("[::]:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("http://box", "http://box:80"),
        ("https://api.example.com/v1", "https://api.example.com:443"),
        ("https://example.com/llm/v1/", "https://example.com:443/llm"),
    ],
)
def test_urls(host: str, url: str) -> None:
    assert base_url(host) == url


@pytest.mark.parametrize("host", ["box:99999", "http://box:no", "http://[::1", "http://", ":"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(BadSettings):
        print(base_url(host))
