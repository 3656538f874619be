"""What the tests of the engine share: small loads, questions with steady answers, a look at processes."""

from collections.abc import AsyncIterator
from pathlib import Path

from allod.chat import ChatChunk, ChatRequest, Message, Options
from allod.engine.llama import Load
from allod.engine.options import LoadOptions

THREADS = 2
SMALL = LoadOptions(context=512, slots=1, threads=THREADS)


def small_load(path: Path, **changes: object) -> Load:
    """SmolLM2 with little memory."""
    return Load(**{"name": "smollm2:135m", "model": path, "context": 1024, "slots": 2, "threads": THREADS} | changes)


def ask(text: str, **options: object) -> ChatRequest:
    """A question, answered the same way every time."""
    return ChatRequest([Message("user", text)], Options(**{"temperature": 0.0, "max_tokens": 16} | options))


async def answered(chunks: AsyncIterator[ChatChunk]) -> tuple[str, ChatChunk]:
    """The whole text and the last chunk."""
    text, last = "", None
    async for chunk in chunks:
        assert last is None, "a chunk came after the last"
        text += chunk.text
        last = chunk if chunk.finish else None
    assert last is not None and last.usage is not None
    return text, last


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
