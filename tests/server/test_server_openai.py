"""/v1 over a scripted runner: what is edited in a request, and that answers pass as they are."""

import base64
import json
import struct
from typing import Any

import pytest
from served import Scripted, add

from allod.engine.options import LoadOptions
from allod.engine.runner import Answer
from allod.errors import Busy, RunnerCrashed

HI = [{"role": "user", "content": "Hi"}]
EVENTS = 'data: {"choices":[{"index":0,"delta":{"content":"é"}}]}\n\ndata: {"choices":[]}\n\ndata: [DONE]\n\n'
WHOLE = '{"id":"chatcmpl-1","choices":[{"message":{"role":"assistant","content":"Hello"}}]}'
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("add", "mul")]


def forwarded(scripted: Scripted) -> dict[str, Any]:
    return json.loads(scripted.runner.forwarded[-1][1])


@pytest.mark.parametrize("chunk", [1, 3, 50, 10_000])
async def test_a_stream_passes_as_it_is(scripted: Scripted, chunk: int) -> None:
    scripted.runner.chunk = chunk
    body = {"model": "plain", "messages": HI, "stream": True}
    answer = await scripted.post("/v1/chat/completions", body, replies=[EVENTS])
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == EVENTS
    assert scripted.runner.forwarded[0][0] == "/v1/chat/completions"


async def test_an_answer_passes_as_it_is(scripted: Scripted) -> None:
    answer = await scripted.post("/v1/chat/completions", {"model": "plain", "messages": HI}, replies=[WHOLE])
    assert answer.headers["content-type"] == "application/json"
    assert answer.text == WHOLE
    answer = await scripted.post("/v1/completions", {"model": "plain", "prompt": [1, 2]}, replies=[WHOLE])
    assert answer.text == WHOLE
    assert scripted.runner.forwarded[1][0] == "/v1/completions"


async def test_what_is_not_edited_arrives_unchanged(scripted: Scripted) -> None:
    body = {"model": "plain", "messages": HI, "max_completion_tokens": 5, "n": 2, "logit_bias": {"5": -100}}
    body |= {"min_p": 0.1, "parallel_tool_calls": False, "grammar": "root ::= [a-z]", "stream": False, "user": "me"}
    await scripted.post("/v1/chat/completions", {**body, "seed": None}, replies=[WHOLE])
    assert forwarded(scripted) == body


async def test_the_models_defaults_go_under_the_request(scripted: Scripted) -> None:
    add(scripted.home, "mine", "SYSTEM Be brief\nPARAMETER temperature 0.25\nPARAMETER top_k 9\nPARAMETER stop X")
    body = {"model": "mine", "messages": HI, "temperature": 1}
    await scripted.post("/v1/chat/completions", body, replies=[WHOLE])
    got = forwarded(scripted)
    assert [turn["content"] for turn in got["messages"]] == ["Be brief", "Hi"]
    assert (got["temperature"], got["top_k"], got["stop"]) == (1, 9, ["X"])


