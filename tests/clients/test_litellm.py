"""litellm, by each of the three APIs that it can speak to us."""

import pytest

litellm = pytest.importorskip("litellm", reason="run them by `make clients`")

HI = [{"role": "user", "content": "Say hello."}]


@pytest.mark.parametrize("way", ["ollama_chat", "ollama", "openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_completion(url: str, model: str, way: str, stream: bool) -> None:
    base = f"{url}/v1" if way == "openai" else url
    answer = litellm.completion(
        model=f"{way}/{model}", messages=HI, api_base=base, api_key="none", max_tokens=12, temperature=0, stream=stream
    )
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
        assert answer.usage.completion_tokens <= 12
    assert text


def test_embedding(url: str, model: str) -> None:
    answer = litellm.embedding(model=f"ollama/{model}", input=["a", "the sea"], api_base=url)
    assert [len(entry["embedding"]) for entry in answer.data] == [576, 576]


def test_an_unknown_model(url: str) -> None:
    with pytest.raises(litellm.exceptions.NotFoundError):
        litellm.completion(model="openai/nobody", messages=HI, api_base=f"{url}/v1", api_key="none", num_retries=0)
