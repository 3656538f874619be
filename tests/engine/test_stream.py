"""Event streams to chunks, however they are cut, and what is no event stream."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.chat import ToolCall
from allod.engine.stream import EVENT_LIMIT, ChatReader, CompletionReader, Events
from allod.errors import AllodError, BadRequest, EngineFailed, PromptTooLong


def event(**fields: object) -> bytes:
    return msgspec.json.encode(fields)


def delta(**fields: object) -> bytes:
    return event(choices=[{"index": 0, "delta": fields}])


def end(reason: str) -> bytes:
    return event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


@given(st.lists(st.text(max_size=20), max_size=6), st.lists(st.integers(min_value=0), max_size=20), st.booleans())
def test_events_come_whole_however_they_are_cut(texts: list[str], places: list[int], crlf: bool) -> None:
    payloads = [event(text=text) for text in texts]
    newline = b"\r\n" if crlf else b"\n"
    stream = b": ping" + newline * 2 + b"".join(b"data: " + p + newline * 2 for p in payloads)
    stream += b"data: [DONE]" + newline * 2
    edges = sorted({0, len(stream), *(place % len(stream) for place in places)})
    events = Events()
    found = [p for a, b in itertools.pairwise(edges) for p in events.feed(stream[a:b])]
    assert found == payloads


def test_an_endless_line_is_an_error() -> None:
    events = Events()
    with pytest.raises(EngineFailed):
        for _ in range(EVENT_LIMIT // 1_000_000 + 2):
            list(events.feed(b"x" * 1_000_000))


def test_text_thinking_and_the_end() -> None:
    reader = ChatReader(None)
    assert reader.chunk(delta(role="assistant", content=None)) is None
    assert reader.chunk(delta(reasoning_content="hm")).thinking == "hm"  # type: ignore[union-attr]
    assert reader.chunk(delta(reasoning="so")).thinking == "so"  # type: ignore[union-attr]
    assert reader.chunk(delta(content="yes")).text == "yes"  # type: ignore[union-attr]
    assert reader.chunk(end("stop")) is None
    counts = {"prompt_tokens": 5, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}
    assert reader.chunk(event(choices=[], usage=counts)) is None
    last = reader.last()
    assert last.finish == "stop" and last.usage
    assert (last.usage.prompt_tokens, last.usage.cached_tokens, last.usage.output_tokens) == (5, 2, 7)
    assert last.usage.prompt_seconds >= 0 and last.usage.output_seconds >= 0


def test_timings_go_before_counts() -> None:
    reader = ChatReader(None)
    timings = {"cache_n": 3, "prompt_n": 4, "prompt_ms": 500.0, "predicted_n": 6, "predicted_ms": 2000.0}
    reader.chunk(event(choices=[{"finish_reason": "length"}], usage={"prompt_tokens": 99}, timings=timings))
    usage = reader.last().usage
    assert usage and (usage.prompt_tokens, usage.cached_tokens, usage.output_tokens) == (7, 3, 6)
    assert (usage.prompt_seconds, usage.output_seconds) == (0.5, 2.0)


def test_tool_calls_are_put_together() -> None:
    reader = ChatReader(None)
    parts = [
        [{"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": ""}}],
        [{"index": 0, "function": {"arguments": '{"x":'}}, {"index": 1, "id": "b", "function": {"name": "sub"}}],
        [{"index": 1, "function": {"arguments": "{}"}}, {"index": 0, "function": {"arguments": "1}"}}],
    ]
    for part in parts:
        assert reader.chunk(delta(tool_calls=part)) is None
    reader.chunk(end("stop"))
    last = reader.last()
    assert last.tool_calls == [ToolCall("a", "add", '{"x":1}'), ToolCall("b", "sub", "{}")]
    assert last.finish == "tool_calls"


def test_log_probabilities_of_both_forms() -> None:
    likely = {"token": "a", "logprob": -1.0, "bytes": [97]}
    chat = {"content": [likely | {"top_logprobs": [likely, likely | {"token": "b"}]}]}
    chunk = ChatReader(1).chunk(event(choices=[{"delta": {"content": "a"}, "logprobs": chat}]))
    assert chunk and [t.token for t in chunk.logprobs[0].top] == ["a"] and chunk.logprobs[0].bytes == [97]
    lists = {"tokens": ["é", "x"], "token_logprobs": [-0.5, None], "top_logprobs": [{"e": -2.0, "é": -0.5}, None]}
    chunk = ChatReader(2).chunk(event(choices=[{"text": "éx", "logprobs": lists}]))
    assert chunk and [(t.token, t.logprob) for t in chunk.logprobs] == [("é", -0.5), ("x", 0.0)]
    assert [t.token for t in chunk.logprobs[0].top] == ["é", "e"] and chunk.logprobs[0].bytes == [0xC3, 0xA9]


@pytest.mark.parametrize("kind,finish", [("eos", "stop"), ("word", "stop"), ("limit", "length")])
def test_a_completion_ends(kind: str, finish: str) -> None:
    reader = CompletionReader(None)
    assert reader.chunk(event(content="x", stop=False)).text == "x"  # type: ignore[union-attr]
    assert reader.chunk(event(content="", stop=True, stop_type=kind, timings={"prompt_n": 1})) is None
    assert reader.last().finish == finish


@pytest.mark.parametrize("reader", [ChatReader(None), CompletionReader(None)])
def test_a_stream_that_breaks_off_is_an_error(reader: ChatReader | CompletionReader) -> None:
    with pytest.raises(EngineFailed):
        reader.last()


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", b"[1]", b'{"choices": 5}', b'{"choices": [{"delta": {"content": 1}}]}']
)
def test_what_is_no_event_is_an_error(data: bytes) -> None:
    with pytest.raises(EngineFailed):
        ChatReader(None).chunk(data)


@pytest.mark.parametrize(
    "error,kind",
    [
        ({"code": 500, "message": "boom"}, EngineFailed),
        ({"code": 400, "message": "bad"}, BadRequest),
        ({"code": 400, "message": "long", "type": "exceed_context_size_error"}, PromptTooLong),
        ("plain words", EngineFailed),
    ],
)
def test_an_error_amid_the_stream_is_raised(error: object, kind: type[AllodError]) -> None:
    with pytest.raises(kind):
        ChatReader(None).chunk(event(error=error))
