"""A server under load: many clients, two models, two cores.

    .venv/bin/python bench/load.py [MODEL.gguf] [--requests N] [--clients N] [--tokens N] [--cores 0,1]

    requests lost                                                       none
    tokens a second of all together over one request at a time          at least 1.8
    99th percentile of the wait for the first token, over the median    at most 3
    memory when the models are unloaded, over before                    at most 1.2

``allod serve`` in a process of its own, held to the given cores with its children. The models are qwen2.5-coder:1.5b
(as `make test-all` pulled it, or SmolLM2 where it did not, or the one that is named) and a copy of it that differs in
its name, so that they share no child. Each client sends its next
request when it has the last answer; a request asks one of the models for so many tokens, with a prompt of its own. One
at a time is measured before and after, with the same requests. Memory is what the processes hold for themselves.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

from common import introduce, record
from serving import default_model, serving

MODELS = ("load-a", "load-b")
TARGETS = {"speed": 1.8, "wait": 3.0, "memory": 1.2}
ALONE = 24  # requests one at a time, before and after


class Answer(NamedTuple):
    """One request: seconds to the first token, tokens; 0 tokens: it was lost."""

    wait: float
    tokens: int
    error: str = ""


def copy_of(path: Path, folder: Path) -> Path:
    """The same weights under another name within the file."""
    made = folder / "copy.gguf"
    shutil.copyfile(path, made)
    with made.open("r+b") as file:
        file.seek(file.read(65536).index(b"general.name") + len("general.name") + 4 + 8)
        file.write(b"L")
    return made


def held(process: psutil.Process) -> int:
    """Bytes that the server and its children hold for themselves."""
    return sum(each.memory_full_info().uss for each in (process, *process.children(recursive=True)))


async def highest(process: psutil.Process, found: list[int]) -> None:
    """The most they hold, looked at until cancelled; kept in ``found``."""
    while True:
        found[0] = max(found[0], await asyncio.to_thread(held, process))
        await asyncio.sleep(1)


async def ask(http: httpx.AsyncClient, number: int, tokens: int) -> Answer:
    """One streamed answer."""
    body = {
        "model": MODELS[number % 2],
        "messages": [{"role": "user", "content": f"Tell story number {number * 7919 % 1000}."}],
        "max_tokens": tokens,
        "temperature": 0.8,
        "seed": number,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began = time.perf_counter()
    wait, count = 0.0, 0
    try:
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                if "error" in event:
                    return Answer(wait, 0, str(event["error"])[:200])
                if event["choices"] and event["choices"][0]["delta"].get("content"):
                    wait = wait or time.perf_counter() - began
                if event.get("usage"):
                    count = event["usage"]["completion_tokens"]
    except httpx.HTTPError as error:
        return Answer(wait, 0, repr(error))
    return Answer(wait, count, "" if count == tokens else f"{count} tokens")


async def client(url: str, name: int, numbers: Iterator[int], tokens: int) -> list[Answer]:
    """Takes the next number as long as there is one."""
    headers = {"user-agent": f"client {name}"}
    async with httpx.AsyncClient(base_url=url, timeout=600, headers=headers) as http:
        return [await ask(http, number, tokens) for number in numbers]


async def play(url: str, clients: int, count: int, tokens: int) -> tuple[float, list[Answer]]:
    """Tokens a second of so many requests from so many clients, and the answers."""
    numbers = iter(range(count))
    began = time.perf_counter()
    found = await asyncio.gather(*(client(url, name, numbers, tokens) for name in range(clients)))
    answers = [answer for each in found for answer in each]
    return sum(answer.tokens for answer in answers) / (time.perf_counter() - began), answers


async def unload(url: str) -> None:
    """Both models go."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for name in MODELS:
            await http.post("/api/generate", json={"model": name, "keep_alive": 0, "stream": False})
        while (await http.get("/api/ps")).json()["models"]:
            await asyncio.sleep(0.05)


async def measure(url: str, process: psutil.Process, asked: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    await play(url, 8, 8, 4)  # everything is imported and was loaded once
    await unload(url)
    before = held(process)
    await play(url, 2, 2, 4)
    alone = [(await play(url, 1, ALONE, asked.tokens))[0]]
    peak = [0]
    watching = asyncio.create_task(highest(process, peak))
    together, answers = await play(url, asked.clients, asked.requests, asked.tokens)
    watching.cancel()
    alone.append((await play(url, 1, ALONE, asked.tokens))[0])
    await unload(url)
    lost = [answer for answer in answers if answer.error]
    for answer in lost[:5]:
        print(f"lost: {answer.error}")
    waits = sorted(answer.wait for answer in answers if not answer.error)
    return {
        "lost": len(lost) + asked.requests - len(answers),
        "alone": statistics.mean(alone),
        "together": together,
        "median wait": statistics.median(waits),
        "p99 wait": waits[int(len(waits) * 0.99) - 1],
        "memory before": before,
        "memory at the peak": peak[0],
        "memory after": held(process),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--cores", default="0,1")
    asked = parser.parse_args()
    machine = introduce()
    cores = {int(core) for core in asked.cores.split(",")}
    path = (asked.model or default_model()).resolve()
    with tempfile.TemporaryDirectory() as folder:
        files = (path, copy_of(path, Path(folder)))
        models = {name: f"FROM {path}" for name, path in zip(MODELS, files, strict=True)}
        settings = {"ALLOD_ENGINE_THREADS": str(len(cores)), "ALLOD_ENGINE_CONTEXT": "1024"}
        with serving(Path(folder) / "home", models, cores, **settings) as (url, process):
            found = asyncio.run(measure(url, process, asked))
    ratios = {
        "speed": found["together"] / found["alone"],
        "wait": found["p99 wait"] / found["median wait"],
        "memory": found["memory after"] / found["memory before"],
    }
    print(f"{path.name} twice: {asked.requests} requests of {asked.clients} clients, {found['lost']:.0f} lost (none)")
    print(
        f"one at a time {found['alone']:.1f} tokens/s, together {found['together']:.1f}: {ratios['speed']:.2f} "
        f"(at least {TARGETS['speed']})"
    )
    print(f"first token after {found['median wait']:.2f} s (median), {found['p99 wait']:.2f} s (p99): ", end="")
    print(f"{ratios['wait']:.2f} (at most {TARGETS['wait']})")
    sizes = [f"{found[f'memory {when}'] / 1e6:.0f} MB" for when in ("before", "at the peak", "after")]
    print(f"memory {', '.join(sizes)}: {ratios['memory']:.2f} (at most {TARGETS['memory']})")
    record("load", machine, found | {f"{name} ratio": ratio for name, ratio in ratios.items()})
    wrong = ratios["speed"] < TARGETS["speed"] or any(ratios[name] > TARGETS[name] for name in ("wait", "memory"))
    return int(bool(found["lost"]) or wrong)


if __name__ == "__main__":
    sys.exit(main())
