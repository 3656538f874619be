"""Vectors as both doors give them: inputs cut to the context where that is wanted, results cut and of length 1."""

import asyncio
import math
from typing import Any, TypeGuard, cast

from allod.chat import Embeddings
from allod.engine.runner import Runner
from allod.errors import EngineFailed, PromptTooLong
from allod.models.store import Model
from allod.server.prompts import check_length, longest_token

ROUNDING = 1e-6  # the engine gives vectors of length 1, but for that
MARGIN = 8  # tokens: those a model puts around a text, and a cut text may have one or two more than were cut


TRUNCATED = "x-truncated"  # header of an answer: how many inputs were cut


async def embedded(
    runner: Runner, model: Model, inputs: list[str] | list[list[int]], truncate: bool
) -> tuple[Embeddings, list[int]]:
    """One vector an input, and the numbers of those that were cut. Texts longer than the context are cut where
    ``truncate`` allows it.

    Raises:
        PromptTooLong: longer, and it does not.
    """
    try:
        for text in inputs:
            if isinstance(text, str):
                await check_length(runner, model, [text])
        return await runner.embed(inputs), []
    except PromptTooLong as error:
        if not truncate or not texts(inputs):
            raise PromptTooLong("the input length exceeds the context length") from error
    most = runner.facts.context - MARGIN
    longest = await asyncio.to_thread(longest_token, model)
    short = [await cut(runner, text[: 4 * most * longest], most) for text in inputs]
    return await runner.embed(short), [number for number, text in enumerate(inputs) if short[number] != text]


def told(cut_inputs: list[int]) -> dict[str, str]:
    """The header that says how many inputs were cut; none where none were."""
    return {TRUNCATED: str(len(cut_inputs))} if cut_inputs else {}


async def cut(runner: Runner, text: str, most: int) -> str:
    """The beginning of a text, of at most ``most`` tokens."""
    tokens = await runner.tokenize(text, special=False)
    return text if len(tokens) <= most else await runner.detokenize(tokens[:most])


def shortened(vector: list[float], dimensions: int | None) -> list[float]:
    """The first ``dimensions`` of a vector, made length 1; all of them for None.

    Raises:
        EngineFailed: not a vector of numbers.
    """
    short = vector[:dimensions] if dimensions else vector
    norm = math.hypot(*short)
    if not math.isfinite(norm):
        raise EngineFailed("the model gave an embedding that is not a number", "Try another build of the model.")
    return short if not norm or abs(norm - 1) < ROUNDING else [x / norm for x in short]


def texts(value: Any) -> TypeGuard[list[str]]:
    """Whether that is a list of nothing but texts."""
    return isinstance(value, list) and all(isinstance(entry, str) for entry in cast("list[Any]", value))


def tokens(value: Any) -> TypeGuard[list[int]]:
    """Whether that is a list of nothing but token ids, and not empty."""
    return (
        isinstance(value, list)
        and bool(cast("list[Any]", value))
        and all(type(entry) is int for entry in cast("list[Any]", value))
    )
