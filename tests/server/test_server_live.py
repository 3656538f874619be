"""A real server with SmolLM2 behind it, asked by plain HTTP: what a client of Ollama or OpenAI relies on.

One server for all of it (fixture ``live``), so every test leaves it able to answer the next.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from served import Live

from allod.home import Home

MODEL = "smollm2:135m"
HI = [{"role": "user", "content": "Say hello."}]
LONG = [{"role": "user", "content": "Write a very long story about the sea."}]
SURE = {"temperature": 0, "seed": 1, "num_predict": 12}
CHATS = ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"]


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
        yield client


async def post(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await http.post(path, json={"model": MODEL, "stream": False, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def saying(path: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """A request in the words of its protocol."""
    body: dict[str, Any] = {"model": MODEL, "messages": messages}
    if path == "/v1/messages":
        body["max_tokens"] = 900
    return {"model": MODEL, "input": messages, "store": False} if path == "/v1/responses" else body


async def until(what: Callable[[], Any], seconds: float) -> float:
    """Waits for ``what`` to be true; how long that took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds, "it did not happen"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


# ── Ollama's routes ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_load_ps_unload(http: httpx.AsyncClient) -> None:
    await post(http, "/api/chat", keep_alive=0)  # other tests may have loaded it, for embeddings too
    body = await post(http, "/api/chat", keep_alive="7m")
    assert (body["done"], body["done_reason"], body["message"]["role"]) == (True, "load", "assistant")
    (entry,) = (await http.get("/api/ps")).json()["models"]
    assert (entry["name"], entry["context_length"], entry["size_vram"]) == (MODEL, 1024, 0)
    assert entry["size"] > 50_000_000
    assert entry["details"]["quantization_level"] == "Q4_1"
    assert entry["expires_at"].endswith("Z")
    body = await post(http, "/api/generate", keep_alive=0)
    assert body["done_reason"] == "unload"
    assert (await http.get("/api/ps")).json() == {"models": []}


async def test_generate_streams_figures(http: httpx.AsyncClient) -> None:
    body = {"model": "SMOLLM2", "prompt": "Say hello.", "options": SURE}
    async with http.stream("POST", "/api/generate", json=body) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = [json.loads(line) async for line in answer.aiter_lines()]
    assert len(lines) > 3
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    last = lines[-1]
    for figure in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "eval_count"):
        assert type(last[figure]) is int
        assert last[figure] > 0
    assert last["total_duration"] >= last["eval_duration"] > 1_000_000  # nanoseconds
    assert last["context"]
    assert last["done_reason"] in ("stop", "length")


async def test_a_limit_and_a_seed_hold(http: httpx.AsyncClient) -> None:
    first, second = [await post(http, "/api/chat", messages=LONG, options=SURE) for _ in range(2)]
    assert first["eval_count"] <= 12
    assert first["done_reason"] == "length"
    assert first["message"]["content"] == second["message"]["content"]
    assert second["prompt_eval_count"] == first["prompt_eval_count"] > 0  # the second one's prompt was cached


async def test_context_goes_on_where_it_was(http: httpx.AsyncClient) -> None:
    first = await post(http, "/api/generate", prompt="My name is Zarquon. Say yes.", options=SURE)
    second = await post(http, "/api/generate", prompt="And now?", context=first["context"], options=SURE)
    assert second["prompt_eval_count"] > len(first["context"])
    assert second["context"][: len(first["context"])] == first["context"]


async def test_format(http: httpx.AsyncClient) -> None:
    body = await post(http, "/api/chat", messages=HI, format="json", options={**SURE, "num_predict": 60})
    assert body["done_reason"] == "length" or isinstance(json.loads(body["message"]["content"]), dict)
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}
    body = await post(http, "/api/generate", prompt="A number", format=schema, options={**SURE, "num_predict": 30})
    assert json.loads(body["response"]) == {"n": 7}


async def test_logprobs(http: httpx.AsyncClient) -> None:
    body = await post(http, "/api/chat", messages=HI, logprobs=True, top_logprobs=3, options=SURE)
    assert len(body["logprobs"]) == body["eval_count"] or len(body["logprobs"]) == body["eval_count"] - 1
    for entry in body["logprobs"]:
        assert entry["bytes"] == list(entry["token"].encode())
        assert len(entry["top_logprobs"]) == 3
    assert "".join(entry["token"] for entry in body["logprobs"]).startswith(body["message"]["content"])
    body = await post(http, "/api/generate", prompt="Hi", logprobs=True, options=SURE)
    assert all("top_logprobs" not in entry for entry in body["logprobs"])


async def test_think_false_is_fine_for_a_model_that_does_not_think(http: httpx.AsyncClient) -> None:
    await post(http, "/api/chat", messages=HI, think=False, options=SURE)


