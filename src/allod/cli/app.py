"""Puts the Typer app together from the modules that the command line at hand needs, and runs it.

Knows which module registers which command. Knows nothing of what commands do, nor how errors look (`failures`).
"""

import importlib
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
import typer.core

from allod import __version__
from allod.cli import completion, failures

# Command → the module of allod.cli whose register(app) adds it, in the order that help shows.
MODULES = {
    "do": "do",
    "profiles": "profiles",
    "conversations": "conversations",
    "changes": "undo",
    "undo": "undo",
    "run": "run",
    "pull": "pull",
    "push": "pull",
    "list": "listing",
    "ls": "listing",
    "show": "show",
    "ps": "running",
    "stop": "running",
    "cp": "shelf",
    "rm": "shelf",
    "prune": "shelf",
    "create": "create",
    "serve": "serve",
    "start": "serve",
    "keys": "keys",
    "privacy": "privacy",
    "doctor": "doctor",
    "help": "help",
}


class Group(typer.core.TyperGroup):
    """The app's group. Typer itself would end quietly, but with 1, where the reader of a pipe went away."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Reads the command line; prints the help where it asks for that."""
        with reader_watched():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: typer.Context) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Runs the command."""
        with reader_watched():
            return super().invoke(ctx)


@contextmanager
def reader_watched() -> Generator[None]:
    """A broken pipe as an error that Typer knows nothing of."""
    try:
        yield
    except BrokenPipeError as error:
        raise failures.ReaderGone from error


def run(args: Sequence[str]) -> int:
    """Runs a command line (without the program's name); returns the exit code, errors already reported."""
    words, debug = failures.take_debug(args)
    words = think_as_true(words) or ["--help"]
    if os.environ.get("_ALLOD_COMPLETE") == completion.BASH:
        completion.mend_bash_words()
    try:
        app = build(modules_for(words))
        typer.main.get_command(app)(args=words, prog_name="allod")
        code = 0
    except SystemExit as end:  # how Typer ends, after a usage error too
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:  # noqa: BLE001 - the one place where every error ends
        code = failures.report(error, debug)
    return failures.flush(code)


def build(modules: Iterable[str]) -> typer.Typer:
    """The app with the commands of these modules of allod.cli."""
    app = typer.Typer(
        name="allod",
        cls=Group,
        help="Machine intelligence you hold outright: models, a code interpreter and a server, on your own machine.",
        epilog="`allod help COMMAND` says more about one. Guide: docs/cli.md",
        rich_markup_mode=None,  # Rich would cost 40 ms at every start that ends in help or a usage error
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(root)
    for module in modules:
        importlib.import_module(f"allod.cli.{module}").register(app)
    return app


def print_version(wanted: bool) -> None:
    """``allod --version`` next to other arguments; alone, `allod.__main__` answers it."""
    if wanted:
        typer.echo(f"allod {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", "-v", help="Print the version.", callback=print_version)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (also ALLOD_DEBUG=1).")
    ] = False,
) -> None:
    """Options that come before any command; ``--debug`` is taken out of the arguments before Typer sees them."""


def modules_for(words: Sequence[str]) -> list[str]:
    """The modules a command line needs: one where its command is known, else all (help, completion, a misspelling)."""
    if "_ALLOD_COMPLETE" in os.environ:
        words = completion.typed_words()[:-1]  # the last one is still being typed
    if words and (module := MODULES.get(words[0])) and module != "help":
        return [module]
    return list(dict.fromkeys(MODULES.values()))


def think_as_true(words: list[str]) -> list[str]:
    """A bare ``--think`` as ``--think=true`` and a bare ``--resume`` as ``--resume=``: Typer has no options with an
    optional value. What follows ``--resume`` is its value, unless it is an option."""
    end = words.index("--") if "--" in words else len(words)
    bare = {"--think": "--think=true"}
    for i, word in enumerate(words[:end]):
        if word in ("--resume", "-r") and words[:1] == ["do"] and (i + 1 == end or words[i + 1].startswith("-")):
            bare[word] = "--resume="
    return [bare.get(word, word) if i < end else word for i, word in enumerate(words)]
