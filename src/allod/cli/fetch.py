"""A model that a conversation needs: loaded if it is to be had, pulled first, with a bar, if it is not.

    async with leased(home, chat) as runner: ...

Whoever runs it decides whether it is there: the engine in this process by the store, a server by its own.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from allod.errors import AllodError, ModelNotFound, Network, Refused

if TYPE_CHECKING:
    from allod.cli.chat import Chat
    from allod.engine.runner import Runner
    from allod.home import Home
    from allod.models.store import Model


@asynccontextmanager
async def leased(home: "Home", chat: "Chat", insecure: bool = False) -> "AsyncGenerator[Runner]":
    """The chat's model, loaded; ``chat.model`` is what the store here knows of it.

    Raises:
        ModelNotFound: nobody has it; with the nearest names.
        Network, Disk: it cannot be pulled.
        BadName, TooLarge, EngineFailed: it cannot be loaded.
    """
    async with AsyncExitStack() as stack:
        try:
            runner = await load(stack, home, chat)
        except ModelNotFound as missing:
            await pull(home, chat.name, missing, insecure=insecure)
            runner = await load(stack, home, chat)
        yield runner


async def pull(
    home: "Home", name: str, missing: ModelNotFound, *, insecure: bool = False, as_json: bool = False
) -> None:
    """Pulls it with a bar. Where that cannot be, the nearest names are said, too: perhaps it was only misspelt."""
    from allod.cli.library import open_library
    from allod.cli.progress import show_pull

    try:
        await show_pull(open_library(home).pull(name, insecure), name, as_json=as_json)
    except (Network, Refused) as error:
        hint = "Did you mean"
        if missing.remedy.startswith(hint) and hint not in error.remedy:
            error.remedy = f"{missing.remedy} {error.remedy}"
        raise


async def load(stack: AsyncExitStack, home: "Home", chat: "Chat") -> "Runner":
    """Takes the lease. While the engine's child starts, the store is asked what it knows of the model."""

    async def look() -> None:
        for _ in range(3):  # the child is started before this thread gets busy
            await asyncio.sleep(0)
        chat.model = found_here(home, chat.name)

    loading = asyncio.ensure_future(stack.enter_async_context(chat.lease()))
    looking = asyncio.ensure_future(look())
    try:
        await asyncio.gather(loading, looking)
    except BaseException:
        for task in (loading, looking):
            task.cancel()
        await asyncio.gather(loading, looking, return_exceptions=True)
        raise
    return loading.result()


def found_here(home: "Home", name: str) -> "Model | None":
    """What the store of this machine has under that name; None where it has nothing, or where it is not asked."""
    from allod.cli.library import LocalLibrary, is_here
    from allod.models.overrides import Overrides

    if not is_here(home.settings.host):
        return None
    try:
        return Overrides(home).over(LocalLibrary(home).find(name))
    except AllodError:  # the lease says what is wrong, and whether it is
        return None
