"""``allod do``: a job on the files of a folder. What it says on the command line; `job` does it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from allod.cli.completion import local_names


def register(app: typer.Typer) -> None:
    """Adds ``do``."""
    app.command("do")(do)


def do(
    task: Annotated[list[str] | None, typer.Argument(help="What to do; none for a conversation.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: run the code, apply the changes.")] = False,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", help="Which model.", show_default=False,
                     autocompletion=local_names),
    ] = "",
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last conversation here.")] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="json: one event a line, for programs.")
    ] = "text",
    folder: Annotated[Path, typer.Option("--folder", "-C", help="Where to work.", show_default="here")] = Path(),
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="Prompt, limits and sampling.")] = "default",
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, max=100, help="Blocks of code an attempt may run.",
                          show_default="the profile's")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats or varies the job.", show_default="the profile's")] = None,
    keep_alive: Annotated[
        str, typer.Option("--keepalive", metavar="DURATION", help="How long a server keeps the model.",
                          show_default=False)
    ] = "",
) -> None:  # fmt: skip
    """Have a model do a job on the files of a folder, safely.

    It writes Python, which runs in a sandbox over a copy-on-write view of the folder. Nothing changes until you say so.
    """
    import asyncio
    import sys

    from allod.cli.chat import parse_keep_alive
    from allod.cli.job import Wanted, work
    from allod.cli.run import whole_prompt
    from allod.errors import BadRequest
    from allod.home import Home

    terminal = sys.stdin is not None and sys.stdin.isatty()  # pyright: ignore[reportUnnecessaryComparison]
    text = " ".join(task or []).strip() if terminal else whole_prompt(task or [])
    if not yes and (not terminal or output == "json"):
        raise BadRequest(
            "there is nobody to ask before code is run and changes are applied",
            "Say yes to all of it with `allod do --yes …`, or type the command in a terminal.",
        )
    if not text and output == "json":
        raise BadRequest("there is no job", "Type it after the options.")
    wanted = Wanted(
        text, folder, model, profile, max_steps or 0, seed, yes, go_on, output == "json", parse_keep_alive(keep_alive)
    )
    code = asyncio.run(work(Home.open(), wanted))
    if code:
        raise typer.Exit(code)
