"""The engine room: running models, in child processes here or behind a URL.

    async with connect(Home.open()) as engine, engine.lease("smollm2") as runner: ...

    engine.py        Engine: leases, queue, eviction, restarts        instance.py, plan.py, options.py, cores.py
    runner.py        Runner: the protocol                             http_runner.py: all of it that is HTTP
    llama.py         LlamaRunner, the parent side of one child        child.py, connection.py, props.py, fold.py
    turns.py         waiting for a slot                               slots.py: which one
    llama_worker.py  the child
    prefix.py        beginnings computed once, for all processes      snapshots.py: on disk
    counting.py      how many tokens a conversation takes
    remote.py        RemoteEngine, RemoteRunner, connect              discovery.py: what a server can do
    wire.py          our language to JSON                             stream.py: and back
    defaults.py      a model's own defaults under a request

What is exported is loaded at first use, so that importing the room is free.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allod.engine.defaults import with_defaults
    from allod.engine.engine import Engine, Running
    from allod.engine.options import LoadOptions
    from allod.engine.remote import RemoteEngine, connect
    from allod.engine.runner import Answer, Facts, Runner

__all__ = [
    "Answer",
    "Engine",
    "Facts",
    "LoadOptions",
    "RemoteEngine",
    "Runner",
    "Running",
    "connect",
    "with_defaults",
]

HOMES = {
    "Answer": "runner",
    "Engine": "engine",
    "Facts": "runner",
    "LoadOptions": "options",
    "RemoteEngine": "remote",
    "Runner": "runner",
    "Running": "engine",
    "connect": "remote",
    "with_defaults": "defaults",
}


def __getattr__(name: str) -> Any:
    """Loads an exported name from its module."""
    import importlib

    if name not in HOMES:
        raise AttributeError(f"module 'allod.engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"allod.engine.{HOMES[name]}"), name)
