"""A job from the command line: the model is leased, the agent works, the person is asked, the changes are applied.

    code = await work(home, Wanted("Total the invoices", Path(), …))     # an exit code

Asks before each block of code and before changes are applied, unless ``yes``. Ctrl-C ends what is going on, and the
conversation goes on where there is one; a second Ctrl-C leaves.
"""

import asyncio
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from allod.cli.output import note
from allod.cli.transcript import JsonLines, Transcript
from allod.errors import AllodError

if TYPE_CHECKING:
    from allod.engine.runner import Runner
    from allod.home import Home
    from allod.interpreter.agent import Agent
    from allod.interpreter.attempt import Decision
    from allod.interpreter.conversations import Conversation
    from allod.interpreter.events import Code, Event, Status
    from allod.interpreter.profiles import Profile
    from allod.interpreter.workspace import Change

HELP = """What to do with the files here, in your words. Further:
  /undo      takes back what was applied last
  /clear     forgets the conversation
  /bye       leaves, as Ctrl-D does"""
EXIT = {"done": 0, "failed": 1, "limit": 1, "declined": 1, "stopped": 130}


class Wanted(Struct, frozen=True):
    """What the command line says."""

    task: str
    folder: Path
    model: str
    profile: str
    max_steps: int  # 0: the profile's
    seed: int | None
    yes: bool
    go_on: bool
    as_json: bool
    keep_alive: float | None


async def work(home: "Home", wanted: Wanted) -> int:
    """Does the job, or holds a conversation where there is none yet. Returns the exit code.

    Raises:
        AllodError: the folder, the profile or the model cannot be used.
    """
    from allod.cli.chat import Chat, Settings
    from allod.cli.fetch import leased
    from allod.engine import connect
    from allod.interpreter import profiles
    from allod.interpreter.conversations import Conversation
    from allod.interpreter.workspace import checked

    folder = checked(wanted.folder)
    profile = profiles.load(home, wanted.profile)
    bounds, sampling = profile.bounds, profile.sampling
    profile = msgspec.structs.replace(
        profile,
        bounds=msgspec.structs.replace(bounds, steps=wanted.max_steps or bounds.steps),
        sampling=msgspec.structs.replace(sampling, seed=sampling.seed if wanted.seed is None else wanted.seed),
    )
    before = Conversation.last(home, folder) if wanted.go_on else None
    model = wanted.model or (before.model if before else profile.model)
    settings = Settings(params={"num_ctx": profile.bounds.context}, keep_alive=wanted.keep_alive)
    async with connect(home) as engine, leased(home, Chat(engine, model, settings)) as runner:
        conversation = before or Conversation.begin(home, folder, model, wanted.task or "conversation")
        desk = Desk(home, folder, profile, runner, conversation, wanted)
        try:
            return await desk.one(wanted.task) if wanted.task else await desk.converse()
        finally:
            await desk.close()


