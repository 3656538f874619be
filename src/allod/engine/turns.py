"""Waiting in arrival order: a bound over all models on how many may wait, and a turn at a model's slots.

The queue is one for the engine; each loaded model has turns of its own. A request that finds a free slot never touches
the queue. A full queue is Busy. Which slot it is to be, ``slots`` says.
"""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from allod.engine.slots import Slots
from allod.errors import Busy


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
    """The slots of one model, first come, first served."""

    def __init__(self, slots: int, queue: Queue) -> None:
        self.queue = queue
        self.slots = Slots(slots)
        self._free = asyncio.Semaphore(slots)

    @asynccontextmanager
    async def turn(self, prompt: bytes = b"") -> AsyncGenerator[int]:
        """Held while a request runs; the number of the slot that suits its prompt best.

        Raises:
            Busy: no slot is free and the queue is full.
        """
        if self._free.locked():
            with self.queue.place():
                await self._free.acquire()
        else:
            await self._free.acquire()  # at once: locked() tells of waiters too
        slot = self.slots.take(prompt)
        try:
            yield slot
        finally:
            self.slots.release(slot)
            self._free.release()
