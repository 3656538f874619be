"""What all doors of one running server share: the store, the engine, the catalogue, the egress door."""

import asyncio
from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TYPE_CHECKING

from allod.egress import Egress
from allod.engine.engine import Engine
from allod.errors import BadName, ModelNotFound
from allod.home import Home
from allod.models.overrides import Overrides
from allod.models.progress import Progress
from allod.models.resolve import resolve
from allod.models.store import Model, Store
from allod.server.access import check_model

if TYPE_CHECKING:
    from allod.models.catalogue import Catalogue

LONGEST_ECHO = 200  # characters of a client's text that an error repeats


class State:
    """One a server. The engine is entered and left by the application's lifespan."""

    def __init__(self, home: Home, engine: Engine | None = None) -> None:
        self.home = home
        self.store = Store(home.models)
        self.engine = engine or Engine(home, self.store)
        self.egress = Egress(home)
        self.overrides = Overrides(home)

    @cached_property
    def catalogue(self) -> "Catalogue":
        """Read at first use."""
        from allod.models.catalogue import Catalogue

        return Catalogue.load(self.home)

    async def model(self, name: str) -> Model:
        """The model that a request means, as it is in the store now, with what the user set for it (models.toml).

        Raises:
            ModelNotFound: none of that name, or no name at all; in Ollama's words, with the nearest names.
        """
        return self.overrides.over(await self.stored(name))

    async def stored(self, name: str) -> Model:
        """The same without what the user set for it.

        Raises:
            ModelNotFound: as above.
            Refused: the request's key is not good for it.
        """
        model = await self._found(name)
        check_model(model.name)
        return model

    async def _found(self, name: str) -> Model:
        try:
            try:
                return resolve(name, self.store)  # some 70 µs: a thread would cost more
            except ModelNotFound:
                return await asyncio.to_thread(lambda: resolve(name, self.store, self.catalogue))
        except ModelNotFound as error:
            raise ModelNotFound(f"model '{echo(name)}' not found", error.remedy, error.nearest) from error
        except BadName as error:
            raise ModelNotFound(f"model '{echo(name)}' not found", error.message) from error

    def pull(self, name: str, insecure: bool = False) -> AsyncGenerator[Progress]:
        """Brings a model into the store, step by step; see `allod.models.pull`."""
        from allod.models.pull import pull  # with an HTTP client, which a server that only runs models never needs

        return pull(name, self.home, self.store, self.egress, insecure=insecure)

    def push(self, name: str, insecure: bool = False) -> AsyncGenerator[Progress]:
        """Sends a model to a registry; see `allod.models.push`."""
        from allod.models.push import push

        return push(name, self.home, self.store, self.egress, insecure=insecure)


def echo(text: str) -> str:
    """A client's text, cut to what fits an error."""
    return text if len(text) <= LONGEST_ECHO else f"{text[:LONGEST_ECHO]}…"
