"""/api/chat, /api/generate and /api/embed over a scripted runner: what the lines look like, what reaches the runner."""

import base64
import json
import re
from typing import Any

import pytest
from served import Scripted

from allod.chat import ChatChunk, ImagePart, TextPart, TokenLogprob, ToolCall, Usage
from allod.engine.options import FOREVER, LoadOptions
from allod.errors import AllodError, Busy, PromptTooLong, RunnerCrashed, TooLarge
from allod.server.ollama_facts import CHECKED

HI = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n0000").decode()
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


def lines(content: bytes) -> list[dict[str, Any]]:
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_chat_streams_lines_and_ends_with_figures(scripted: Scripted) -> None:
    usage = Usage(prompt_tokens=11, cached_tokens=10, output_tokens=2, prompt_seconds=0.25, output_seconds=1.5)
    replies = [[ChatChunk(text="Hel"), ChatChunk(text="lo"), ChatChunk(finish="stop", usage=usage)]]
    answer = await scripted.post("/api/chat", {"model": "PLAIN", "messages": HI}, replies=replies)
    assert answer.headers["content-type"] == "application/x-ndjson"
    *pieces, last = lines(answer.content)[:3]
    assert [piece["message"] for piece in pieces] == [{"role": "assistant", "content": t} for t in ("Hel", "lo")]
    for piece in pieces:
        assert set(piece) == {"model", "created_at", "message", "done"}
        assert (piece["model"], piece["done"]) == ("PLAIN", False)
        assert TIME.fullmatch(piece["created_at"])
    assert last["message"] == {"role": "assistant", "content": ""}
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert (last["prompt_eval_count"], last["eval_count"]) == (11, 2)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (250_000_000, 1_500_000_000)
    assert type(last["total_duration"]) is int
    assert last["total_duration"] > last["load_duration"] > 0
    assert "context" not in last


async def test_a_chat_in_one_piece(scripted: Scripted) -> None:
    answer = await scripted.post(
        "/api/chat", {"model": "plain", "messages": HI, "stream": False}, replies=["Hello there"]
    )
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    body = answer.json()
    assert body["message"] == {"role": "assistant", "content": "Hello there"}
    assert (body["done"], body["done_reason"]) == (True, "stop")


@pytest.mark.parametrize(("finish", "reason"), [("length", "length"), ("tool_calls", "stop"), ("stop", "stop")])
async def test_why_it_ended(scripted: Scripted, finish: Any, reason: str) -> None:
    replies = [[ChatChunk(finish=finish, usage=Usage())]]
    answer = await scripted.post("/api/chat", {"model": "plain", "messages": HI}, replies=replies)
    assert lines(answer.content)[0]["done_reason"] == reason


@pytest.mark.parametrize("stream", [True, False])
async def test_tool_calls_have_objects_for_arguments(scripted: Scripted, stream: bool) -> None:
    calls = [ToolCall("abc", "weather", '{"city":"Oslo"}'), ToolCall("call_12", "weather", "")]
    body = {"model": "clever", "messages": HI, "tools": [WEATHER], "stream": stream}
    answer = await scripted.post("/api/chat", body, replies=[calls])
    found = [call for line in lines(answer.content.rstrip() + b"\n") for call in line["message"].get("tool_calls", [])]
    assert [call["function"]["arguments"] for call in found] == [{"city": "Oslo"}, {}]
    assert all(call["id"].startswith("call_") for call in found)
    assert scripted.runner.requests[0].tools[0].name == "weather"


async def test_a_call_that_was_cut_off_is_text(scripted: Scripted) -> None:
    replies = [[ToolCall("x", "weather", '{"city": "Os')]]
    answer = await scripted.post(
        "/api/chat", {"model": "clever", "messages": HI, "tools": [WEATHER], "stream": False}, replies=replies
    )
    assert answer.json()["message"]["content"] == 'weather({"city": "Os'


async def test_thinking_and_logprobs(scripted: Scripted) -> None:
    prob = TokenLogprob("é", -0.5, list("é".encode()), [TokenLogprob("e", -1.5, [101])])
    replies = [[ChatChunk(thinking="hm"), ChatChunk(text="é", logprobs=[prob])]]
    body = {"model": "clever", "messages": HI, "think": "high", "top_logprobs": 1, "stream": False}
    answer = await scripted.post("/api/chat", body, replies=replies)
    assert answer.json()["message"] == {"role": "assistant", "content": "é", "thinking": "hm"}
    assert answer.json()["logprobs"] == [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.5, "bytes": [101]}],
        }
    ]
    assert (scripted.runner.requests[0].think, scripted.runner.requests[0].top_logprobs) == ("high", 1)


