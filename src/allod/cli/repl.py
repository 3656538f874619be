"""The conversation of ``allod run``: reads messages, streams answers, knows when to stop.

Ctrl-C stops an answer and keeps what came of it; on an empty line it leaves, when pressed twice; so does Ctrl-D. What
begins with a slash is for ``commands.py``.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allod.cli import failures
from allod.cli.commands import Commands
from allod.cli.output import note
from allod.cli.reader import Interrupted, Reader
from allod.errors import AllodError, PromptTooLong

if TYPE_CHECKING:
    from allod.cli.chat import Chat
    from allod.home import Home


class Repl:
    """One conversation on the terminal. ``chat`` is replaced when another model is loaded."""

    def __init__(self, home: "Home", chat: "Chat") -> None:
        self.home = home
        self.chat = chat
        self.history: Path = home.data / "history"
        self.commands = Commands(self)
        self.reader = Reader(self.history, self.commands.phrases())

    async def run(self, insecure: bool = False) -> None:
        """Until /bye, Ctrl-D or Ctrl-C twice.

        Raises:
            AllodError: the model cannot be loaded.
        """
        await self.load(insecure)
        leaving = False
        while True:
            try:
                text = await self.reader.read()
            except EOFError:
                return
            except Interrupted:
                if leaving:
                    return
                leaving = True
                note("Ctrl-C once more leaves, and so does Ctrl-D or /bye.")
                continue
            leaving = False
            if not text:
                continue
            if self.commands.takes(text):
                if await self.interruptible(self.commands.do(text)) is False:
                    return
            else:
                await self.interruptible(self.answer(text))

    async def load(self, insecure: bool = False) -> None:
        """Loads the model before the first question, so that what is wrong with it is said now."""
        from allod.cli.fetch import leased

        live = sys.stderr.isatty()
        if live:
            print(f"Loading {self.chat.name}...\r", end="", file=sys.stderr, flush=True)
        try:
            async with leased(self.home, self.chat, insecure):
                pass
        finally:
            if live:
                print("\x1b[K", end="", file=sys.stderr, flush=True)

    async def answer(self, text: str) -> None:
        """One turn. Of a conversation that has outgrown the context, the oldest turns are left out, which is said."""
        from allod.cli.run import answer

        began = time.monotonic()
        async with self.chat.lease() as runner:
            while True:
                try:
                    await answer(self.chat, runner, text, began)
                    break
                except PromptTooLong:
                    if not self.chat.messages:
                        raise
                    note(f"Left out, as it no longer fits the context: {shortened(self.chat.messages[0].text)}")
                    del self.chat.messages[:2]
        print()

    async def interruptible(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs it to its end, its error, or Ctrl-C; the conversation goes on in each case."""
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            if not task.cancelled():
                raise
            print()
        except AllodError as error:
            failures.lines(error.message, error.remedy)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        return None


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
