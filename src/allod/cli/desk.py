"""The desk where one person works with one interpreter on one folder: jobs, questions, changes, the conversation.

    code = await desk.one("Total the invoices")      # an exit code
    await desk.converse()                            # jobs until the person leaves

Asks before each block of code and before changes are applied, as the profile says. Ctrl-C ends what is going on, and
the conversation goes on where there is one; a second Ctrl-C leaves. What a job is and what is kept of it, the
interpreter knows; the desk asks, shows, and says what comes of it.
"""

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from allod.cli.asking import Interrupts, asked
from allod.cli.editor import edited
from allod.cli.output import note
from allod.cli.transcript import JsonLines, Transcript
from allod.errors import AllodError, Conflict

if TYPE_CHECKING:
    from allod.cli.job import Wanted
    from allod.engine.options import LoadOptions
    from allod.engine.runner import Runner
    from allod.home import Home
    from allod.interpreter.asking import Write
    from allod.interpreter.attempt import Decision
    from allod.interpreter.conversations import Conversation
    from allod.interpreter.events import Code, Ended, Status
    from allod.interpreter.given import Given
    from allod.interpreter.profiles import Profile
    from allod.interpreter.workspace import Applied, Change

EXIT = {"done": 0, "question": 3, "gave_up": 4, "declined": 1, "stopped": 130}


class Held:
    """The model that the desk has for as long as it is open, as an engine that lends it for each job."""

    def __init__(self) -> None:
        self.runner: Runner | None = None

    @asynccontextmanager
    async def lease(
        self, model: str, options: "LoadOptions | None" = None, keep_alive: float | None = None
    ) -> "AsyncGenerator[Runner]":
        """The model, which is there already."""
        assert self.runner is not None
        yield self.runner


