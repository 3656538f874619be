"""Answers in one piece that come as streams: the same object, and a slot that is freed when nobody waits any more."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from allod.engine.fold import Folded, folded, folds
from allod.engine.llama import LlamaRunner
from allod.engine.runner import Answer

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "Say hello."}]


async def forwarded(runner: LlamaRunner, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with runner.forward(path, json.dumps(body).encode()) as answer:
        return answer.status, json.loads(b"".join([piece async for piece in answer.body]))


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not differ from one time to the next."""
    kept = {key: value for key, value in answer.items() if key not in ("id", "created", "timings")}
    kept["usage"] = {key: value for key, value in kept["usage"].items() if key != "prompt_tokens_details"}
    assert answer["id"] and answer["created"] and answer["timings"]["predicted_n"]
    return kept


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path,body",
    [
        (CHAT, {"messages": HI, "max_tokens": 8, "temperature": 0}),
        (
            CHAT,
            {"messages": HI, "max_tokens": 4, "temperature": 0, "logprobs": True, "top_logprobs": 2, "stream": False},
        ),
        (CHAT, {"messages": HI, "max_tokens": 30, "temperature": 0, "stop": ["!"], "stream": None, "model": "x"}),
        (COMPLETIONS, {"prompt": "One, two,", "max_tokens": 6, "temperature": 0}),
        (COMPLETIONS, {"prompt": "One, two,", "max_tokens": 3, "temperature": 0, "logprobs": 2, "cache_prompt": False}),
    ],
)
async def test_it_is_what_the_server_itself_answers(smollm2: LlamaRunner, path: str, body: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {smollm2.key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        direct = (await http.post(smollm2.url + path, json=body | {"stream": False})).json()
    status, ours = await forwarded(smollm2, path, body)
    assert status == 200
    assert lasting(ours) == lasting(direct)


@pytest.mark.anyio
async def test_several_answers_at_once(smollm2: LlamaRunner) -> None:
    _, answer = await forwarded(smollm2, CHAT, {"messages": HI, "max_tokens": 4, "n": 2})
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert all(choice["message"]["content"] and choice["finish_reason"] for choice in answer["choices"])


@pytest.mark.anyio
async def test_several_prompts_at_once(smollm2: LlamaRunner) -> None:
    body = {"prompt": ["One, two,", "A, B,"], "max_tokens": 3, "temperature": 0}
    _, answer = await forwarded(smollm2, COMPLETIONS, body)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    _, alone = await forwarded(smollm2, COMPLETIONS, body | {"prompt": "A, B,"})
    assert answer["choices"][1]["text"] == alone["choices"][0]["text"]


@pytest.mark.anyio
async def test_refusals_pass(smollm2: LlamaRunner) -> None:
    status, answer = await forwarded(smollm2, CHAT, {"messages": [{"role": "user", "content": "hi " * 3000}]})
    assert status == 400 and answer["error"]["type"] == "exceed_context_size_error"


@pytest.mark.anyio
async def test_who_goes_away_frees_the_slot(smollm2: LlamaRunner) -> None:
    headers = {"authorization": f"Bearer {smollm2.key}"}
    body = {"messages": HI, "max_tokens": 900, "ignore_eos": True}
    async with httpx.AsyncClient(headers=headers) as http, asyncio.timeout(10):

        async def busy() -> int:
            return sum(slot["is_processing"] for slot in (await http.get(f"{smollm2.url}/slots")).json())

        task = asyncio.create_task(forwarded(smollm2, CHAT, body))
        while not await busy():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while await busy():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "path,body",
    [
        ("/v1/embeddings", b"{}"),
        (CHAT, b'{"stream": true}'),
        (CHAT, b'{"stream": "yes"}'),
        (CHAT, b"[]"),
        (CHAT, b""),
        (CHAT, b"\xff\xfe"),
        (CHAT, b'{"messages": ['),
    ],
)
def test_what_is_left_as_it_is(path: str, body: bytes) -> None:
    assert folds(path, body) is None


def test_the_rest_of_the_body_is_not_touched() -> None:
    body = folds(CHAT, b'{"seed": 12345678901234567890, "messages": [{"content": "\\u00e9 \\ud83e\\udd8a"}]}')
    assert body is not None
    assert b'"seed":12345678901234567890' in body and b'"messages":[{"content": "\\u00e9 \\ud83e\\udd8a"}]' in body
    assert json.loads(body)["stream"] is True


def test_tool_calls_and_thinking() -> None:
    state = Folded()
    for delta in (
        {"role": "assistant", "content": None},
        {"reasoning_content": "I "},
        {"reasoning_content": "think"},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]},
    ):
        state.add({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    state.add({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    choice = state.result()["choices"][0]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "I think", "tool_calls": [call]}
    assert choice == {"index": 0, "finish_reason": "tool_calls", "message": message}
    assert state.result()["object"] == "chat.completion"


@pytest.mark.anyio
async def test_an_error_amid_the_stream_is_the_answer() -> None:
    error = {"error": {"code": 500, "message": "boom"}}

    async def body() -> AsyncIterator[bytes]:
        yield b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
        yield b"data: " + msgspec.json.encode(error) + b"\n\n"

    answer = await folded(Answer(200, "text/event-stream", body()), lambda data: data)
    assert answer.status == 500
    assert json.loads(b"".join([piece async for piece in answer.body])) == error