async def test_generate_gives_context_back(scripted: Scripted) -> None:
    answer = await scripted.post("/api/generate", {"model": "plain", "prompt": "Hi"}, replies=["Hello"])
    *pieces, last = lines(answer.content)
    assert "".join(piece["response"] for piece in pieces) == "Hello"
    assert bytes(last["context"]).decode() == "<|user|>Hi\nHello"
    more = {"model": "plain", "prompt": "Go on", "context": last["context"], "stream": False}
    second = await scripted.post("/api/generate", more, replies=["!"])
    assert bytes(scripted.runner.requests[1].prompt).decode() == "<|user|>Hi\nHello<|user|>Go on\n"
    assert bytes(second.json()["context"]).decode() == "<|user|>Hi\nHello<|user|>Go on\n!"


async def test_generate_takes_a_system_prompt_and_pictures(scripted: Scripted) -> None:
    await scripted.post("/api/generate", {"model": "plain", "prompt": "Hi", "system": "Be brief"}, replies=["a"])
    assert [(m.role, m.text) for m in scripted.runner.requests[0].messages] == [("system", "Be brief"), ("user", "Hi")]
    answer = await scripted.post("/api/generate", {"model": "plain", "prompt": "Hi", "images": [PNG]})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "registry.ollama.ai/library/plain:latest does not support vision"},
    )


async def test_raw_and_models_without_template_are_continued(scripted: Scripted) -> None:
    await scripted.post("/api/generate", {"model": "plain", "prompt": "Once", "raw": True}, replies=["a"])
    await scripted.post("/api/generate", {"model": "bare", "prompt": "Twice"}, replies=["a"])
    await scripted.post(
        "/api/generate", {"model": "plain", "prompt": "Thrice", "template": "{{ .Prompt }}"}, replies=["a"]
    )
    assert [request.prompt for request in scripted.runner.requests] == ["Once", "Twice", "Thrice"]


async def test_suffix(scripted: Scripted) -> None:
    await scripted.post("/api/generate", {"model": "clever", "prompt": "a =", "suffix": "return"}, replies=["1"])
    assert (scripted.runner.requests[0].prompt, scripted.runner.requests[0].suffix) == ("a =", "return")
    answer = await scripted.post("/api/generate", {"model": "plain", "prompt": "a", "suffix": "b"})
    assert answer.status_code == 400
    assert answer.json() == {"error": "registry.ollama.ai/library/plain:latest does not support insert"}


async def test_the_rendered_prompt_can_be_seen(scripted: Scripted) -> None:
    body = {"model": "plain", "messages": HI, "_debug_render_only": True}
    answer = (await scripted.post("/api/chat", body)).json()
    assert answer["_debug_info"] == {"rendered_template": "<|user|>Hi\n"}
    body = {"model": "plain", "prompt": "Hi", "_debug_render_only": True}
    assert (await scripted.post("/api/generate", body)).json()["_debug_info"]["rendered_template"] == "<|user|>Hi\n"


# ── what reaches the runner ─────────────────────────────────────────────────────────────────────────────────────────


async def test_options_find_their_way(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    options = {
        "num_predict": 7,
        "temperature": 0,
        "seed": 3.0,
        "stop": ["x", ""],
        "num_ctx": 512,
        "num_thread": 2,
        "wat": 1,
    }
    options |= {"top_k": None, "num_keep": 4, "mirostat": 2}
    body = {"model": "plain", "messages": HI, "options": options, "keep_alive": "1h30m"}
    await scripted.post("/api/chat", body, replies=["a"])
    asked = scripted.runner.requests[0].options
    assert (asked.max_tokens, asked.temperature, asked.seed, asked.stop, asked.n_keep) == (7, 0.0, 3, ["x"], 4)
    model, load, keep_alive = scripted.engine.leases[0]
    assert str(model.name) == "plain:latest"
    assert load == LoadOptions(context=512, threads=2)
    assert keep_alive == 5400
    assert "wat" in caplog.text
    assert "mirostat" not in caplog.text


@pytest.mark.parametrize(
    ("value", "seconds"), [(0, 0), (10, 10), ("2m", 120), (-1, FOREVER), ("-1m", FOREVER), (None, None), (1.5, 1.5)]
)
async def test_keep_alive(scripted: Scripted, value: Any, seconds: Any) -> None:
    await scripted.post("/api/chat", {"model": "plain", "messages": HI, "keep_alive": value}, replies=["a"])
    assert scripted.engine.leases[0][2] == seconds


async def test_messages_with_everything(scripted: Scripted) -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    messages = [
        {"role": "USER", "content": "?"},
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call, call]},
        {"role": "tool", "content": "rain", "tool_name": "weather"},
        {"role": "tool", "content": "sun"},
    ]
    await scripted.post("/api/chat", {"model": "clever", "messages": messages}, replies=["a"])
    user, assistant, first, second = scripted.runner.requests[0].messages
    assert user.role == "user"
    assert (assistant.thinking, assistant.tool_calls[0].arguments) == ("hm", '{"city":"Oslo"}')
    assert [first.tool_call_id, second.tool_call_id] == [call.id for call in assistant.tool_calls]
    assert first.tool_call_id != second.tool_call_id
    assert second.tool_name == "weather"


