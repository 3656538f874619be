"""What guessing tokens ahead brings: tokens a second with it over those without.

    .venv/bin/python bench/speculation.py [--rounds N] [--threads N] [--draft small.gguf] [model.gguf]

    code that is tried again      at least 1.1
    prose on other subjects       at least 0.95

Two children of the engine, one that guesses (``engine.speculate``, the default) and one that does not, are asked the
same by turns, one request at a time. ``code``: a job of `allod do`, answered with five seeds at the temperature of
fresh attempts, each round of another job. ``prose``: questions that have nothing in common. The model is
qwen2.5-coder:1.5b where `make test-all` pulled it, else SmolLM2, or the one that is named. With ``--draft`` that small
model does the guessing.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path

from allod.chat import ChatRequest, Message, Options
from allod.engine import Engine, LoadOptions, Runner
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from common import introduce, record
from serving import default_model

JOBS = [
    "sales.csv has the columns region, product, units and price. Write Python that prints the revenue of each"
    " region, highest first, and saves it as regions.csv.",
    "log.txt has lines such as 2024-05-01 12:00:07 ERROR disk full. Write Python that counts the errors of each hour"
    " and saves them as hours.csv with the columns hour and errors.",
    "The folder pictures has JPEG files. Write Python that makes each one 640 pixels wide, keeps its shape, and saves"
    " it in the folder small under the same name.",
]
QUESTIONS = [
    "Why is the sky blue?",
    "How does a bicycle stay upright?",
    "What did the Romans eat for breakfast?",
    "Explain compound interest to a child.",
    "Which rivers flow through Vienna?",
    "How is glass made?",
]
TARGETS = {"code": 1.1, "prose": 0.95}
SEEDS = 5


async def answer(runner: Runner, text: str, seed: int) -> tuple[int, float]:
    """Tokens of one answer, and the seconds that the engine says they took."""
    options = Options(max_tokens=160, temperature=0.6, seed=seed)
    tokens, seconds = 0, 0.0
    async for chunk in runner.chat(ChatRequest([Message("user", text)], options)):
        if chunk.usage:
            tokens, seconds = chunk.usage.output_tokens, chunk.usage.output_seconds
    assert tokens and seconds
    return tokens, seconds


async def rate(runner: Runner, kind: str, number: int) -> float:
    """Tokens a second of one round."""
    asked = [(JOBS[number % len(JOBS)], seed) for seed in range(SEEDS)]
    if kind == "prose":
        asked = [(text, number) for text in QUESTIONS[number % 2 :: 2]]
    found = [await answer(runner, text, seed) for text, seed in asked]
    return sum(tokens for tokens, _ in found) / sum(seconds for _, seconds in found)


async def measure(path: Path, draft: Path | None, rounds: int, threads: int) -> dict[str, list[float]]:
    """The ratio of each round, by kind."""
    found: dict[str, list[float]] = {kind: [] for kind in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open({"ALLOD_HOME": folder})
        recipe = f"FROM {path}\n" + (f"DRAFT {draft}" if draft else "")
        for _ in create(Store(home.models), "bench", parse(recipe), path.parent):
            pass
        plain, guessing = (LoadOptions(context=2048, slots=1, threads=threads, exact=exact) for exact in (True, False))
        async with (
            Engine(home) as one,
            Engine(home) as other,
            one.lease("bench", plain) as without,
            other.lease("bench", guessing) as with_,
        ):
            for kind in TARGETS:
                for number in range(rounds):
                    runners = (without, with_) if number % 2 else (with_, without)
                    rates = {runner: await rate(runner, kind, number) for runner in runners}
                    found[kind].append(rates[with_] / rates[without])
                    print(f"{kind} {rates[without]:.1f} → {rates[with_]:.1f} tokens/s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--draft", type=Path)
    parser.add_argument("model", type=Path, nargs="?")
    asked = parser.parse_args()
    machine = introduce()
    path = asked.model or default_model()
    found = asyncio.run(measure(path.absolute(), asked.draft and asked.draft.absolute(), asked.rounds, asked.threads))
    ratios = {kind: statistics.median(each) for kind, each in found.items()}
    for kind, ratio in ratios.items():
        print(f"{kind}: {ratio:.2f} (at least {TARGETS[kind]})")
    record(
        "speculation",
        machine,
        {"model": path.name, "draft": asked.draft and asked.draft.name, "ratios": found, "median": ratios},
    )


if __name__ == "__main__":
    main()
