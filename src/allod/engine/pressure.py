"""Memory that runs short while models are loaded: seen before the kernel ends a process of its own choice.

    match relief(instances, free, spare):
        case Instance() as instance: ...            # let this one go

A model is loaded only where it fits, but other programs grow meanwhile. So as long as anything is loaded the engine
looks once in ``EVERY`` seconds at what the machine (or the control group) has left. Below ``LOW`` the idle models go,
one at a time. Below ``LEAST``, with no swap left either, one that is answering goes too: its requests end with an error
that says why, where the kernel might have ended the server, or what the user is writing in. Children also offer
themselves to the kernel first (``llama_worker``).
"""

from collections.abc import Iterable

from allod.engine.instance import Instance, evictable

EVERY = 1.0  # seconds
LOW = 384 * 1024 * 1024  # bytes
LEAST = 128 * 1024 * 1024


def relief(instances: Iterable[Instance], free: int, swap: int) -> Instance | None:
    """The one that should go now; None: memory is not short, or one is going already, or there is none to go.

    Args:
        free: bytes that processes can still have.
        swap: bytes of swap that nobody uses.
    """
    every = list(instances)
    if free >= LOW or any(i.state == "closing" for i in every):
        return None
    order = [i for i in evictable(every) if i.state == "ready"]
    idle = [i for i in order if not i.users]
    if idle:
        return idle[0]
    return order[0] if order and free < LEAST and swap < LEAST else None
