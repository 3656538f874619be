"""Thirty checks from outside that a drop-in server for Ollama's clients has to pass, over HTTP, numbered one by one.

They ask a real server with SmolLM2 behind it; models that are only refused, or listed, are headers without weights.
What an Ollama server answers was read in its source; where allod is stricter on purpose, the check says so.
"""

import base64
import hashlib
import json
import math
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from served import Live, Scripted, add, gguf

from allod.chat import ToolCall
from allod.home import Home
from allod.models.store import Store
from allod.server.app import create_app

M = "smollm2:135m"
HI = [{"role": "user", "content": "Say hello."}]
SURE = {"temperature": 0, "seed": 1, "num_predict": 12}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def server(live: Live) -> Iterator[Live]:
    """The live server, with a model for vectors that has no weights."""
    add(live.home, "vectors:latest", **{"llama.pooling_type": 1})
    yield live
    Store(live.home.models).delete("vectors:latest")


@pytest.fixture
async def http(server: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture
async def empty(home: Home) -> AsyncIterator[httpx.AsyncClient]:
    """A server that has no model."""
    transport = httpx.ASGITransport(create_app(home))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def ok(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await http.post(path, json={"model": M, "stream": False, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(http: httpx.AsyncClient, path: str, body: Any, status: int, said: str) -> None:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    answer = await http.post(path, **content)
    assert (answer.status_code, answer.json()) == (status, {"error": said})


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def upload(http: httpx.AsyncClient, data: bytes) -> httpx.Response:
    return await http.post(f"/api/blobs/{digest(data)}", content=data)


# ── who is there ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_01_root(http: httpx.AsyncClient) -> None:
    answer = await http.get("/")
    assert (answer.status_code, answer.text) == (200, "Ollama is running")
    answer = await http.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_02_version(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/version")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert set(answer.json()) == {"version"}
    assert answer.json()["version"]


async def test_03_tags_of_an_empty_store(empty: httpx.AsyncClient, http: httpx.AsyncClient) -> None:
    assert (await empty.get("/api/tags")).content == b'{"models":[]}'
    for entry in (await http.get("/api/tags")).json()["models"]:
        assert "expires_at" not in entry


async def test_04_v1_models_of_an_empty_store(empty: httpx.AsyncClient) -> None:
    answer = await empty.get("/v1/models")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json() == {"object": "list", "data": []}  # Ollama's data is null


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_05_a_wrong_verb(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/show")).status_code == 405


async def test_06_no_body(http: httpx.AsyncClient) -> None:
    await refused(http, "/api/chat", b"", 400, "missing request body")


async def test_07_chat_without_a_model(http: httpx.AsyncClient) -> None:
    await refused(http, "/api/chat", {}, 400, "model is required")


async def test_08_generate_without_a_model(http: httpx.AsyncClient) -> None:
    await refused(http, "/api/generate", {}, 404, "model '' not found")


async def test_09_an_unknown_model(http: httpx.AsyncClient) -> None:
    await refused(http, "/api/chat", {"model": "nope"}, 404, "model 'nope' not found")
    answer = await http.post("/v1/chat/completions", json={"model": "nope", "messages": HI})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


async def test_12_a_model_for_vectors_does_not_talk(http: httpx.AsyncClient) -> None:
    await refused(http, "/api/chat", {"model": "vectors"}, 400, '"vectors" does not support chat')
    await refused(http, "/api/generate", {"model": "vectors"}, 400, '"vectors" does not support generate')


async def test_13_think(http: httpx.AsyncClient) -> None:
    said = f'"{M}" does not support thinking'
    await refused(http, "/api/chat", {"model": M, "messages": HI, "think": True}, 400, said)
    assert (await ok(http, "/api/chat", messages=HI, think=False, options=SURE))["done"]


async def test_14_a_suffix(http: httpx.AsyncClient) -> None:
    said = f"registry.ollama.ai/library/{M} does not support insert"
    await refused(http, "/api/generate", {"model": M, "prompt": "a", "suffix": "b"}, 400, said)


async def test_15_raw_with_a_system_prompt(http: httpx.AsyncClient) -> None:
    said = "raw mode does not support template, system, or context"
    for more in ({"system": "x"}, {"template": "x"}, {"context": [1]}):
        await refused(http, "/api/generate", {"model": M, "prompt": "a", "raw": True, **more}, 400, said)


async def test_16_top_logprobs(http: httpx.AsyncClient) -> None:
    for count in (21, -1):
        body = {"model": M, "messages": HI, "logprobs": True, "top_logprobs": count}
        await refused(http, "/api/chat", body, 400, "top_logprobs must be between 0 and 20")


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_10_and_11_load_and_unload(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/chat", json={"model": M})  # in one piece although nobody said stream: false
    body = answer.json()
    assert (body["done"], body["done_reason"], body["message"]["role"]) == (True, "load", "assistant")
    assert M in [entry["name"] for entry in (await http.get("/api/ps")).json()["models"]]
    body = await ok(http, "/api/generate", keep_alive=0)
    assert (body["done"], body["done_reason"]) == (True, "unload")
    assert M not in [entry["name"] for entry in (await http.get("/api/ps")).json()["models"]]


async def test_17_generate_streams(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/generate", json={"model": M, "prompt": "Say hello.", "options": SURE})
    assert answer.headers["content-type"] == "application/x-ndjson"
    *pieces, last = lines(answer.content)
    assert len(pieces) > 1
    assert [piece["done"] for piece in pieces] == [False] * len(pieces)
    assert last["done"] is True
    for figure in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "eval_count"):
        assert last[figure] > 0, figure
    assert last["context"]
    assert last["done_reason"] in ("stop", "length")


async def test_18_chat_in_one_piece(http: httpx.AsyncClient) -> None:
    for _ in range(2):  # the second time its prompt is cached
        body = await ok(http, "/api/chat", messages=HI, options=SURE)
        assert body["done"] is True
        assert body["prompt_eval_count"] > 0
        assert body["eval_count"] > 0
        assert "context" not in body


async def test_19_num_predict(http: httpx.AsyncClient) -> None:
    long = [{"role": "user", "content": "Write a very long story about the sea."}]
    body = await ok(http, "/api/chat", messages=long, options={**SURE, "num_predict": 5})
    assert (body["eval_count"] <= 5, body["done_reason"]) == (True, "length")


async def test_20_a_seed(http: httpx.AsyncClient) -> None:
    first, second = [await ok(http, "/api/generate", prompt="The sea", options=SURE) for _ in range(2)]
    assert first["response"] == second["response"] != ""


async def test_21_format(http: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"], "additionalProperties": False}
    more = {"options": {**SURE, "num_predict": 200, "repeat_penalty": 1.2}}
    body = await ok(http, "/api/chat", messages=HI, format=schema, **more)
    assert json.loads(body["message"]["content"]) == {"n": 7}
    body = await ok(http, "/api/generate", prompt="Give me an empty JSON object: {}", format="json", **more)
    assert body["done_reason"] == "length" or isinstance(json.loads(body["response"]), dict)
    answer = await http.post("/api/chat", json={"model": M, "messages": HI, "format": 5})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("invalid format: 5;")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_22_logprobs(http: httpx.AsyncClient, path: str) -> None:
    body = await ok(http, path, messages=HI, prompt="Hi", logprobs=True, top_logprobs=2, options=SURE)
    assert body["logprobs"]
    for entry in body["logprobs"]:
        assert entry["bytes"] == list(entry["token"].encode())
        assert entry["logprob"] <= 0
        assert len(entry["top_logprobs"]) == 2


async def test_23_tools(http: httpx.AsyncClient, scripted: Scripted) -> None:
    """SmolLM2 has no tools, which both doors say; what comes of a call is played."""
    said = f"registry.ollama.ai/library/{M} does not support tools"
    await refused(http, "/api/chat", {"model": M, "messages": HI, "tools": [TOOL]}, 400, said)
    answer = await http.post("/v1/chat/completions", json={"model": M, "messages": HI, "tools": [TOOL]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, said)
    asked = {"model": "clever", "messages": HI, "tools": [TOOL], "stream": False}
    answer = await scripted.post("/api/chat", asked, replies=[[ToolCall("", "weather", '{"city": "Oslo"}')]])
    (call,) = answer.json()["message"]["tool_calls"]
    assert call["id"].startswith("call_") and call["function"]["name"] == "weather"
    assert call["function"]["arguments"] == {"city": "Oslo"}


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_24_and_25_vectors(http: httpx.AsyncClient) -> None:
    both = await ok(http, "/api/embed", input=["a", "a dog at sea"])
    assert [math.hypot(*vector) for vector in both["embeddings"]] == pytest.approx([1, 1], abs=1e-5)
    counts = [(await ok(http, "/api/embed", input=text))["prompt_eval_count"] for text in ("a", "a dog at sea")]
    assert both["prompt_eval_count"] == sum(counts)
    assert (await ok(http, "/api/embed", input=""))["embeddings"] == []
    await refused(http, "/api/embed", {"model": M, "input": [1]}, 400, "invalid input type")
    (short,) = (await ok(http, "/api/embed", input="a", dimensions=16))["embeddings"]
    assert (len(short), math.hypot(*short)) == (16, pytest.approx(1, abs=1e-5))
    long = {"model": M, "input": "the sea " * 700, "truncate": False}
    await refused(http, "/api/embed", long, 400, "the input length exceeds the context length")


async def test_26_vectors_in_base64(http: httpx.AsyncClient) -> None:
    body = {"model": M, "input": "a dog"}
    plain = (await http.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    coded = (await http.post("/v1/embeddings", json={**body, "encoding_format": "base64"})).json()["data"][0]
    data = base64.b64decode(coded["embedding"])
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == pytest.approx(plain, abs=1e-6)
    assert (await http.post("/v1/embeddings", json={**body, "encoding_format": "int8"})).status_code == 400
    answer = await http.post("/v1/embeddings", json={"model": M, "input": []})
    assert (answer.status_code, "invalid input" in answer.json()["error"]["message"]) == (400, True)


# ── making and moving models ────────────────────────────────────────────────────────────────────────────────────────


async def test_27_blobs(http: httpx.AsyncClient) -> None:
    data = b"nobody's blob"
    place = f"/api/blobs/{digest(data)}"
    assert (await http.head(place)).status_code == 404
    await refused(
        http, place, b"another", 400, f'digest mismatch, expected "{digest(data)}", got "{digest(b"another")}"'
    )
    assert (await http.head(place)).status_code == 404
    assert (await upload(http, data)).status_code == 201
    assert (await upload(http, data)).status_code == 200
    assert (await http.head(place)).status_code == 200
    await refused(http, "/api/blobs/sha256:abc", data, 400, "invalid digest format")


async def test_28_create(http: httpx.AsyncClient, tmp_path: Any) -> None:
    data = gguf(tmp_path / "c.gguf", **{"general.name": "check 28"}).read_bytes()
    await upload(http, data)
    params = {"seed": 42, "stop": ["foo", "bar"]}
    files = {"c.gguf": digest(data)}
    assert (await ok(http, "/api/create", model="check28", files=files, parameters=params))["status"] == "success"
    shown = await ok(http, "/api/show", model="check28")
    assert [line.split() for line in shown["parameters"].splitlines()] == [
        ["seed", "42"],
        ["stop", '"foo"'],
        ["stop", '"bar"'],
    ]
    body = {"model": "check28:child", "from": "check28", "parameters": {"seed": 7, "top_k": 3}}
    assert (await ok(http, "/api/create", **body))["status"] == "success"
    child = (await ok(http, "/api/show", model="check28:child"))["parameters"]
    assert {tuple(line.split()) for line in child.splitlines()} == {
        ("seed", "7"),
        ("top_k", "3"),
        ("stop", '"foo"'),
        ("stop", '"bar"'),
    }
    answer = await http.post("/api/create", json={"model": "check28:bad", "from": "check28", "template": "{{ if }"})
    assert (answer.status_code, answer.json()["error"][:15]) == (400, "template error:")
    for name in ("check28", "check28:child"):
        assert (await http.request("DELETE", "/api/delete", json={"model": name})).status_code == 200


async def test_29_copy_and_delete(http: httpx.AsyncClient, tmp_path: Any) -> None:
    data = gguf(tmp_path / "c.gguf", **{"general.name": "check 29"}).read_bytes()
    await upload(http, data)
    await ok(http, "/api/create", model="check29", files={"c.gguf": digest(data)})
    place = f"/api/blobs/{digest(data)}"
    answer = await http.post("/api/copy", json={"source": "check29", "destination": "copy29"})
    assert (answer.status_code, answer.content) == (200, b"")
    for name, kept in (("check29", 200), ("copy29", 404)):
        answer = await http.request("DELETE", "/api/delete", json={"model": name})
        assert (answer.status_code, answer.content) == (200, b"")
        assert (await http.head(place)).status_code == kept
    answer = await http.request("DELETE", "/api/delete", json={"model": "check29"})
    assert (answer.status_code, "not found" in answer.json()["error"]) == (404, True)


async def test_29_a_copy_runs_without_its_source(http: httpx.AsyncClient) -> None:
    await http.post("/api/copy", json={"source": M, "destination": "copy29"})
    await http.post("/api/copy", json={"source": "copy29", "destination": "second29"})
    await http.request("DELETE", "/api/delete", json={"model": "copy29"})
    assert (await ok(http, "/api/chat", model="second29", messages=HI, options=SURE))["message"]["content"]
    await http.request("DELETE", "/api/delete", json={"model": "second29"})


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_30_hosts_and_origins(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/tags", headers={"Host": "evil.com"})).status_code == 403
    origin = {"Origin": "http://localhost:3000"}
    answer = await http.get("/api/tags", headers=origin)
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    answer = await http.options("/api/chat", headers={**origin, "Access-Control-Request-Method": "POST"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, origin["Origin"])
    assert "POST" in answer.headers["access-control-allow-methods"]


# ── besides ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_names_in_any_case_and_the_rendered_prompt(http: httpx.AsyncClient) -> None:
    body = await ok(http, "/api/chat", model="SmolLM2:135M", messages=HI, _debug_render_only=True)
    assert body["_debug_info"]["rendered_template"].endswith(
        "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n"
    )


async def test_a_v1_stream(http: httpx.AsyncClient) -> None:
    body = {"model": M, "messages": HI, "max_tokens": 5, "temperature": 0, "stream": True}
    for usage in (False, True):
        more = {"stream_options": {"include_usage": True}} if usage else {}
        answer = await http.post("/v1/chat/completions", json=body | more)
        events = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        assert [bool(chunk["choices"]) for chunk in chunks].count(False) == usage
        deltas = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert ["role" in choice["delta"] for choice in deltas] == [True] + [False] * (len(deltas) - 1)
        assert (deltas[-1]["delta"], deltas[-1]["finish_reason"]) == ({}, "length")
