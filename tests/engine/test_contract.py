"""The contract that every runner keeps: LlamaRunner, and RemoteRunner over the same server."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest
from engine_helpers import answered, ask

from allod.chat import ChatRequest, CompletionRequest, ImagePart, Message, Options, TextPart, Tool
from allod.egress import Egress
from allod.engine.llama import LlamaRunner
from allod.engine.remote import RemoteEngine
from allod.engine.runner import Runner
from allod.errors import BadRequest, PromptTooLong, Unsupported
from allod.home import Home

pytestmark = pytest.mark.anyio
ENDLESS = {"max_tokens": 900, "ignore_eos": True}


@pytest.fixture(params=["llama", "remote"])
async def runner(request: pytest.FixtureRequest, smollm2: LlamaRunner, home: Home) -> AsyncIterator[Runner]:
    if request.param == "llama":
        yield smollm2
        return
    async with (
        RemoteEngine(smollm2.url, smollm2.key, egress=Egress(home)) as engine,
        engine.lease("smollm2:135m") as it,
    ):
        yield it


def endless(text: str) -> ChatRequest:
    """A question whose answer does not end by itself."""
    return ChatRequest([Message("user", text)], Options(max_tokens=900, extra={"ignore_eos": True}))


async def free_slots(smollm2: LlamaRunner) -> int:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {smollm2.key}"}) as http:
        slots = (await http.get(f"{smollm2.url}/slots")).json()
    return sum(not slot["is_processing"] for slot in slots)


async def until_free(smollm2: LlamaRunner) -> None:
    async with asyncio.timeout(10):
        while await free_slots(smollm2) < smollm2.facts.slots:
            await asyncio.sleep(0.02)


async def test_facts(runner: Runner) -> None:
    assert runner.facts.model == "smollm2:135m"
    assert runner.facts.context == 1024 and runner.facts.slots == 2
    assert not (runner.facts.vision or runner.facts.tools or runner.facts.thinking or runner.facts.embedding)
    assert "<|im_start|>" in runner.facts.template
    assert await runner.health()


async def test_streams_and_counts(runner: Runner) -> None:
    chunks = [chunk async for chunk in runner.chat(ask("Say hello.", max_tokens=8))]
    assert sum(bool(chunk.text) for chunk in chunks) > 3, "it came in one piece"
    assert [c.finish for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    usage = chunks[-1].usage
    assert chunks[-1].finish == "length" and usage is not None
    assert usage.output_tokens == 8 and usage.prompt_tokens > 20
    assert usage.prompt_seconds > 0 and usage.output_seconds > 0


async def test_usage_tells_what_was_cached(runner: Runner) -> None:
    await answered(runner.chat(ask("What is the capital of Finland?")))
    _, last = await answered(runner.chat(ask("What is the capital of Finland?")))
    assert last.usage and 0 < last.usage.cached_tokens <= last.usage.prompt_tokens


async def test_same_seed_same_answer(runner: Runner) -> None:
    one, _ = await answered(runner.chat(ask("Tell me a joke.", temperature=1.0, seed=7)))
    two, _ = await answered(runner.chat(ask("Tell me a joke.", temperature=1.0, seed=7)))
    assert one == two


async def test_stop_strings_end_it_and_are_left_out(runner: Runner) -> None:
    whole, _ = await answered(runner.chat(ask("Count from 1 to 9.", max_tokens=40)))
    stop = whole[len(whole) // 2 :][:2]
    text, last = await answered(runner.chat(ask("Count from 1 to 9.", max_tokens=40, stop=[stop])))
    assert last.finish == "stop" and stop not in text and whole.startswith(text)


async def test_json_schema_binds_the_answer(runner: Runner) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    request = msgspec.structs.replace(ask("Is water wet?", max_tokens=60), format=schema)
    text, _ = await answered(runner.chat(request))
    assert json.loads(text)["answer"] in ("yes", "no")


async def test_json_without_schema(runner: Runner) -> None:
    text, _ = await answered(runner.chat(msgspec.structs.replace(ask("Describe a cat."), format="json")))
    assert text.lstrip().startswith("{")


async def test_a_schema_that_is_none_is_refused(runner: Runner) -> None:
    with pytest.raises(BadRequest):
        await answered(runner.chat(msgspec.structs.replace(ask("Hi"), format={"type": "bogus"})))


@pytest.mark.parametrize("top", [0, 3])
async def test_log_probabilities(runner: Runner, top: int) -> None:
    request = msgspec.structs.replace(ask("Say hello.", max_tokens=5), top_logprobs=top)
    chunks = [chunk async for chunk in runner.chat(request)]
    tokens = [token for chunk in chunks for token in chunk.logprobs]
    assert len(tokens) == 5
    assert "".join(t.token for t in tokens) == "".join(c.text for c in chunks)
    for token in tokens:
        assert token.logprob <= 0 and bytes(token.bytes).decode() == token.token
        assert len(token.top) == top
        assert [t.logprob for t in token.top] == sorted((t.logprob for t in token.top), reverse=True)


async def test_no_log_probabilities_unless_asked(runner: Runner) -> None:
    assert not [t async for c in runner.chat(ask("Hi")) for t in c.logprobs]


async def test_a_last_message_of_the_assistant_is_continued(runner: Runner) -> None:
    request = ask("What is the capital of France?", max_tokens=4)
    request.messages.append(Message("assistant", "The capital of France is"))
    text, _ = await answered(runner.chat(request))
    assert text.startswith(" Paris")


async def test_completes_text(runner: Runner) -> None:
    request = CompletionRequest("The capital of France is", Options(temperature=0.0, max_tokens=3))
    text, last = await answered(runner.complete(request))
    assert "Paris" in text
    assert last.finish == "length" and last.usage and last.usage.output_tokens == 3


async def test_completes_tokens_as_it_does_text(runner: Runner) -> None:
    options = Options(temperature=0.0, max_tokens=6)
    of_text, _ = await answered(runner.complete(CompletionRequest("One, two, three,", options)))
    tokens = await runner.tokenize("One, two, three,")
    of_tokens, _ = await answered(runner.complete(CompletionRequest(tokens, options)))
    assert of_text == of_tokens != ""


async def test_completion_with_stop_schema_and_log_probabilities(runner: Runner) -> None:
    options = Options(temperature=0.0, max_tokens=20, stop=["."])
    chunks = [c async for c in runner.complete(CompletionRequest("Paris is the capital of", options, top_logprobs=2))]
    assert chunks[-1].finish == "stop" and "." not in "".join(c.text for c in chunks)
    assert all(len(t.top) == 2 for c in chunks for t in c.logprobs) and any(c.logprobs for c in chunks)
    shaped = CompletionRequest("A number:", Options(temperature=0.0, max_tokens=9), format={"type": "integer"})
    text, _ = await answered(runner.complete(shaped))
    assert int(text) is not None


@pytest.mark.parametrize("text", ["", "Hello, world!", "naïve Åse 漢字 🦊\n\ttabs", "a" * 5000])
async def test_tokens_there_and_back(runner: Runner, text: str) -> None:
    tokens = await runner.tokenize(text)
    assert await runner.detokenize(tokens) == text
    assert bool(tokens) == bool(text)


async def test_control_tokens_are_text_unless_special(runner: Runner) -> None:
    assert len(await runner.tokenize("<|im_end|>", special=True)) == 1
    assert len(await runner.tokenize("<|im_end|>", special=False)) > 1


async def test_the_template_is_what_chat_sends(runner: Runner) -> None:
    request = ask("Hi there", max_tokens=6)
    prompt = await runner.apply_template(request)
    assert "<|im_start|>user\nHi there<|im_end|>" in prompt and prompt.endswith("<|im_start|>assistant\n")
    of_chat, _ = await answered(runner.chat(request))
    of_prompt, _ = await answered(runner.complete(CompletionRequest(prompt, request.options)))
    assert of_chat == of_prompt


async def test_the_count_of_tokens_is_what_the_prompt_takes(runner: Runner) -> None:
    for text in ("Hi", "naïve 漢字 🦊\n\n\t12345.678", "def f(x):\n    return x * 2\n" * 9):
        request = ask(text, max_tokens=1)
        request.messages = [Message("system", "Be brief."), *request.messages, Message("assistant", "Well,")]
        for messages in (request.messages[1:2], request.messages[:2], request.messages):
            request.messages = messages
            _, last = await answered(runner.chat(request))
            assert last.usage and await runner.count_tokens(messages) == last.usage.prompt_tokens
    assert await runner.count_tokens([]) == 0


async def test_the_count_of_a_request_is_what_its_prompt_takes(runner: Runner) -> None:
    for think in (None, False, True):
        request = ask("Hi", max_tokens=1)
        request.messages = [Message("system", "Be brief."), *request.messages]
        request.tools, request.think = [Tool("add", "Adds.", {"type": "object"})], think
        _, last = await answered(runner.chat(request))
        assert last.usage and await runner.count_prompt(request) == last.usage.prompt_tokens


async def test_a_measured_answer_says_at_every_chunk_what_it_cost(runner: Runner) -> None:
    request = ask("Count to ten.", max_tokens=8, temperature=0)
    request.measured = True
    chunks = [chunk async for chunk in runner.chat(request)]
    usages = [chunk.usage for chunk in chunks]
    assert all(usages)
    counts = [usage.output_tokens for usage in usages if usage]
    assert counts == sorted(counts) and counts[0] <= 2 and counts[-1] == 8
    assert {usage.prompt_tokens for usage in usages if usage} == {usages[-1].prompt_tokens if usages[-1] else 0}
    request.measured = False
    assert [bool(chunk.usage) async for chunk in runner.chat(request)] == [False] * (len(chunks) - 1) + [True]


async def test_counting_again_asks_nobody(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [Message("user", "How long is this?")]
    count = await runner.count_tokens(messages)
    monkeypatch.setattr(runner, "send", None)
    assert await runner.count_tokens(list(messages)) == count


async def test_what_cannot_be_json_is_not_counted(runner: Runner) -> None:
    with pytest.raises(BadRequest):
        await runner.count_tokens([Message("user", "lone \udc80 surrogate")])


async def test_tool_calls_of_the_history_reach_the_template(runner: Runner) -> None:
    request = ask("Add 1 and 2.")
    request.tools = [Tool("add", "Adds.", {"type": "object", "properties": {}})]
    text, _ = await answered(runner.chat(request))
    assert text, "a model without tools in its template still answers"


async def test_forwards_bytes(runner: Runner) -> None:
    body = {"model": "smollm2:135m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}
    async with runner.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
        data = b"".join([piece async for piece in answer.body])
    assert answer.status == 200 and answer.content_type.startswith("text/event-stream")
    assert data.startswith(b"data: {") and data.endswith(b"data: [DONE]\n\n")


async def test_forwards_refusals(runner: Runner) -> None:
    async with runner.forward("/v1/chat/completions", b'{"messages": [') as answer:
        data = b"".join([piece async for piece in answer.body])
    assert answer.status == 400 and b"error" in data
    async with runner.forward("/nowhere", b"{}") as answer:
        assert answer.status == 404


async def test_a_conversation_needs_a_message(runner: Runner) -> None:
    with pytest.raises(BadRequest):
        await answered(runner.chat(ChatRequest([])))


@pytest.mark.parametrize("words", [3_000, 300_000])
async def test_a_prompt_that_is_too_long(runner: Runner, words: int) -> None:
    with pytest.raises(PromptTooLong) as caught:
        await answered(runner.chat(ask("word " * words)))
    assert "1024" in caught.value.message
    assert (await answered(runner.chat(ask("Hi"))))[0]


async def test_a_prompt_of_50_mb_is_refused_at_once(runner: Runner) -> None:
    prompt = "word " * 10_000_000
    began = time.monotonic()
    with pytest.raises(PromptTooLong):
        await answered(runner.chat(ask(prompt)))
    with pytest.raises(PromptTooLong):
        await answered(runner.complete(CompletionRequest(prompt)))
    assert time.monotonic() - began < 2


async def test_what_cannot_be_json_is_refused(runner: Runner) -> None:
    with pytest.raises(BadRequest):
        await answered(runner.chat(ask("lone \udc80 surrogate")))


async def test_pictures_are_refused_by_a_model_that_cannot_see(runner: Runner) -> None:
    message = Message("user", [TextPart("What is it?"), ImagePart(b"\x89PNG")])
    with pytest.raises(Unsupported):
        await answered(runner.chat(ChatRequest([message])))
    with pytest.raises(Unsupported):
        await answered(runner.complete(CompletionRequest("x", images=[ImagePart(b"\x89PNG")])))


async def test_a_chat_model_gives_no_vectors_and_no_ranks(runner: Runner) -> None:
    with pytest.raises(Unsupported):
        await runner.embed(["text"])
    with pytest.raises(Unsupported):
        await runner.rerank("query", ["document"])


async def test_leaving_the_iterator_frees_the_slot(runner: Runner, smollm2: LlamaRunner) -> None:
    stream = runner.chat(endless("Tell me everything."))
    async for chunk in stream:
        if chunk.text:
            assert await free_slots(smollm2) == smollm2.facts.slots - 1
            break
    await stream.aclose()  # type: ignore[attr-defined]
    await until_free(smollm2)


async def test_cancelling_the_task_frees_the_slot(runner: Runner, smollm2: LlamaRunner) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in runner.chat(endless("Tell me everything.")):
            begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_free(smollm2)


async def test_leaving_a_forwarded_stream_frees_the_slot(runner: Runner, smollm2: LlamaRunner) -> None:
    body = {"messages": [{"role": "user", "content": "Talk."}], "max_tokens": 900, "ignore_eos": True, "stream": True}
    async with runner.forward("/v1/chat/completions", json.dumps(body).encode()) as answer:
        async for _ in answer.body:
            break
    await until_free(smollm2)


async def test_several_at_once(runner: Runner, smollm2: LlamaRunner) -> None:
    alone = [(await answered(runner.chat(ask(f"Say {n}."))))[0] for n in range(4)]
    together = await asyncio.gather(*(answered(runner.chat(ask(f"Say {n}."))) for n in range(4)))
    assert len(together) == len(alone) == 4 and all(text for text, _ in together)
    await until_free(smollm2)
