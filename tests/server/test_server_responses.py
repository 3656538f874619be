"""/v1/responses over a scripted runner: items and messages, events in their order, what is kept, what is refused."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from served import Scripted, add

from allod.chat import ChatChunk, ImagePart, Message, TextPart, ToolCall, Usage
from allod.engine.options import LoadOptions
from allod.errors import Busy, EngineFailed, NotFound, RunnerCrashed
from allod.server import responses_kept as kept

PATH = "/v1/responses"
PLAIN = {"model": "plain", "input": "Hi"}
CLEVER = {"model": "clever", "input": "Hi"}
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": True} for name in ("add", "mul")]
LONG = ChatChunk(finish="length", usage=Usage(10, 0, 5))


async def answered(scripted: Scripted, body: dict[str, Any], *replies: Any) -> dict[str, Any]:
    answer = await scripted.post(PATH, body, replies=list(replies))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def streamed(scripted: Scripted, body: dict[str, Any], *replies: Any) -> list[dict[str, Any]]:
    """The events of a stream, whose names are their types and whose numbers have no gap."""
    answer = await scripted.post(PATH, body | {"stream": True}, replies=list(replies))
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    found: list[dict[str, Any]] = []
    for event in answer.text.removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


async def asked(scripted: Scripted, body: dict[str, Any]) -> Any:
    await answered(scripted, body, "Yes.")
    return scripted.runner.requests[-1]


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_response(scripted: Scripted) -> None:
    reply = ["Hello ", ChatChunk("there", finish="stop", usage=Usage(100, 90, 3))]
    body = await answered(scripted, PLAIN | {"metadata": {"a": "b"}, "instructions": "Be brief."}, reply)
    assert body["id"].startswith("resp_")
    (message,) = body["output"]
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello there", "annotations": [], "logprobs": []}],
    }
    assert (body["object"], body["status"], body["model"]) == ("response", "completed", "plain:latest")
    assert (body["error"], body["incomplete_details"], body["metadata"]) == (None, None, {"a": "b"})
    assert (body["store"], body["instructions"], body["truncation"]) == (True, "Be brief.", "disabled")
    assert abs(body["created_at"] - time.time()) < 60 and body["completed_at"] >= body["created_at"]
    assert body["usage"] == {
        "input_tokens": 100,
        "output_tokens": 3,
        "total_tokens": 103,
        "input_tokens_details": {"cached_tokens": 90},
        "output_tokens_details": {"reasoning_tokens": 0},
    }


async def test_the_events_of_a_text(scripted: Scripted) -> None:
    events = await streamed(scripted, PLAIN, "Hello there")
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = ["output_text.delta"] * kinds.count("output_text.delta")
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added"),
        *deltas,
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert len(deltas) == 3
    first, added, part = events[0]["response"], events[2], events[3]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert (added["item"]["status"], added["item"]["content"], added["output_index"]) == ("in_progress", [], 0)
    assert (part["part"]["text"], part["content_index"], part["item_id"]) == ("", 0, added["item"]["id"])
    assert "".join(e["delta"] for e in events if e["type"].endswith("text.delta")) == "Hello there"
    assert events[-4]["text"] == events[-3]["part"]["text"] == "Hello there"
    assert events[-2]["item"] == events[-1]["response"]["output"][0]
    assert {event["response"]["id"] for event in events if "response" in event} == {first["id"]}


async def test_thinking_and_calls(scripted: Scripted) -> None:
    reply = [
        ChatChunk(thinking="Hm", usage=Usage(10, 0, 1)),
        ChatChunk(thinking="m.", usage=Usage(10, 0, 7)),
        ChatChunk("So.", usage=Usage(10, 0, 9)),
        ChatChunk(
            tool_calls=[ToolCall("x", "add", '{"a": 1}'), ToolCall("y", "mul", "")],
            finish="tool_calls",
            usage=Usage(10, 0, 30),
        ),
    ]
    body = CLEVER | {"tools": TOOLS, "reasoning": {"effort": "low"}}
    response = await answered(scripted, body, reply)
    thought, text, one, two = response["output"]
    assert (thought["type"], thought["content"][0]) == ("reasoning", {"type": "reasoning_text", "text": "Hmm."})
    assert thought["summary"] == []
    assert text["content"][0]["text"] == "So."
    assert (one["type"], one["name"], one["arguments"], one["status"]) == (
        *("function_call", "add", '{"a": 1}', "completed"),
    )
    assert two["arguments"] == "{}"
    assert one["call_id"].startswith("call_") and one["call_id"] != two["call_id"]
    assert response["status"] == "completed"
    assert response["usage"]["output_tokens_details"] == {"reasoning_tokens": 7}
    assert scripted.runner.requests[-1].think == "low"
    events = await streamed(scripted, body, reply)
    kinds = [event["type"].removeprefix("response.") for event in events]
    call = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]
    assert kinds[2:] == [
        *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
        *("reasoning_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *call,
        *call,
        "completed",
    ]
    indexes = [event["output_index"] for event in events if event["type"].endswith("output_item.added")]
    assert indexes == [0, 1, 2, 3]
    begun = next(event["item"] for event in events if event.get("item", {}).get("type") == "function_call")
    assert (begun["arguments"], begun["status"]) == ("", "in_progress")


async def test_an_answer_that_is_cut_off(scripted: Scripted) -> None:
    body = PLAIN | {"max_output_tokens": 5}
    response = await answered(scripted, body, [ChatChunk("One"), LONG])
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (response["output"][0]["status"], response["completed_at"]) == ("incomplete", None)
    assert scripted.runner.requests[0].options.max_tokens == 5
    assert (await streamed(scripted, body, [ChatChunk("One"), LONG]))[-1]["type"] == "response.incomplete"
    cut = ChatChunk(tool_calls=[ToolCall("x", "add", '{"a"')], finish="length", usage=Usage(10, 0, 5))
    (call,) = (await answered(scripted, CLEVER | {"tools": TOOLS}, [cut]))["output"]
    assert (call["arguments"], call["status"]) == ('{"a"', "incomplete")


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_sampling_defaults_and_form(scripted: Scripted) -> None:
    add(scripted.home, "mine", "SYSTEM Be brief\nPARAMETER temperature 0.25\nPARAMETER top_k 9")
    form = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
    body = {"model": "mine", "input": "Hi", "temperature": 1, "top_p": 0.5, "text": form}
    body |= {"options": {"num_ctx": 512}, "keep_alive": "2m", "parallel_tool_calls": False}
    got = await asked(scripted, body)
    assert (got.options.temperature, got.options.top_p, got.options.top_k) == (1, 0.5, 9)
    assert (got.format, got.parallel_tools, got.think) == (SCHEMA, False, None)
    assert got.messages == [Message("system", "Be brief"), Message("user", "Hi")]
    assert scripted.engine.leases[0][1:] == (LoadOptions(context=512), 120)
    assert (await asked(scripted, PLAIN | {"text": {"format": {"type": "json_object"}}})).format == "json"
    assert (await asked(scripted, PLAIN | {"reasoning": {"effort": "none"}})).think is False


async def test_items_become_messages(scripted: Scripted) -> None:
    template = "{% if tools %}{{ tools }}{% endif %}{{ messages }}"
    add(scripted.home, "seeing", **{"tokenizer.chat_template": template, "llama.vision.block_count": 1})
    image = {"type": "input_image", "image_url": PNG, "detail": "auto"}
    items = [
        {"role": "developer", "content": "Use tools."},
        {"role": "user", "content": [{"type": "input_text", "text": "Add"}, image]},
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "Well."}]},
        {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "mul", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "2"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "0"}, image]},
        {"role": "user", "content": "So?"},
    ]
    got = await asked(scripted, {"model": "seeing", "input": items, "instructions": "Be brief.", "tools": TOOLS})
    system, user, call, one, two, last = got.messages
    assert system == Message("system", "Be brief.\nUse tools.")
    assert user.content == [TextPart("Add"), ImagePart(base64.b64decode(PNG.partition(",")[2]), "image/png")]
    assert (call.content, call.thinking) == ("Well.", "Hm.")
    assert call.tool_calls == [ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "mul", "{}")]
    assert one == Message("tool", "2", tool_call_id="c1", tool_name="add")
    assert (two.content, two.tool_name) == ("0", "mul")
    assert [type(part) for part in last.content] == [ImagePart, TextPart]


@pytest.mark.parametrize(
    ("choice", "tools", "found"),
    [
        (None, ["add", "mul"], "auto"),
        ("none", ["add", "mul"], "none"),
        ("required", ["add", "mul"], "required"),
        ({"type": "function", "name": "mul"}, ["add", "mul"], {"type": "function", "function": {"name": "mul"}}),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "mul"}]},
            ["mul"],
            "required",
        ),
    ],
)
async def test_tool_choice(scripted: Scripted, choice: Any, tools: list[str], found: Any) -> None:
    got = await asked(scripted, CLEVER | {"tools": TOOLS, "tool_choice": choice})
    assert ([tool.name for tool in got.tools], got.tool_choice) == (tools, found)


async def test_counting(scripted: Scripted) -> None:
    body = CLEVER | {"instructions": "Be brief", "tools": TOOLS}
    answer = await scripted.post(f"{PATH}/input_tokens", body)
    assert answer.json() == {"input_tokens": 30, "object": "response.input_tokens"}


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_response_is_gone_on_from(scripted: Scripted) -> None:
    first = await answered(scripted, CLEVER | {"instructions": "One.", "tools": TOOLS}, ToolCall("x", "add", "{}"))
    call = first["output"][0]["call_id"]
    items = [{"type": "function_call_output", "call_id": call, "output": "3"}]
    second = await answered(scripted, CLEVER | {"previous_response_id": first["id"], "input": items}, "Three.")
    assert second["previous_response_id"] == first["id"]
    body = CLEVER | {"previous_response_id": second["id"], "input": "So?", "instructions": "Two."}
    for stream in (False, True):
        await scripted.post(PATH, body | {"stream": stream}, replies=["Yes."])
        got = scripted.runner.requests[-1].messages
        assert [(m.role, m.text) for m in got] == [
            *(("system", "Two."), ("user", "Hi"), ("assistant", "")),  # the first instructions are not carried over
            *(("tool", "3"), ("assistant", "Three."), ("user", "So?")),
        ]
        assert got[2].tool_calls == [ToolCall(call, "add", "{}")]
    # from the first again, another way
    await answered(scripted, CLEVER | {"previous_response_id": first["id"], "input": items}, "Drei.")
    assert len(scripted.runner.requests[-1].messages) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_read_and_deleted(scripted: Scripted, stream: bool) -> None:
    if stream:
        response = (await streamed(scripted, PLAIN, "Hello"))[-1]["response"]
    else:
        response = await answered(scripted, PLAIN, "Hello")
    path = f"{PATH}/{response['id']}"
    async with scripted.client() as http:
        assert (await http.get(path)).json() == response
        assert (await http.get(path, params={"stream": "true"})).status_code == 400
        deleted = await http.delete(path)
        assert deleted.json() == {"id": response["id"], "object": "response", "deleted": True}
        for answer in (await http.get(path), await http.delete(path)):
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


async def test_what_is_not_to_be_stored_is_not(scripted: Scripted) -> None:
    response = await answered(scripted, PLAIN | {"store": False}, "Hello")
    assert response["store"] is False
    async with scripted.client() as http:
        assert (await http.get(f"{PATH}/{response['id']}")).status_code == 404
    with scripted.home.db() as db:
        assert db.execute("SELECT count(*) FROM response").fetchone()[0] == 0


async def test_going_on_from_nothing(scripted: Scripted) -> None:
    first = await answered(scripted, PLAIN, "One")
    second = await answered(scripted, PLAIN | {"previous_response_id": first["id"]}, "Two")
    kept.delete(scripted.home, first["id"])
    for ident in ("resp_none", first["id"], second["id"]):  # the last is there, but not what it goes on from
        answer = await scripted.post(PATH, PLAIN | {"previous_response_id": ident})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "previous_response_not_found")
        assert error["param"] == "previous_response_id"


def test_room_is_bounded(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    home = scripted.home

    def put(ident: str, previous: str = "", body: bytes = b'{"output":[]}') -> None:
        kept.put(home, ident, previous, [{"n": ident}], body)

    def used(ident: str, at: str) -> None:
        with home.db() as db:
            db.execute("UPDATE response SET used_at = ? WHERE id = ?", (at, ident))

    def there() -> str:
        with home.db() as db:
            return "".join(sorted(row["id"] for row in db.execute("SELECT id FROM response")))

    monkeypatch.setattr(kept, "MOST", 4)
    put("a")
    put("b", "a")
    put("c")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    for ident, minutes in (("a", 1), ("b", 2), ("c", 3)):
        used(ident, (yesterday + timedelta(minutes=minutes)).isoformat(timespec="milliseconds"))
    assert [entry["n"] for entry in kept.history(home, "b")] == ["a", "b"]  # both are used by that
    put("d")
    put("e")
    assert there() == "abde"
    used("a", "2026-01-02T03:04:05.678+00:00")
    put("f")
    assert there() == "bdef"
    monkeypatch.setattr(kept, "MOST", 100)
    used("b", "2026-01-02T03:04:05.678+00:00")  # long unused
    put("g")
    assert there() == "defg"
    monkeypatch.setattr(kept, "ROOM", 300)
    put("h", body=b"x" * 265)  # and 11 of its items: there is room for 24 more, which one other needs
    assert there() == "gh"
    with pytest.raises(NotFound):
        kept.get(home, "d")


async def test_what_one_was_made_of(scripted: Scripted) -> None:
    turns = [{"type": "message", "role": "user", "content": text} for text in ("One", "Two", "Three")]
    response = await answered(scripted, CLEVER | {"input": turns}, "Four")
    path = f"{PATH}/{response['id']}/input_items"

    async def page(**query: Any) -> tuple[list[str], bool]:
        answer = (await http.get(path, params=query)).json()
        assert answer["first_id"] == (answer["data"][0]["id"] if answer["data"] else None)
        return [entry["content"] for entry in answer["data"]], answer["has_more"]

    async with scripted.client() as http:
        assert await page() == (["Three", "Two", "One"], False)
        assert await page(order="asc", limit=2) == (["One", "Two"], True)
        last = (await http.get(path, params={"order": "asc", "limit": 2})).json()["last_id"]
        assert await page(order="asc", after=last) == (["Three"], False)
        assert await page(order="asc", after="item_2") == ([], False)
        for wrong in ({"order": "up"}, {"limit": "0"}, {"limit": "x"}, {"limit": "101"}, {"after": "nobody"}):
            answer = await http.get(path, params=wrong)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert (await http.get(f"{PATH}/resp_none/input_items")).status_code == 404


async def test_a_request_that_is_too_large_to_be_kept(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LARGEST", 1000)
    body = PLAIN | {"input": "x" * 1000}
    answer = await scripted.post(PATH, body)
    assert (answer.status_code, "store" in answer.json()["error"]["message"]) == (400, True)
    assert (await scripted.post(PATH, body | {"store": False}, replies=["Yes."])).status_code == 200


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def user(**part: Any) -> dict[str, Any]:
    return item(role="user", content=[part])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"input": None}, "input is required"),
        ({"input": ""}, "input is required"),
        ({"input": [], "instructions": "Be brief."}, "input is required"),
        ({"input": 5}, "$.input"),
        ({"input": ["Hi"]}, "$.input[0]"),
        ({"instructions": ["Hi"]}, "$.instructions"),
        (item(role="pope", content="Hi"), "input[0]"),
        (item(role="user"), "content"),
        (item(role="user", content=[{"text": "Hi"}]), "type"),
        (item(type="item_reference", id="x"), "item_reference"),
        (item(type=["message"]), "input[0]"),
        (item(type="function_call", name="add"), "call_id"),
        (item(type="function_call_output", call_id="c", output="1"), "no tool call found"),
        (item(type="reasoning", summary=[]), "input is required"),
        (user(type="input_file", file_id="f"), "input_file"),
        (user(type="input_text"), "input_text"),
        (user(type="input_image", image_url="file:///etc/passwd"), "may be fetched"),
        (user(type="input_image", file_id="f"), "may be fetched"),
        (user(type="input_image", image_url="data:image/png;base64,%%"), "base64"),
        (user(type="input_image", image_url=PNG), "does not support vision"),
        ({"max_output_tokens": 0}, "$.max_output_tokens"),
        ({"temperature": 3}, "$.temperature"),
        ({"top_p": "x"}, "$.top_p"),
        ({"metadata": {"a": 1}}, "$.metadata"),
        ({"reasoning": {"effort": "some"}}, "$.reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "$.text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "needs a schema"),
        ({"tools": [{"type": "web_search"}]}, "web_search"),
        ({"tools": [{"type": "function"}]}, "needs a name"),
        ({"tools": [{"name": "f"}]}, "type"),
        ({"tools": TOOLS, "model": "plain"}, "does not support tools"),
        ({"tools": TOOLS, "tool_choice": "some"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [5]}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"conversation": "c"}, "conversation"),
        ({"top_logprobs": 2}, "log-probabilities"),
        ({"include": ["message.output_text.logprobs"]}, "log-probabilities"),
        ({"options": {"num_ctx": -1}}, "num_ctx"),
        ({"model": "vectors"}, "does not support chat"),
    ],
)  # fmt: skip
async def test_refusals(scripted: Scripted, more: dict[str, Any], said: str) -> None:
    answer = await scripted.post(PATH, CLEVER | more)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert said in error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": [' + b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("path", [PATH, f"{PATH}/input_tokens"])
async def test_bodies_that_are_none(scripted: Scripted, path: str, body: bytes) -> None:
    answer = await scripted.post(path, body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_an_unknown_model(scripted: Scripted) -> None:
    answer = await scripted.post(PATH, PLAIN | {"model": "nope"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("error", "status"), [(Busy("full"), 503), (RunnerCrashed("died"), 500), (RuntimeError("secret"), 500)]
)
async def test_errors_before_the_answer(scripted: Scripted, error: Exception, status: int) -> None:
    for stream in (True, False):
        answer = await scripted.post(PATH, PLAIN | {"stream": stream}, replies=[error])
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "api_error")
        assert "secret" not in answer.text


@pytest.mark.parametrize("error", [EngineFailed("broke off", "Ask again."), RuntimeError("secret")])
async def test_an_error_within_a_stream(scripted: Scripted, error: Exception) -> None:
    events = await streamed(scripted, PLAIN, ["Hello", error])
    told, failed = events[-2:]
    assert (told["type"], told["code"]) == ("error", "server_error")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": told["message"]}
    assert "secret" not in told["message"]
    with scripted.home.db() as db:
        assert db.execute("SELECT count(*) FROM response").fetchone()[0] == 0


async def test_a_disk_that_is_full(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    from allod.errors import DiskFull

    def put(*args: Any) -> None:
        raise DiskFull("no space left", "Make room.")

    monkeypatch.setattr(kept, "put", put)
    assert (await scripted.post(PATH, PLAIN, replies=["Hello"])).status_code == 507
    events = await streamed(scripted, PLAIN, "Hello")
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]  # and never completed
