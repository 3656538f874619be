"""Prompts that are too long by any count: refused before the engine spends half a minute on turning them into tokens.

No tokenizer makes fewer tokens of a text than its bytes divided by the longest token of the vocabulary. White space is
left out of the sum, as some tokenizers drop it.
"""

import asyncio
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from allod.engine.runner import Runner
from allod.errors import PromptTooLong
from allod.models.gguf import read_header
from allod.models.store import Model

SHORT = 256 * 1024  # characters; up to here the engine is fast enough to be asked


async def check_length(runner: Runner, model: Model, texts: Iterable[str]) -> None:
    """Returns where the texts together may fit into the context.

    Raises:
        PromptTooLong: they cannot; says how many tokens they are at least, and how many fit.
    """
    texts = list(texts)
    if sum(map(len, texts)) <= SHORT:
        return
    least = -(-sum(map(dense, texts)) // await asyncio.to_thread(longest_token, model))
    if least > runner.facts.context:
        raise PromptTooLong(
            f"the prompt has more than {least} tokens, and the context {runner.facts.context}",
            "Shorten the prompt, or ask for a larger context (num_ctx).",
        )


def dense(text: str) -> int:
    """Bytes of a text without its white space, at least."""
    return len(text) - sum(text.count(space) for space in " \n\t\r")


def longest_token(model: Model) -> int:
    """Bytes of the longest token of a model's vocabulary."""
    return longest_in(model.weights[0])


@lru_cache(maxsize=64)
def longest_in(weights: Path) -> int:
    """Bytes of the longest token of a GGUF file's vocabulary; without one, more than any text has."""
    tokens = read_header(weights, arrays=True).metadata.get("tokenizer.ggml.tokens")
    entries = cast("tuple[Any, ...]", tokens) if isinstance(tokens, tuple) else ()
    return max((len(str(token).encode()) for token in entries), default=1 << 40)
