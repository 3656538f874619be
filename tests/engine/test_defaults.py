"""SYSTEM, MESSAGE and PARAMETER under what a request says itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from allod.chat import ChatRequest, Message, Options
from allod.engine.defaults import with_defaults
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Model, Store

MODELFILE = """
FROM {path}
SYSTEM Speak like a pirate.
PARAMETER temperature 0.2
PARAMETER num_predict 50
PARAMETER stop ###
PARAMETER stop END
PARAMETER num_ctx 2048
PARAMETER repeat_penalty 1.1
PARAMETER num_keep 4
MESSAGE user Ahoy?
MESSAGE assistant Arr!
"""


@pytest.fixture
def model(home: Home, smollm2_path: Path) -> Model:
    return made(home, smollm2_path, MODELFILE)


@pytest.fixture
def plain(home: Home, smollm2_path: Path) -> Model:
    return made(home, smollm2_path, "FROM {path}")


def made(home: Home, path: Path, modelfile: str) -> Model:
    store = Store(home.models)
    for _ in create(store, "made", parse(modelfile.format(path=path)), path.parent):
        pass
    return store.get("made")


def texts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(m.role, m.text) for m in messages]


def test_the_models_own_where_the_request_is_silent(model: Model) -> None:
    request = ChatRequest([Message("user", "Hi")])
    found = with_defaults(request, model)
    assert texts(found.messages) == [
        ("system", "Speak like a pirate."),
        ("user", "Ahoy?"),
        ("assistant", "Arr!"),
        ("user", "Hi"),
    ]
    o = found.options
    assert (o.temperature, o.max_tokens, o.stop, o.repeat_penalty, o.n_keep) == (0.2, 50, ["###", "END"], 1.1, 4)
    assert o.top_p is UNSET and "num_ctx" not in o.extra
    assert texts(request.messages) == [("user", "Hi")] and request.options.temperature is UNSET


def test_what_the_request_says_goes_before(model: Model) -> None:
    messages = [Message("system", "Be brief."), Message("user", "Hi")]
    found = with_defaults(ChatRequest(messages, Options(temperature=0.9, stop=[], max_tokens=-1)), model)
    assert texts(found.messages)[:2] == [("system", "Be brief."), ("user", "Ahoy?")]
    assert texts(found.messages)[-1] == ("user", "Hi") and len(found.messages) == 4
    assert (found.options.temperature, found.options.stop, found.options.max_tokens) == (0.9, [], -1)


def test_a_model_without_defaults_changes_nothing(plain: Model) -> None:
    request = ChatRequest([Message("user", "Hi")], Options(temperature=0.5))
    assert with_defaults(request, plain) == request
    body = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0.5, "seed": None}
    assert with_defaults(body, plain) == body


def test_an_empty_request_stays_empty(model: Model) -> None:
    assert with_defaults(ChatRequest([]), model).messages == []


def test_a_raw_body(model: Model) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "top_p": 0.5}
    found = with_defaults(body, model)
    assert [m["role"] for m in found["messages"]] == ["system", "user", "assistant", "user"]
    assert (found["temperature"], found["max_tokens"], found["stop"]) == (0.2, 50, ["###", "END"])
    assert found["top_p"] == 0.5 and found["model"] == "m" and "num_ctx" not in found
    assert "temperature" not in body and len(body["messages"]) == 1


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_raw_body_with_its_own_instructions(model: Model, role: str) -> None:
    messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    found = with_defaults({"messages": messages, "temperature": 1, "max_completion_tokens": 7}, model)
    assert found["messages"][0] == messages[0] and [m["role"] for m in found["messages"]].count("system") <= 1
    assert found["temperature"] == 1 and "max_tokens" not in found


def test_a_raw_completion_gets_only_parameters(model: Model) -> None:
    found = with_defaults({"prompt": "Once", "temperature": None}, model)
    assert found["prompt"] == "Once" and found["temperature"] == 0.2 and "messages" not in found


@pytest.mark.parametrize("messages", [[], "text", [5], [None], None])
def test_a_raw_body_that_makes_no_sense_is_left_to_be_refused(model: Model, messages: object) -> None:
    with_defaults({"messages": messages}, model)


@pytest.mark.parametrize("limit", ["-1", "-2"])
def test_no_limit_is_no_limit(home: Home, smollm2_path: Path, limit: str, open_home: Callable[..., Home]) -> None:
    model = made(home, smollm2_path, f"FROM {{path}}\nPARAMETER num_predict {limit}")
    assert with_defaults(ChatRequest([Message("user", "Hi")]), model).options.max_tokens is UNSET