async def test_pictures_become_parts(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHECKED, scripted.store.get("plain").digest, ("completion", "vision"))
    messages = [{"role": "user", "content": "What?", "images": [PNG]}]
    await scripted.post("/api/chat", {"model": "plain", "messages": messages}, replies=["a"])
    text, image = scripted.runner.requests[0].messages[0].content
    assert text == TextPart("What?")
    assert image == ImagePart(base64.b64decode(PNG), "image/png")


@pytest.mark.parametrize(("format", "got"), [("json", "json"), ({"type": "object"}, {"type": "object"}), ("", None)])
async def test_format(scripted: Scripted, format: Any, got: Any) -> None:
    await scripted.post("/api/chat", {"model": "plain", "messages": HI, "format": format}, replies=["{}"])
    assert scripted.runner.requests[0].format == got


async def test_the_models_own_system_and_parameters(scripted: Scripted) -> None:
    from served import add

    add(scripted.home, "mine", "SYSTEM Be brief\nPARAMETER temperature 0.25\nPARAMETER top_k 9")
    await scripted.post("/api/chat", {"model": "mine", "messages": HI, "options": {"top_k": 3}}, replies=["a"])
    request = scripted.runner.requests[0]
    assert [(m.role, m.text) for m in request.messages] == [("system", "Be brief"), ("user", "Hi")]
    assert (request.options.temperature, request.options.top_k) == (0.25, 3)


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
async def test_no_prompt_loads_or_unloads(scripted: Scripted, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unloaded: list[str] = []

    async def unload(name: str) -> None:
        unloaded.append(name)

    monkeypatch.setattr(scripted.engine, "unload", unload)
    load = await scripted.post(path, {"model": "plain", "keep_alive": "10m"})
    assert load.headers["content-type"].startswith("application/json")
    assert (load.json()["done"], load.json()["done_reason"]) == (True, "load")
    assert scripted.engine.leases[0][2] == 600
    assert not unloaded
    unload_answer = await scripted.post(path, {"model": "plain", "keep_alive": 0})
    assert unload_answer.json()["done_reason"] == "unload"
    assert unloaded == ["plain:latest"]
    if path == "/api/chat":
        assert load.json()["message"] == {"role": "assistant", "content": ""}
    else:
        assert load.json()["response"] == ""


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────

CHAT, GENERATE, EMBED = "/api/chat", "/api/generate", "/api/embed"


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (CHAT, b"", 400, "missing request body"),
        (CHAT, {}, 400, "model is required"),
        (CHAT, {"model": "nope", "messages": HI}, 404, "model 'nope' not found"),
        (CHAT, {"model": "../../etc/passwd", "messages": HI}, 404, "model '../../etc/passwd' not found"),
        (GENERATE, {}, 404, "model '' not found"),
        (GENERATE, {"model": "plain", "prompt": "x", "raw": True, "system": "y"}, 400,
         "raw mode does not support template, system, or context"),
        (CHAT, {"model": "vectors", "messages": HI}, 400, '"vectors" does not support chat'),
        (GENERATE, {"model": "vectors", "prompt": "x"}, 400, '"vectors" does not support generate'),
        (CHAT, {"model": "plain", "messages": HI, "think": True}, 400, '"plain" does not support thinking'),
        (GENERATE, {"model": "plain", "prompt": "x", "think": "low"}, 400, '"plain" does not support thinking'),
        (CHAT, {"model": "plain", "messages": HI, "tools": [WEATHER]}, 400,
         "registry.ollama.ai/library/plain:latest does not support tools"),
        (CHAT, {"model": "plain", "messages": HI, "top_logprobs": 21}, 400, "top_logprobs must be between 0 and 20"),
        (GENERATE, {"model": "plain", "prompt": "x", "top_logprobs": -1}, 400, "top_logprobs must be between 0 and 20"),
        (EMBED, {"model": "vectors", "input": [1]}, 400, "invalid input type"),
        (EMBED, {"model": "vectors", "input": {"a": 1}}, 400, "invalid input type"),
        (EMBED, {"model": "nope", "input": "x"}, 404, "model 'nope' not found"),
    ],
)  # fmt: skip
async def test_refusals_in_ollamas_words(scripted: Scripted, path: str, body: Any, status: int, said: str) -> None:
    answer = await scripted.post(path, body)
    assert (answer.status_code, answer.json()) == (status, {"error": said})
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    "more",
    [
        {"format": 3},
        {"format": "yaml"},
        {"think": "somewhat"},
        {"keep_alive": "soon"},
        {"keep_alive": [1]},
        {"options": {"num_ctx": int("9" * 300)}},
        {"options": {"num_ctx": -1}},
        {"options": {"num_thread": 100_000}},
        {"options": {"num_ctx": "many"}},
        {"options": {"seed": 10**30}},
        {"options": {"temperature": True}},
        {"options": {"temperature": [1]}},
        {"options": {"stop": "x"}},
        {"options": {"stop": [1]}},
        {"options": "fast"},
        {"messages": [{"role": "martian", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "images": ["not base64!"]}]},
        {"messages": [{"role": "user", "content": "x", "images": [base64.b64encode(b"text").decode()]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "text"}}]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        {"tools": [{"type": "function"}]},
        {"tools": "hammer"},
        {"stream": "yes"},
    ],
)
async def test_wrong_values_are_a_400_of_one_line(scripted: Scripted, more: dict[str, Any]) -> None:
    answer = await scripted.post("/api/chat", {"model": "clever", "messages": HI, **more})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 250
    assert not scripted.engine.leases


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (Busy("x", "y"), 503, "server busy, please try again.  maximum pending requests exceeded"),
        (PromptTooLong("5000 tokens, 2048 fit", "Shorten it"), 400, "5000 tokens, 2048 fit. Shorten it"),
        (TooLarge("3 GB + 1 GB"), 500, "3 GB + 1 GB"),
        (RunnerCrashed("died"), 500, "died"),
        (RuntimeError("bug"), 500, "internal error. The server's log has the details."),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_before_the_answer(
    scripted: Scripted, error: Exception, status: int, said: str, stream: bool
) -> None:
    body = {"model": "plain", "messages": HI, "stream": stream}
    answer = await scripted.post("/api/chat", body, replies=[error])
    assert (answer.status_code, answer.json()) == (status, {"error": said})