async def test_the_rendered_prompt(http: httpx.AsyncClient) -> None:
    body = await post(http, "/api/chat", messages=HI, _debug_render_only=True)
    assert "<|im_start|>user\nSay hello.<|im_end|>" in body["_debug_info"]["rendered_template"]


async def test_raw_and_stop(http: httpx.AsyncClient) -> None:
    prompt = "<|im_start|>user\nCount: one, two, three<|im_end|>\n<|im_start|>assistant\none,"
    body = await post(http, "/api/generate", prompt=prompt, raw=True, options={**SURE, "stop": ["three"]})
    assert "three" not in body["response"]
    assert "context" not in body


async def test_embeddings(http: httpx.AsyncClient) -> None:
    both = await post(http, "/api/embed", input=["a dog", "a longer text about the sea"])
    assert [round(sum(x * x for x in vector), 4) for vector in both["embeddings"]] == [1, 1]
    counts = [
        (await post(http, "/api/embed", input=text))["prompt_eval_count"]
        for text in ("a dog", "a longer text about the sea")
    ]
    assert both["prompt_eval_count"] == sum(counts)
    short = await post(http, "/api/embed", input="a dog", dimensions=16)
    assert len(short["embeddings"][0]) == 16
    assert sum(x * x for x in short["embeddings"][0]) == pytest.approx(1, abs=1e-4)
    assert (await post(http, "/api/embed", input=""))["embeddings"] == []
    assert len((await post(http, "/api/embed", input="the sea " * 700))["embeddings"]) == 1
    refused = await http.post("/api/embed", json={"model": MODEL, "input": "the sea " * 700, "truncate": False})
    assert refused.status_code == 400
    assert "the input length exceeds the context length" in refused.json()["error"]
    await post(http, "/api/generate", keep_alive=0)


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
async def test_texts_that_were_cut_are_told(http: httpx.AsyncClient, path: str) -> None:
    body = {"model": MODEL, "input": ["a", "the sea " * 700, "b", "the sea " * 900]}
    answer = await http.post(path, json=body)
    assert (answer.status_code, answer.headers["x-truncated"]) == (200, "2")
    if path == "/api/embed":
        assert answer.json()["truncated"] == [1, 3]
    short = await http.post(path, json=body | {"input": ["a", "b"]})
    assert "x-truncated" not in short.headers and "truncated" not in short.json()


async def test_the_older_form_of_vectors(http: httpx.AsyncClient) -> None:
    found = await post(http, "/api/embeddings", prompt="a dog at sea")
    assert list(found) == ["embedding"]
    newer = (await post(http, "/api/embed", input="a dog at sea"))["embeddings"][0]
    assert found["embedding"] == pytest.approx(newer, abs=1e-4)
    assert await post(http, "/api/embeddings") == await post(http, "/api/embeddings", prompt="") == {"embedding": []}
    answer = await http.post("/api/embeddings", json={"model": MODEL, "prompt": "the sea " * 700})
    assert (answer.status_code, answer.headers["x-truncated"]) == (200, "1")
    assert (await http.post("/api/embeddings", json={"model": MODEL, "prompt": ["a"]})).status_code == 400
    assert (await http.post("/api/embeddings", json={"prompt": "a"})).status_code == 404


# ── hostile input ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", CHATS)
async def test_a_prompt_longer_than_the_context(http: httpx.AsyncClient, path: str) -> None:
    body = saying(path, [{"role": "user", "content": "word " * 3000}]) | {"stream": True}
    answer = await http.post(path, json=body)
    assert answer.status_code == 400
    text = answer.json()["error"] if path == "/api/chat" else answer.json()["error"]["message"]
    assert "1024" in text
    assert any(3000 <= int(word) < 3100 for word in text.replace("(", " ").split() if word.isdigit())


@pytest.mark.parametrize("path", CHATS)
async def test_fifty_megabytes_of_prompt(http: httpx.AsyncClient, path: str) -> None:
    body = saying(path, [{"role": "user", "content": "word " * 10_000_000}])
    began = time.monotonic()
    answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert len(answer.content) < 500
    assert time.monotonic() - began < 30
    assert (await post(http, "/api/chat", messages=HI, options=SURE))["done"]


