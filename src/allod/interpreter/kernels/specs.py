"""The languages that can be run here: Python and the shell always, others where a Jupyter kernel is installed for them.

A kernel is installed where a folder ``kernels/NAME`` with a ``kernel.json`` lies in one of Jupyter's data folders
(https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs). Its JavaScript is Deno's own kernel, which
comes as a program without such a folder. Nothing is started to find out; a spec that cannot be read is none.
"""

import os
import shutil
import sys
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

# language → the other words for it, of models, people and kernels
ALIASES = {
    "python": ("py", "python3", "py3", "ipython", "ipython3"),
    "shell": ("bash", "sh", "zsh", "console", "terminal", "shell-session", "shellscript"),
    "javascript": ("js", "node", "nodejs", "deno", "mjs", "es6"),
    "typescript": ("ts",),
    "r": ("rscript", "ir"),
    "julia": ("jl",),
    "ruby": ("rb", "iruby"),
    "c++": ("cpp", "cxx", "c++11", "c++14", "c++17", "c++20", "c++23"),
    "c#": ("csharp", "cs"),
    "f#": ("fsharp", "fs"),
    "powershell": ("pwsh", "ps1"),
    "go": ("golang",),
    "rust": ("rs",),
    "octave": ("matlab",),
    "lua": (),
    "perl": ("pl",),
}


class Language(Struct, frozen=True):
    """One that can be run. ``name`` is its one name inside; ``argv`` starts its kernel, empty for allod's own two."""

    name: str
    aliases: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()  # with "{connection_file}" for that file
    env: dict[str, str] = {}
    folder: str = ""  # of the kernel's spec
    interrupt: str = "signal"  # or "message", as the spec says

    @property
    def folders(self) -> tuple[Path, ...]:
        """What its kernel has to see: the spec's folder, its program, and where that was installed."""
        if not self.argv:
            return ()
        binary = Path(self.argv[0])
        found = [Path(self.folder)] if self.folder else []
        for file in dict.fromkeys((binary, binary.resolve())):
            prefix = file.parent.parent
            # A prefix, unless it is somebody's home or holds one: then the program alone.
            own = file.parent.name == "bin" and not Path.home().is_relative_to(prefix) and prefix != Path("/usr/local")
            found.append(prefix if own else file)
        return tuple(path for path in found if path.exists() and not path.is_relative_to("/usr"))


class Spec(Struct, frozen=True):
    """A kernel.json, as far as it matters."""

    argv: tuple[str, ...]
    language: str
    env: dict[str, str] = {}
    interrupt_mode: str = "signal"


def named(word: str) -> str:
    """The one name of a language: ``bash`` → shell, ``JS`` → javascript, ``c++`` stays; "" stays."""
    word = word.strip().lower()
    return next((name for name, others in ALIASES.items() if word == name or word in others), word)


@cache
def available() -> tuple[Language, ...]:
    """Every language that can be run here, Python and the shell first."""
    found = {"python": language("python"), "shell": language("shell")}
    if shutil.which("bash", path="/usr/bin:/bin:/usr/local/bin") is None:
        del found["shell"]
    if deno := deno_binary():
        argv = (deno, "jupyter", "--kernel", "--conn", "{connection_file}")
        env = {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"}
        both = (*ALIASES["javascript"], "typescript", *ALIASES["typescript"])
        found["javascript"] = Language("javascript", both, argv, env, interrupt="message")
    for path in spec_files():
        spec = read(path)
        name = named(spec.language) if spec else ""
        if spec and name and name not in found:
            found[name] = language(name, spec.argv, spec.env, str(path.parent), spec.interrupt_mode)
    return tuple(found.values())


def language(
    name: str,
    argv: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    folder: str = "",
    interrupt: str = "signal",
) -> Language:
    """One by its name inside."""
    return Language(name, ALIASES.get(name, ()), argv, env or {}, folder, interrupt)


def find(word: str) -> Language | None:
    """The language that a word means, where it can be run here."""
    name = named(word)
    by_name = (each for each in available() if each.name == name)
    return next(by_name, None) or next((each for each in available() if name in each.aliases), None)


def read(path: Path) -> Spec | None:
    """A kernel.json; None where it is none, or cannot be run."""
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=Spec)
    except (OSError, msgspec.MsgspecError):
        return None
    if not spec.argv or not (binary := program(spec.argv[0])):
        return None
    return msgspec.structs.replace(spec, argv=(binary, *spec.argv[1:]))


def program(word: str) -> str:
    """The file of a spec's program; "" where there is none."""
    return shutil.which(word, path=os.pathsep.join((str(Path(sys.prefix, "bin")), os.environ.get("PATH", "")))) or ""


def spec_files() -> list[Path]:
    """Every kernel.json in Jupyter's data folders, those that come first in them first."""
    from jupyter_core.paths import jupyter_path

    return [file for folder in jupyter_path("kernels") for file in sorted(Path(folder).glob("*/kernel.json"))]


def deno_binary() -> str:
    """Deno, as the package ``deno`` brings it, else the system's; "" where there is none."""
    return program("deno")