async def test_an_error_within_the_answer_is_its_last_line(scripted: Scripted) -> None:
    error: AllodError = RunnerCrashed("the engine died")
    body = {"model": "plain", "messages": HI}
    answer = await scripted.post("/api/chat", body, replies=[["some text", error]])
    *pieces, last = lines(answer.content)
    assert answer.status_code == 200
    assert "".join(piece["message"]["content"] for piece in pieces) == "some text"
    assert last == {"error": "the engine died"}


async def test_no_content_type_is_needed(scripted: Scripted) -> None:
    scripted.runner.replies = ["a"]
    async with scripted.client() as http:
        body = json.dumps({"model": "plain", "messages": HI}).encode()
        answer = await http.post("/api/chat", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 200


# ── embeddings ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_embeddings(scripted: Scripted) -> None:
    answer = (await scripted.post("/api/embed", {"model": "vectors", "input": ["abc", ""]})).json()
    assert answer["model"] == "vectors"
    assert [round(sum(x * x for x in v), 6) for v in answer["embeddings"]] == [1, 1]
    assert answer["prompt_eval_count"] == 3
    assert answer["total_duration"] > 0
    assert scripted.engine.leases[0][1] == LoadOptions(embedding=True)


async def test_embeddings_can_be_cut(scripted: Scripted) -> None:
    body = {"model": "vectors", "input": "abc", "dimensions": 1}
    assert (await scripted.post("/api/embed", body)).json()["embeddings"] == [[1.0]]


@pytest.mark.parametrize("value", ["", []])
async def test_nothing_to_embed(scripted: Scripted, value: Any) -> None:
    answer = await scripted.post("/api/embed", {"model": "vectors", "input": value})
    assert answer.json()["embeddings"] == []


async def test_long_texts_are_cut_or_refused(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = scripted.runner.embed, list[Any]()

    async def embed(inputs: Any) -> Any:
        seen.append(inputs)
        if any(len(text) > 2048 for text in inputs):
            raise PromptTooLong("too long")
        return await real(inputs)

    monkeypatch.setattr(scripted.runner, "embed", embed)
    body = {"model": "vectors", "input": ["a" * 5000, "short"]}
    assert len((await scripted.post("/api/embed", body)).json()["embeddings"]) == 2
    assert [len(text) for text in seen[-1]] == [2040, 5]
    answer = await scripted.post("/api/embed", {**body, "truncate": False})
    assert answer.status_code == 400
    assert "the input length exceeds the context length" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(("shift", "wanted"), [(True, True), (False, False), (None, False)])
async def test_shift_is_asked_of_the_engine(scripted: Scripted, path: str, shift: bool | None, wanted: bool) -> None:
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "prompt": "Hi", "stream": False}
    answer = await scripted.post(path, body | {"shift": shift}, replies=["Hello"])
    assert answer.status_code == 200
    options = scripted.engine.leases[-1][1]
    assert bool(options and options.shift) is wanted
