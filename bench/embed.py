"""What it brings to send many texts at once: 256 short ones in one call over one call each.

    .venv/bin/python bench/embed.py [--texts N] [--rounds N] [model.gguf]

    speed of one call over one call each                                  at least 5
    tokens a second of one call over those of texts that fill the context

Both go from the stock ``ollama`` client to ``allod serve``, one after the other in changing order; each round has texts
of its own, a word and a number. The vectors have to be the same but for rounding. The second ratio says how near the
one call is to the most that the machine computes. The model is an encoder of all-MiniLM-L6's shape with random weights
(``encoder``), or the one that is named.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ollama import Client

from common import introduce, record
from encoder import NUMBERS, WORDS, write
from serving import serving

TARGET = 5.0
WAYS = ("one call", "a call each")
CONTEXT = 512


def texts(count: int, number: int) -> list[str]:
    """So many different texts of a word and a number."""
    found = range(number * count, (number + 1) * count)
    return [f"{WORDS[index % len(WORDS)]} {NUMBERS[index % len(NUMBERS)]}" for index in found]


def vectors(client: Client, asked: str | list[str]) -> Sequence[Sequence[float]]:
    """What one call gives."""
    return client.embed("bench", asked, keep_alive=-1).embeddings


def rate(client: Client, asked: list[str]) -> float:
    """Tokens a second of one call."""
    began = time.perf_counter()
    count = client.embed("bench", asked).prompt_eval_count or 0
    return count / (time.perf_counter() - began)


def measure(client: Client, count: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round."""
    times: dict[str, list[float]] = {"one call": [], "a call each": [], "of the most": []}
    vectors(client, "warm")
    for number in range(rounds):
        asked = texts(count, number)
        found: dict[str, list[Sequence[float]]] = {}
        for way in WAYS if number % 2 else WAYS[::-1]:
            began = time.perf_counter()
            if way == "one call":
                found[way] = [*vectors(client, asked)]
            else:
                found[way] = [vectors(client, text)[0] for text in asked]
            times[way].append(time.perf_counter() - began)
        for one, other in zip(*found.values(), strict=True):
            likeness = sum(a * b for a, b in zip(one, other, strict=True))
            assert likeness > 0.999, f"the vectors differ: {likeness}"
        full = [" ".join(WORDS * 45)] * 8  # 495 words and two tokens
        times["of the most"].append(rate(client, texts(count, number + rounds)) / rate(client, full))
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    machine = introduce()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.model.resolve() if asked.model else write(Path(folder) / "encoder.gguf")
        modelfile = f"FROM {path}\nPARAMETER num_ctx {CONTEXT}"
        with serving(Path(folder) / "home", {"bench": modelfile}) as (url, _):
            times = measure(Client(host=url), asked.texts, asked.rounds)
    one, each = (statistics.median(times[way]) for way in WAYS)
    ratio = each / one
    print(f"{asked.texts} texts: one call {one:.2f} s, a call each {each:.2f} s: {ratio:.2f} (at least {TARGET})")
    print(f"one call has {statistics.median(times['of the most']):.2f} of the speed of texts that fill the context")
    record("embed", machine, {"texts": asked.texts, "seconds": times, "ratio": ratio})
    return int(ratio < TARGET)


if __name__ == "__main__":
    sys.exit(main())