class Desk:
    """The person's side of an interpreter. ``runs`` and ``applies``: whether the person is asked before a block is
    run, before changes are applied."""

    def __init__(
        self,
        home: "Home",
        folder: Path,
        name: str,
        profile: "Profile",
        before: "Conversation | None",
        wanted: "Wanted",
        *,
        confined: bool = True,
    ) -> None:
        from allod.interpreter.interpreter import AsyncInterpreter

        self.wanted = wanted
        self.view = JsonLines() if wanted.as_json else Transcript(self.figure)
        self.runs = profile.ask == "each"
        self.applies = profile.ask != "nothing"
        self.each = profile.strict or not confined  # no "yes to all"
        self._stopping: asyncio.Future[None] | None = None
        self._held = Held()
        self.interpreter = AsyncInterpreter(
            folder,
            wanted.model or None,
            profile,
            conversation=before.id if before else "",
            read=wanted.read,
            folders=wanted.folders,
            net=wanted.net,
            packages=wanted.packages,
            approve=self._approve,
            ask=self.input if wanted.can_ask and self.applies else None,
            settle=self.settle,
            profile_name=name,
            unconfined=wanted.unconfined,
            rest=math.inf,  # the variables are those of somebody who sits here
            home=home,
            engine=self._held,
        )

    @property
    def conversation(self) -> "Conversation":
        """What was said so far."""
        return self.interpreter.conversation

    @property
    def runner(self) -> "Runner":
        """The model."""
        assert self._held.runner is not None
        return self._held.runner

    @property
    def _approve(self) -> "Callable[[Code], Awaitable[Decision]] | None":
        # Where blocks are not shown to anybody beforehand, attempts may have to agree.
        return self.approve if self.wanted.can_ask and self.runs else None

    async def open(self, runner: "Runner") -> None:
        """Makes the workspace, with the model that does the jobs."""
        self._held.runner = runner
        await self.interpreter.open()

    async def close(self) -> None:
        """Ends the session; what was not applied is dropped."""
        await self.interpreter.close()

    def greet(self) -> None:
        """Says which conversation is gone on with."""
        turns = self.conversation.turns()
        many = f"{len(turns)} job{'s'[: len(turns) != 1]}"
        note(f"Going on with: {self.conversation.title} ({many}, {self.interpreter.folder})")

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def one(self, task: str, files: "Sequence[Given]" = ()) -> int:
        """One job to its end; returns the exit code."""
        from allod.interpreter import events as e

        ended = e.Ended("stopped")
        self.interpreter.approve = self._approve
        with Interrupts(self.interrupt):
            async with aclosing(self.interpreter.do(task, files=files)) as events:
                async for event in events:
                    self.view.show(event)
                    ended = event if isinstance(event, e.Ended) else ended
        return self.verdict(ended)

    def verdict(self, last: "Ended") -> int:
        """The exit code; on the terminal, why the job was not done."""
        if last.status == "gave_up" and not self.wanted.as_json:
            note(f"Not done: {last.reason or 'the model gave up'}")
            note("Say it in smaller steps, or take a larger model with --model.")
        return EXIT[last.status]

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def settle(self, changes: "Sequence[Change]", status: "Status", write: "Write") -> "Applied | None":
        """Writes the changes into the folder as the person wants."""
        if why := self.not_applied(changes, status):
            note(f"Nothing was applied{why}.")
            return None
        paths = await self.chosen(changes) if self.applies else None
        if paths is not None and not paths:
            note("Nothing was applied.")
            return None
        done = await self.written(write, paths)
        for change in done.refused if done else ():
            note(f"Left out: {change.place}: {change.note}")
        return done

    async def written(self, write: "Write", paths: list[str] | None) -> "Applied | None":
        """Writes the changes. Where files changed meanwhile the person says which shall stay; None: theirs."""
        try:
            try:
                return await write(paths)
            except Conflict as error:
                if not self.applies:
                    raise
                note(f"{error.message[0].upper()}{error.message[1:]}")
                question = "Write over them? `allod undo` brings them back. [y]es [n]o "
                if await asked(question, "yn") == "y":
                    return await write(paths, overwrite=True)
                note("Nothing was applied.")
        except AllodError as error:
            if self.wanted.task:
                raise
            note(f"Error: {error.message}\n{error.remedy}")
        return None

    def not_applied(self, changes: "Sequence[Change]", status: "Status") -> str:
        """Why changes are not applied, without asking anybody; empty where they may be."""
        from allod.interpreter.workspace.changes import empties

        if self.wanted.no_apply:
            return ", as you said"
        if self.applies:
            return ""
        if status != "done":
            return ", as the job was not done"
        if empties(self.interpreter.folder, changes):
            return ", as it would delete every file there is. Without --yes you are asked"
        return ""

    async def chosen(self, changes: "Sequence[Change]") -> list[str] | None:
        """Which changes to apply: None for all, else the paths."""
        good = [change for change in changes if not change.refused]
        if not good:
            return []
        if not self.each:
            more = " [p]ick" if len(good) > 1 else ""
            diffs = " [d]iffs" if any(change.diff for change in good) else ""
            what = "them" if len(good) > 1 else "it"
            while True:
                question = f"Apply {what} to {self.interpreter.folder}? [y]es [n]o{more}{diffs} "
                answer = await asked(question, f"yn{'p' if more else ''}{'d' if diffs else ''}")
                if answer != "d":
                    break
                self.view.diffs(good)
            if answer != "p":
                return None if answer == "y" else []
        return [each.place for each in good if await asked(f"Apply {each.kind} {each.place}? [y]es [n]o ", "yn") == "y"]

    # ── the conversation ────────────────────────────────────────────────────────────────────────────────────────────

    async def converse(self, files: "Sequence[Given]" = ()) -> int:
        """Jobs one after the other, until /bye, Ctrl-D or Ctrl-C twice. Files go along with the first one."""
        from allod.cli.percent import Commands
        from allod.cli.reader import Interrupted, Reader

        commands = Commands(self)
        reader = Reader(self.interpreter.home.data / "do_history", commands.phrases())
        leaving = False
        while True:
            try:
                async with self.warming():
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
            try:
                if commands.takes(text):
                    if await commands.do(text) is False:
                        return 0
                elif text:
                    await self.one(text, files)
                    files = ()
            except AllodError as error:
                if isinstance(self.view, Transcript):
                    self.view.fresh_line()
                note(f"Error: {error.message}\n{error.remedy}".rstrip())

    @asynccontextmanager
    async def warming(self) -> "AsyncGenerator[None]":
        """While the person types, the kernels start. What is wrong with them is said when they are needed."""

        async def warm() -> None:
            with contextlib.suppress(AllodError):
                await self.interpreter.warm()

        started = asyncio.create_task(warm())
        try:
            yield
        except BaseException:
            started.cancel()
            raise
        finally:
            await asyncio.wait({started})

    # ── the person ──────────────────────────────────────────────────────────────────────────────────────────────────

    def interrupt(self) -> None:
        """Ctrl-C: the first one ends what is going on."""
        self._stopping = asyncio.ensure_future(self.interpreter.stop())

    async def approve(self, code: "Code") -> "Decision":
        """Before a block is run: yes, no, edit it, or yes to all from here on."""
        from allod.interpreter.attempt import Decision

        if not self.runs:
            return Decision(True)
        more = "" if self.each else " [a]ll"
        answer = await asked(f"Run it? [y]es [n]o [e]dit{more} ", "yne" if self.each else "ynea")
        if answer == "a":
            self.runs = False
        if answer == "e":
            return Decision(True, await asyncio.to_thread(edited, code.code))
        return Decision(answer in "ya")

    async def input(self, prompt: str, password: bool) -> str:
        """What the code asks for with input()."""
        from prompt_toolkit import PromptSession

        try:
            return await PromptSession[str]().prompt_async(prompt, is_password=password, handle_sigint=False)
        except (EOFError, KeyboardInterrupt):
            await self.interpreter.stop()
            return ""

    def figure(self, png: bytes) -> Path:
        """Keeps a figure that code showed without saving it, where the person can open it."""
        folder = self.conversation.figures
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"figure-{len(list(folder.iterdir())) + 1}.png"
        path.write_bytes(png)
        return path
