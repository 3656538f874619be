"""``allod changes`` and ``allod undo``: what jobs wrote into the user's folders, and taking it back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allod.interpreter.workspace.undo import Record


def register(app: typer.Typer) -> None:
    """Adds ``changes`` and ``undo``."""
    app.command("changes")(changes)
    app.command("undo")(undo)


def changes(
    folder: Annotated[Path | None, typer.Option("--folder", "-C", help="Only those in this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what jobs changed in your folders, newest first."""
    from datetime import datetime

    from msgspec import to_builtins

    from allod.cli.output import moment, print_json, print_table
    from allod.home import Home
    from allod.interpreter.workspace.undo import history

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
    folder: Annotated[Path, typer.Option("--folder", "-C", help="Whose changes.", show_default="here")] = Path(),
    anywhere: Annotated[bool, typer.Option("--anywhere", help="The latest of all folders.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also files that were changed since; a copy of them is kept.")
    ] = False,
) -> None:
    """Take back what the last job changed in a folder.

    Again, and the one before it is taken back.
    """
    from allod.cli.transcript import line_of
    from allod.errors import NotFound
    from allod.home import Home
    from allod.interpreter.workspace.undo import undo as take_back

    done = take_back(Home.open(), None if anywhere else folder, overwrite=overwrite)
    if done is None:
        where = "any folder" if anywhere else str(folder.resolve())
        raise NotFound(f"no job's changes to take back in {where}", "`allod changes` lists what jobs changed.")
    print(f"Taken back in {done.folder}")
    for change in done.changes:
        words = {"created": "brought back", "deleted": "removed", "changed": "as before"}
        print(f"  {words[change.kind]:<12} {line_of(change)}")
