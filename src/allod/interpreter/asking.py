"""How a person, or who stands for one, is asked while a job is done: callbacks, sync or async, as jobs call them."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from allod.interpreter.attempt import Decision
from allod.interpreter.events import Code, Status
from allod.interpreter.workspace import Applied, Change

Verdict = Decision | bool | str  # to a block: run it or not; a text is the block as it was edited
Approve = Callable[[Code], Verdict | Awaitable[Verdict]]
Ask = Callable[[str, bool], str | Awaitable[str]]  # what input() asks, whether it is a password


class Write(Protocol):
    """Writes changes into the folder: see `AsyncInterpreter.apply`."""

    async def __call__(self, paths: Sequence[str] | None = None, overwrite: bool = False) -> Applied:
        """Those at or below ``paths``; None: all."""
        ...


# What becomes of the changes of a job that ended so; None where nothing is applied.
Settle = Callable[[Sequence[Change], Status, Write], Awaitable[Applied | None]]


def approver(approve: Approve | None) -> Callable[[Code], Awaitable[Decision]] | None:
    """The same as the agent asks it."""
    if approve is None:
        return None

    async def asked(code: Code) -> Decision:
        said = approve(code)
        said = await said if inspect.isawaitable(said) else said
        if isinstance(said, Decision):
            return said
        return Decision(True, said) if isinstance(said, str) else Decision(bool(said))

    return asked


def asker(ask: Ask | None) -> Callable[[str, bool], Awaitable[str]] | None:
    """The same as the agent asks it."""
    if ask is None:
        return None

    async def asked(prompt: str, password: bool) -> str:
        said = ask(prompt, password)
        return await said if inspect.isawaitable(said) else said

    return asked
