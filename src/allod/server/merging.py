"""Messages in a row joined to one, as chat templates want roles to alternate and a turn's parts together."""

from allod.chat import Message, Part, TextPart


def add(messages: list[Message], message: Message) -> None:
    """Appends a message, or joins it to one of the same role before it. Results of tools stay apart."""
    last = messages[-1] if messages else None
    if not last or last.role != message.role or message.role == "tool" or last.tool_calls:
        messages.append(message)
        return
    if last.content and message.content:
        last.content = joined([*parts(last.content), *parts(message.content)])
    else:
        last.content = last.content or message.content
    last.thinking = "\n".join(filter(None, (last.thinking, message.thinking)))
    last.tool_calls = message.tool_calls


def parts(content: str | list[Part]) -> list[Part]:
    """Content as parts."""
    return [TextPart(content)] if isinstance(content, str) else content


def joined(found: list[Part]) -> str | list[Part]:
    """Parts as content: one text, where that is all they are."""
    texts = [part.text for part in found if isinstance(part, TextPart)]
    return "\n".join(texts) if len(texts) == len(found) else found
