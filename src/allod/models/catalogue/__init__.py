"""The catalogue: which models there are, and where to get exactly those bytes.

    Catalogue.load(home).find("qwen2.5-coder:1.5b").build.places

Reviewed data, not code: the rows are in ``data/*.toml``, one file a family, each with the sources it was checked
against and the day. ``entry.py`` is what a row may say, ``load.py`` reads and finds. It fetches nothing
(``allod.models.pull`` does) and knows nothing of what is in the store (``allod.models.resolve`` does).
"""

from allod.models.catalogue.entry import (
    Build,
    Entry,
    HuggingFacePlace,
    Listed,
    PackagePlace,
    Place,
    Projector,
    RegistryPlace,
)
from allod.models.catalogue.load import Catalogue

__all__ = [
    "Build",
    "Catalogue",
    "Entry",
    "HuggingFacePlace",
    "Listed",
    "PackagePlace",
    "Place",
    "Projector",
    "RegistryPlace",
]
