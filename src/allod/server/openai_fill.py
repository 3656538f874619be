"""/v1/completions with a suffix: llama.cpp fills gaps on a path of its own, so this answer is written here."""

import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from allod.chat import ChatChunk, CompletionRequest, Usage
from allod.errors import BadRequest
from allod.server import ollama_requests as native
from allod.server.door import encode
from allod.server.openai_wire import CompletionBody, Filled, FilledChoice, FilledUsage

PLAIN = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty")


def fill_request(body: CompletionBody) -> CompletionRequest:
    """The request in the one language inside.

    Raises:
        BadRequest: what a gap cannot be filled with.
    """
    if not isinstance(body.prompt, str) or (body.n or 1) != 1 or body.logprobs is not None or body.logit_bias:
        raise BadRequest("a suffix goes with one prompt of text, without n, logprobs and logit_bias")
    options = native.options(body.options)
    for name in PLAIN:
        if (value := getattr(body, name)) is not None:
            setattr(options, name, value)
    if body.stop is not None:
        options.stop = [body.stop] if isinstance(body.stop, str) else body.stop
    return CompletionRequest(body.prompt, options, body.suffix or "")


class Filling:
    """One answer in the making."""

    def __init__(self, model: str, body: CompletionBody) -> None:
        self.model = model
        self.stream = bool(body.stream)
        self.usage = not body.stream or bool(body.stream_options and body.stream_options.include_usage)
        self.id = f"cmpl-{secrets.token_urlsafe(18)}"
        self.created = int(time.time())

    async def of(self, chunks: AsyncIterator[ChatChunk]) -> AsyncGenerator[bytes]:
        """Server-sent events, or one JSON object."""
        text = ""
        async with aclosing(cast("AsyncGenerator[ChatChunk]", chunks)):
            async for chunk in chunks:
                text += chunk.text
                if self.stream and chunk.text:
                    yield self._event([FilledChoice(chunk.text, None)])
                if chunk.finish is None:
                    continue
                finish = "length" if chunk.finish == "length" else "stop"
                used = counted(chunk.usage or Usage())
                if not self.stream:
                    yield encode(self._object([FilledChoice(text, finish)], used))
                    return
                yield self._event([FilledChoice("", finish)])
                yield (self._event([], used) if self.usage else b"") + b"data: [DONE]\n\n"

    def _object(self, choices: list[FilledChoice], usage: FilledUsage | None = None) -> Filled:
        return Filled(self.id, self.created, self.model, "text_completion", choices, usage)

    def _event(self, choices: list[FilledChoice], usage: FilledUsage | None = None) -> bytes:
        return b"data: " + encode(self._object(choices, usage)) + b"\n\n"


def counted(usage: Usage) -> FilledUsage:
    """Tokens in OpenAI's names."""
    return FilledUsage(usage.prompt_tokens, usage.output_tokens, usage.prompt_tokens + usage.output_tokens)
