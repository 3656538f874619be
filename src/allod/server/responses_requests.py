"""OpenAI's responses turned into the one language inside: items to messages, tools, and the form of the answer.

What can be said without a loaded model is said here; it knows nothing of engines, stores and what was kept.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from allod.chat import ChatRequest, ImagePart, Message, Part, TextPart, Tool, ToolCall
from allod.errors import BadRequest
from allod.server import ollama_requests as native
from allod.server.merging import add, joined
from allod.server.responses_wire import (
    CallItem,
    CountBody,
    ListedItems,
    MessageItem,
    Piece,
    ReasoningItem,
    ResponseRequest,
    ResultItem,
)
from allod.server.state import echo

T = TypeVar("T")
TEXTS = ("input_text", "output_text", "text", "reasoning_text", "summary_text")
LOGPROBS = "message.output_text.logprobs"


def chat_request(body: CountBody, history: Iterable[dict[str, Any]] = ()) -> ChatRequest:
    """A whole request; the model's own defaults are not in it yet.

    Args:
        history: the items of what it goes on from, first to last.

    Raises:
        BadRequest: what this server cannot do, or no input.
    """
    refuse_what_is_missing(body)
    options = native.options(body.options)
    if isinstance(body, ResponseRequest):
        for name, value in (
            ("temperature", body.temperature),
            ("top_p", body.top_p),
            ("max_tokens", body.max_output_tokens),
        ):
            if value is not None:
                setattr(options, name, value)
    tools, choice = chosen([tool(entry) for entry in body.tools or []], body.tool_choice)
    form = body.text.format if body.text else None
    effort = body.reasoning.effort if body.reasoning else None
    if form and form.type == "json_schema" and form.schema is None:
        raise BadRequest("text.format: a json_schema needs a schema")
    return ChatRequest(
        messages=conversation(body, history),
        options=options,
        tools=tools,
        tool_choice=choice,
        parallel_tools=body.parallel_tool_calls is not False,
        format=None if form is None or form.type == "text" else "json" if form.type == "json_object" else form.schema,
        think=False if effort == "none" else effort,
        measured=True,
    )


def refuse_what_is_missing(body: CountBody) -> None:
    """Raises BadRequest for what would be ignored otherwise."""
    if body.conversation is not None:
        raise BadRequest("conversation: conversations are not kept here", "Go on with previous_response_id.")
    if not body.input and body.previous_response_id is None:
        raise BadRequest("input is required")
    if not isinstance(body, ResponseRequest):
        return
    if body.background:
        raise BadRequest("background: answers are not made in the background here", "Stream it.")
    if body.prompt is not None:
        raise BadRequest("prompt: there are no stored prompts here", "Give its text as instructions.")
    if body.top_logprobs or LOGPROBS in (body.include or []):
        raise BadRequest("log-probabilities are not part of responses here", "Ask /v1/chat/completions for them.")


# ── tools ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class FunctionTool(msgspec.Struct):
    """A function on offer."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None


def tool(entry: dict[str, Any]) -> Tool:
    """A tool on offer. Raises BadRequest for those that OpenAI's servers run."""
    wire = convert(entry, FunctionTool, "tools")
    if wire.type != "function":
        raise BadRequest(f"tools: '{echo(wire.type)}' is a tool of OpenAI's own servers", "Give it as a function.")
    if not wire.name:
        raise BadRequest("tools: a function needs a name")
    return Tool(wire.name, wire.description or "", wire.parameters or {})


def chosen(tools: list[Tool], choice: str | dict[str, Any] | None) -> tuple[list[Tool], str | dict[str, Any]]:
    """The tools that are really on offer, and the choice among them in the words of chat completions.

    Raises:
        BadRequest: a choice that is none, or of a tool that is not there.
    """
    if choice is None or choice == "auto" or choice == "none":
        return tools, choice or "auto"
    names = {offered.name for offered in tools}
    if choice == "required" and tools:
        return tools, choice
    if isinstance(choice, dict):
        if choice.get("type") == "function" and choice.get("name") in names:
            return tools, {"type": "function", "function": {"name": choice["name"]}}
        if choice.get("type") == "allowed_tools" and choice.get("mode") in ("auto", "required"):
            entries = choice.get("tools")
            listed = cast("list[Any]", entries) if isinstance(entries, list) else []
            allowed = [cast("dict[str, Any]", entry).get("name") for entry in listed if isinstance(entry, dict)]
            if allowed and all(name in names for name in allowed):
                return [offered for offered in tools if offered.name in allowed], str(choice["mode"])
    raise BadRequest("tool_choice is none of auto, none, required, or names no tool that is among the tools")


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def items(body: CountBody) -> list[dict[str, Any]]:
    """The input as items."""
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": body.input}]}]
    return body.input or []


