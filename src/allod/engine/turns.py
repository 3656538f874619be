"""Waiting for a turn at a model's slots: a bound over all models on how many may wait, and fairness between clients.

The queue is one for the engine; each loaded model has turns of its own. A request that finds a free slot never touches
the queue. A full queue is Busy. Those who wait are served client by client, and each client's in the order in which
they came, so who sends a hundred at once delays each of the others by one turn. Which slot it is to be, ``slots`` says.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

from allod.engine.slots import Slots
from allod.errors import Busy

CLIENT: ContextVar[str] = ContextVar("CLIENT", default="")  # on whose behalf the current task asks; any text


class Queue:
    """Counts those who wait; ``limit`` is the most that may."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.waiting = 0

    @contextmanager
    def place(self) -> Generator[None]:
        """Held while waiting.

        Raises:
            Busy: the queue is full.
        """
        if self.waiting >= self.limit:
            raise Busy(
                f"the server is busy: {self.waiting} requests are waiting already",
                "Try again in a moment, or raise the setting engine.queue.",
                retry_after=5,
            )
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1


class Turns:
    """The slots of one model, and those who wait for one."""

    def __init__(self, slots: int, queue: Queue) -> None:
        self.queue = queue
        self.slots = Slots(slots)
        self._free = slots
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client; the next client to be served first

    @asynccontextmanager
    async def turn(self, prompt: bytes = b"") -> AsyncGenerator[int]:
        """Held while a request runs; the number of the slot that suits its prompt best.

        Raises:
            Busy: no slot is free and the queue is full.
        """
        if self._free:
            self._free -= 1
        else:
            with self.queue.place():
                await self._wait(CLIENT.get())
        slot = self.slots.take(prompt)
        try:
            yield slot
        finally:
            self.slots.release(slot)
            self._next()

    async def _wait(self, client: str) -> None:
        """Until it is this one's turn, which is then taken from the one who ended."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()  # it came at the very moment
            elif client in self._waiting and mine in self._waiting[client]:
                self._waiting[client].remove(mine)
            raise

    def _next(self) -> None:
        """Hands a turn on: to the client that was served longest ago, or it is free."""
        while self._waiting:
            client, waiting = next(iter(self._waiting.items()))
            del self._waiting[client]
            while waiting and waiting[0].done():  # cancelled, and its task has not run yet
                waiting.popleft()
            if waiting:
                waiting.popleft().set_result(None)
                if waiting:
                    self._waiting[client] = waiting  # behind the others
                return
        self._free += 1