class Desk:
    """Where one person works with one agent on one folder."""

    def __init__(
        self,
        home: "Home",
        folder: Path,
        profile: "Profile",
        runner: "Runner",
        conversation: "Conversation",
        wanted: Wanted,
    ) -> None:
        self.home = home
        self.folder = folder
        self.profile = profile
        self.runner = runner
        self.conversation = conversation
        self.wanted = wanted
        self.view = JsonLines() if wanted.as_json else Transcript()
        self.asks = not wanted.yes  # until the person says "all"
        self.agent = self._agent()
        self._stopping: asyncio.Future[None] | None = None

    def _agent(self) -> "Agent":
        from allod.interpreter.agent import Agent
        from allod.interpreter.workspace import Workspace

        asked = not self.wanted.yes
        return Agent(
            self.runner,
            Workspace.create(self.home, self.folder),
            self.profile,
            approve=self.approve if asked else None,
            ask=self.input if asked else None,
            history=self.conversation.messages,
            codes=self.conversation.blocks,
        )

    async def close(self) -> None:
        """Ends the session; what was not applied is dropped."""
        await self.agent.close()
        self.agent.workspace.discard()

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def one(self, task: str) -> int:
        """One job to its end; returns the exit code."""
        from allod.interpreter import events as e

        seen: list[Event] = []
        status: Status = "failed"
        changes: tuple[Change, ...] = ()
        with Interrupts(self.interrupt):
            async with aclosing(self.agent.run(task, conversation=self.conversation.id)) as events:
                async for event in events:
                    seen.append(event)
                    if isinstance(event, e.Ended):
                        status = event.status
                        break
                    self.view.show(event)
                    changes = event.changes if isinstance(event, e.Changes) else changes
        if changes and (applied := await self.apply(changes, status)):
            seen.insert(-1, applied)
            self.view.show(applied)
        self.view.show(seen[-1])
        self.conversation.add(self.agent.history, self.agent.codes, seen)
        return self.verdict(seen[-1])

    def verdict(self, last: "Event") -> int:
        """The exit code; on the terminal, why the job was not done."""
        from allod.interpreter.events import Ended

        assert isinstance(last, Ended)
        if last.status in ("failed", "limit") and not self.wanted.as_json:
            note(f"Not done: {last.reason or 'the model gave up'}")
            note("Say it in smaller steps, or take a larger model with --model.")
        return EXIT[last.status]

    async def apply(self, changes: "Sequence[Change]", status: "Status") -> "Event | None":
        """Writes the changes into the folder as the person wants; the event of it."""
        from allod.interpreter.events import Applied

        if self.wanted.yes and status != "done":
            note("Nothing was applied, as the job was not done.")
            return None
        if self.wanted.yes and empties(self.folder, changes):
            note("Nothing was applied, as it would delete every file there is. Without --yes you are asked.")
            return None
        paths = None if self.wanted.yes else await self.chosen(changes)
        if paths is not None and not paths:
            note("Nothing was applied.")
            return None
        try:
            done = await asyncio.to_thread(self.agent.workspace.apply, paths)
        except AllodError as error:
            if self.wanted.task:
                raise
            note(f"Error: {error.message}\n{error.remedy}")
            return None
        for change in done.refused:
            note(f"Left out: {change.path}: {change.note}")
        return Applied(done.folder, tuple(change.path for change in done.changes)) if done.changes else None

    async def converse(self) -> int:
        """Jobs one after the other, until /bye, Ctrl-D or Ctrl-C twice."""
        from allod.cli.reader import Interrupted, Reader

        reader = Reader(self.home.data / "do_history", ("/undo", "/clear", "/bye", "/?", "/help"))
        leaving = False
        while True:
            try:
                text = await reader.read()
            except EOFError:
                return 0
            except Interrupted:
                if leaving:
                    return 0
                leaving = True
                note("Ctrl-C once more leaves, and so does Ctrl-D or /bye.")
                continue
            leaving = False
            if text in ("/bye", "/exit", "/quit"):
                return 0
            if text.startswith("/"):
                await self.command(text)
            elif text:
                await self.one(text)

    async def command(self, text: str) -> None:
        """What begins with a slash."""
        from allod.cli.undo import undo
        from allod.interpreter.conversations import Conversation

        if text == "/undo":
            try:
                undo(self.folder)
            except AllodError as error:
                note(f"Error: {error.message}\n{error.remedy}")
        elif text == "/clear":
            await self.close()
            self.conversation = Conversation.begin(self.home, self.folder, self.conversation.model, "conversation")
            self.agent = self._agent()
        else:
            note(HELP if text in ("/?", "/help") else f"There is no {text.split()[0]}; /? lists what there is.")

    # ── the person ──────────────────────────────────────────────────────────────────────────────────────────────────

    def interrupt(self) -> None:
        """Ctrl-C: the first one ends what is going on."""
        self._stopping = asyncio.ensure_future(self.agent.stop())

    async def approve(self, code: "Code") -> "Decision":
        """Before a block is run: yes, no, edit it, or yes to all from here on."""
        from allod.interpreter.attempt import Decision

        if not self.asks:
            return Decision(True)
        answer = await asked("Run it? [y]es [n]o [e]dit [a]ll ", "ynea")
        if answer == "a":
            self.asks = False
        if answer == "e":
            return Decision(True, await asyncio.to_thread(edited, code.code))
        return Decision(answer in "ya")

    async def chosen(self, changes: "Sequence[Change]") -> list[str] | None:
        """Which changes to apply: None for all, else the paths."""
        good = [change.path for change in changes if not change.refused]
        more = " [p]ick" if len(good) > 1 else ""
        answer = await asked(f"Apply {'them' if len(good) > 1 else 'it'} to {self.folder}? [y]es [n]o{more} ", "ynp")
        if answer == "p":
            return [path for path in good if await asked(f"  {path}? [y]es [n]o ", "yn") == "y"]
        return None if answer == "y" else []

    async def input(self, prompt: str, password: bool) -> str:
        """What the code asks for with input()."""
        from prompt_toolkit import PromptSession

        try:
            return await PromptSession[str]().prompt_async(prompt, is_password=password, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            await self.agent.stop()
            return ""


def empties(folder: Path, changes: "Sequence[Change]") -> bool:
    """Whether the changes delete every file in the folder: hardly what anybody said yes to beforehand.

    Where as many files are new as are gone, they were moved or renamed.
    """
    gone = {change.path for change in changes if change.kind == "deleted"}
    new = [change.path for change in changes if change.kind == "created" and not change.path.endswith("/")]
    if len(new) >= len(gone):
        return False
    files = (Path(top, name).relative_to(folder) for top, _, names in os.walk(folder) for name in names)
    return all(str(file) in gone for file in files)


async def asked(question: str, letters: str) -> str:
    """One of the letters; ``n`` for Ctrl-C and Ctrl-D."""
    from allod.cli.reader import Interrupted, Reader

    reader = Reader(None)
    while True:
        try:
            answer = (await reader.line(question, None)).strip().lower()[:1]
        except (Interrupted, EOFError):
            return "n"
        if answer and answer in letters:
            return answer


def edited(code: str) -> str:
    """The code as the person leaves it in their editor (VISUAL, EDITOR, else vi)."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.py"
        path.write_text(code, encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            note(f"The editor `{editor}` failed ({error}), so the code is as it was. EDITOR names another one.")
            return code
        return path.read_text(encoding="utf-8", errors="replace")


class Interrupts:
    """For its time, Ctrl-C calls ``first``; a second one within the same job ends the program's work."""

    def __init__(self, first: Callable[[], None]) -> None:
        self.first = first
        self.count = 0
        self.task = asyncio.current_task()

    def __enter__(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._signal)

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)

    def _signal(self) -> None:
        self.count += 1
        if self.count == 1:
            print(file=sys.stderr)
            self.first()
        elif self.task is not None:
            self.task.cancel()
