"""``allod do``: a job on the files of a folder. What it says on the command line; `job` does it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from allod.cli.completion import local_names
from allod.cli.profiles import profile_names


def register(app: typer.Typer) -> None:
    """Adds ``do``."""
    app.command("do")(do)


def do(
    task: Annotated[list[str] | None, typer.Argument(help="What to do; none for a conversation.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: run the code, apply the changes.")] = False,
    no_apply: Annotated[bool, typer.Option("--no-apply", help="Show the changes, apply none of them.")] = False,
    model: Annotated[
        str,
        typer.Option("--model", "-m", metavar="MODEL", help="Which model.", show_default=False,
                     autocompletion=local_names),
    ] = "",
    profile: Annotated[
        str, typer.Option("--profile", "-p", metavar="NAME", help="Prompt, limits, grants and sampling.",
                          show_default="by the model's size", autocompletion=profile_names)
    ] = "",
    files: Annotated[
        list[Path] | None, typer.Option("--file", "-f", metavar="PATH", help="A file or picture to go with the job.")
    ] = None,
    go_on: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the last conversation here.")] = False,
    resume: Annotated[
        str | None, typer.Option("--resume", "-r", metavar="[ID|WORDS]", help="Go on with the conversation of that id, "
                                 "or with these words in it; alone, with one you pick.", show_default=False)
    ] = None,
    folder: Annotated[Path, typer.Option("--folder", "-C", help="Where to work.", show_default="here")] = Path(),
    read: Annotated[
        list[Path] | None, typer.Option("--read", metavar="DIR", help="Another folder that code may read.")
    ] = None,
    add_folder: Annotated[
        list[Path] | None, typer.Option("--add-folder", metavar="DIR", help="Another folder that code may change; as "
                                        "with the first, nothing is written until it is applied.")
    ] = None,
    net: Annotated[
        list[str] | None, typer.Option("--net", metavar="HOST", help="A host that code may reach: example.org, "
                                       "*.example.org, example.org:8080. All else stays out of reach.")
    ] = None,
    packages: Annotated[
        bool, typer.Option("--packages", help="Code may install Python packages, for the time of the job.")
    ] = False,
    unconfined: Annotated[
        bool, typer.Option("--unconfined", help="With --yes on a machine without a sandbox: run the code all the same.")
    ] = False,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="json: one event a line, for programs.")
    ] = "text",
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, max=100, help="Blocks of code an attempt may run.",
                          show_default="the profile's")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=(1 << 32) - 1, help="Repeats or varies the job.",
                                 show_default="the profile's")
    ] = None,
    keep_alive: Annotated[
        str, typer.Option("--keepalive", metavar="DURATION", help="How long a server keeps the model.",
                          show_default=False)
    ] = "",
) -> None:  # fmt: skip
    """Have a model do a job on the files of a folder, safely.

    It writes code, which runs in a sandbox over a copy-on-write view of the folder. Nothing changes until you say so.
    Exit codes: 0 done, 3 it needs an answer, 4 it gave up, 1 you declined or it failed, 130 stopped.
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
    if go_on and resume is not None:
        raise BadRequest("--continue and --resume do not go together", "--continue takes the last one here.")
    if not text and output == "json":
        raise BadRequest("there is no job", "Type it after the options.")
    wanted = Wanted(
        task=text,
        folder=folder,
        model=model,
        profile=profile,
        files=tuple(files or ()),
        go_on=go_on,
        resume=resume,
        read=tuple(read or ()),
        folders=tuple(add_folder or ()),
        net=tuple(net or ()),
        packages=packages,
        yes=yes,
        no_apply=no_apply,
        unconfined=unconfined,
        as_json=output == "json",
        can_ask=terminal and output != "json",
        max_steps=max_steps or 0,
        seed=seed,
        keep_alive=parse_keep_alive(keep_alive),
    )
    code = asyncio.run(work(Home.open(), wanted))
    if code:
        raise typer.Exit(code)
