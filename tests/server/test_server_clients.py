"""The stock Python clients of Ollama and OpenAI, as people use them, against the live server."""

import base64
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import ollama
import openai
import pytest
from served import Live, gguf

from allod.chat import ChatRequest, Message, Options
from allod.egress import Egress
from allod.engine.options import LoadOptions
from allod.engine.remote import RemoteEngine
from allod.errors import ModelNotFound
from allod.home import Home

MODEL = "smollm2:135m"
HI = [{"role": "user", "content": "Say hello."}]
SURE = {"temperature": 0, "seed": 1, "num_predict": 12}


@pytest.fixture
def native(live: Live) -> ollama.Client:
    return ollama.Client(host=live.url)


@pytest.fixture
def gpt(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as client:
        yield client


# ── ollama ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ollama_lists_and_shows(native: ollama.Client) -> None:
    (model,) = [m for m in native.list().models if m.model == MODEL]
    assert model.details and model.details.quantization_level == "Q4_1"
    assert model.size and model.modified_at
    shown = native.show("smollm2:135m")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo and shown.modelinfo["llama.context_length"] == 8192
    assert shown.template and "im_start" in shown.template


def test_ollama_chats(native: ollama.Client) -> None:
    whole = native.chat(MODEL, messages=HI, options=SURE)
    assert whole.done and whole.message.content
    assert whole.eval_count and whole.eval_duration and whole.total_duration
    pieces = list(native.chat(MODEL, messages=HI, options=SURE, stream=True, keep_alive="10m"))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert [piece.done for piece in pieces][-2:] == [False, True]
    assert MODEL in [entry.model for entry in native.ps().models]


def test_ollama_generates_and_embeds(native: ollama.Client) -> None:
    first = native.generate(MODEL, "Say hello.", options=SURE)
    assert first.response and first.context
    pieces = list(native.generate(MODEL, "And again.", context=first.context, options=SURE, stream=True))
    assert pieces[-1].context and len(pieces[-1].context) > len(first.context)
    vectors = native.embed(MODEL, ["a", "b"], dimensions=8).embeddings
    assert [round(math.hypot(*vector), 3) for vector in vectors] == [1, 1]


def test_ollama_schema(native: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}
    answer = native.chat(MODEL, messages=HI, format=schema, options={**SURE, "num_predict": 30})
    assert json.loads(answer.message.content or "") == {"n": 7}


def test_ollama_makes_copies_and_deletes(native: ollama.Client, tmp_path: Path) -> None:
    path = gguf(tmp_path / "tiny.gguf", **{"general.name": "tiny"})
    digest = native.create_blob(path)
    steps = native.create("tiny", files={"tiny.gguf": digest}, system="S", parameters={"seed": 3}, stream=True)
    assert [step.status for step in steps][-1] == "success"
    assert native.copy("tiny", "someone/tiny:two").status == "success"
    assert native.delete("tiny").status == "success"
    assert native.show("someone/tiny:two").parameters == "seed                           3"
    assert native.create("child", from_="someone/tiny:two", license="MIT").status == "success"
    for name in ("child", "someone/tiny:two"):
        native.delete(name)
    assert [m.model for m in native.list().models] == [MODEL]


def test_ollama_errors(native: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        native.chat("nope", messages=HI)
    assert (error.value.status_code, error.value.error) == (404, "model 'nope' not found")
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        native.chat(MODEL, messages=HI, tools=[{"type": "function", "function": {"name": "f"}}])
    with pytest.raises(ollama.ResponseError, match="not found"):
        native.delete("nope")


def test_ollama_pulls_nothing_in_offline_mode(native: ollama.Client) -> None:
    for stream in (True, False):
        with pytest.raises(ollama.ResponseError, match="offline"):
            list(native.pull("nobody/nothing", stream=stream))


# ── openai ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_openai_lists(gpt: openai.OpenAI) -> None:
    assert [model.id for model in gpt.models.list()] == [MODEL]
    assert gpt.models.retrieve("smollm2:135m").owned_by == "library"


def test_openai_chats(gpt: openai.OpenAI) -> None:
    whole = gpt.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=8, temperature=0)
    assert whole.model == MODEL
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    events = list(
        gpt.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=8, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [event.choices[0].delta for event in events if event.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert [delta.role for delta in deltas if delta.role] == ["assistant"]
    assert deltas[0].role
    assert [event.choices[0].finish_reason for event in events if event.choices][-1]
    assert events[-1].choices == []
    assert events[-1].usage and events[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({event.id for event in events}) == 1
    bare = gpt.chat.completions.create(model=MODEL, messages=HI, max_tokens=2, stream=True)
    assert all(event.usage is None for event in bare)


def test_openai_logprobs_and_several_answers(gpt: openai.OpenAI) -> None:
    answer = gpt.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=3, logprobs=True, top_logprobs=2, n=2, seed=1
    )
    assert len(answer.choices) == 2
    entries = answer.choices[0].logprobs and answer.choices[0].logprobs.content
    assert entries and len(entries[0].top_logprobs) == 2


def test_openai_schema(gpt: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [7]}}, "required": ["n"]}
    answer = gpt.chat.completions.create(
        model=MODEL,
        messages=HI,
        max_tokens=30,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    )
    assert json.loads(answer.choices[0].message.content or "") == {"n": 7}


def test_openai_completes(gpt: openai.OpenAI) -> None:
    answer = gpt.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, temperature=0)
    assert answer.choices[0].text
    pieces = gpt.completions.create(model=MODEL, prompt="One, two,", max_tokens=4, temperature=0, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text
    for stream in (True, False):
        both = gpt.completions.create(model=MODEL, prompt=["One,", "A, B,"], max_tokens=3, stream=stream)
        answers = list(both) if stream else [both]
        assert {choice.index for answer in answers for choice in answer.choices} == {0, 1}


def test_openai_embeds(gpt: openai.OpenAI) -> None:
    plain = gpt.embeddings.create(model=MODEL, input=["a", "b"], encoding_format="float")
    packed = gpt.embeddings.create(model=MODEL, input=["a", "b"])  # the client asks for base64 and unpacks it
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, rel=1e-6)
    assert plain.usage.prompt_tokens > 0


