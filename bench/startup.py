"""How long starting takes, side by side in one run.

python bench/startup.py [GGUF] [--rounds N]

    allod --version               over   python -c pass                       at most 4
    allod run smollm2 hi          over   the bare worker doing the same       at most 1.5

The second is the time from the start of the process to the first byte of the answer on stdout. The bare worker is one
process that imports xllamacpp, loads the same file with the parameters and variables that allod gives its own worker,
and streams one answer: what no program around it can be faster than. Rounds alternate, medians are compared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from allod.engine.child import ENVIRONMENT
from common import introduce, record, smollm2

ALLOD = Path(sys.executable).with_name("allod")
PROMPT = "hi"

BARE = """
import sys
import xllamacpp

p = xllamacpp.CommonParams()
p.model.path = sys.argv[1]
p.n_ctx, p.n_parallel = int(sys.argv[2]), int(sys.argv[3])
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(sys.argv[4])
p.use_jinja, p.warmup, p.fit_params, p.ui, p.port, p.verbosity = True, False, False, False, 0, 1
p.cache_ram_mib = 0
server = xllamacpp.Server(p)

def show(event):
    for choice in event.get("choices", []):
        print(choice["delta"].get("content") or "", end="", flush=True)
    return False

messages = [{"role": "user", "content": sys.argv[5]}]
server.handle_chat_completions({"messages": messages, "stream": True}, show)
"""


def whole(command: list[str | Path], env: dict[str, str]) -> float:
    """Seconds of a process from start to end."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def first_byte(command: list[str | Path], env: dict[str, str]) -> float:
    """Seconds of a process from its start to the first byte on its stdout; then it is ended."""
    began = time.perf_counter()
    child = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None
    got = child.stdout.read(1)
    taken = time.perf_counter() - began
    child.kill()
    _, err = child.communicate()
    if not got:
        sys.exit(f"{command[0]} printed nothing:\n{err.decode(errors='replace')}")
    return taken


def compare(what: str, ours: list[float], theirs: list[float], limit: float) -> dict[str, float]:
    """Prints the two medians, in ms, and their ratio."""
    a, b = statistics.median(ours) * 1000, statistics.median(theirs) * 1000
    verdict = "ok" if a / b <= limit else "TOO SLOW"
    print(f"{what:<24} {a:7.1f} ms over {b:7.1f} ms = {a / b:.2f} (at most {limit}) {verdict}")
    return {"ms": round(a, 1), "bare_ms": round(b, 1), "ratio": round(a / b, 3), "limit": limit}


def shape(env: dict[str, str]) -> list[str]:
    """Context, slots and threads that allod chooses here for SmolLM2, by asking it."""
    code = """
import asyncio
from allod.engine import Engine
from allod.home import Home
from allod.models.store import Store

async def main():
    home = Home.open()
    async with Engine(home, Store(home.models), slots=1) as engine, engine.lease("smollm2:135m") as runner:
        load = runner.load
        print(load.context * load.slots, load.slots, load.threads)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    return done.stdout.split()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    gguf = asked.gguf or smollm2()
    found = introduce()
    with tempfile.TemporaryDirectory() as folder:
        env = {k: v for k, v in os.environ.items() if not k.startswith("ALLOD_")} | {"ALLOD_HOME": folder}
        create: list[str | Path] = [ALLOD, "create", "smollm2:135m", "--from", gguf]
        subprocess.run(create, env=env, check=True, stderr=subprocess.DEVNULL)
        context, slots, threads = shape(env)
        print(f"context {context}, slots {slots}, threads {threads}; medians of {asked.rounds}")
        bare: list[str | Path] = [sys.executable, "-c", BARE, gguf, context, slots, threads, PROMPT]
        run: list[str | Path] = [ALLOD, "run", "smollm2", PROMPT]
        version: list[float] = []
        nothing: list[float] = []
        ours: list[float] = []
        theirs: list[float] = []
        (
            first_byte(bare, env | ENVIRONMENT),
            first_byte(run, env),
        )  # the files into the page cache, the bytecode onto the disk
        for _ in range(asked.rounds):
            version.append(whole([ALLOD, "--version"], env))
            nothing.append(whole([sys.executable, "-c", "pass"], env))
            theirs.append(first_byte(bare, env | ENVIRONMENT))
            ours.append(first_byte(run, env))
    results = {
        "version": compare("allod --version", version, nothing, 4.0),
        "run": compare("allod run smollm2 hi", ours, theirs, 1.5),
    }
    record("startup", found, results)
    return int(any(result["ratio"] > result["limit"] for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
