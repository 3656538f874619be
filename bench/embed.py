"""What it brings to send many texts at once: 256 short ones in one call over one call each.

    .venv/bin/python bench/embed.py [--texts N] [--rounds N] [model.gguf]

    speed of one call over one call each                                  at least 5
    tokens a second of one call over those of texts that fill the context

Both go through allod's own ``/api/embed`` in this process, without a network, one after the other in changing order;
each round has texts of its own. The vectors have to be the same but for rounding. The second ratio says how near the
one call is to the most that the machine computes. The model is an encoder of all-MiniLM-L6's shape with random weights
(``encoder``), or the one that is named.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from allod.server.app import create_app
from common import introduce, record
from encoder import write

TARGET = 5.0
WAYS = ("one call", "a call each")
WORDS = ("sea", "harbour", "lamp", "bicycle", "winter", "letter", "garden", "bridge", "mountain", "coffee", "music")


def texts(count: int, number: int) -> list[str]:
    """So many different texts of a word and a number."""
    return [f"{WORDS[(index + number) % len(WORDS)]} {number * count + index}" for index in range(count)]


async def called(http: httpx.AsyncClient, asked: str | list[str]) -> dict[str, Any]:
    """What one call gives."""
    answer = await http.post("/api/embed", json={"model": "bench", "input": asked, "keep_alive": -1})
    answer.raise_for_status()
    return answer.json()


async def vectors(http: httpx.AsyncClient, asked: str | list[str]) -> list[list[float]]:
    """Its vectors."""
    return (await called(http, asked))["embeddings"]


async def rate(http: httpx.AsyncClient, asked: list[str]) -> float:
    """Its tokens a second."""
    began = time.perf_counter()
    return (await called(http, asked))["prompt_eval_count"] / (time.perf_counter() - began)


async def measure(http: httpx.AsyncClient, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round."""
    times: dict[str, list[float]] = {"one call": [], "a call each": [], "of the most": []}
    await vectors(http, "warm")
    for number in range(rounds):
        asked = texts(count, number)
        found: dict[str, list[list[float]]] = {}
        for way in WAYS if number % 2 else WAYS[::-1]:
            began = time.perf_counter()
            if way == "one call":
                found[way] = await vectors(http, asked)
            else:
                found[way] = [(await vectors(http, text))[0] for text in asked]
            times[way].append(time.perf_counter() - began)
        for one, other in zip(*found.values(), strict=True):
            likeness = sum(a * b for a, b in zip(one, other, strict=True))
            assert likeness > 0.999, f"the vectors differ: {likeness}"
        short, full = await rate(http, texts(count, number + rounds)), await rate(http, ["harbour " * 60] * 8)
        times["of the most"].append(short / full)
    return times


async def run(path: Path | None, count: int, rounds: int) -> dict[str, list[float]]:
    """The same, with a store and an application for it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open({"ALLOD_HOME": folder})
        path = path or write(Path(folder) / "encoder.gguf")
        for _ in create(Store(home.models), "bench", parse(f"FROM {path}\nPARAMETER num_ctx 512"), path.parent):
            pass
        app = create_app(home)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=600) as http,
        ):
            return await measure(http, count, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    machine = introduce()
    times = asyncio.run(run(asked.model and asked.model.resolve(), asked.texts, asked.rounds))
    one, each = (statistics.median(times[way]) for way in ("one call", "a call each"))
    ratio = each / one
    print(f"{asked.texts} texts: one call {one:.2f} s, a call each {each:.2f} s: {ratio:.2f} (at least {TARGET})")
    print(f"one call has {statistics.median(times['of the most']):.2f} of the speed of texts that fill the context")
    record("embed", machine, {"texts": asked.texts, "seconds": times, "ratio": ratio})
    return int(ratio < TARGET)


if __name__ == "__main__":
    sys.exit(main())
