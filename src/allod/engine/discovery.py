"""What a server is, and what one of its models can do.

allod and Ollama say it at ``/api/show``, llama-server at ``/props``, vLLM in ``/v1/models``; others list names, and the
rest is taken for granted: what they cannot do they refuse themselves.
"""

import difflib
import math
from typing import Any, TypeVar

from msgspec import Struct, field

from allod.engine.http_runner import ERROR_LIMIT, HTTPRunner, encode, whole
from allod.engine.options import LoadOptions
from allod.engine.props import Props
from allod.engine.runner import Facts
from allod.engine.wire import failure
from allod.errors import AllodError, EngineFailed, ModelNotFound, NotFound

COUNT = "/allod/v1/count_tokens"
T = TypeVar("T")


class Listed(Struct):
    """Of ``/v1/models``."""

    id: str
    max_model_len: int = 0  # vLLM


class Models(Struct):
    """The reply of ``/v1/models``."""

    data: list[Listed] = field(default_factory=list[Listed])


class Shown(Struct):
    """The reply of ``/api/show``."""

    capabilities: list[str] = field(default_factory=list[str])
    model_info: dict[str, Any] = field(default_factory=dict[str, Any])
    template: str = ""


class Loaded(Struct):
    """Of ``/api/ps``."""

    name: str = ""
    model: str = ""
    context_length: int = 0


class Processes(Struct):
    """The reply of ``/api/ps``."""

    models: list[Loaded] = field(default_factory=list[Loaded])


class Counted(Struct):
    """The reply of allod's own count of tokens."""

    tokens: int


class Found(Struct):
    """What is known of a model there. ``extra`` is what its server takes in every request."""

    facts: Facts
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    allod: bool = False  # the server is one of ours, and understands what only these do


async def discover(server: HTTPRunner, name: str, options: LoadOptions, keep_alive: float | None) -> Found:
    """Asks a server about a model.

    Raises:
        ModelNotFound: it has none of that name; ``nearest`` holds those like it.
        Network, Refused, Offline, AllodError: it does not answer, or not to us.
    """
    try:
        shown = await ask(server, "POST", "/api/show", {"model": name}, Shown)
    except ModelNotFound:
        raise missing(name, [entry.id for entry in await models(server)]) from None
    if shown is not None:
        return await ollama(server, name, shown, options, keep_alive)
    if (props := await ask(server, "GET", "/props", None, Props)) is not None:
        return Found(props.facts(name))
    listed = await models(server)
    mine = [entry for entry in listed if entry.id == name]
    if not mine:
        raise missing(name, [entry.id for entry in listed])
    return Found(Facts(model=name, context=mine[0].max_model_len, vision=True, tools=True, thinking=True))


async def ollama(server: HTTPRunner, name: str, shown: Shown, options: LoadOptions, keep_alive: float | None) -> Found:
    """A model of an allod or an Ollama: loaded as asked, so that what goes wrong with that goes wrong now."""
    extra: dict[str, Any] = {}
    if keep_alive is not None:
        extra["keep_alive"] = -1 if math.isinf(keep_alive) else keep_alive
    if load := load_options(options):
        extra["options"] = load
    embedding = "embedding" in shown.capabilities and "completion" not in shown.capabilities
    if not (embedding or options.embedding):
        await post(server, "/api/generate", {"model": name, "stream": False, **extra})
    running = await ask(server, "GET", "/api/ps", None, Processes) or Processes()
    context = next((m.context_length for m in running.models if same(m.name, name) or same(m.model, name)), 0)
    facts = Facts(
        model=name,
        context=context or options.context or trained(shown),
        vision="vision" in shown.capabilities,
        audio="audio" in shown.capabilities,
        tools="tools" in shown.capabilities,
        thinking="thinking" in shown.capabilities,
        embedding=embedding or options.embedding,
        template=shown.template,
    )
    return Found(facts, extra, allod=await counts(server, name))


async def counts(server: HTTPRunner, name: str) -> bool:
    """Whether it counts tokens as only an allod does. Whatever else it says to that, it is none."""
    try:
        return await ask(server, "POST", COUNT, {"model": name, "messages": []}, Counted) is not None
    except AllodError:
        return False


def load_options(options: LoadOptions) -> dict[str, int]:
    """Ollama's names for what was asked for."""
    named = {
        "num_ctx": options.context,
        "num_batch": options.batch,
        "num_thread": options.threads,
        "num_gpu": options.gpu_layers + 1 and options.gpu_layers,  # -1 is unsaid
    }
    return {key: value for key, value in named.items() if value}


def trained(shown: Shown) -> int:
    """The context a model was made for, by its header."""
    return next((v for k, v in shown.model_info.items() if k.endswith(".context_length") and type(v) is int), 0)


def same(one: str, other: str) -> bool:
    """Whether two names mean the same model."""
    from allod.models.name import Name

    try:
        return str(Name.parse(one)).lower() == str(Name.parse(other)).lower()
    except AllodError:
        return False


async def models(server: HTTPRunner) -> list[Listed]:
    """A server's models. Raises what it answers instead."""
    found = await ask(server, "GET", "/v1/models", None, Models)
    if found is None:
        raise EngineFailed("the server has no list of models", "Is it one with OpenAI's API?")
    return found.data


async def unload(server: HTTPRunner, name: str) -> None:
    """Has a model unloaded where the server knows how."""
    if await ask(server, "GET", "/api/ps", None, Processes) is not None:
        await post(server, "/api/generate", {"model": name, "keep_alive": 0, "stream": False})


def missing(name: str, names: list[str]) -> ModelNotFound:
    """The error for a model that a server does not have."""
    near = tuple(difflib.get_close_matches(name, names, n=3, cutoff=0.4))
    remedy = f"It has {', '.join(near or names[:3])}." if names else "It has none at all."
    return ModelNotFound(f"the server has no model '{name[:120]}'", remedy, near)


async def post(server: HTTPRunner, path: str, body: dict[str, Any]) -> None:
    """A request whose answer is not looked at, but for errors."""
    async with server.send("POST", path, encode(body)) as answer:
        if answer.status != 200:
            raise failure(answer.status, await whole(answer.body, ERROR_LIMIT), server.facts.model)
        await whole(answer.body, ERROR_LIMIT)


async def ask(server: HTTPRunner, method: str, path: str, body: Any, kind: type[T]) -> T | None:
    """A reply, or None from a server that has no such path."""
    try:
        return await HTTPRunner.ask(server, path, body, kind, method)
    except ModelNotFound:
        raise
    except NotFound:
        return None
