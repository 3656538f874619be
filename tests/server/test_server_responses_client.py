"""/v1/responses by OpenAI's stock Python client against the live server."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import psutil
import pydantic
import pytest
from served import Live

MODEL = "smollm2:135m"
HI = "Say hello."


@pytest.fixture
def gpt(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_response_and_its_stream(gpt: openai.OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": HI, "max_output_tokens": 12, "temperature": 0}
    whole = gpt.responses.create(**asked)
    assert (whole.model, whole.error) == (MODEL, None)
    assert whole.status in ("completed", "incomplete")
    assert whole.output_text
    assert whole.usage and whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    with gpt.responses.stream(**asked) as stream:
        events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert sum(event.type == "response.output_text.delta" for event in events) > 2
    last = events[-1]
    assert last.type == f"response.{whole.status}"
    assert last.response.usage and last.response.usage.output_tokens == whole.usage.output_tokens
    assert last.response.usage.output_tokens_details.reasoning_tokens == 0


def test_an_answer_that_ends_by_itself(gpt: openai.OpenAI) -> None:
    class Answer(pydantic.BaseModel):
        n: int

    found = gpt.responses.parse(model=MODEL, input=HI, text_format=Answer, temperature=0, max_output_tokens=60)
    assert found.status == "completed"
    assert isinstance(found.output_parsed, Answer)
    with gpt.responses.stream(model=MODEL, input=HI, text_format=Answer, temperature=0, max_output_tokens=60) as stream:
        final = stream.get_final_response()
    assert final.output_parsed == found.output_parsed
    assert json.loads(final.output_text) == {"n": final.output_parsed.n if final.output_parsed else None}


def test_an_answer_that_is_cut_off(gpt: openai.OpenAI) -> None:
    response = gpt.responses.create(model=MODEL, input=HI, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details and response.incomplete_details.reason == "max_output_tokens"
    assert response.usage and response.usage.output_tokens == 2


def test_a_conversation_goes_on(gpt: openai.OpenAI, live: Live) -> None:
    first = gpt.responses.create(model=MODEL, input="My name is Ada. " * 10, max_output_tokens=8)
    second = gpt.responses.create(
        model=MODEL,
        input="What is my name?",
        previous_response_id=first.id,
        max_output_tokens=8,
        instructions="Be brief.",
    )
    assert first.usage and second.usage
    assert second.usage.input_tokens > first.usage.total_tokens
    third = gpt.responses.create(
        model=MODEL, input="Sure?", previous_response_id=second.id, max_output_tokens=4, instructions="Be brief."
    )
    assert third.usage and third.usage.input_tokens_details.cached_tokens > first.usage.input_tokens
    read = gpt.responses.retrieve(second.id)
    assert (read.output_text, read.previous_response_id) == (second.output_text, first.id)
    assert len(read.output) == len(second.output)
    gpt.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        gpt.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as error:
        gpt.responses.create(model=MODEL, input="Hi", previous_response_id=second.id)
    assert error.value.code == "previous_response_not_found"


def test_counting(gpt: openai.OpenAI) -> None:
    counted = gpt.responses.input_tokens.count(model=MODEL, input=HI, instructions="Be brief.")
    response = gpt.responses.create(model=MODEL, input=HI, instructions="Be brief.", max_output_tokens=1, store=False)
    assert response.usage and counted.input_tokens == response.usage.input_tokens
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve(response.id)


def test_errors(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        gpt.responses.create(model="nope", input=HI)
    with pytest.raises(openai.BadRequestError, match="1024"):
        gpt.responses.create(model=MODEL, input="word " * 2000)
    with pytest.raises(openai.BadRequestError, match="does not support tools"):
        gpt.responses.create(
            model=MODEL, input=HI, tools=[{"type": "function", "name": "f", "parameters": {}, "strict": False}]
        )
    with pytest.raises(openai.BadRequestError, match="web_search"):
        gpt.responses.create(model=MODEL, input=HI, tools=[{"type": "web_search"}])


def test_a_crash_is_told_within_the_stream(gpt: openai.OpenAI, live: Live) -> None:
    httpx.post(f"{live.url}/api/generate", json={"model": MODEL, "keep_alive": 0, "stream": False}, timeout=60)

    def kill() -> None:
        for worker in live.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()

    events: list[Any] = []
    for event in gpt.responses.create(model=MODEL, input="Write a very long story.", stream=True):
        events.append(event)
        if len(events) == 6:
            threading.Thread(target=kill).start()
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert "was killed" in events[-2].message
    assert events[-1].response.status == "failed"
    assert gpt.responses.create(model=MODEL, input=HI, max_output_tokens=2).output_text