async def test_what_is_to_be_kept_counts_the_models_own_messages(scripted: Scripted) -> None:
    add(scripted.home, "mine", "SYSTEM Be brief\nMESSAGE user Hi\nMESSAGE assistant Hello")
    body = {"model": "mine", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    for keep, sent in ((1, 4), (2, 5), (0, 0), (None, None)):
        await scripted.post("/v1/chat/completions", body | {"allod_keep": keep}, replies=["{}"])
        assert json.loads(scripted.runner.forwarded[-1][1]).get("allod_keep") == sent
    for keep in ("1", -1, 1.5, [1]):
        reply = await scripted.post("/v1/chat/completions", body | {"allod_keep": keep})
        assert reply.status_code == 400
    await scripted.post("/v1/completions", {"model": "mine", "prompt": "a", "allod_keep": 1}, replies=["{}"])


async def test_ollamas_options_are_taken_too(scripted: Scripted) -> None:
    body = {"model": "plain", "messages": HI, "temperature": 1, "keep_alive": "2m"}
    body["options"] = {"num_ctx": 512, "temperature": 0, "num_predict": 9, "min_p": 0}
    await scripted.post("/v1/chat/completions", body, replies=[WHOLE])
    got = forwarded(scripted)
    assert (got["temperature"], got["max_tokens"], got["min_p"]) == (1, 9, 0)
    assert not {"options", "keep_alive"} & set(got)
    assert scripted.engine.leases[0][1:] == (LoadOptions(context=512), 120)


async def test_developers_and_effort_and_chosen_tools(scripted: Scripted) -> None:
    messages = [{"role": "developer", "content": "Be brief"}, *HI]
    choice = {"type": "function", "function": {"name": "mul"}}
    body = {"model": "clever", "messages": messages, "reasoning_effort": "none", "tools": TOOLS, "tool_choice": choice}
    await scripted.post("/v1/chat/completions", body, replies=[WHOLE])
    got = forwarded(scripted)
    assert got["messages"][0]["role"] == "system"
    assert got["chat_template_kwargs"] == {"enable_thinking": False}
    assert (got["tools"], got["tool_choice"]) == ([TOOLS[1]], "required")
    await scripted.post(
        "/v1/chat/completions", {**body, "reasoning_effort": "low", "tool_choice": "auto"}, replies=[WHOLE]
    )
    got = forwarded(scripted)
    assert got["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "low"}
    assert (got["tools"], got["tool_choice"]) == (TOOLS, "auto")


@pytest.mark.parametrize("url", ["http://127.0.0.1/x.png", "https://evil.com/", "file:///etc/passwd", "", 3, None])
@pytest.mark.parametrize("part", ["image_url", "input_video", "bare"])
async def test_nothing_is_fetched_for_a_message(scripted: Scripted, url: Any, part: str) -> None:
    inner: dict[str, Any] = (
        {"type": "image_url", "image_url": url} if part == "bare" else {"type": part, part: {"url": url}}
    )
    body = {"model": "plain", "messages": [{"role": "user", "content": [inner]}]}
    answer = await scripted.post("/v1/chat/completions", body)
    assert answer.status_code in (400, 403)
    assert "fetched" in answer.json()["error"]["message"]
    assert not scripted.runner.forwarded


async def test_a_data_url_passes(scripted: Scripted) -> None:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]
    body = {"model": "plain", "messages": [{"role": "user", "content": parts}]}
    assert (await scripted.post("/v1/chat/completions", body, replies=[WHOLE])).status_code == 200
    assert forwarded(scripted)["messages"][0]["content"] == parts


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "said"),
    [
        (CHAT, b"", 400, "invalid_request_error", "missing request body"),
        (CHAT, b"{", 400, "invalid_request_error", "invalid JSON"),
        (CHAT, {"model": "plain", "messages": []}, 400, "invalid_request_error", "[] is too short - 'messages'"),
        (CHAT, {"model": "plain"}, 400, "invalid_request_error", "[] is too short - 'messages'"),
        (CHAT, {"model": "nope", "messages": HI}, 404, "not_found_error", "model 'nope' not found"),
        (CHAT, {"messages": HI}, 404, "not_found_error", "model '' not found"),
        (CHAT, {"model": "vectors", "messages": HI}, 400, "invalid_request_error", "does not support chat"),
        (CHAT, {"model": "plain", "messages": HI, "tools": TOOLS}, 400, "invalid_request_error", "support tools"),
        (CHAT, {"model": "plain", "messages": HI, "temperature": "hot"}, 400, "invalid_request_error", "$.temperature"),
        (CHAT, {"model": "plain", "messages": "Hi"}, 400, "invalid_request_error", "$.messages"),
        (CHAT, {"model": "plain", "messages": [{"content": ["Hi"]}]}, 400, "invalid_request_error", "not an object"),
        (CHAT, {"model": "plain", "messages": [{"content": [{"type": "text"}]}]}, 400, "invalid_request_error", "text"),
        (CHAT, {"model": "plain", "messages": HI, "top_logprobs": 10**9}, 400, "invalid_request_error", "and 20"),
        (CHAT, {"model": "plain", "messages": HI, "reasoning_effort": "low", "chat_template_kwargs": "x"}, 400,
         "invalid_request_error", "$.chat_template_kwargs"),
        (CHAT, {"model": "plain", "messages": HI, "options": {"num_ctx": int("9" * 300)}}, 400,
         "invalid_request_error", "num_ctx"),
        (CHAT, {"model": "clever", "messages": HI, "tools": TOOLS, "tool_choice": {"function": {"name": "x"}}}, 400,
         "invalid_request_error", "tool_choice"),
        (COMPLETIONS, {"model": "plain"}, 400, "invalid_request_error", "prompt is required"),
        (COMPLETIONS, {"model": "plain", "prompt": {}}, 400, "invalid_request_error", "$.prompt"),
        (COMPLETIONS, {"model": "plain", "prompt": "a", "suffix": "b"}, 400, "invalid_request_error", "support insert"),
        (EMBEDDINGS, {"model": "vectors", "input": []}, 400, "invalid_request_error", "invalid input"),
        (EMBEDDINGS, {"model": "vectors"}, 400, "invalid_request_error", "invalid input"),
        (EMBEDDINGS, {"model": "vectors", "input": [1, "a"]}, 400, "invalid_request_error", "invalid input"),
        (EMBEDDINGS, {"model": "vectors", "input": "a", "encoding_format": "int8"}, 400,
         "invalid_request_error", "encoding_format"),
    ],
)  # fmt: skip
async def test_refusals(scripted: Scripted, path: str, body: Any, status: int, kind: str, said: str) -> None:
    answer = await scripted.post(path, body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == (kind, None, None)
    assert said in error["message"]
    assert "\n" not in error["message"]


async def test_an_unknown_model_names_its_neighbours(scripted: Scripted) -> None:
    answer = await scripted.post(CHAT, {"model": "plain:latst", "messages": HI})
    assert "Did you mean plain:latest" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [True, False])
