"""The models room: names, the store, GGUF facts, the catalogue and where bytes come from.

    from allod.models import Name, Store

It knows nothing of running models. What is exported is loaded at first use, so that importing the room is free.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allod.models.gguf import GGUF, read_header
    from allod.models.name import Name
    from allod.models.progress import Progress
    from allod.models.resolve import resolve
    from allod.models.store import Model, Store

__all__ = ["GGUF", "Model", "Name", "Progress", "Store", "read_header", "resolve"]

HOMES = {
    "GGUF": "gguf",
    "Model": "store",
    "Name": "name",
    "Progress": "progress",
    "Store": "store",
    "read_header": "gguf",
    "resolve": "resolve",
}


def __getattr__(name: str) -> Any:
    """Loads an exported name from its module."""
    import importlib

    if name not in HOMES:
        raise AttributeError(f"module 'allod.models' has no attribute {name!r}")
    return getattr(importlib.import_module(f"allod.models.{HOMES[name]}"), name)
