"""A model's own defaults, put under what a request says itself.

    request = with_defaults(request, model)       # a ChatRequest, or the dict of an OpenAI body

From the Modelfile: PARAMETERs for sampling, the SYSTEM message where the request brings none, and the MESSAGE history
before the request's first turn. PARAMETERs that say how to load (num_ctx…) are the engine's, in ``plan``.

The TEMPLATE of a model is the engine's too: it is translated to Jinja for the child (``models.gotemplate``), unless the
GGUF's own says more.
"""

from typing import Any, cast, overload

from msgspec import UNSET, structs

from allod.chat import ChatRequest, Message, Options
from allod.engine.wire import message as message_body
from allod.models.store import Model

# Ollama's names of sampling parameters → fields of Options, which are also llama.cpp's names in a body.
SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "typical_p": "typical_p",
    "seed": "seed",
    "num_predict": "max_tokens",
    "stop": "stop",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_keep": "n_keep",
}


@overload
def with_defaults(request: ChatRequest, model: Model) -> ChatRequest: ...
@overload
def with_defaults(request: dict[str, Any], model: Model) -> dict[str, Any]: ...
def with_defaults(request: ChatRequest | dict[str, Any], model: Model) -> ChatRequest | dict[str, Any]:
    """The request with the model's defaults under it; the one given is not changed.

    Args:
        request: a ChatRequest, or the body of ``/v1/chat/completions`` or ``/v1/completions``.
    """
    own = sampling(model.params)
    if isinstance(request, dict):
        return raw_with_defaults(request, model, own)
    return structs.replace(
        request,
        messages=with_history(request.messages, model),
        options=over(request.options, own),
    )


def sampling(params: dict[str, Any]) -> dict[str, Any]:
    """The PARAMETERs that say how to sample, by our names. A limit of -1 or -2 is none."""
    own = {ours: params[name] for name, ours in SAMPLING.items() if params.get(name) is not None}
    if own.get("max_tokens", 0) < 0:
        del own["max_tokens"]
    return own


def over(options: Options, own: dict[str, Any]) -> Options:
    """The request's options, and the model's where the request is silent."""
    return structs.replace(options, **{name: value for name, value in own.items() if getattr(options, name) is UNSET})


def with_history(messages: list[Message], model: Model) -> list[Message]:
    """SYSTEM, unless the request has its own; MESSAGE history; the request's turns. An empty request stays empty."""
    if not messages:
        return messages
    head: list[Message] = []
    if messages[0].role == "system":
        head, messages = messages[:1], messages[1:]
    elif model.system:
        head = [Message("system", model.system)]
    return [*head, *model.messages, *messages]


def raw_with_defaults(body: dict[str, Any], model: Model, own: dict[str, Any]) -> dict[str, Any]:
    """The same for a body on the wire."""
    if body.get("max_completion_tokens") is not None or body.get("n_predict") is not None:
        own = {name: value for name, value in own.items() if name != "max_tokens"}
    merged = {**own, **{name: value for name, value in body.items() if value is not None or name not in own}}
    messages = body.get("messages")
    if isinstance(messages, list) and messages and (model.system or model.messages):
        turns = cast("list[Any]", messages)
        head: list[Any] = []
        first: Any = turns[0]
        if isinstance(first, dict) and cast("dict[str, Any]", first).get("role") in ("system", "developer"):
            head, turns = turns[:1], turns[1:]
        elif model.system:
            head = [{"role": "system", "content": model.system}]
        merged["messages"] = [*head, *(message_body(m) for m in model.messages), *turns]
    return merged
