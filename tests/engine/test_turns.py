"""Turns: slots are given out fairly, none is lost, and the queue has its bound."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from allod.engine.turns import CLIENT, Queue, Turns
from allod.errors import Busy

pytestmark = pytest.mark.anyio


class Office:
    """One slot, held; ``order`` is who got it after that."""

    def __init__(self, slots: int = 1, limit: int = 100) -> None:
        self.turns = Turns(slots, Queue(limit))
        self.order: list[str] = []

    async def ask(self, client: str, name: str) -> None:
        CLIENT.set(client)  # of this task alone
        async with self.turns.turn():
            self.order.append(name)
            await asyncio.sleep(0)

    def asks(self, client: str, *names: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.ask(client, name)) for name in names]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_who_sends_many_holds_up_nobody() -> None:
    office = Office()
    async with office.turns.turn():
        tasks = office.asks("a", "a1", "a2", "a3", "a4")
        await settle()
        tasks += office.asks("b", "b1", "b2")
        await settle()
        tasks += office.asks("c", "c1")
        await settle()
        assert office.turns.queue.waiting == 7
    await asyncio.gather(*tasks)
    assert office.order == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]
    assert office.turns.queue.waiting == 0


async def test_one_client_is_served_in_its_order() -> None:
    office = Office(slots=2)
    async with office.turns.turn(), office.turns.turn():
        tasks = office.asks("", *map(str, range(20)))
        await settle()
    await asyncio.gather(*tasks)
    assert office.order == [str(number) for number in range(20)]


async def test_who_leaves_while_waiting_takes_no_turn() -> None:
    office = Office()
    async with office.turns.turn():
        gone, *others = office.asks("a", "gone", "a2") + office.asks("b", "b1")
        await settle()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert office.turns.queue.waiting == 2
    await asyncio.gather(*others)
    assert office.order == ["a2", "b1"]


async def test_a_turn_that_comes_as_its_task_is_cancelled_goes_on_to_the_next() -> None:
    office = Office()
    async with AsyncExitStack() as held:
        await held.enter_async_context(office.turns.turn())
        gone, *others = office.asks("a", "gone") + office.asks("b", "b1")
        await settle()
        await held.aclose()  # the turn is handed to the first, which has not run since
        gone.cancel()
    await asyncio.gather(gone, *others, return_exceptions=True)
    assert office.order == ["b1"]
    async with asyncio.timeout(1), office.turns.turn():
        pass  # the slot is free again


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_is_lost_whoever_leaves_when(seed: int) -> None:
    import random

    chance = random.Random(seed)
    office = Office(slots=3)
    tasks: list[asyncio.Task[None]] = []
    for number in range(300):
        tasks += office.asks(chance.choice("abc"), str(number))
        if chance.random() < 0.4:
            chance.choice(tasks).cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert office.turns.queue.waiting == 0 and not office.turns.slots.busy
    async with asyncio.timeout(1), AsyncExitStack() as all_of_them:
        for _ in range(3):
            await all_of_them.enter_async_context(office.turns.turn())


async def test_a_full_queue_is_busy_and_a_free_slot_never_asks_it() -> None:
    office = Office(limit=1)
    async with office.turns.turn():
        waiting = office.asks("a", "a1")
        await settle()
        with pytest.raises(Busy, match="1 requests are waiting"):
            await office.ask("b", "b1")
    await asyncio.gather(*waiting)
    none = Office(limit=0)
    await none.ask("a", "a1")
    assert none.order == ["a1"]
