"""``allod help [COMMAND]``: the same as ``--help``, in the form people try first."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("help")(show_help)


def show_help(command: Annotated[list[str] | None, typer.Argument(help="The command to explain.")] = None) -> None:
    """Show help, for allod or for one of its commands."""
    from allod.cli.app import run

    raise typer.Exit(run([*(command or []), "--help"]))