def test_openai_errors(gpt: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        gpt.chat.completions.create(model="nope", messages=HI)
    with pytest.raises(openai.BadRequestError, match="too short"):
        gpt.chat.completions.create(model=MODEL, messages=[])
    with pytest.raises(openai.BadRequestError, match="1024"):
        gpt.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 2000}])
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(b"x").decode()}}
    with pytest.raises(openai.BadRequestError, match="image"):
        gpt.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [url]}])  # type: ignore[list-item]


def test_openai_is_told_of_a_crash(doomed: Live) -> None:
    story = [{"role": "user", "content": "Write a very long story."}]
    with openai.OpenAI(base_url=f"{doomed.url}/v1", api_key="none", max_retries=0) as gpt:
        with pytest.raises(openai.APIError) as error:
            for number, _ in enumerate(gpt.chat.completions.create(model=MODEL, messages=story, stream=True)):
                if number == 3:
                    threading.Thread(target=doomed.kill_workers).start()
        assert "was killed" in error.value.message
        assert gpt.chat.completions.create(model=MODEL, messages=HI, max_tokens=2).choices


# ── allod itself ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_allods_own_client(live: Live, home: Home) -> None:
    async with RemoteEngine(live.url, egress=Egress(home)) as engine:
        with pytest.raises(ModelNotFound):
            async with engine.lease("nope"):
                pass
        async with engine.lease("smollm2:135m", LoadOptions(context=512)) as runner:
            assert runner.facts.context >= 512
            assert not runner.facts.tools
            request = ChatRequest([Message("user", "Say hello.")], Options(max_tokens=5))
            chunks = [chunk async for chunk in runner.chat(request)]
            assert chunks[-1].usage and chunks[-1].usage.output_tokens <= 5
            assert "".join(chunk.text for chunk in chunks)
