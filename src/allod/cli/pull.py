"""``allod pull`` and ``allod push``: fetch a model, send one to a registry."""

from typing import Annotated

import typer

from allod.cli.completion import local_names, pullable_names


def register(app: typer.Typer) -> None:
    """Adds ``pull`` and ``push``."""
    app.command("pull")(pull)
    app.command("push")(push)


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


def push(
    model: Annotated[
        str,
        typer.Argument(help="Its name, with the registry: example.org/me/mine:1b.", autocompletion=local_names),
    ],
    insecure: Annotated[bool, typer.Option(help="Allow http:// beyond this machine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print progress as JSON lines.")] = False,
) -> None:
    """Send a model to a registry; a push that was stopped goes on where it was."""
    import asyncio

    from allod.cli.library import open_library
    from allod.cli.progress import show_pull
    from allod.home import Home

    library = open_library(Home.open())
    asyncio.run(show_pull(library.push(model, insecure), model, "push", as_json=as_json))
