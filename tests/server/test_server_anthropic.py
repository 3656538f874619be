"""/v1/messages over a scripted runner: what a request becomes, what an answer looks like, what is refused."""

import base64
import json
from typing import Any

import pytest
from served import Scripted, add

from allod.chat import ChatChunk, ImagePart, Message, TextPart, ToolCall, Usage
from allod.engine.options import LoadOptions
from allod.errors import AllodError, Busy, EngineFailed, PromptTooLong, RunnerCrashed
from allod.server.stops import Stops

PATH, COUNT = "/v1/messages", "/v1/messages/count_tokens"
HI = [{"role": "user", "content": "Hi"}]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [{"name": name, "description": f"To {name}.", "input_schema": SCHEMA} for name in ("add", "mul")]
PLAIN = {"model": "plain", "max_tokens": 50, "messages": HI}
CLEVER = {"model": "clever", "max_tokens": 50, "messages": HI}


async def answered(scripted: Scripted, body: dict[str, Any], *replies: Any) -> dict[str, Any]:
    answer = await scripted.post(PATH, body, replies=list(replies))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def streamed(scripted: Scripted, body: dict[str, Any], *replies: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose names are their types."""
    answer = await scripted.post(PATH, body | {"stream": True}, replies=list(replies))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found: list[dict[str, Any]] = []
    for event in answer.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_message(scripted: Scripted) -> None:
    body = await answered(scripted, PLAIN, "Hello there")
    assert body.pop("id").startswith("msg_")
    assert body == {
        "type": "message",
        "role": "assistant",
        "model": "plain:latest",
        "content": [{"type": "text", "text": "Hello there"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 10,
            "output_tokens": 3,
            "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0,
        },
    }


async def test_a_stream(scripted: Scripted) -> None:
    first, begun, *deltas, stop, last, end = await streamed(scripted, PLAIN, "Hello there")
    assert first["message"]["content"] == []
    assert (first["message"]["role"], first["message"]["stop_reason"]) == ("assistant", None)
    assert begun == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert all(delta["delta"]["type"] == "text_delta" and delta["index"] == 0 for delta in deltas)
    assert "".join(delta["delta"]["text"] for delta in deltas) == "Hello there"
    assert stop == {"type": "content_block_stop", "index": 0}
    assert last["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert last["usage"]["output_tokens"] == 3
    assert end == {"type": "message_stop"}


async def test_usage_tells_what_was_cached(scripted: Scripted) -> None:
    reply = [
        ChatChunk("One", usage=Usage(100, 90, 1)),
        ChatChunk(" two", usage=Usage(100, 90, 2)),
        ChatChunk(finish="stop", usage=Usage(100, 90, 3)),
    ]
    usage = (await answered(scripted, PLAIN, reply))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (10, 90, 3)
    events = await streamed(scripted, PLAIN, reply)
    assert events[0]["message"]["usage"]["input_tokens"] == 10  # before the answer, as clients show it then
    assert events[0]["message"]["usage"]["cache_read_input_tokens"] == 90
    assert events[-2]["usage"]["output_tokens"] == 3
    assert scripted.runner.requests[0].measured


@pytest.mark.parametrize("chunk", [1, 2, 5, 100])
async def test_a_stop_sequence_is_named(scripted: Scripted, chunk: int) -> None:
    scripted.runner.chunk = chunk
    body = PLAIN | {"stop_sequences": ["zzz", "END"]}
    found = await answered(scripted, body, "One EEND two")
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    assert found["content"] == [{"type": "text", "text": "One E"}]
    assert scripted.runner.left_early == 1  # nothing more is computed
    events = await streamed(scripted, body, "One EEND two")
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == "One E"
    assert events[-2]["delta"]["stop_reason"] == "stop_sequence"


async def test_what_only_looked_like_a_stop_sequence_is_shown(scripted: Scripted) -> None:
    found = await answered(scripted, PLAIN | {"stop_sequences": ["END"]}, "One EN EN")
    assert (found["content"][0]["text"], found["stop_reason"]) == ("One EN EN", "end_turn")


@pytest.mark.parametrize(("tokens", "reason"), [(50, "max_tokens"), (49, "model_context_window_exceeded")])
async def test_an_answer_that_is_cut_off(scripted: Scripted, tokens: int, reason: str) -> None:
    reply = [ChatChunk("One"), ChatChunk(finish="length", usage=Usage(10, 0, tokens))]
    assert (await answered(scripted, PLAIN, reply))["stop_reason"] == reason


async def test_tool_calls(scripted: Scripted) -> None:
    reply = ["Let me see.", ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "mul", "")]
    body = CLEVER | {"tools": TOOLS}
    found = await answered(scripted, body, reply)
    assert found["stop_reason"] == "tool_use"
    text, add_, mul = found["content"]
    assert text == {"type": "text", "text": "Let me see."}
    assert (add_["type"], add_["name"], add_["input"]) == ("tool_use", "add", {"a": 1})
    assert (mul["name"], mul["input"]) == ("mul", {})
    assert add_["id"].startswith("toolu_") and add_["id"] != mul["id"]
    events = await streamed(scripted, body, reply)
    starts = [e for e in events if e["type"] == "content_block_start"]
    assert [e["index"] for e in starts] == [0, 1, 2]
    assert starts[1]["content_block"]["input"] == {}
    (delta,) = [e for e in events if e["type"] == "content_block_delta" and e["index"] == 1]
    assert delta["delta"] == {"type": "input_json_delta", "partial_json": '{"a": 1}'}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    stops = [e["index"] for e in events if e["type"] == "content_block_stop"]
    assert stops == [0, 1, 2]


async def test_a_call_that_was_cut_off_is_text(scripted: Scripted) -> None:
    reply = [ChatChunk(tool_calls=[ToolCall("c", "add", '{"a": ')], finish="length", usage=Usage(10, 0, 50))]
    found = await answered(scripted, CLEVER | {"tools": TOOLS}, reply)
    assert found["content"] == [{"type": "text", "text": 'add({"a": '}]
    assert found["stop_reason"] == "max_tokens"


async def test_thinking(scripted: Scripted) -> None:
    reply = [ChatChunk(thinking="Hm"), ChatChunk(thinking="m."), "Yes."]
    body = CLEVER | {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    thought, text = (await answered(scripted, body, reply))["content"]
    assert (thought["thinking"], text["text"]) == ("Hmm.", "Yes.")
    assert thought["signature"]
    asked = scripted.runner.requests[0]
    assert (asked.think, asked.options.extra["thinking_budget_tokens"]) == (True, 1024)
    events = await streamed(scripted, body, reply)
    deltas = [e["delta"]["type"] for e in events if e["type"] == "content_block_delta"]
    assert deltas == ["thinking_delta", "thinking_delta", "signature_delta", "text_delta"]
    omitted = await answered(scripted, CLEVER | {"thinking": {"type": "adaptive", "display": "omitted"}}, reply)
    assert omitted["content"][0]["thinking"] == "" and omitted["content"][0]["signature"]
    # who did not ask for thoughts finds the answer first, whatever the model does
    assert [block["type"] for block in (await answered(scripted, CLEVER, reply))["content"]] == ["text"]


@pytest.mark.parametrize(
    ("more", "think"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "low"}}, False),
    ],
)
async def test_whether_to_think(scripted: Scripted, more: dict[str, Any], think: Any) -> None:
    await answered(scripted, CLEVER | more, "Yes.")
    assert scripted.runner.requests[0].think == think


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def asked(scripted: Scripted, body: dict[str, Any]) -> Any:
    await answered(scripted, body, "Yes.")
    return scripted.runner.requests[-1]


async def test_sampling_and_defaults(scripted: Scripted) -> None:
    add(scripted.home, "mine", "SYSTEM Be brief\nPARAMETER temperature 0.25\nPARAMETER top_k 9\nPARAMETER stop X")
    body = PLAIN | {"model": "mine", "temperature": 1, "top_p": 0.5, "stop_sequences": ["Y"], "max_tokens": 7}
    got = await asked(scripted, body | {"options": {"num_ctx": 512, "min_p": 0.1}, "keep_alive": "2m"})
    options = got.options
    assert (options.temperature, options.top_p, options.top_k, options.min_p) == (1, 0.5, 9, 0.1)
    assert (options.max_tokens, options.stop) == (7, ["X"])
    assert got.messages == [Message("system", "Be brief"), Message("user", "Hi")]
    assert scripted.engine.leases[0][1:] == (LoadOptions(context=512), 120)


async def test_system_in_both_forms(scripted: Scripted) -> None:
    blocks = [
        {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be"},
    ]
    for system, text in (("Be brief.", "Be brief."), (blocks, "Be brief.\nBe")):
        assert (await asked(scripted, PLAIN | {"system": system})).messages[0] == Message("system", text)
    turns = [{"role": "system", "content": [{"type": "text", "text": "Be"}]}, *HI, {"role": "system", "content": "So."}]
    got = (await asked(scripted, PLAIN | {"system": "One.", "messages": turns})).messages
    assert [(m.role, m.content) for m in got] == [("system", "One.\nBe"), ("user", "Hi"), ("system", "So.")]


async def test_a_conversation_with_tools(scripted: Scripted) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Add"}, {"type": "text", "text": "1"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "mul", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "2"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t2",
                    "is_error": True,
                    "content": [{"type": "text", "text": "no"}, image()],
                },
                {"type": "text", "text": "So?"},
            ],
        },
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "It is"},
    ]
    add_all_abilities(scripted)
    got = await asked(scripted, {"model": "seeing", "max_tokens": 5, "messages": messages, "tools": TOOLS})
    first, call, one, two, last, begun = got.messages
    assert first == Message("user", "Add\n1")
    assert (call.content, call.thinking) == ("Let me see.", "Hm.")
    assert call.tool_calls == [ToolCall("t1", "add", '{"a":1}'), ToolCall("t2", "mul", "{}")]
    assert one == Message("tool", "2", tool_call_id="t1", tool_name="add")
    assert (two.content, two.tool_call_id, two.tool_name) == ("Error: no", "t2", "mul")
    assert [type(part) for part in last.content] == [ImagePart, TextPart, TextPart]
    assert begun == Message("assistant", "It is")  # to be continued
    assert [tool.name for tool in got.tools] == ["add", "mul"]
    assert got.tools[0].parameters == SCHEMA


def image(**more: Any) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG} | more}


def add_all_abilities(scripted: Scripted) -> None:
    """A model that can see and call tools."""
    template = "{% if tools %}{{ tools }}{% endif %}{{ messages }}"
    add(scripted.home, "seeing", **{"tokenizer.chat_template": template, "llama.vision.block_count": 1})


async def test_pictures_and_documents(scripted: Scripted) -> None:
    add_all_abilities(scripted)
    source = {"type": "text", "media_type": "text/plain", "data": "Long."}
    document = {"type": "document", "title": "A", "source": source}
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}, image(), document]}]
    got = await asked(scripted, PLAIN | {"model": "seeing", "messages": messages})
    text, picture, paper = got.messages[0].content
    assert text == TextPart("?")
    assert (picture.data, picture.media_type) == (base64.b64decode(PNG), "image/png")
    assert paper == TextPart("A\n\nLong.")


@pytest.mark.parametrize(
    ("choice", "found", "parallel"),
    [
        (None, "auto", True),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto", False),
        ({"type": "any"}, "required", True),
        ({"type": "none"}, "none", True),
        ({"type": "tool", "name": "mul"}, {"type": "function", "function": {"name": "mul"}}, True),
    ],
)
async def test_tool_choice(scripted: Scripted, choice: Any, found: Any, parallel: bool) -> None:
    got = await asked(scripted, CLEVER | {"tools": TOOLS, "tool_choice": choice})
    assert (got.tool_choice, got.parallel_tools) == (found, parallel)


async def test_the_form_of_an_answer(scripted: Scripted) -> None:
    form = {"type": "json_schema", "schema": SCHEMA}
    for more in ({"output_format": form}, {"output_config": {"format": form}}):
        assert (await asked(scripted, PLAIN | more)).format == SCHEMA


async def test_counting(scripted: Scripted) -> None:
    body = {"model": "clever", "messages": HI}
    assert (await scripted.post(COUNT, body)).json() == {"input_tokens": 4}
    assert (await scripted.post(COUNT, body | {"system": "Be brief", "tools": TOOLS})).json() == {"input_tokens": 30}


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def saying(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": None}, "at least one message"),
        ({"messages": "Hi"}, "$.messages"),
        ({"messages": [{"role": "tool", "content": "Hi"}]}, "$.messages[0].role"),
        ({"messages": [{"role": "system", "content": [image()]}]}, "messages.0"),
        ({"output_config": {"effort": "some"}}, "$.output_config.effort"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": 5}]}, "$.messages[0].content"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "$.max_tokens"),
        ({"max_tokens": "9"}, "$.max_tokens"),
        ({"max_tokens": 2**40}, "$.max_tokens"),
        ({"temperature": 3}, "$.temperature"),
        ({"top_p": -1}, "$.top_p"),
        ({"top_k": 1.5}, "$.top_k"),
        ({"stop_sequences": "a"}, "$.stop_sequences"),
        ({"stop_sequences": ["a"] * 257}, "$.stop_sequences"),
        ({"thinking": {"type": "much"}}, "$.thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": 0}}, "$.thinking.budget_tokens"),
        ({"thinking": {"type": "enabled"}, "model": "plain"}, "does not support thinking"),
        ({"tools": TOOLS, "model": "plain"}, "does not support tools"),
        ({"tools": [{"name": "a"}]}, "input_schema"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
        ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "x"}}, "no tool 'x'"),
        ({"tool_choice": {"type": "any"}}, "no tools"),
        ({"tool_choice": {"type": "some"}}, "$.tool_choice.type"),
        ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
        ({"options": {"num_ctx": -1}}, "num_ctx"),
        ({"keep_alive": "soon"}, "soon"),
        (saying({"type": "video"}), "video"),
        (saying({"type": "text"}), "text"),
        (saying({"type": "tool_result", "tool_use_id": "t", "content": "2"}), "tool_result for 't'"),
        (saying({"type": "tool_use", "id": "t", "name": "a", "input": {}}), "messages.0"),
        (saying({"type": "tool_use", "id": "t", "name": "a", "input": "{}"}, role="assistant"), "input"),
        (saying(image(), role="assistant"), "messages.0"),
        (saying(image(data="%%")), "base64"),
        (saying(image(data=base64.b64encode(b"GARBAGE").decode())), "not a PNG"),
        (saying(image(type="url", url="file:///etc/passwd")), "nothing is fetched"),
        (saying({"type": "document", "source": {"type": "base64", "data": PNG}}), "only text"),
        (saying(image()), "does not support vision"),
        ({"model": "vectors"}, "does not support chat"),
    ],
)  # fmt: skip
async def test_refusals(scripted: Scripted, more: dict[str, Any], said: str) -> None:
    answer = await scripted.post(PATH, CLEVER | more)
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert said in body["error"]["message"]
    assert "\n" not in body["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages": [' + b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_bodies_that_are_none(scripted: Scripted, path: str, body: bytes) -> None:
    answer = await scripted.post(path, body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_an_unknown_model(scripted: Scripted, path: str) -> None:
    answer = await scripted.post(path, PLAIN | {"model": "nope"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Busy("full", "Wait.", retry_after=9), 529, "overloaded_error"),
        (PromptTooLong("9000 tokens, 2048 fit"), 400, "invalid_request_error"),
        (RunnerCrashed("died", "Ask again."), 500, "api_error"),
        (RuntimeError("secret"), 500, "api_error"),
    ],
)
async def test_errors_of_the_engine(scripted: Scripted, error: Exception, status: int, kind: str) -> None:
    for stream in (True, False):
        answer = await scripted.post(PATH, PLAIN | {"stream": stream}, replies=[error])
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
        assert "secret" not in answer.text
    if isinstance(error, Busy):
        assert answer.headers["retry-after"] == "9"
    if isinstance(error, PromptTooLong):
        assert answer.json()["error"]["message"].startswith("prompt is too long: ")


@pytest.mark.parametrize("error", [EngineFailed("broke off", "Ask again."), AllodError("no")])
async def test_an_error_within_a_stream(scripted: Scripted, error: Exception) -> None:
    events = await streamed(scripted, PLAIN, ["Hello", error])
    assert events[0]["type"] == "message_start"
    assert (events[-1]["type"], events[-1]["error"]["type"]) == ("error", "api_error")


async def test_a_browser_may_ask(scripted: Scripted) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "x-api-key,anthropic-version"}
    async with scripted.client(origin="http://localhost:3000") as http:
        allowed = await http.options(PATH, headers=asks)
        assert allowed.status_code == 204
        names = allowed.headers["access-control-allow-headers"]
        for name in ("x-api-key", "anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access"):
            assert name in names
        scripted.runner.replies = ["Hello"]
        headers = {
            "anthropic-version": "2023-06-01",
            "x-api-key": "any",
            "anthropic-dangerous-direct-browser-access": "true",
        }
        answer = await http.post(PATH, json=PLAIN, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"
        refused = await http.post(PATH, json={}, headers=headers)
        assert refused.status_code == 400
        assert (
            refused.headers["access-control-allow-origin"] == "http://localhost:3000"
        )  # so that the page can read why
    async with scripted.client(origin="https://evil.example") as http:
        assert (await http.post(PATH, json=PLAIN)).status_code == 403


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_stops_in_a_text(size: int) -> None:
    for text, stops, shown, found in (
        ("abcabd", ["abd"], "abc", "abd"),
        ("aaab", ["aab"], "a", "aab"),
        ("abc", [], "abc", None),
        ("abc", [""], "abc", None),
        ("é\n\nb", ["\n\n"], "é", "\n\n"),
        ("ab", ["abc"], "ab", None),
    ):
        cut = Stops(stops)
        pieces = [cut.feed(text[i : i + size]) for i in range(0, len(text), size)]
        assert ("".join(pieces) + cut.rest(), cut.found) == (shown, found)
