"""What it brings to send many texts at once: 256 short ones in one call over one call each.

    .venv/bin/python bench/embed.py [--texts N] [--rounds N] [model.gguf]

    speed of one call over one call each        at least 5

Both go through allod's own ``/api/embed`` in this process, without a network, one after the other in changing order; each
round has texts of its own. The vectors have to be the same but for rounding. SmolLM2 (as `make test` pulled it), which
gives vectors though it was not made for them, or the model that is named.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from allod.server.app import create_app
from common import introduce, record, smollm2

TARGET = 5.0
WORDS = [
    "sea",
    "harbour",
    "lamp",
    "bicycle",
    "winter",
    "letter",
    "garden",
    "bridge",
    "mountain",
    "coffee",
    "window",
    "music",
    "river",
    "paper",
    "stone",
]


def texts(count: int, number: int) -> list[str]:
    """So many different texts of six words."""
    size = len(WORDS)
    return [
        " ".join(WORDS[(number * 7 + index // size**place + place * 3) % size] for place in range(6)) + f" {index}"
        for index in range(count)
    ]


async def vectors(http: httpx.AsyncClient, asked: str | list[str]) -> list[list[float]]:
    """What one call gives."""
    answer = await http.post("/api/embed", json={"model": "bench", "input": asked, "keep_alive": -1})
    answer.raise_for_status()
    return answer.json()["embeddings"]


async def measure(http: httpx.AsyncClient, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round."""
    times: dict[str, list[float]] = {"one call": [], "a call each": []}
    await vectors(http, "warm")
    for number in range(rounds):
        asked = texts(count, number)
        found: dict[str, list[list[float]]] = {}
        for way in list(times) if number % 2 else reversed(times):
            began = time.perf_counter()
            if way == "one call":
                found[way] = await vectors(http, asked)
            else:
                found[way] = [(await vectors(http, text))[0] for text in asked]
            times[way].append(time.perf_counter() - began)
        for one, other in zip(*found.values(), strict=True):
            likeness = sum(a * b for a, b in zip(one, other, strict=True))
            assert likeness > 0.999, f"the vectors differ: {likeness}"
    return times


async def run(path: Path, count: int, rounds: int) -> dict[str, list[float]]:
    """The same, with a store and an application for it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open({"ALLOD_HOME": folder})
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
    times = asyncio.run(run((asked.model or smollm2()).resolve(), asked.texts, asked.rounds))
    one, each = (statistics.median(times[way]) for way in ("one call", "a call each"))
    ratio = each / one
    print(f"{asked.texts} texts: one call {one:.2f} s, a call each {each:.2f} s: {ratio:.2f} (at least {TARGET})")
    record("embed", machine, {"texts": asked.texts, "seconds": times, "ratio": ratio})
    return int(ratio < TARGET)


if __name__ == "__main__":
    sys.exit(main())