def listed(found: list[dict[str, Any]], query: Mapping[str, str]) -> ListedItems:
    """A page of items. Those that came without an id get one by their place.

    Raises:
        BadRequest: an order or a limit that is none, or an item to go on from that is not there.
    """
    order, limit = query.get("order", "desc"), query.get("limit", "20")
    if order not in ("asc", "desc") or not limit.isdecimal() or not 1 <= int(limit) <= 100:
        raise BadRequest("order is asc or desc, limit is from 1 to 100")
    named = [{"type": "message", "id": f"item_{number}"} | item for number, item in enumerate(found)]
    named = named if order == "asc" else named[::-1]
    if after := query.get("after"):
        ids = [item["id"] for item in named]
        if after not in ids:
            raise BadRequest(f"after: there is no item '{echo(after)}'")
        named = named[ids.index(after) + 1 :]
    page = named[: int(limit)]
    ends = [page[0]["id"], page[-1]["id"]] if page else [None, None]
    return ListedItems(page, *ends, has_more=len(named) > len(page))


def conversation(body: CountBody, history: Iterable[dict[str, Any]]) -> list[Message]:
    """The messages: instructions, what went before, the input.

    Raises:
        BadRequest: an item of an unknown kind, a result of no call, a picture that is none or elsewhere.
    """
    found: list[Message] = []
    if body.instructions:
        found.append(Message("system", body.instructions))
    calls: dict[str, str] = {}
    thoughts = ""
    for number, item in enumerate([*history, *items(body)]):
        kind = item.get("type", "message")
        where = f"input[{number}]"
        if kind == "message":
            turn = convert(item, MessageItem, where)
            role = "system" if turn.role == "developer" else turn.role
            add(found, Message(role, joined(content(turn.content, where)), thoughts if role == "assistant" else ""))
            thoughts = ""
        elif kind == "function_call":
            call = convert(item, CallItem, where)
            calls[call.call_id] = call.name
            if found and found[-1].role == "assistant":
                found[-1].tool_calls.append(ToolCall(call.call_id, call.name, call.arguments))
            else:
                turn_calls = [ToolCall(call.call_id, call.name, call.arguments)]
                found.append(Message("assistant", "", thoughts, turn_calls))
            thoughts = ""
        elif kind == "function_call_output":
            found += result(convert(item, ResultItem, where), calls, where)
        elif kind == "reasoning":
            thought = convert(item, ReasoningItem, where)
            thoughts = "\n".join(piece.text or "" for piece in thought.content or thought.summary)
        else:
            raise BadRequest(f"{where}: items of type '{echo(str(kind))}' are not taken here")
    if not found:
        raise BadRequest("input is required")
    return found


def result(item: ResultItem, calls: dict[str, str], where: str) -> list[Message]:
    """What came of a call; its pictures follow as the user's, as templates take them there only."""
    if item.call_id not in calls:
        raise BadRequest(f"{where}: no tool call found for function call output with call_id '{echo(item.call_id)}'")
    found = content(item.output, where)
    text = "\n".join(part.text for part in found if isinstance(part, TextPart))
    pictures: list[Part] = [part for part in found if isinstance(part, ImagePart)]
    message = Message("tool", text, tool_call_id=item.call_id, tool_name=calls[item.call_id])
    return [message, *([Message("user", pictures)] if pictures else [])]


def content(value: str | list[Piece], where: str) -> list[Part]:
    """Text and pictures. Raises BadRequest for anything else, and for what is elsewhere: nothing is fetched."""
    if isinstance(value, str):
        return [TextPart(value)]
    found: list[Part] = []
    for piece in value:
        if piece.type in TEXTS and piece.text is not None:
            found.append(TextPart(piece.text))
        elif piece.type == "refusal":
            found.append(TextPart(piece.refusal or ""))
        elif piece.type == "input_image":
            kind, comma, data = (piece.image_url or "").partition(",")
            if not (kind.startswith("data:") and kind.endswith(";base64") and comma):
                raise BadRequest(
                    f"{where}: image_url must be a data: URL in base64, or an https one that may be fetched"
                )
            found += native.images([data])
        else:
            raise BadRequest(f"{where}: content of type '{echo(piece.type)}' is not taken here")
    return found


def convert(item: dict[str, Any], kind: type[T], where: str) -> T:
    """An item as what it says it is. Raises BadRequest."""
    try:
        return msgspec.convert(item, kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request: {where}: {error}") from error
