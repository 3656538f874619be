"""The desk where one person works with one agent on one folder: jobs, questions, changes, the conversation.

    code = await desk.one("Total the invoices")      # an exit code
    await desk.converse()                            # jobs until the person leaves

Asks before each block of code and before changes are applied, as the profile says. Ctrl-C ends what is going on, and
the conversation goes on where there is one; a second Ctrl-C leaves. Everything is kept as it happens.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from allod.cli.asking import Interrupts, asked
from allod.cli.editor import edited
from allod.cli.output import note
from allod.cli.transcript import JsonLines, Transcript
from allod.errors import AllodError, Conflict, Disk

if TYPE_CHECKING:
    from allod.cli.attach import Attached
    from allod.cli.job import Wanted
    from allod.engine.runner import Runner
    from allod.home import Home
    from allod.interpreter.agent import Agent
    from allod.interpreter.attempt import Decision
    from allod.interpreter.conversations import Conversation
    from allod.interpreter.events import Code, Ended, Event
    from allod.interpreter.profiles import Profile
    from allod.interpreter.workspace import Applied, Change
    from allod.interpreter.workspace.grants import Grants

EXIT = {"done": 0, "question": 3, "gave_up": 4, "declined": 1, "stopped": 130}


class Desk:
    """``runs`` and ``applies``: whether the person is asked before a block is run, before changes are applied."""

    def __init__(
        self,
        home: "Home",
        folder: Path,
        profile: "Profile",
        grants: "Grants",
        runner: "Runner",
        conversation: "Conversation",
        wanted: "Wanted",
        *,
        confined: bool = True,
    ) -> None:
        self.home = home
        self.folder = folder
        self.profile = profile
        self.grants = grants
        self.runner = runner
        self.conversation = conversation
        self.wanted = wanted
        self.view = JsonLines() if wanted.as_json else Transcript(self.figure)
        self.runs = profile.ask == "each"
        self.applies = profile.ask != "nothing"
        self.each = profile.strict or not confined  # no "yes to all"
        self.kept = True  # whether what happens can be written down
        self.agent: Agent = self._agent()
        self._stopping: asyncio.Future[None] | None = None

    def _agent(self) -> "Agent":
        from allod.interpreter.agent import Agent
        from allod.interpreter.workspace import Workspace

        return Agent(
            self.runner,
            Workspace.create(self.home, self.folder, self.grants),
            self.profile,
            approve=self.approve if self.wanted.can_ask else None,
            ask=self.input if self.wanted.can_ask and self.applies else None,
            history=self.conversation.messages,
            codes=self.conversation.blocks,
        )

    async def close(self) -> None:
        """Ends the session; what was not applied is dropped."""
        await self.agent.close()
        self.agent.workspace.discard()
        if self.conversation.head is None and not self.conversation.tree():
            self.conversation.delete()  # nobody said anything

    async def renew(self, conversation: "Conversation | None" = None) -> None:
        """Goes on with the conversation as it is now, or with another one, in a new session."""
        await self.agent.close()
        self.agent.workspace.discard()
        self.conversation = conversation or self.conversation
        self.agent = self._agent()

    def greet(self) -> None:
        """Says which conversation is gone on with."""
        turns = self.conversation.turns()
        many = f"{len(turns)} job{'s'[: len(turns) != 1]}"
        note(f"Going on with: {self.conversation.title} ({many}, {self.folder})")

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def one(self, task: str, attached: "Attached | None" = None) -> int:
        """One job to its end; returns the exit code."""
        from allod.interpreter import events as e

        changes: tuple[Change, ...] = ()
        ended = e.Ended("stopped")
        text = attached.task(task) if attached else task
        pictures = attached.shown(self.runner.facts, self.conversation.model) if attached else ()
        # Where blocks are not shown to anybody beforehand, attempts may have to agree.
        self.agent.means.approve = self.approve if self.wanted.can_ask and self.runs else None
        try:
            with Interrupts(self.interrupt):
                job = self.agent.run(text, conversation=self.conversation.id, pictures=pictures)
                async with aclosing(job) as events:
                    async for event in events:
                        if isinstance(event, e.Ended):
                            ended = event
                            break
                        self.keep(event)
                        self.view.show(event)
                        changes = event.changes if isinstance(event, e.Changes) else changes
            if changes and (applied := await self.apply(changes, ended.status)):
                self.keep(applied)
                self.view.show(applied)
            self.keep(ended)
            self.view.show(ended)
            if self.kept:
                self.conversation.add(self.agent.history, self.agent.codes, [])
        finally:
            if self.kept:
                self.conversation.leave()
        return self.verdict(ended)

    def keep(self, event: "Event") -> None:
        """Writes an event down. Where that fails the job goes on all the same, which is said once."""
        if not self.kept:
            return
        try:
            self.conversation.record(event)
        except Disk as error:
            self.kept = False
            note(f"This conversation is not kept: {error.message}. {error.remedy}")

    def verdict(self, last: "Ended") -> int:
        """The exit code; on the terminal, why the job was not done."""
        if last.status == "gave_up" and not self.wanted.as_json:
            note(f"Not done: {last.reason or 'the model gave up'}")
            note("Say it in smaller steps, or take a larger model with --model.")
        return EXIT[last.status]

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def apply(self, changes: "Sequence[Change]", status: str) -> "Event | None":
        """Writes the changes into the folder as the person wants; the event of it."""
        from allod.interpreter import events as e

        if why := self.not_applied(changes, status):
            note(f"Nothing was applied{why}.")
            return None
        paths = await self.chosen(changes) if self.applies else None
        if paths is not None and not paths:
            note("Nothing was applied.")
            return None
        done = await self.written(paths)
        if done is None:
            return None
        for change in done.refused:
            note(f"Left out: {change.place}: {change.note}")
        return e.Applied(done.folder, tuple(change.place for change in done.changes)) if done.changes else None

    async def written(self, paths: list[str] | None) -> "Applied | None":
        """Writes the changes. Where files changed meanwhile the person says which shall stay; None: theirs."""
        apply = self.agent.workspace.apply
        try:
            try:
                return await asyncio.to_thread(apply, paths)
            except Conflict as error:
                if not self.applies:
                    raise
                note(f"{error.message[0].upper()}{error.message[1:]}")
                question = "Write over them? `allod undo` brings them back. [y]es [n]o "
                if await asked(question, "yn") == "y":
                    return await asyncio.to_thread(apply, paths, overwrite=True)
                note("Nothing was applied.")
        except AllodError as error:
            if self.wanted.task:
                raise
            note(f"Error: {error.message}\n{error.remedy}")
        return None

    def not_applied(self, changes: "Sequence[Change]", status: str) -> str:
        """Why changes are not applied, without asking anybody; empty where they may be."""
        if self.wanted.no_apply:
            return ", as you said"
        if self.applies:
            return ""
        if status != "done":
            return ", as the job was not done"
        if empties(self.folder, changes):
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
                question = f"Apply {what} to {self.folder}? [y]es [n]o{more}{diffs} "
                answer = await asked(question, f"yn{'p' if more else ''}{'d' if diffs else ''}")
                if answer != "d":
                    break
                self.view.diffs(good)
            if answer != "p":
                return None if answer == "y" else []
        return [each.place for each in good if await asked(f"Apply {each.kind} {each.place}? [y]es [n]o ", "yn") == "y"]

    # ── the conversation ────────────────────────────────────────────────────────────────────────────────────────────

    async def converse(self, attached: "Attached | None" = None) -> int:
        """Jobs one after the other, until /bye, Ctrl-D or Ctrl-C twice. Files go along with the first one."""
        from allod.cli.percent import Commands
        from allod.cli.reader import Interrupted, Reader

        commands = Commands(self)
        reader = Reader(self.home.data / "do_history", commands.phrases())
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
            try:
                if commands.takes(text):
                    if await commands.do(text) is False:
                        return 0
                elif text:
                    await self.one(text, attached)
                    attached = None
            except AllodError as error:
                if isinstance(self.view, Transcript):
                    self.view.fresh_line()
                note(f"Error: {error.message}\n{error.remedy}".rstrip())

    # ── the person ──────────────────────────────────────────────────────────────────────────────────────────────────

    def interrupt(self) -> None:
        """Ctrl-C: the first one ends what is going on."""
        self._stopping = asyncio.ensure_future(self.agent.stop())

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
            await self.agent.stop()
            return ""

    def figure(self, png: bytes) -> Path:
        """Keeps a figure that code showed without saving it, where the person can open it."""
        folder = self.conversation.figures
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"figure-{len(list(folder.iterdir())) + 1}.png"
        path.write_bytes(png)
        return path


def empties(folder: Path, changes: "Sequence[Change]") -> bool:
    """Whether the changes delete every file in the folder: hardly what anybody said yes to beforehand.

    Where as many files are new as are gone, empty ones apart, they were moved or renamed.
    """
    own = [change for change in changes if not change.folder]
    gone = {change.path: change.before for change in own if change.kind == "deleted"}
    new = [change.path for change in own if change.kind == "created" and not change.path.endswith("/")]
    if new and len(new) >= sum(bool(size) for size in gone.values()):
        return False
    files = (Path(top, name).relative_to(folder) for top, _, names in os.walk(folder) for name in names)
    return all(str(file) in gone for file in files)
