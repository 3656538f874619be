"""What Home Assistant and Open WebUI send, by their sources of 2026, and what they read of the answers."""

import json
import math
from collections.abc import AsyncIterator

import httpx
import ollama
import pytest
from served import Scripted

from allod.chat import ToolCall
from allod.engine.options import LoadOptions

pytestmark = pytest.mark.anyio

TOOL = {
    "type": "function",
    "function": {
        "name": "HassTurnOn",
        "description": "Turns on a device",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
    },
}


@pytest.fixture
async def assistant(scripted: Scripted) -> AsyncIterator[ollama.AsyncClient]:
    """Home Assistant's client, as its integration `ollama` makes it."""
    transport = httpx.ASGITransport(scripted.app, raise_app_exceptions=False)
    yield ollama.AsyncClient(host="http://localhost", transport=transport)


async def test_home_assistant_finds_its_models(assistant: ollama.AsyncClient) -> None:
    """config_flow.py: the list checks the URL, and names what is downloaded."""
    names = {model["model"] for model in (await assistant.list())["models"]}
    assert {"clever:latest", "plain:latest"} <= names


async def test_home_assistant_calls_a_tool_and_says_so(scripted: Scripted, assistant: ollama.AsyncClient) -> None:
    """entity.py: a stream with tools, `keep_alive` of "-1s", `num_ctx`; then the result as a message of role tool."""
    turns: list[ollama.Message] = [
        ollama.Message(role="system", content="You are a voice assistant for Home Assistant."),
        ollama.Message(role="user", content="Turn on the lamp"),
    ]
    scripted.runner.replies = [[ToolCall("c1", "HassTurnOn", '{"name": "lamp"}')], "The lamp is on."]
    answers: list[str] = []
    for _ in range(2):
        content, calls = "", []
        stream = await assistant.chat(
            model="clever",
            messages=list(turns),
            tools=[TOOL],
            stream=True,
            keep_alive="-1s",
            options={"num_ctx": 2048},
            think=False,
        )
        async for part in stream:
            message = part["message"]
            content += message.get("content") or ""
            calls += message.get("tool_calls") or []
            if part.get("done"):
                answers.append(part["done_reason"])
        turns.append(ollama.Message(role="assistant", content=content, tool_calls=calls or None))
        for call in calls:
            assert call["function"]["arguments"] == {"name": "lamp"}
            result = json.dumps({"speech": {}, "response_type": "action_done"})
            turns.append(ollama.Message(role="tool", content=result, tool_name=call["function"]["name"]))
    assert turns[-1].content == "The lamp is on."
    assert answers == ["stop", "stop"]
    last = scripted.runner.requests[-1].messages
    assert [turn.role for turn in last] == ["system", "user", "assistant", "tool"]
    assert last[2].tool_calls[0].name == "HassTurnOn"
    assert (last[3].text, last[3].tool_name) == ('{"speech": {}, "response_type": "action_done"}', "HassTurnOn")
    assert last[3].tool_call_id == last[2].tool_calls[0].id
    assert scripted.engine.leases[-1][1:] == (LoadOptions(context=2048), math.inf)


async def test_open_webui_looks_around(scripted: Scripted) -> None:
    """backend/open_webui/routers/ollama.py: the version, the list by `model`, what is loaded, one model's facts."""
    async with scripted.client(**{"authorization": "Bearer none", "content-type": "application/json"}) as http:
        assert (await http.get("/api/version")).json()["version"]
        models = (await http.get("/api/tags")).json()["models"]
        assert all({"name", "model", "modified_at", "size", "digest", "details"} <= set(model) for model in models)
        assert (await http.get("/api/ps")).json() == {"models": []}
        shown = (await http.post("/api/show", json={"name": "clever:latest"})).json()
        assert {"template", "details", "capabilities", "model_info"} <= set(shown)
        assert [model["id"] for model in (await http.get("/v1/models")).json()["data"]]


async def test_open_webui_chats_and_names_the_chat(scripted: Scripted) -> None:
    """A stream of lines for the chat; then one request without a stream, for a title, with its own fields beside."""
    body = {
        "model": "clever:latest",
        "messages": [{"role": "user", "content": "Hi"}],
        "options": {"temperature": 0.8, "stop": None, "num_keep": None},
        "stream": True,
        "metadata": {"chat_id": "c"},
        "session_id": "s",
    }
    lines = (await scripted.post("/api/chat", body, replies=["Hello there"])).text.splitlines()
    parts = [json.loads(line) for line in lines]
    assert "".join(part["message"]["content"] for part in parts) == "Hello there"
    counted = {"total_duration", "load_duration", "prompt_eval_count", "eval_count"}
    assert parts[-1]["done"] and counted | {"eval_duration"} <= set(parts[-1])
    title = body | {"stream": False, "max_completion_tokens": 50}
    answer = (await scripted.post("/api/chat", title, replies=["A greeting"])).json()
    assert answer["message"]["content"] == "A greeting"


async def test_open_webui_makes_vectors_of_documents(scripted: Scripted) -> None:
    """retrieval/utils.py: `/api/embed` with a list, `truncate` on; the vectors in the same order."""
    body = {"model": "vectors", "input": ["one", "three"], "truncate": True}
    answer = (await scripted.post("/api/embed", body)).json()
    assert [vector[2] > 0 for vector in answer["embeddings"]] == [True, True]
    assert answer["embeddings"][0] != answer["embeddings"][1]


async def test_open_webui_unloads(scripted: Scripted) -> None:
    """routers/ollama.py, /api/unload: a generation of nothing, kept for nothing."""
    body = {"model": "clever:latest", "keep_alive": 0, "prompt": ""}
    answer = (await scripted.post("/api/generate", body | {"stream": False})).json()
    assert (answer["done"], answer["done_reason"]) == (True, "unload")
