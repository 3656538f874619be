"""The time in which nothing is done with something costly, after which it is let go.

    idleness = Idleness(900, kernels_let_go)
    async with idleness.interrupted():          # nothing is let go in here, and what was is gone wholly
        ...

It knows nothing of what that is, nor of how it comes back. Used on one event loop.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

FOREVER = 1e9  # seconds from which nothing is ever let go
AGAIN = 1.0  # seconds after which it is tried again where it could not be


class Idleness:
    """``let_go`` is called after so many seconds; it gives None where it cannot be just now."""

    def __init__(self, seconds: float, let_go: Callable[[], Awaitable[None] | None]) -> None:
        self.seconds = seconds
        self._let_go = let_go
        self._timer: asyncio.TimerHandle | None = None
        self._going: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def interrupted(self) -> AsyncGenerator[None]:
        """While it is used. The time begins anew at the end of it."""
        await self.end()
        try:
            yield
        finally:
            self._begin(self.seconds)

    async def end(self) -> None:
        """No more time runs; waits for what is being let go."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        await self.over()

    async def over(self) -> None:
        """Waits for what is being let go."""
        if self._going is not None:
            await asyncio.wait({self._going})
            self._going = None

    def _begin(self, seconds: float) -> None:
        if seconds < FOREVER:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)

    def _expired(self) -> None:
        self._timer = None
        going = self._let_go()
        if going is None:
            self._begin(AGAIN)
        else:
            self._going = asyncio.ensure_future(going)
