"""Where the models are that a command is about: in this machine's store, or behind a server elsewhere.

    library = open_library(home)          # ALLOD_HOST on loopback or unset: the store; another machine: its /api
    for listed in library.list(): ...

A server on this machine shares the store with us, so its models are read and changed in place, whether it runs or not.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from allod.home import Home

if TYPE_CHECKING:
    from allod.models.progress import Progress
    from allod.models.store import Model


class Listed(Struct, frozen=True):
    """A model in a listing. ``digest`` has 64 hex digits, ``size`` is in bytes; facts are empty where unknown."""

    name: str
    digest: str
    size: int
    modified_at: datetime
    family: str = ""
    parameters: str = ""
    quantization: str = ""


class Shown(Struct, frozen=True):
    """What ``show`` knows of a model. ``parameters`` is text, ``info`` the GGUF's metadata."""

    name: str
    details: dict[str, Any]
    capabilities: list[str]
    info: dict[str, Any] = field(default_factory=dict[str, Any])
    tensors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    parameters: str = ""
    template: str = ""
    system: str = ""
    license: str = ""
    modelfile: str = ""


class Library(Protocol):
    """Models by name. Errors: ModelNotFound, BadName, Network, Disk."""

    def list(self) -> "list[Listed]":
        """All of them, newest first."""
        ...

    def show(self, name: str, verbose: bool = False) -> Shown:
        """One in full; ``verbose``: with long arrays and tensors."""
        ...

    def delete(self, name: str) -> str:
        """Removes one; returns its name as it was stored."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Gives one a second name."""
        ...

    def pull(self, name: str, insecure: bool = False) -> "AsyncIterator[Progress]":
        """Fetches one."""
        ...

    def push(self, name: str, insecure: bool = False) -> "AsyncIterator[Progress]":
        """Sends one to its registry."""
        ...


def open_library(home: Home) -> Library:
    """The store of this machine, or the server elsewhere that ALLOD_HOST names."""
    if is_here(home.settings.host):
        return LocalLibrary(home)
    from allod.cli.remote import RemoteLibrary

    return RemoteLibrary(home)


class LocalLibrary:
    """The store under this home."""

    def __init__(self, home: Home) -> None:
        from allod.models.store import Store

        self.home = home
        self.store = Store(home.models)

    def find(self, name: str) -> "Model":
        """The model a name means, bare names by the catalogue's default tag. Raises ModelNotFound, BadName, Disk."""
        from allod.errors import ModelNotFound
        from allod.models.resolve import resolve

        try:
            return resolve(name, self.store)
        except ModelNotFound:
            from allod.models.catalogue import Catalogue

            return resolve(name, self.store, Catalogue.load(self.home))

    def list(self) -> "list[Listed]":
        """All models; what cannot be read is named on stderr."""
        from allod.cli.output import note

        models = self.store.list()
        for warning in self.store.warnings:
            note(f"Left out: {warning}")
        return [
            Listed(
                name=str(model.name),
                digest=model.digest,
                size=model.size,
                modified_at=model.modified_at,
                family=model.config.model_family,
                parameters=model.config.model_type,
                quantization=model.config.file_type,
            )
            for model in models
        ]

    def show(self, name: str, verbose: bool = False) -> Shown:
        """One model with what its GGUF says."""
        from allod.cli.facts import shown

        return shown(self.find(name), verbose)

    def delete(self, name: str) -> str:
        """Removes a model, sound or broken."""
        from allod.errors import ModelNotFound

        try:
            self.store.delete(name)
        except ModelNotFound:
            stored = self.find(name).name
            self.store.delete(stored)
            return str(stored)
        return name

    def copy(self, source: str, target: str) -> None:
        """A second manifest, the same blobs."""
        self.store.copy(self.find(source).name, target)

    async def pull(self, name: str, insecure: bool = False) -> "AsyncIterator[Progress]":
        """From the first source that has it."""
        from allod.egress import Egress
        from allod.models.pull import pull

        async for event in pull(name, self.home, self.store, Egress(self.home), insecure=insecure):
            yield event

    async def push(self, name: str, insecure: bool = False) -> "AsyncIterator[Progress]":
        """To the registry that its name begins with."""
        from allod.egress import Egress
        from allod.models.push import push

        async for event in push(name, self.home, self.store, Egress(self.home), insecure=insecure):
            yield event


def is_here(host: str) -> bool:
    """Whether ``host``, as ALLOD_HOST has it, is this machine: loopback, or all of its own addresses."""
    from urllib.parse import urlsplit

    from allod.egress import is_loopback
    from allod.engine.remote import base_url

    return is_loopback(urlsplit(base_url(host)).hostname or "")
