"""A conversation with one model: its turns, its settings, and getting the next answer.

    chat = Chat(engine, "smollm2", Settings(system="Be brief"))
    async with chat.lease() as runner:
        await chat.reply("Hi", runner, Printer(), began)

The one-shot ``allod run`` and the REPL are both made of it. It knows nothing of reading input and of commands.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from msgspec import Struct, field

from allod.chat import ChatChunk, ChatRequest, Message, Options, Part
from allod.cli.printer import Printer, print_statistics
from allod.errors import AllodError, BadRequest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from allod.engine.options import LoadOptions
    from allod.engine.runner import Runner
    from allod.models.store import Model

# Ollama's names of parameters → fields of LoadOptions; changing one loads the model anew.
LOADING = {"num_ctx": "context", "num_batch": "batch", "num_thread": "threads", "num_gpu": "gpu_layers"}
# … → fields of Options, where they differ.
SAMPLING = {"num_predict": "max_tokens", "num_keep": "n_keep"}
THINK_LEVELS = ("low", "medium", "high", "max")


class Leaser(Protocol):
    """What a chat asks of an engine, in this process or behind a server."""

    def lease(
        self, model: "str | Model", options: "LoadOptions | None" = None, keep_alive: float | None = None
    ) -> "AbstractAsyncContextManager[Runner]":
        """A loaded model for the time of the ``async with``."""
        ...


class Settings(Struct):
    """What flags and ``/set`` change. ``params`` are by Ollama's names, in their types."""

    system: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    format: Literal["json"] | dict[str, Any] | None = None
    think: bool | str | None = None
    hide_thinking: bool = False
    verbose: bool = False
    wrap: bool = True
    keep_alive: float | None = None

    def set_parameter(self, name: str, *values: str) -> None:
        """Sets one parameter from text. Raises BadRequest."""
        from allod.models.modelfile import typed

        try:
            self.params[name] = typed(name, list(values) if name == "stop" else " ".join(values))
        except ValueError as error:
            raise BadRequest(str(error), "`/set parameter` in `allod run` lists them; so does docs/cli.md.") from error

    def options(self) -> Options:
        """The parameters that say how to sample."""
        options = Options()
        for name, value in self.params.items():
            ours = SAMPLING.get(name, name)
            if ours in Options.__struct_fields__:
                setattr(options, ours, value)
        return options

    def load_options(self) -> "LoadOptions | None":
        """The parameters that say how to load; None for the model's own."""
        found = {ours: self.params[name] for name, ours in LOADING.items() if name in self.params}
        if not found:
            return None
        from allod.engine.options import LoadOptions

        return LoadOptions(**found)


class Chat:
    """``model`` is what the store here knows of it, None while nobody looked or where it has nothing."""

    def __init__(self, engine: Leaser, name: str, settings: Settings, model: "Model | None" = None) -> None:
        self.engine = engine
        self.name = name
        self.settings = settings
        self.model = model
        self.messages: list[Message] = []

    def lease(self) -> "AbstractAsyncContextManager[Runner]":
        """The model, loaded as the settings say."""
        return self.engine.lease(self.name, self.settings.load_options(), self.settings.keep_alive)

    def request(self, content: str | list[Part]) -> ChatRequest:
        """The conversation with a new turn; under it the model's own defaults, unless a server adds them."""
        settings = self.settings
        head = [Message("system", settings.system)] if settings.system else []
        request = ChatRequest(
            [*head, *self.messages, Message("user", content)],
            options=settings.options(),
            format=settings.format,
            think=settings.think,
        )
        from allod.engine import RemoteEngine, with_defaults

        if self.model is None or isinstance(self.engine, RemoteEngine):
            return request
        return with_defaults(request, self.model)

    async def reply(self, content: str | list[Part], runner: "Runner", printer: Printer, began: float) -> None:
        """Streams the answer. Both turns are kept, those of an answer that was stopped midway too.

        Args:
            began: when the wait began, by time.monotonic(); what came before this call was loading.
        """
        loaded = time.monotonic()
        text = thinking = ""
        usage = None
        asked = Message("user", content)
        stream = cast("AsyncGenerator[ChatChunk]", runner.chat(self.request(content)))
        try:
            async with aclosing(stream) as chunks:
                async for chunk in chunks:
                    printer.add(chunk)
                    text += chunk.text
                    thinking += chunk.thinking
                    usage = chunk.usage or usage
            printer.end()
        except (asyncio.CancelledError, AllodError):  # what is said next begins on a line of its own
            printer.end()
            raise
        finally:
            if text:
                self.messages += [asked, Message("assistant", text, thinking)]
        if usage and self.settings.verbose:
            print_statistics(usage, time.monotonic() - began, loaded - began)


def parse_format(text: str) -> Literal["json"] | dict[str, Any] | None:
    """``--format``: ``json``, a JSON Schema as text, or nothing. Raises BadRequest."""
    if not text or text.strip('"') == "json":
        return "json" if text else None
    import json

    try:
        schema: object = json.loads(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        raise BadRequest(
            f"not a format: {text[:60]}", 'A format is `json` or a JSON Schema such as {"type": "object", …}.'
        )
    return schema  # pyright: ignore[reportUnknownVariableType]


def parse_think(text: str) -> bool | str | None:
    """``--think``: true, false or an effort. Raises BadRequest."""
    match text.lower():
        case "":
            return None
        case "true" | "false":
            return text.lower() == "true"
        case level if level in THINK_LEVELS:
            return level
        case _:
            raise BadRequest(f"not a value for think: {text[:40]}", f"true, false, {', '.join(THINK_LEVELS)}.")


def parse_keep_alive(text: str) -> float | None:
    """``--keepalive`` in seconds; None for the engine's own choice. Raises BadRequest."""
    if not text:
        return None
    from allod.engine.options import keep_alive_seconds

    return keep_alive_seconds(text)
