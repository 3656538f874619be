"""Where one attempt happens: a workspace, the session over it, and what came of it there.

    lane = Lane(workspace, kernels, codes)
    session = await lane.open()              # kernels start; the conversation's variables come back
    …
    await lane.leave()                       # kernels end, what was written stays
    lane.drop()                              # nothing of it remains

Attempts at one job are made in lanes of their own, so that what one does cannot reach another; the lane of the attempt
that is believed is where the conversation goes on.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from allod.interpreter import replay
from allod.interpreter.attempt import Outcome
from allod.interpreter.kernels import Kernel
from allod.interpreter.session import Session
from allod.interpreter.workspace import Workspace

KernelFactory = Callable[[Workspace], AbstractAsyncContextManager[Kernel]]


class Lane:
    """``codes``: the blocks so far that ran, whose variables a new session has again; the caller adds to them."""

    def __init__(self, workspace: Workspace, kernels: KernelFactory, codes: Sequence[str]) -> None:
        self.workspace = workspace
        self.outcome = Outcome()  # of the attempt at the job at hand
        self.session: Session | None = None
        self._kernels = kernels
        self._codes = codes
        self._stack = AsyncExitStack()

    async def open(self) -> Session:
        """The session, started where it was not yet."""
        if self.session is None:
            kernel = await self._stack.enter_async_context(self._kernels(self.workspace))
            self.session = Session(self.workspace, kernel)
            if code := replay.block(replay.remembered(self._codes)):
                await self.session.hidden(code)
        return self.session

    async def interrupt(self) -> None:
        """Stops the code that runs; variables stay."""
        if self.session is not None:
            await self.session.interrupt()

    async def leave(self) -> None:
        """Ends the session; ``open`` begins another."""
        self.session = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    async def drop(self) -> None:
        """Ends the session and throws away all that was written."""
        try:
            await self.leave()
        finally:
            await asyncio.to_thread(self.workspace.discard)
