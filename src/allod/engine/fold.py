"""A streamed OpenAI answer folded into the one object of an answer that is not streamed.

llama.cpp notices a client that went away only when it has something to send, so an answer asked for in one piece goes
on to its end unheard, its slot taken. Such requests are therefore sent as streams, and their events put together here.
The object is what llama.cpp itself would have answered, but that an answer begun by the request's own last message
holds only what was added.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import msgspec

from allod.engine.runner import Answer
from allod.engine.stream import Events

FOLDABLE = ("/v1/chat/completions", "/v1/completions")
Body = dict[str, Any]


def folds(path: str, body: bytes) -> bytes | None:
    """The request as a stream, if it is one of the foldable and not a stream already.

    What cannot be read is not: the server says best what is wrong with it.
    """
    if path not in FOLDABLE:
        return None
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if "stream" in fields and bytes(fields["stream"]) not in (b"false", b"null"):
        return None
    fields["stream"] = msgspec.Raw(b"true")
    fields["stream_options"] = msgspec.Raw(b'{"include_usage":true}')
    return msgspec.json.encode(fields)


async def folded(answer: Answer, told: Callable[[AsyncIterator[bytes]], AsyncIterator[bytes]]) -> Answer:
    """The whole answer; one that is an error passes as it is. ``told`` wraps the body's own errors."""
    if answer.status != 200:
        return Answer(answer.status, answer.content_type, told(answer.body))
    events = Events()
    state = Folded()
    async for data in told(answer.body):
        for event in events.feed(data):
            body: Body = msgspec.json.decode(event)
            if "error" in body:
                return whole(int(body["error"].get("code", 500)), body)
            state.add(body)
    return whole(200, state.result())


def whole(status: int, body: Body) -> Answer:
    """A JSON answer."""
    data = msgspec.json.encode(body)

    async def once() -> AsyncIterator[bytes]:
        yield data

    return Answer(status, "application/json; charset=utf-8", once())


class Folded:
    """What has come so far."""

    def __init__(self) -> None:
        self._top: Body = {}
        self._choices: dict[int, Body] = {}

    def add(self, event: Body) -> None:
        """One event's share."""
        for key, value in event.items():
            if key == "choices":
                for choice in cast("list[Body]", value):
                    self._add_choice(choice)
            elif value is not None:
                self._top[key] = value

    def _add_choice(self, new: Body) -> None:
        index = int(new.get("index", 0))
        choice = self._choices.setdefault(index, {"finish_reason": None, "index": index})
        if new.get("finish_reason"):
            choice["finish_reason"] = new["finish_reason"]
        if "text" in new:
            choice.setdefault("logprobs", None)
            choice["text"] = choice.get("text", "") + (new["text"] or "")
        if "delta" in new:
            add_delta(choice.setdefault("message", {"role": "assistant", "content": ""}), new["delta"] or {})
        if new.get("logprobs"):
            known: Body = choice.get("logprobs") or {}
            choice["logprobs"] = known
            extend(known, new["logprobs"])

    def result(self) -> Body:
        """The object."""
        kind = "text_completion" if self._top.get("object") == "text_completion" else "chat.completion"
        choices = [self._choices[index] for index in sorted(self._choices)]
        for choice in choices:
            message = choice.get("message", {})
            if message.get("tool_calls") and not message["content"]:
                message["content"] = None
        return {"choices": choices} | self._top | {"object": kind}


def add_delta(message: Body, delta: Body) -> None:
    """A message's new texts and the new parts of its tool calls."""
    for key, value in delta.items():
        if key == "tool_calls":
            calls: list[Body] = message.setdefault("tool_calls", [])
            for part in cast("list[Body]", value or []):
                add_call(calls, part)
        elif key == "role":
            message["role"] = value or "assistant"
        elif isinstance(value, str):
            message[key] = (message.get(key) or "") + value


def add_call(calls: list[Body], part: Body) -> None:
    """A part of the call at ``part["index"]``, which is new or grows."""
    index = int(part.get("index", 0))
    while len(calls) <= index:
        calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call = calls[index]
    call["id"] = part.get("id") or call["id"]
    for key, value in cast("Body", part.get("function") or {}).items():
        call["function"][key] = call["function"].get(key, "") + (value or "")


def extend(known: Body, new: Body) -> None:
    """Log-probabilities: lists that grow."""
    for key, value in new.items():
        if isinstance(value, list):
            known[key] = cast("list[Any]", known.get(key) or []) + cast("list[Any]", value)
        else:
            known.setdefault(key, value)
