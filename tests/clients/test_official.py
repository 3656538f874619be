"""The official Python clients: what the READMEs of ollama, openai and anthropic show."""

import pytest

pytest.importorskip("anthropic", reason="run them by `make clients`")

import anthropic
import ollama
import openai
from pydantic import BaseModel

HI = [{"role": "user", "content": "Say hello."}]


def test_ollama(url: str, model: str) -> None:
    client = ollama.Client(host=url)
    answer = client.chat(model=model, messages=HI, options={"num_predict": 12})
    assert answer["message"]["content"] and answer.message.content
    assert "".join(chunk.message.content or "" for chunk in client.chat(model=model, messages=HI, stream=True))
    assert client.generate(model=model, prompt="The sky is", options={"num_predict": 8}).response
    assert len(client.embed(model=model, input=["a", "b"]).embeddings) == 2
    assert model in [entry.model for entry in client.list().models]
    assert client.show(model).modelinfo
    client.copy(model, "mine/copy")
    client.delete("mine/copy")
    with pytest.raises(ollama.ResponseError) as error:
        client.chat(model="nobody", messages=HI)
    assert error.value.status_code == 404


async def test_ollama_async(url: str, model: str) -> None:
    parts = await ollama.AsyncClient(host=url).chat(model=model, messages=HI, stream=True)
    assert "".join([part.message.content or "" async for part in parts])


def test_ollama_structured(url: str, model: str) -> None:
    class Pet(BaseModel):
        name: str
        age: int

    schema = Pet.model_json_schema()
    schema["properties"]["name"]["maxLength"] = 10
    schema["properties"]["age"] |= {"minimum": 0, "maximum": 99}
    answer = ollama.Client(host=url).chat(model=model, messages=HI, format=schema, options={"num_predict": 60})
    assert Pet.model_validate_json(answer.message.content or "")


def test_openai(url: str, model: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    assert client.chat.completions.create(model=model, messages=HI, max_tokens=12).choices[0].message.content
    stream = client.chat.completions.create(model=model, messages=HI, max_tokens=12, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert client.completions.create(model=model, prompt="The sky is", max_tokens=8).choices[0].text
    assert len(client.embeddings.create(model=model, input=["a", "b"]).data) == 2
    first = client.responses.create(model=model, input="My name is Ada.", max_output_tokens=16)
    assert first.output_text
    second = client.responses.create(model=model, input="And?", previous_response_id=first.id, max_output_tokens=16)
    assert second.usage and first.usage and second.usage.input_tokens > first.usage.input_tokens
    assert model in [entry.id for entry in client.models.list()]


def test_anthropic(url: str, model: str) -> None:
    client = anthropic.Anthropic(base_url=url, api_key="none")
    message = client.messages.create(model=model, max_tokens=16, messages=HI)
    assert message.content[0].text
    with client.messages.stream(model=model, max_tokens=16, messages=HI) as stream:
        assert "".join(stream.text_stream)
    assert client.messages.count_tokens(model=model, messages=HI).input_tokens > 5
