"""A model that a command needs: found here, or pulled first with a bar."""

from typing import TYPE_CHECKING

from allod.cli.library import LocalLibrary, is_here
from allod.errors import ModelNotFound

if TYPE_CHECKING:
    from allod.home import Home
    from allod.models.store import Model


async def ensure(home: "Home", name: str, insecure: bool = False) -> "Model | None":
    """The model that ``name`` means, pulled if it is not here; None where a server elsewhere has it.

    Raises:
        ModelNotFound: nobody has it; with the nearest names.
        BadName, Network, Disk: as a pull does.
    """
    if not is_here(home.settings.host):
        await ensure_elsewhere(home, name, insecure)
        return None
    library = LocalLibrary(home)
    try:
        return library.find(name)
    except ModelNotFound:
        from allod.cli.progress import show_pull

        await show_pull(library.pull(name, insecure), name)
    return library.find(name)


async def ensure_elsewhere(home: "Home", name: str, insecure: bool) -> None:
    """Has the server that ALLOD_HOST names pull the model if it lacks it."""
    import asyncio

    from allod.cli.progress import show_pull
    from allod.cli.remote import RemoteLibrary

    library = RemoteLibrary(home)
    try:
        await asyncio.to_thread(library.show, name)
    except ModelNotFound:
        await show_pull(library.pull(name, insecure), name)
