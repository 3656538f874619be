"""Our language to JSON, and the errors of servers to ours."""

import base64
from typing import Any

import msgspec
import pytest

from allod.chat import ChatRequest, CompletionRequest, ImagePart, Message, Options, TextPart, Tool, ToolCall
from allod.engine.wire import chat_body, completion_body, failure
from allod.errors import (
    AllodError,
    BadRequest,
    Busy,
    EngineFailed,
    ModelNotFound,
    NotFound,
    PromptTooLong,
    Refused,
    Unsupported,
)


def body(*messages: Message, **fields: Any) -> dict[str, Any]:
    return chat_body(ChatRequest(list(messages) or [Message("user", "Hi")], **fields))


def test_only_what_was_set_is_sent() -> None:
    assert body() == {
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_options_and_further_fields() -> None:
    sent = body(options=Options(temperature=0.0, stop=["x"], max_tokens=-1, extra={"dry_base": 2, "temperature": 9}))
    assert (sent["temperature"], sent["stop"], sent["max_tokens"], sent["dry_base"]) == (0.0, ["x"], -1, 2)


def test_messages_with_parts_calls_and_results() -> None:
    sent = body(
        Message("user", [TextPart("see"), ImagePart(b"\x89P", "image/jpeg")]),
        Message("assistant", "", thinking="hm", tool_calls=[ToolCall("c1", "f", '{"a": 1}')]),
        Message("tool", "3", tool_call_id="c1", tool_name="f"),
    )["messages"]
    url = "data:image/jpeg;base64," + base64.b64encode(b"\x89P").decode()
    assert sent[0]["content"] == [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert sent[1] == {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call]}
    assert sent[2] == {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "f"}


def test_tools_and_the_choice_of_one() -> None:
    tools = [Tool("f", "does f", {"type": "object"}), Tool("g")]
    sent = body(tools=tools)
    assert [t["function"]["name"] for t in sent["tools"]] == ["f", "g"] and sent["tool_choice"] == "auto"
    sent = body(tools=tools, tool_choice={"type": "function", "function": {"name": "g"}})
    assert [t["function"]["name"] for t in sent["tools"]] == ["g"] and sent["tool_choice"] == "required"
    with pytest.raises(BadRequest):
        body(tools=tools, tool_choice={"type": "function", "function": {"name": "h"}})


def test_formats() -> None:
    assert body(format="json")["response_format"] == {"type": "json_object"}
    schema = {"type": "object"}
    assert body(format=schema)["response_format"]["json_schema"]["schema"] == schema


def test_thinking() -> None:
    assert "chat_template_kwargs" not in body()
    assert body(think=True)["chat_template_kwargs"] == {"enable_thinking": True}
    assert body(think="low")["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": "low"}
    begun = body(Message("user", "Hi"), Message("assistant", "Well"))
    assert begun["chat_template_kwargs"] == {"enable_thinking": False}


def test_no_log_probabilities_of_no_tokens() -> None:
    assert body(top_logprobs=0)["top_logprobs"] == 1


def test_completions() -> None:
    path, sent = completion_body(CompletionRequest([1, 2], Options(max_tokens=3), top_logprobs=2), "<m>")
    assert path == "/completion" and (sent["prompt"], sent["n_predict"], sent["n_probs"]) == ([1, 2], 3, 2)
    path, sent = completion_body(CompletionRequest("a", suffix="b", format="json"), "<m>")
    assert path == "/infill" and (sent["input_prefix"], sent["input_suffix"]) == ("a", "b")
    assert sent["json_schema"] == {"type": "object"}
    _, sent = completion_body(CompletionRequest("see <m>", images=[ImagePart(b"1"), ImagePart(b"2")]), "<m>")
    assert sent["prompt"] == {"prompt_string": "<m>see <m>", "multimodal_data": ["MQ==", "Mg=="]}


@pytest.mark.parametrize(
    "request_",
    [
        CompletionRequest([1], suffix="b"),
        CompletionRequest("a", suffix="b", images=[ImagePart(b"1")]),
        CompletionRequest([1], images=[ImagePart(b"1")]),
    ],
)
def test_completions_that_make_no_sense(request_: CompletionRequest) -> None:
    with pytest.raises(BadRequest):
        completion_body(request_, "<m>")


def said(message: str, code: int = 0, kind: str = "") -> bytes:
    return msgspec.json.encode({"error": {"message": message, "code": code, "type": kind}})


@pytest.mark.parametrize(
    "status,data,kind",
    [
        (400, said("request (9) exceeds …", 400, "exceed_context_size_error"), PromptTooLong),
        (400, said("This model's maximum context length is 8 tokens"), PromptTooLong),
        (400, said("no"), BadRequest),
        (422, b'{"detail": "no"}', BadRequest),
        (501, said("Infill is not supported by this model"), Unsupported),
        (500, said("image input is not supported", 500), Unsupported),
        (401, said("Invalid API Key"), Refused),
        (404, said("The model `x` does not exist."), ModelNotFound),
        (404, said("File Not Found", 404), NotFound),
        (404, b"404 page not found", NotFound),
        (405, b"", NotFound),
        (429, said("slow down"), Busy),
        (503, said("Loading model"), Busy),
        (500, b"<html>\xff", EngineFailed),
        (500, b"", EngineFailed),
        (502, b'"words"', EngineFailed),
        (500, b"[1, 2]", EngineFailed),
        (500, b'{"error": null}', EngineFailed),
    ],
)
def test_errors(status: int, data: bytes, kind: type[AllodError]) -> None:
    error = failure(status, data, "x")
    assert type(error) is kind
    assert error.message and error.remedy and "\n" not in error.message


def test_a_long_error_is_cut() -> None:
    assert len(failure(500, said("x " * 10_000)).message) < 600
