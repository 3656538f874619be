"""/v1/rerank: the protocol, with a scripted model that likes documents by the letters they share with the query."""

from typing import Any

import pytest
from served import Scripted, add

PATHS = ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")
ASKED: dict[str, Any] = {"model": "ranker", "query": "sea", "documents": ["desk", "seaside", "sea"]}


@pytest.fixture
def ranked(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The scripted server, with a model that is made for scores."""
    add(scripted.home, "ranker:latest", **{"llama.pooling_type": 4})

    async def rerank(query: str, documents: list[str]) -> list[float]:
        return [len(set(query) & set(text)) - len(text) / 100 for text in documents]

    monkeypatch.setattr(scripted.runner, "rerank", rerank)
    return scripted


@pytest.mark.parametrize("path", PATHS)
async def test_the_best_come_first(ranked: Scripted, path: str) -> None:
    answer = await ranked.post(path, ASKED)
    assert answer.status_code == 200
    scores = [(2, 2.97), (1, 2.93), (0, 1.96)]
    results = [{"index": index, "relevance_score": pytest.approx(score)} for index, score in scores]
    assert answer.json() == {"object": "list", "model": "ranker", "results": results}


async def test_so_many_and_with_their_texts(ranked: Scripted) -> None:
    body = ASKED | {"documents": [{"text": "desk", "id": 7}, "sea"], "top_n": 1, "return_documents": True}
    (best,) = (await ranked.post(PATHS[0], body)).json()["results"]
    assert (best["index"], best["document"]) == (1, {"text": "sea"})
    assert (await ranked.post(PATHS[0], ASKED | {"documents": []})).json()["results"] == []
    assert len((await ranked.post(PATHS[0], ASKED | {"top_n": 99})).json()["results"]) == 3


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"query": None}, 400, "query and documents are required"),
        ({"documents": None}, 400, "query and documents are required"),
        ({"documents": "sea"}, 400, "documents"),
        ({"documents": [7]}, 400, "documents"),
        ({"documents": ["x"] * 10_001}, 400, "documents"),
        ({"top_n": 0}, 400, "top_n"),
        ({"model": "nobody"}, 404, "model 'nobody' not found"),
        ({"model": "plain"}, 400, "is no reranker"),
    ],
)
async def test_what_makes_no_sense(ranked: Scripted, body: dict[str, Any], status: int, says: str) -> None:
    answer = await ranked.post(PATHS[0], ASKED | body)
    assert (answer.status_code, says in answer.json()["error"]["message"]) == (status, True), answer.text[:300]
