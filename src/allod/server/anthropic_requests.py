"""Anthropic's requests turned into the one language inside.

What can be said without a loaded model is said here; it knows nothing of engines and stores. Stop sequences stay out of
the request: the door finds them itself, to say which one it was.
"""

from typing import Any

import msgspec

from allod.chat import ChatRequest, ImagePart, Message, Part, TextPart, Tool, ToolCall
from allod.errors import BadRequest
from allod.server import ollama_requests as native
from allod.server.anthropic_wire import (
    CountBody,
    DocumentBlock,
    ImageBlock,
    MessagesBody,
    RedactedBlock,
    TextBlock,
    ThinkingBlock,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WireTool,
)
from allod.server.merging import add, joined
from allod.server.state import echo

SAMPLING = ("temperature", "top_p", "top_k", "max_tokens")


def chat_request(body: CountBody) -> ChatRequest:
    """A whole request; the model's own defaults are not in it yet.

    Raises:
        BadRequest: what this server cannot do, or no messages.
    """
    if not body.messages:
        raise BadRequest("messages: at least one message is required")
    if body.mcp_servers:
        raise BadRequest("mcp_servers: this server connects to no others", "Give their tools as custom ones.")
    options = native.options(body.options)
    if isinstance(body, MessagesBody):
        if body.max_tokens is None:
            raise BadRequest("max_tokens: Field required")
        for name in SAMPLING:
            if (value := getattr(body, name)) is not None:
                setattr(options, name, value)
    if body.thinking and body.thinking.budget_tokens and body.thinking.type == "enabled":
        options.extra["thinking_budget_tokens"] = body.thinking.budget_tokens
    tools = [tool(wire) for wire in body.tools or []]
    form = (body.output_config and body.output_config.format) or body.output_format
    return ChatRequest(
        messages=conversation(body),
        options=options,
        tools=tools,
        tool_choice=tool_choice(body.tool_choice, tools),
        parallel_tools=not (body.tool_choice and body.tool_choice.disable_parallel_tool_use),
        format=form.schema if form else None,
        think=thinking(body),
        measured=True,
    )


def thinking(body: CountBody) -> bool | str | None:
    """Whether to think: not at all unless asked; as the model does by itself where it may choose."""
    asked = body.thinking.type if body.thinking else "disabled"
    if asked == "disabled":
        return False
    effort = body.output_config.effort if body.output_config else None
    return effort or (True if asked == "enabled" else None)


def tool(wire: WireTool) -> Tool:
    """A tool on offer. Raises BadRequest for those that Anthropic's servers run."""
    if wire.type not in (None, "custom"):
        raise BadRequest(
            f"tools: '{echo(wire.type)}' is a tool of Anthropic's own servers",
            "Give it as a custom tool with a schema.",
        )
    if not wire.name or wire.input_schema is None:
        raise BadRequest("tools: a tool needs a name and an input_schema")
    return Tool(wire.name, wire.description or "", wire.input_schema)


def tool_choice(choice: ToolChoice | None, tools: list[Tool]) -> str | dict[str, Any]:
    """The choice in OpenAI's words. Raises BadRequest where no tool on offer is meant."""
    if choice is None or choice.type in ("auto", "none"):
        return choice.type if choice else "auto"
    if not tools:
        raise BadRequest("tool_choice: there are no tools to choose from")
    if choice.type == "any":
        return "required"
    if choice.name not in [offered.name for offered in tools]:
        raise BadRequest(f"tool_choice: there is no tool '{echo(choice.name)}' among the tools")
    return {"type": "function", "function": {"name": choice.name}}


# ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────────


