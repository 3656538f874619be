"""From what a person types to a model of the store.

    resolve("smollm2", store, catalogue)     # smollm2:latest if it is here, else smollm2:135m if that is

The name itself comes first; a name without a tag then stands for the catalogue's default tag. Nothing is guessed beyond
that, and nothing is fetched: a model that is not here is an error that names the nearest ones, here and to be had.
"""

import difflib
from typing import Protocol

from allod.errors import ModelNotFound
from allod.models.name import Name
from allod.models.store import Model, Store


class Found(Protocol):
    """What a catalogue finds under a name."""

    @property
    def name(self) -> str:
        """The name with its tag: ``smollm2:135m`` for ``smollm2``."""
        ...


class Known(Protocol):
    """What ``resolve`` asks of a catalogue; ``allod.models.catalogue.Catalogue`` is one."""

    def nearest(self, name: str) -> tuple[str, ...]:
        """Names that look like one, best first."""
        ...

    def find(self, name: str) -> Found | None:
        """The build that a name stands for, in any case, aliases and default tags included."""
        ...


def resolve(text: str, store: Store, catalogue: Known | None = None) -> Model:
    """The model that ``text`` means.

    Raises:
        BadName: not a name.
        ModelNotFound: not here; ``nearest`` holds names like it from the store and the catalogue.
        NotFound, Disk: it is here but broken.
    """
    name = Name.parse(text)
    try:
        return store.get(name)
    except ModelNotFound:
        pass
    listed = catalogue.find(text) if catalogue is not None else None
    if listed is not None:
        try:
            return store.get(listed.name)
        except ModelNotFound:
            raise ModelNotFound(
                f"model '{text}' not found", f"`allod pull {text}` gets it ({listed.name}).", (listed.name,)
            ) from None
    raise unknown(text, store, catalogue)


def unknown(text: str, store: Store, catalogue: Known | None) -> ModelNotFound:
    """The error for a name that nobody knows: the nearest of the store's, then of the catalogue's."""
    here = difflib.get_close_matches(text.lower(), [str(name) for name in store.names()], n=3, cutoff=0.6)
    listed = catalogue.nearest(text) if catalogue is not None else ()
    near = tuple(dict.fromkeys((*here, *listed)))[:3]
    remedy = f"Did you mean {' or '.join(near)}?" if near else "`allod list` shows the models that are here."
    return ModelNotFound(f"model '{text[:120]}' not found", remedy, near)
