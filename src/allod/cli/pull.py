"""``allod pull``: fetch a model."""

from typing import Annotated

import typer

from allod.cli.completion import pullable_names


def register(app: typer.Typer) -> None:
    """Adds ``pull``."""
    app.command("pull")(pull)


def pull(
    model: Annotated[
        str,
        typer.Argument(
            help="A name: smollm2, qwen2.5-coder:1.5b, hf.co/user/repo:Q4_K_M.", autocompletion=pullable_names
        ),
    ],
    insecure: Annotated[bool, typer.Option(help="Allow http:// beyond this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print progress as JSON lines.")] = False,
) -> None:
    """Fetch a model; a pull that was stopped goes on where it was."""
    import asyncio

    from allod.cli.library import open_library
    from allod.cli.progress import show_pull
    from allod.home import Home

    library = open_library(Home.open())
    asyncio.run(show_pull(library.pull(model, insecure), model, as_json=as_json))