def conversation(body: CountBody) -> list[Message]:
    """The messages. Turns of one role in a row become one, as chat templates want them to alternate.

    Raises:
        BadRequest: a result of no call, a picture that is none or elsewhere, a block that makes no sense in its turn.
    """
    found: list[Message] = []
    if system := body.system if isinstance(body.system, str) else "\n".join(b.text for b in body.system or []):
        found.append(Message("system", system))
    calls: dict[str, str] = {}
    for number, turn in enumerate(body.messages or []):
        where = f"messages.{number}"
        if turn.role == "system":
            add(found, Message("system", system_text(turn, where)))
        elif turn.role == "assistant":
            message = assistant(turn, where)
            calls = {call.id: call.name for call in message.tool_calls}
            add(found, message)
        else:
            for message in user(turn, where, calls):
                add(found, message)
    return found


def system_text(turn: Turn, where: str) -> str:
    """What the system says in the midst of a conversation."""
    if isinstance(turn.content, str):
        return turn.content
    texts = [block.text for block in turn.content if isinstance(block, TextBlock)]
    if len(texts) < len(turn.content):
        raise BadRequest(f"{where}: a turn of the system has text blocks only")
    return "\n".join(texts)


def assistant(turn: Turn, where: str) -> Message:
    """A turn of the model's."""
    if isinstance(turn.content, str):
        return Message("assistant", turn.content)
    message = Message("assistant")
    texts: list[str] = []
    for block in turn.content:
        match block:
            case TextBlock():
                texts.append(block.text)
            case ThinkingBlock():
                message.thinking = "\n".join(filter(None, (message.thinking, block.thinking)))
            case ToolUseBlock():
                arguments = msgspec.json.encode(block.input).decode()
                message.tool_calls.append(ToolCall(block.id, block.name, arguments))
            case RedactedBlock():
                pass
            case _:
                raise BadRequest(f"{where}: a turn of the assistant has text, thinking and tool_use blocks only")
    message.content = "\n".join(texts)
    return message


def user(turn: Turn, where: str, calls: dict[str, str]) -> list[Message]:
    """A turn of the user's: results of tools first, each a message, then what the user says."""
    if isinstance(turn.content, str):
        return [Message("user", turn.content)]
    results: list[Message] = []
    rest: list[Part] = []
    for block in turn.content:
        match block:
            case ToolResultBlock():
                if block.tool_use_id not in calls:
                    raise BadRequest(
                        f"{where}: tool_result for '{echo(block.tool_use_id)}', which the turn before did not call"
                    )
                message, pictures = result(block, calls[block.tool_use_id])
                results.append(message)
                rest += pictures
            case TextBlock() | ImageBlock() | DocumentBlock():
                rest.append(part(block))
            case _:
                raise BadRequest(f"{where}: a turn of the user has text, image, document and tool_result blocks only")
    return [*results, *([Message("user", joined(rest))] if rest or not results else [])]


def result(block: ToolResultBlock, name: str) -> tuple[Message, list[Part]]:
    """What came of a call, and its pictures: templates take those in the user's messages only."""
    content = block.content or ""
    found: list[Part] = [TextPart(content)] if isinstance(content, str) else [part(inner) for inner in content]
    text = "\n".join(piece.text for piece in found if isinstance(piece, TextPart))
    if block.is_error:
        text = f"Error: {text}"
    message = Message("tool", text, tool_call_id=block.tool_use_id, tool_name=name)
    return message, [piece for piece in found if isinstance(piece, ImagePart)]


def part(block: TextBlock | ImageBlock | DocumentBlock) -> Part:
    """A block as a part of a message. Raises BadRequest for what is elsewhere: nothing is fetched."""
    if isinstance(block, TextBlock):
        return TextPart(block.text)
    source = block.source
    if isinstance(block, DocumentBlock) and source.type == "text":
        return TextPart(f"{block.title}\n\n{source.data}" if block.title else source.data)
    if isinstance(block, ImageBlock) and source.type == "base64":
        return native.images([source.data])[0]
    what = "image" if isinstance(block, ImageBlock) else "document"
    takes = "base64" if what == "image" else "text"
    raise BadRequest(f"{what}.source: '{echo(source.type)}' is not taken: only {takes}, as nothing is fetched")
