"""Time to the first token after a cold start, with the prompt's beginning read from disk over computing it.

python bench/prefix.py [MODEL] [--rounds N] [--threads N] [--part jobs|shared]

    first token with a snapshot   over   without                              at most 0.25
    second question after the same 2,000 tokens   over   the first            at most 0.05
    the first one after a restart   over   the very first                     at most 0.15

The question is the one that `allod do` really asks first: the profile's system prompt, a worked example, the folder and
the job (examples/films, then a folder without files that are read). Every round begins with a process of its own; the
time of loading the model is measured apart, and ends when it answers. Rounds alternate, medians are compared. MODEL is
in the store of ALLOD_HOME, by default the first of those that `allod do` is made for, else the tests' SmolLM2. Both
runs must give the same first tokens. The 2,000 tokens are an assistant's system message, of which nobody said that it
would come again: that is seen at the second question, and the time of saving it is part of that one's.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import structs

from allod.chat import ChatRequest, Message, Options
from allod.engine.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.engine.options import LoadOptions
from allod.errors import AllodError
from allod.home import Home
from allod.interpreter.agent import Agent
from allod.interpreter.profiles import Profile, load
from allod.interpreter.workspace import Workspace
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.resolve import resolve
from allod.models.store import Store
from common import ROOT, introduce, record, smollm2
from instant import Instant

LIMIT = 0.25
SHARED = {"second": 0.05, "restarted": 0.15}
MODELS = ("qwen2.5-coder:1.5b", "qwen2.5-coder:0.5b", "smollm2:135m")
JOBS = {
    "films": "Put the table of films in films.pdf into films.xlsx, longest film first",
    "folder": "Rename the text files so that each begins with the number in its name, as in 07_note.txt",
}


def stored(home: Home, wanted: str) -> str:
    """The model to measure with; SmolLM2 is put into the store where there is nothing else."""
    store = Store(home.models)
    for name in [wanted] if wanted else MODELS:
        try:
            return str(resolve(name, store).name)
        except AllodError as error:
            if wanted:
                sys.exit(error.message)
    path = smollm2()
    for _ in create(store, MODELS[-1], parse(f"FROM {path}"), path.parent):
        pass
    return MODELS[-1]


async def question(home: Home, profile: Profile, job: str, folder: Path) -> ChatRequest:
    """What the interpreter asks a model first, of this job in this folder."""
    if job == "films":
        (folder / "films.pdf").write_bytes((ROOT / "examples" / "films" / "films.pdf").read_bytes())
    else:
        for n in range(8):
            (folder / f"note {n}.txt").write_text("Some words.\n")
    model = Instant(["That is all there is to say."])
    async with Agent(model, await asyncio.to_thread(Workspace.create, home, folder), profile) as agent:
        async for _ in agent.run(JOBS[job]):
            pass
        workspace = agent.workspace
    await asyncio.to_thread(workspace.discard)
    asked = model.requests[0]
    turns = [n for n, message in enumerate(asked.messages) if message.text.startswith("Files:")]
    return structs.replace(asked, keep=asked.keep or turns[-1], options=Options(temperature=0.0, max_tokens=8))


@asynccontextmanager
async def loaded(home: Home, model: str, snapshots: str, options: LoadOptions) -> AsyncGenerator[LlamaRunner]:
    """A process that has just loaded the model."""
    home.settings.engine.snapshots = snapshots
    async with Engine(home, slots=1) as engine, engine.lease(model, options) as runner:
        assert isinstance(runner, LlamaRunner)
        yield runner


async def first(runner: LlamaRunner, request: ChatRequest) -> tuple[float, int, int]:
    """Seconds to the first text, tokens of the prompt, and how many of them were there already."""
    began = time.perf_counter()
    taken = 0.0
    prompt = cached = 0
    async for chunk in runner.chat(request):
        taken = taken or (time.perf_counter() - began if chunk.text else 0.0)
        if chunk.usage:
            prompt, cached = chunk.usage.prompt_tokens, chunk.usage.cached_tokens
    return taken, prompt, cached


async def measure(home: Home, model: str, request: ChatRequest, rounds: int, options: LoadOptions) -> dict[str, float]:
    """Medians of all rounds."""
    without: list[float] = []
    with_one: list[float] = []
    loads: list[float] = []
    async with loaded(home, model, "2GB", options) as runner:  # makes the snapshot; weights into the page cache
        making, prompt, _ = await first(runner, request)
    cached = 0
    for _ in range(rounds):
        for setting, times in (("0", without), ("2GB", with_one)):
            began = time.perf_counter()
            async with loaded(home, model, setting, options) as runner:
                loads.append(time.perf_counter() - began)
                taken, prompt, cached = await first(runner, request)
                times.append(taken)
    if cached < 64:
        sys.exit("nothing was read from disk; is the prefix too short, or the cache folder not writable?")
    a, b = statistics.median(with_one), statistics.median(without)
    return {
        "seconds": a,
        "without": b,
        "making": making,
        "load": statistics.median(loads),
        "prompt": prompt,
        "kept": cached,
    }


def house(question: str) -> ChatRequest:
    """A question to an assistant whose instructions are some 2,000 tokens long."""
    lamps = " ".join(f"light.room_{n}: {'on' if n % 3 else 'off'}, brightness {n * 7 % 100}." for n in range(152))
    messages = [
        Message("system", f"You look after a house and answer in a sentence. {lamps}"),
        Message("user", question),
    ]
    return ChatRequest(messages, Options(temperature=0.0, max_tokens=4))


async def measure_shared(home: Home, model: str, rounds: int, options: LoadOptions) -> dict[str, float]:
    """Medians for a beginning that several conversations share."""
    times: dict[str, list[float]] = {"first": [], "second": [], "restarted": []}
    tokens = 0
    for _ in range(rounds):
        shutil.rmtree(home.cache / "snapshots", ignore_errors=True)
        async with loaded(home, model, "2GB", options) as runner:
            for name, question in (("first", "Which lamp is the brightest?"), ("second", "Is it dark in room 9?")):
                taken, tokens, _ = await first(runner, house(question))
                times[name].append(taken)
        async with loaded(home, model, "2GB", options) as runner:
            times["restarted"].append((await first(runner, house("How many lamps are on?")))[0])
    return {name: statistics.median(each) for name, each in times.items()} | {"tokens": tokens}


async def run_shared(home: Home, model: str, asked: argparse.Namespace) -> dict[str, float]:
    """The figures, with their ratios."""
    found = await measure_shared(home, model, asked.rounds, LoadOptions(context=4096, threads=asked.threads))
    for name, limit in SHARED.items():
        found[f"{name} ratio"] = ratio = found[name] / found["first"]
        print(
            f"shared  {found['tokens']:.0f} tokens; {name} {found[name]:.2f} s over {found['first']:.2f} s "
            f"= {ratio:.3f} (at most {limit}) {'ok' if ratio <= limit else 'TOO SLOW'}"
        )
    return {name: round(value, 4) for name, value in found.items()}


async def run(home: Home, model: str, asked: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every job's figures."""
    profile = load(home)
    results: dict[str, dict[str, float]] = {}
    for job in JOBS:
        with tempfile.TemporaryDirectory() as folder:
            request = await question(home, profile, job, Path(folder))
        options = LoadOptions(context=profile.bounds.context, threads=asked.threads)
        found = await measure(home, model, request, asked.rounds, options)
        ratio = found["seconds"] / found["without"]
        print(
            f"{job:<7} {found['prompt']:.0f} tokens, {found['kept']:.0f} of them kept; load {found['load']:.2f} s; "
            f"first token {found['seconds']:.2f} s over {found['without']:.2f} s = {ratio:.3f} (at most {LIMIT}) "
            f"{'ok' if ratio <= LIMIT else 'TOO SLOW'}; when it was made {found['making']:.2f} s"
        )
        results[job] = {name: round(value, 4) for name, value in found.items()} | {"ratio": round(ratio, 4)}
    return results


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--part", choices=["jobs", "shared", "both"], default="both")
    asked = parser.parse_args()
    found = introduce()
    own = Home.open()
    with tempfile.TemporaryDirectory() as place:  # a cache and a database of its own, over the user's store
        home = Home.open({"ALLOD_HOME": place, "ALLOD_MODELS": str(own.models)})
        model = stored(own, asked.model)
        print(f"{model}, medians of {asked.rounds}")
        results = asyncio.run(run(home, model, asked)) if asked.part != "shared" else {}
        shared = asyncio.run(run_shared(home, model, asked)) if asked.part != "jobs" else {}
    record("prefix", found, {"model": model, **results, "shared": shared})
    slow = [result["ratio"] > LIMIT for result in results.values()]
    slow += [shared[f"{name} ratio"] > limit for name, limit in SHARED.items() if shared]
    return int(any(slow))


if __name__ == "__main__":
    sys.exit(main())
