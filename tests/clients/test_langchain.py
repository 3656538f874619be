"""langchain-ollama, as its own README uses it."""

import pytest

pytest.importorskip("langchain_ollama", reason="run them by `make clients`")

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM


def test_chat(url: str, model: str) -> None:
    chat = ChatOllama(model=model, base_url=url, temperature=0, num_predict=16, validate_model_on_init=True)
    answer = chat.invoke([SystemMessage("You are brief."), HumanMessage("Say hello.")])
    assert isinstance(answer, AIMessage) and answer.text
    assert answer.usage_metadata and answer.usage_metadata["output_tokens"] <= 16
    assert answer.response_metadata["model"] == model
    pieces = [chunk.text for chunk in chat.stream("Say hello.")]
    assert len(pieces) > 2 and "".join(pieces)


async def test_async_and_batch(url: str, model: str) -> None:
    chat = ChatOllama(model=model, base_url=url, temperature=0, num_predict=8)
    assert (await chat.ainvoke("Say hello.")).text
    assert len(chat.batch(["One?", "Two?", "Three?"])) == 3


def test_structured_output(url: str, model: str) -> None:
    schema = {"title": "City", "type": "object", "properties": {"name": {"enum": ["Oslo"]}}, "required": ["name"]}
    chat = ChatOllama(model=model, base_url=url, temperature=0, num_predict=40)
    assert chat.with_structured_output(schema, method="json_schema").invoke("Name a city.") == {"name": "Oslo"}


def test_completion_and_vectors(url: str, model: str) -> None:
    assert OllamaLLM(model=model, base_url=url, num_predict=8).invoke("The sea is")
    vectors = OllamaEmbeddings(model=model, base_url=url)
    found = vectors.embed_documents(["a", "the sea"])
    assert len(found) == 2 and len(found[0]) == len(vectors.embed_query("a")) == 576
