"""``allod do``, ``allod changes`` and ``allod undo``: jobs on the files of a folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from allod.cli.completion import local_names

if TYPE_CHECKING:
    from allod.interpreter.undo import Record

Folder = Annotated[Path, typer.Option("--folder", "-C", help="The folder to work in.", show_default="this one")]


def register(app: typer.Typer) -> None:
    """Adds ``do``, ``changes`` and ``undo``."""
    app.command("do")(do)
    app.command("changes")(changes)
    app.command("undo")(undo)


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
    folder: Folder = Path(),
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="Prompt, limits and sampling.")] = "default",
    max_steps: Annotated[
        int | None, typer.Option("--max-steps", metavar="N", min=1, max=100, help="Blocks of code an attempt may run.",
                          show_default="the profile's")
    ] = None,
    keep_alive: Annotated[
        str, typer.Option("--keepalive", metavar="DURATION", help="How long a server keeps the model.",
                          show_default=False)
    ] = "",
) -> None:  # fmt: skip
    """Have a model do a job on the files of a folder: it writes Python, which runs in a sandbox over a copy."""
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
    wanted = Wanted(text, folder, model, profile, max_steps or 0, yes, go_on, output == "json", parse_keep_alive(keep_alive))
    code = asyncio.run(work(Home.open(), wanted))
    if code:
        raise typer.Exit(code)


def changes(
    folder: Annotated[Path | None, typer.Option("--folder", "-C", help="Only those in this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what jobs changed in your folders, newest first, and what was taken back."""
    from datetime import datetime

    from msgspec import to_builtins

    from allod.cli.output import moment, print_json, print_table
    from allod.home import Home
    from allod.interpreter.undo import history

    records = history(Home.open(), folder)
    if as_json:
        print_json(to_builtins(records))
        return
    rows = [(moment(datetime.fromisoformat(r.at)), r.state, r.folder, named(r)) for r in records]
    print_table(("WHEN", "STATE", "FOLDER", "FILES"), rows)


def named(record: "Record") -> str:
    """The files of a record, the first few by name."""
    shown = ", ".join(record.paths[:4])
    return f"{shown} and {len(record.paths) - 4} more" if len(record.paths) > 4 else shown


def undo(
    folder: Folder = Path(),
    anywhere: Annotated[bool, typer.Option("--anywhere", help="The latest of all folders.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also files that were changed since; a copy of them is kept.")
    ] = False,
) -> None:
    """Take back what the last job changed in a folder; again, the one before it."""
    from allod.cli.transcript import line_of
    from allod.errors import NotFound
    from allod.home import Home
    from allod.interpreter.undo import undo as take_back

    done = take_back(Home.open(), None if anywhere else folder, overwrite=overwrite)
    if done is None:
        where = "any folder" if anywhere else str(folder.resolve())
        raise NotFound(f"no job's changes to take back in {where}", "`allod changes` lists what jobs changed.")
    print(f"Taken back in {done.folder}")
    for change in done.changes:
        words = {"created": "brought back", "deleted": "removed", "changed": "as before"}
        print(f"  {words[change.kind]:<12} {line_of(change)}")