async def test_the_engines_refusal_takes_our_shape(
    scripted: Scripted, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import asynccontextmanager

    message = "request (25031 tokens) exceeds the available context size (2048 tokens), try increasing it"
    said = {"error": {"code": 400, "message": message, "type": "exceed_context_size_error"}}

    @asynccontextmanager
    async def forward(path: str, body: bytes) -> Any:
        async def chunks() -> Any:
            yield json.dumps(said).encode()

        yield Answer(400, "application/json", chunks())

    monkeypatch.setattr(scripted.runner, "forward", forward)
    answer = await scripted.post(CHAT, {"model": "plain", "messages": HI, "stream": stream})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "25031" in error["message"]
    assert "2048" in error["message"]


async def test_a_full_queue(scripted: Scripted) -> None:
    answer = await scripted.post(CHAT, {"model": "plain", "messages": HI}, replies=[Busy("full", retry_after=9)])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "9")
    assert answer.json()["error"]["type"] == "api_error"


@pytest.mark.parametrize("cut", [len(EVENTS) - 14, len(EVENTS) - 20, 70, 60])
async def test_a_stream_that_breaks_off_ends_with_an_error(scripted: Scripted, cut: int) -> None:
    body = {"model": "plain", "messages": HI, "stream": True}
    answer = await scripted.post(CHAT, body, replies=[EVENTS.encode()[:cut].decode(errors="ignore")])
    assert answer.status_code == 200
    *_, error, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    assert json.loads(error.removeprefix("data: "))["error"]["type"] == "api_error"
    for event in answer.text.split("\n\n")[:-2]:
        json.loads(event.removeprefix("data: "))  # none is cut in two


async def test_a_crash_before_the_stream_has_a_status(scripted: Scripted) -> None:
    body = {"model": "plain", "messages": HI, "stream": True}
    answer = await scripted.post(CHAT, body, replies=[RunnerCrashed("died", "Ask again.")])
    assert answer.status_code == 500
    assert answer.json()["error"]["message"] == "died. Ask again."


# ── filling in ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_suffix(scripted: Scripted) -> None:
    body = {"model": "clever", "prompt": "a =", "suffix": "return", "max_tokens": 5, "stop": "x", "temperature": 0}
    answer = (await scripted.post(COMPLETIONS, body, replies=["1 + 1"])).json()
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"text": "1 + 1", "finish_reason": "stop", "index": 0, "logprobs": None}]
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    asked = scripted.runner.requests[0]
    assert (asked.prompt, asked.suffix, asked.options.max_tokens, asked.options.stop) == ("a =", "return", 5, ["x"])
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    text = (await scripted.post(COMPLETIONS, streamed, replies=["1 + 1"])).text
    *events, done, _ = text.split("\n\n")
    assert done == "data: [DONE]"
    found = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(event["choices"][0]["text"] for event in found[:-1]) == "1 + 1"
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert (found[-1]["choices"], found[-1]["usage"]["total_tokens"]) == ([], 12)
    assert all("usage" not in event for event in found[:-1])


# ── embeddings and models ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["abc", ["abc"], [97, 98, 99], [[97, 98, 99]]])
async def test_embeddings(scripted: Scripted, value: Any) -> None:
    answer = (await scripted.post(EMBEDDINGS, {"model": "vectors", "input": value})).json()
    assert (answer["object"], answer["model"]) == ("list", "vectors:latest")
    (entry,) = answer["data"]
    assert (entry["object"], entry["index"]) == ("embedding", 0)
    assert sum(x * x for x in entry["embedding"]) == pytest.approx(1)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = (await scripted.post(EMBEDDINGS, {"model": "vectors", "input": value, "encoding_format": "base64"})).json()
    data = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack("<3f", data) == pytest.approx(entry["embedding"])
    short = (await scripted.post(EMBEDDINGS, {"model": "vectors", "input": value, "dimensions": 1})).json()
    assert short["data"][0]["embedding"] == [1.0]


async def test_models(scripted: Scripted) -> None:
    async with scripted.client() as http:
        listed = (await http.get("/v1/models")).json()["data"]
        assert {entry["id"] for entry in listed} == {f"{n}:latest" for n in ("clever", "plain", "bare", "vectors")}
        assert all(entry["object"] == "model" and entry["owned_by"] == "library" for entry in listed)
        add(scripted.home, "someone/mine:v1")
        one = (await http.get("/v1/models/someone/mine:v1")).json()
        assert (one["id"], one["owned_by"]) == ("someone/mine:v1", "someone")
        missing = await http.get("/v1/models/nope")
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
