"""What continuous batching brings: tokens a second of 8 streams together over those of 1 stream.

    .venv/bin/python bench/batching.py [--rounds N] [--tokens N] [--slots N] [--threads N] [model.gguf]

    at least 1.8

One child, SmolLM2 (as `make test` pulled it), loaded by the engine as it does by default but for the slots. Rounds of 1
and of 8 streams alternate; each stream begins with a prompt of its own and has the same number of tokens. A round is
timed from the first request to the last chunk; what is compared is the median of the rounds.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from allod.chat import ChatRequest, Message, Options
from allod.engine import Engine, LoadOptions, Runner
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from common import introduce, record, smollm2

STREAMS = 8
TARGET = 1.8


async def stream(runner: Runner, tokens: int, number: int) -> int:
    """One answer of exactly so many tokens; returns how many came."""
    request = ChatRequest(
        [Message("user", f"Tell story number {number}.")],
        Options(max_tokens=tokens, temperature=0.0, extra={"ignore_eos": True}),
    )
    count = 0
    async for chunk in runner.chat(request):
        if chunk.usage:
            count = chunk.usage.output_tokens
    return count


async def play(runner: Runner, streams: int, tokens: int) -> float:
    """Tokens a second of so many streams together."""
    began = time.perf_counter()
    counts = await asyncio.gather(*(stream(runner, tokens, number) for number in range(streams)))
    assert counts == [tokens] * streams, counts
    return sum(counts) / (time.perf_counter() - began)


async def measure(path: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """The rounds of both."""
    rates: dict[str, list[float]] = {"one": [], "many": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open({"ALLOD_HOME": folder})
        for _ in create(Store(home.models), "bench", parse(f"FROM {path}"), path.parent):
            pass
        # Rounds repeat each other word for word, so nothing may be guessed from what was written before.
        options = LoadOptions(context=2048, slots=arguments.slots, threads=arguments.threads, exact=True)
        async with Engine(home) as engine, engine.lease("bench", options) as runner:
            await play(runner, STREAMS, 8)
            for _ in range(arguments.rounds):
                rates["one"].append(await play(runner, 1, arguments.tokens))
                rates["many"].append(await play(runner, STREAMS, arguments.tokens))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--slots", type=int, default=STREAMS)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    found = introduce()
    rates = asyncio.run(measure((arguments.model or smollm2()).resolve(), arguments))
    one, many = statistics.median(rates["one"]), statistics.median(rates["many"])
    ratio = many / one
    print(f"1 stream   {one:7.1f} tokens/s   {', '.join(f'{rate:.1f}' for rate in rates['one'])}")
    print(f"{STREAMS} streams  {many:7.1f} tokens/s   {', '.join(f'{rate:.1f}' for rate in rates['many'])}")
    print(f"ratio      {ratio:7.2f}   (at least {TARGET}: {'yes' if ratio >= TARGET else 'NO'})")
    record("batching", found, {"streams": STREAMS, "slots": arguments.slots, "rates": rates, "ratio": ratio})


if __name__ == "__main__":
    main()
