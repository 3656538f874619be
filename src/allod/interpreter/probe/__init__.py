"""Looks at the files of a folder from inside the sandbox, so that the model need not guess what they hold.

These modules run in the job's own Python, not in allod's: files are hostile, and the libraries that open them are
heavy. ``look()`` and ``look_at()`` are what allod itself uses: the code of a hidden block that defines them and shows
the findings as JSON. They import nothing of allod but each other, need only the standard library to load, and
use pandas, openpyxl, pdfplumber and Pillow where these are installed. A file that cannot be read yields its size and
the reason.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from allod.interpreter.kernels.outputs import Output, Result

PARTS = (
    "finding",
    "encodings",
    "tables",
    "documents",
    "logs",
    "frames",
    "texts",
    "markup",
    "settings",
    "media",
    "walk",
    "results",
    "session",
    "linking",
)  # as they import
MIME = "application/x-allod-found+json"
T = TypeVar("T")


def look(task: str, seconds: float, names: int = 400) -> str:
    """The hidden block that looks at the folder for ``seconds`` at most, files named in ``task`` first."""
    return block(f"walk.look({task!r}, {seconds!r}, {names!r})")


def look_at(paths: list[str], columns: list[str], ordered: bool) -> str:
    """The hidden block that looks at the files a job has written; see ``results.results``."""
    return block(f"results.results({paths!r}, {columns!r}, {ordered!r})")


def linked(task: str, names: list[str]) -> str:
    """The hidden block that says which words of a task are values of a column of these variables."""
    return block(f"linking.values({task!r}, {names!r}, globals())")


def meant(columns: list[str], names: list[str]) -> str:
    """The hidden block that says which columns of these variables are what is asked for by a shorter name."""
    return block(f"linking.columns({columns!r}, {names!r}, globals())")


def variables() -> str:
    """The hidden block that says what the session's variables hold."""
    return block("session.variables(globals())")


def block(call: str) -> str:
    """A hidden block that shows what ``call`` gives, and leaves nothing behind in the session."""
    here = Path(__file__).parent
    modules = {f"{__name__}.{part}": (here / f"{part}.py").read_text(encoding="utf-8") for part in PARTS}
    return BLOCK.format(package=__name__, modules=modules, call=call, mime=MIME)


def found(outputs: Iterable[Output], kind: type[T]) -> T | None:
    """What a hidden block found; None where it did not come to that (it was stopped, or its kernel died)."""
    for output in outputs:
        if isinstance(output, Result) and MIME in output.data:
            return msgspec.json.decode(output.data[MIME], type=kind)
    return None


BLOCK = """
def _allod_look():
    import sys, types, warnings
    from IPython.display import display
    before = set(sys.modules)
    package = {package!r}
    for at in range(package.count(".") + 1):
        name = ".".join(package.split(".")[: at + 1])
        sys.modules.setdefault(name, types.ModuleType(name))
    for name, code in {modules!r}.items():
        module = sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[package], name.rpartition(".")[2], module)
        exec(compile(code, "<allod>", "exec"), module.__dict__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = sys.modules[package].{call}
    display({{{mime!r}: text, "text/plain": "looked"}}, raw=True)
    for name in set(sys.modules) - before:
        if name.split(".")[0] == package.split(".")[0]:
            del sys.modules[name]
_allod_look()
del _allod_look
"""
