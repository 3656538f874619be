"""``allod cp``, ``allod rm`` and ``allod prune``: models in the store under other names, or no longer."""

from typing import Annotated

import typer

from allod.cli.completion import local_names


def register(app: typer.Typer) -> None:
    """Adds ``cp``, ``rm`` and ``prune``."""
    app.command("cp")(copy)
    app.command("rm")(remove)
    app.command("prune")(prune)


def copy(
    source: Annotated[str, typer.Argument(help="A model that is here.", autocompletion=local_names)],
    target: Annotated[str, typer.Argument(help="Its further name.")],
) -> None:
    """Give a model a second name; its weights are shared, not copied."""
    from allod.cli.library import open_library
    from allod.home import Home

    open_library(Home.open()).copy(source, target)
    print(f"copied '{source}' to '{target}'")


def remove(
    models: Annotated[list[str], typer.Argument(help="Models that are here.", autocompletion=local_names)],
) -> None:
    """Remove models, and the files that no other model uses."""
    from allod.cli import failures
    from allod.cli.library import open_library
    from allod.errors import AllodError
    from allod.home import Home

    library = open_library(Home.open())
    worst = 0
    for name in models:  # one that is misspelt does not keep the others
        try:
            print(f"deleted '{library.delete(name)}'")
        except AllodError as error:
            failures.lines(error.message, error.remedy)
            worst = worst or error.exit_code
    if worst:
        raise typer.Exit(worst)


def prune() -> None:
    """Remove files that no model uses, as a command that was killed may leave them; half-done downloads are kept."""
    from allod.cli.output import size
    from allod.home import Home
    from allod.models.store import Store

    freed = Store(Home.open().models).prune()
    print(f"freed {size(freed)}" if freed else "there is nothing to remove")