async def test_a_body_without_end_is_refused(live: Live) -> None:
    """A declared gigabyte is refused before it is read."""
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n{")
    await writer.drain()
    assert b" 413 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize(
    "data", [b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n", b"POST /api/chat HTTP/1.1\r\ncontent-length: -5\r\n\r\n"]
)
async def test_what_is_no_http(live: Live, http: httpx.AsyncClient, data: bytes) -> None:
    host, port = live.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    await writer.drain()
    writer.write_eof()
    assert b" 200 " not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert (await http.get("/")).status_code == 200


async def test_a_foreign_host_over_a_real_connection(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/tags", headers={"host": "evil.com"})).status_code == 403


# ── going away, dying, crowding ─────────────────────────────────────────────────────────────────────────────────────


async def quiet(live: Live) -> bool:
    """Whether no worker computes."""
    loads = await asyncio.to_thread(lambda: [worker.cpu_percent(0.1) for worker in live.workers])
    return sum(loads) < 20


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", CHATS)
async def test_a_client_that_goes_away_frees_its_slot(
    live: Live, http: httpx.AsyncClient, path: str, stream: bool
) -> None:
    await post(http, "/api/chat", messages=HI, options=SURE)
    body = saying(path, LONG) | {"stream": stream, "options": {"num_predict": 900, "temperature": 1.5}}
    body["logit_bias"] = [[0, False], [2, False]]  # never an end

    async def leave_early() -> None:
        async with http.stream("POST", path, json=body) as answer:
            async for _ in answer.aiter_bytes():
                return

    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(leave_early(), 1)
    gone = time.monotonic()
    while not await quiet(live):
        assert time.monotonic() - gone < 3, "it goes on computing for nobody"
    assert (await post(http, "/api/chat", messages=HI, options=SURE))["done"]


ENDLESS = {"num_predict": 900, "temperature": 1.5, "seed": 1}


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_request_ends_at_its_deadline(live: Live, http: httpx.AsyncClient, path: str) -> None:
    await post(http, "/api/chat", messages=HI, options=SURE)
    body = {
        "model": MODEL,
        "messages": LONG,
        "options": ENDLESS,
        "max_tokens": 900,
        "logit_bias": [[0, False], [2, False]],
    }
    began = time.monotonic()
    whole = await http.post(path, json=body | {"stream": False}, headers={"x-request-timeout": "0.4"})
    assert (whole.status_code, "time is over" in whole.text) == (504, True)
    stream = await http.post(path, json=body | {"stream": True}, headers={"x-request-timeout": "0.4"})
    assert stream.status_code == 200
    assert "time is over" in stream.text
    assert stream.text.count("\n") > 4, "what was written before came"
    assert time.monotonic() - began < 5
    while not await quiet(live):
        assert time.monotonic() - began < 8, "it goes on computing for nobody"


async def test_a_deadline_holds_while_waiting_for_a_turn(http: httpx.AsyncClient) -> None:
    await post(http, "/api/chat", messages=HI, options=SURE)
    body = {"model": MODEL, "messages": LONG, "options": ENDLESS}
    late = {"x-request-timeout": "0.3"}
    answers = await asyncio.gather(*(http.post("/api/chat", json=body, headers=late) for _ in range(12)))
    assert {answer.status_code for answer in answers} <= {200, 504}
    assert any(answer.status_code == 504 for answer in answers), "eight had to wait for one of the four slots"
    assert (await post(http, "/api/chat", messages=HI, options=SURE))["done"]


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan", "inf", "1e300", ""])
async def test_a_deadline_that_is_none(http: httpx.AsyncClient, wrong: str) -> None:
    answer = await http.post("/api/chat", json={"model": MODEL, "messages": HI}, headers={"x-request-timeout": wrong})
    assert (answer.status_code, "X-Request-Timeout" in answer.json()["error"]) == (400, True)


async def test_a_worker_killed_within_an_answer(doomed: Live) -> None:
    body = {"model": MODEL, "messages": LONG, "options": {"num_predict": 900}}
    async with httpx.AsyncClient(base_url=doomed.url, timeout=60) as http:
        async with http.stream("POST", "/api/chat", json=body) as answer:
            received = b""
            killed = 0.0
            async for data in answer.aiter_bytes():
                received += data
                if not killed and received.count(b"\n") > 3:
                    doomed.kill_workers()
                    killed = time.monotonic()
        assert killed
        assert time.monotonic() - killed < 1
        assert "was killed" in json.loads(received.splitlines()[-1])["error"]
        assert (await post(http, "/api/chat", messages=HI, options=SURE))["done"]


async def test_many_clients_at_once(http: httpx.AsyncClient) -> None:
    async def one(number: int) -> str:
        body = await post(http, "/api/chat", messages=HI, options={**SURE, "seed": number})
        return body["message"]["content"]

    answers = await asyncio.gather(*(one(number) for number in range(12)))
    assert all(answers)


# ── starting and stopping ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_server_stops_when_told_and_leaves_nothing(home: Home) -> None:
    code = "from allod.home import Home; from allod.server.app import serve; serve(Home.open(), '127.0.0.1:0')"
    for stop in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            line = process.stderr.readline()
            assert "listens on http://127.0.0.1:" in line
            with socket.create_connection(("127.0.0.1", int(line.split("127.0.0.1:")[1].split(",")[0]))):
                pass
            os.kill(process.pid, stop)
            rest = process.communicate(timeout=15)[1]
        assert process.returncode == 0
        assert "Traceback" not in rest
        assert len(rest.splitlines()) == 0  # one line a start is all it logs
