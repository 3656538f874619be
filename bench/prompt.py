"""How long the first prompt of a job is: system prompt, worked example, listing and job, in the model's own tokens.

    .venv/bin/python bench/prompt.py [--split tune|report|all] [--model NAME] [--profile NAME]

    the longest of the tasks in bench/interpreter      at most 900 tokens

Makes each task's files, looks at them in the sandbox as `allod do` does, and counts what the model would be sent first,
with the template and tokenizer of the model (qwen2.5-coder:1.5b, which `make test-all` pulls into this checkout's home,
or where ALLOD_HOME says). Nothing is generated.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent / "interpreter"))

from suite.task import Job, Task, everything, split

from allod.chat import ChatChunk, ChatRequest, Message
from allod.engine import Engine, LoadOptions, Runner
from allod.home import Home
from allod.interpreter import profiles
from allod.interpreter.agent import Agent
from allod.interpreter.workspace import Workspace
from common import ROOT, introduce, record

MOST = 900


class Asked(Exception):
    """The model was asked; what follows is of no interest here."""


class Ear:
    """A runner that keeps what it is asked, and does not answer."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.messages: list[Message] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)

    def chat(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """Keeps the messages."""
        self.messages = list(request.messages)
        raise Asked


async def count(home: Home, runner: Runner, profile: profiles.Profile, task: Task) -> int:
    """Tokens of the first prompt of one task."""
    with tempfile.TemporaryDirectory() as place:
        Job(task, Path(place))
        ear = Ear(runner)
        workspace = Workspace.create(home, Path(place))
        try:
            async with Agent(cast("Runner", ear), workspace, profile) as agent:
                async for _ in agent.run(task.prompts[0]):
                    pass
        except Asked:
            pass
        finally:
            workspace.discard()
        return await runner.count_tokens(ear.messages)


async def measure(asked: argparse.Namespace) -> dict[str, int]:
    """The tokens of each task, by its name."""
    os.environ.setdefault("ALLOD_HOME", str(ROOT / ".cache" / "home"))
    home = Home.open()
    profile = profiles.load(home, asked.profile)
    found: dict[str, int] = {}
    async with Engine(home) as engine, engine.lease(asked.model, LoadOptions(context=8192, slots=1)) as runner:
        names = split()
        for task in everything().values():
            half = next((half for half, those in names.items() if task.name in those), "")
            if asked.split in (half, "all"):
                found[task.name] = await count(home, runner, profile, task)
                print(f"{found[task.name]:5d}  {task.name}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", choices=["tune", "report", "all"], default="all")
    parser.add_argument("--model", default="qwen2.5-coder:1.5b")
    parser.add_argument("--profile", default="default")
    asked = parser.parse_args()
    machine = introduce()
    found = asyncio.run(measure(asked))
    longest = max(found, key=lambda name: found[name])
    print(f"median {statistics.median(found.values()):.0f}, longest {found[longest]} ({longest}), at most {MOST}")
    print(f"{sum(each > MOST for each in found.values())} of {len(found)} are longer")
    record("prompt", machine, {"model": asked.model, "tokens": found})


if __name__ == "__main__":
    main()
