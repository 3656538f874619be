"""allod: machine intelligence held outright, on your own machine.

Layers, imports only go down (held by import-linter; see docs/architecture.md):

    cli  server                         doors: parse, translate, print
    interpreter                         crafts: what a person wants done
    engine                              running models: leases, queue, runners
    models                              names, store, sources, catalogue, GGUF facts
    chat  home  keys  egress  errors    ground: shared language, folders, keys, network, errors

    from allod import Interpreter           # allod in a program, see docs/python.md
"""

TYPE_CHECKING = False  # typing's own takes milliseconds to import

__version__ = "0.1.0"

__all__ = ["AsyncInterpreter", "Interpreter", "__version__"]

if TYPE_CHECKING:
    from allod.interpreter.blocking import Interpreter
    from allod.interpreter.interpreter import AsyncInterpreter


def __getattr__(name: str) -> object:
    """Loads an exported class at its first use: ``import allod`` itself is free."""
    if name == "Interpreter":
        from allod.interpreter.blocking import Interpreter

        return Interpreter
    if name == "AsyncInterpreter":
        from allod.interpreter.interpreter import AsyncInterpreter

        return AsyncInterpreter
    raise AttributeError(f"module 'allod' has no attribute {name!r}")
