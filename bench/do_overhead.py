"""What `allod do` adds to the model's time and the code's own: real kernels and sandbox, a model that answers at once.

python bench/do_overhead.py [--rounds N] [--steps N]

    kernel ready        from nothing to a workspace and a kernel that answers     at most 1.5 s
    a step that prints  from the model's block to the next question for it        at most 100 ms
    a step that saves   the same, where the block also writes a table of 300 rows at most 100 ms

The code itself takes the time that it says it takes, which is taken off. The job is done in a folder of 40 files. Also
printed, without a limit: from the job to the first question, which is when the folder is looked at and files are read.
Medians over all rounds and steps.
"""

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from allod.home import Home
from allod.interpreter.agent import Agent
from allod.interpreter.profiles import load
from allod.interpreter.workspace import Workspace
from common import introduce, record
from instant import Instant

READY, STEP = 1.5, 0.1  # seconds
TASK = "How much do the orders in orders.csv come to for each month? Tell me the numbers."
SAVE = 'pd.DataFrame({{"n": range(300), "m": {n}}}).to_csv("out_{n}.csv", index=False)'
TAKEN = re.compile(r"took ([0-9.e-]+) s")


def block(number: int, work: str) -> str:
    """A block that does ``work`` and says how long it took."""
    lines = (
        "import time",
        "began = time.perf_counter()",
        work,
        f'print({number}, "took", time.perf_counter() - began, "s")',
    )
    return "```python\n" + "\n".join(lines) + "\n```"


KINDS = {"prints": lambda n: block(n, f"x = {n}"), "saves": lambda n: block(n, SAVE.format(n=n))}


@dataclass
class Times:
    """Seconds."""

    ready: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def fill(folder: Path) -> None:
    """The files that the job finds."""
    rows = "".join(f"2024-{n % 12 + 1:02d}-{n % 28 + 1:02d},{n % 90},{n % 7 + 0.5}\n" for n in range(2000))
    (folder / "orders.csv").write_text("day,customer,amount\n" + rows)
    for n in range(39):
        (folder / f"note {n}.txt").write_text(f"note {n}\n" * 20)


async def job(home: Home, folder: Path, kind: str, steps: int, times: Times) -> None:
    """One job: its kernel's start, its first question, its steps."""
    profile = load(home)
    profile = structs.replace(profile, bounds=structs.replace(profile.bounds, steps=steps + 1, attempts=1))
    model = Instant([*(KINDS[kind](n) for n in range(steps)), "That is all there is to say."])
    began = time.perf_counter()
    workspace = await asyncio.to_thread(Workspace.create, home, folder)
    async with Agent(model, workspace, profile) as agent:
        await agent.warm()
        times.ready.append(time.perf_counter() - began)
        began = time.perf_counter()
        async for _ in agent.run(TASK):
            pass
        times.first.append(model.asked[0] - began)
        for n, request in enumerate(model.requests[1:]):
            taken = TAKEN.search(request.messages[-1].text)
            if taken is None:
                sys.exit(f"step {n} did not run as it should:\n{request.messages[-1].text}")
            times.steps[kind].append(model.asked[n + 1] - model.said[n] - float(taken[1]))
        workspace = agent.workspace
    await asyncio.to_thread(workspace.discard)
    if len(model.requests) != steps + 1:
        sys.exit(f"the job ended after {len(model.requests)} questions, not {steps + 1}")


def show(what: str, seconds: list[float], limit: float | None) -> dict[str, float | None]:
    """Prints the median and the slowest."""
    median, worst = statistics.median(seconds), max(seconds)
    verdict = "" if limit is None else f"(at most {limit * 1000:.0f}) {'ok' if median <= limit else 'TOO SLOW'}"
    print(f"{what:<32} {median * 1000:7.1f} ms, slowest {worst * 1000:7.1f} ms, of {len(seconds)} {verdict}")
    return {"seconds": round(median, 4), "slowest": round(worst, 4), "limit": limit}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    asked = parser.parse_args()
    found = introduce()
    times = Times()
    with tempfile.TemporaryDirectory() as place:
        home = Home.open({"ALLOD_HOME": f"{place}/home"})
        folder = Path(place) / "folder"
        folder.mkdir()
        fill(folder)
        asyncio.run(job(home, folder, "prints", 1, Times()))  # bytecode and libraries into the page cache
        for _ in range(asked.rounds):
            for kind in KINDS:
                asyncio.run(job(home, folder, kind, asked.steps, times))
    results = {
        "ready": show("kernel ready", times.ready, READY),
        "first": show("from the job to the first question", times.first, None),
        **{kind: show(f"a step that {kind}", seconds, STEP) for kind, seconds in times.steps.items()},
    }
    record("do_overhead", found, results)
    return int(any(r["limit"] is not None and r["seconds"] > r["limit"] for r in results.values()))


if __name__ == "__main__":
    sys.exit(main())
