"""Anthropic's stock Python client, as people use it, against the live server."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from served import Live

MODEL = "smollm2:135m"
HI: Any = [{"role": "user", "content": "Say hello."}]


@pytest.fixture
def claude(live: Live) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=live.url, api_key="none", max_retries=0) as client:
        yield client


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_and_its_stream(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": MODEL, "max_tokens": 12, "extra_body": {"temperature": 0}, "messages": HI}
    whole = claude.messages.create(**asked)
    assert (whole.model, whole.role, whole.type) == (MODEL, "assistant", "message")
    assert whole.content[0].type == "text"
    assert whole.stop_reason in ("end_turn", "max_tokens")
    with claude.messages.stream(**asked) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 2
    assert "".join(pieces) == text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens > 0


def test_what_is_in_the_cache_counts_as_that(claude: anthropic.Anthropic) -> None:
    long = [{"role": "user", "content": "Tell me about the sea. " * 12}]
    asked: Any = {"model": MODEL, "max_tokens": 2, "messages": long}
    first = claude.messages.create(**asked).usage
    second = claude.messages.create(**asked).usage
    total = first.input_tokens + (first.cache_read_input_tokens or 0)
    assert second.cache_read_input_tokens and second.cache_read_input_tokens > 50
    assert second.input_tokens + second.cache_read_input_tokens == total
    begun = next(event for event in claude.messages.create(**asked, stream=True) if event.type == "message_start")
    usage = begun.message.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == total  # known before the answer
    assert claude.messages.count_tokens(model=MODEL, messages=long).input_tokens == total  # type: ignore[arg-type]


def test_counting_sees_system_and_no_tools_of_a_model_without(claude: anthropic.Anthropic) -> None:
    bare = claude.messages.count_tokens(model=MODEL, messages=HI).input_tokens
    system = claude.messages.count_tokens(model=MODEL, messages=HI, system="Be brief. " * 20).input_tokens
    assert system > bare
    with pytest.raises(anthropic.BadRequestError, match="does not support tools"):
        claude.messages.count_tokens(
            model=MODEL, messages=HI, tools=[{"name": "f", "input_schema": {"type": "object"}}]
        )


def test_stop_reasons(claude: anthropic.Anthropic) -> None:
    asked: Any = {"model": MODEL, "messages": HI, "extra_body": {"temperature": 0}}
    cut = claude.messages.create(**asked, max_tokens=2)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)
    whole = text_of(claude.messages.create(**asked, max_tokens=20))
    stop = whole[5:8]
    for stream in (False, True):
        if stream:
            with claude.messages.stream(**asked, max_tokens=20, stop_sequences=["zzz", stop]) as events:
                stopped = events.get_final_message()
        else:
            stopped = claude.messages.create(**asked, max_tokens=20, stop_sequences=["zzz", stop])
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop)
        assert text_of(stopped) == whole[: whole.find(stop)]
        assert 0 < stopped.usage.output_tokens < 20
        assert stopped.usage.input_tokens + (stopped.usage.cache_read_input_tokens or 0) > 20
    full = claude.messages.create(
        model=MODEL,
        messages=[{"role": "user", "content": "word " * 850}],
        max_tokens=5000,
        extra_body={"options": {"repeat_penalty": 1.5}},
    )
    assert full.stop_reason in ("model_context_window_exceeded", "end_turn")


def test_a_begun_answer_is_continued(claude: anthropic.Anthropic) -> None:
    begun: Any = [*HI, {"role": "assistant", "content": "Hello, my name is"}]
    message = claude.messages.create(model=MODEL, messages=begun, max_tokens=6, extra_body={"temperature": 0})
    assert text_of(message)
    assert not text_of(message).startswith("Hello, my name is")


def test_the_form_of_an_answer(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}
    message = claude.messages.create(
        model=MODEL,
        messages=HI,
        max_tokens=30,
        output_config={"format": {"type": "json_schema", "schema": schema}},
        extra_body={"temperature": 0},
    )
    assert json.loads(text_of(message)) == {"n": 7}


def test_beta_clients_are_answered_alike(claude: anthropic.Anthropic) -> None:
    message = claude.beta.messages.create(model=MODEL, messages=HI, max_tokens=3, betas=["some-beta-2025-01-01"])
    assert message.content


def test_errors(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model 'nope' not found") as error:
        claude.messages.create(model="nope", messages=HI, max_tokens=1)
    assert error.value.type == "not_found_error"
    with pytest.raises(anthropic.BadRequestError, match="at least one message"):
        claude.messages.create(model=MODEL, messages=[], max_tokens=1)
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: .*1024"):
        claude.messages.create(model=MODEL, messages=[{"role": "user", "content": "word " * 2000}], max_tokens=1)
    with pytest.raises(anthropic.BadRequestError, match="does not support thinking"):
        claude.messages.create(
            model=MODEL, messages=HI, max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024}
        )


def test_a_crash_is_told_within_the_stream(doomed: Live) -> None:
    story: Any = [{"role": "user", "content": "Write a very long story."}]
    with anthropic.Anthropic(base_url=doomed.url, api_key="none", max_retries=0) as claude:
        with pytest.raises(anthropic.APIError, match="was killed"):
            for number, _ in enumerate(
                claude.messages.create(model=MODEL, messages=story, max_tokens=800, stream=True)
            ):
                if number == 4:
                    threading.Thread(target=doomed.kill_workers).start()
        assert claude.messages.create(model=MODEL, messages=HI, max_tokens=8, extra_body={"temperature": 0}).content
