"""``allod profiles``: what a job can run with. Listing, showing, making and editing; `do --profile` takes one."""

import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds ``profiles`` with its commands."""
    group = typer.Typer(
        help="List, show and make profiles: model, prompt, limits, grants and sampling of `allod do`.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    for name, command in (("list", list_), ("show", show), ("new", new), ("edit", edit)):
        group.command(name)(command)
    app.add_typer(group, name="profiles")


def profile_names(incomplete: str) -> list[str]:
    """Names of profiles that begin so, for completion."""
    from allod.errors import AllodError
    from allod.home import Home
    from allod.interpreter.profiles.files import names

    try:
        return [name for name in names(Home.open()) if name.startswith(incomplete)]
    except AllodError:
        return []


Name = Annotated[str, typer.Argument(help="Which one.", autocompletion=profile_names)]


def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the profiles there are."""
    from msgspec import to_builtins

    from allod.cli.output import note, print_json, print_table
    from allod.home import Home
    from allod.interpreter.profiles import listed

    found = listed(Home.open())
    if as_json:
        print_json(to_builtins(found))
        return
    rows = [(each.name, each.model or "-", "yours" if each.mine else "", each.about or each.error) for each in found]
    print_table(("NAME", "MODEL", "", "ABOUT"), rows)
    if broken := [each.name for each in found if each.error]:
        note(f"Cannot be used as they are: {', '.join(broken)}. `allod profiles edit NAME` mends one.")


def show(name: Name, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Print all that a profile says, with what it takes from the one it extends."""
    from allod.cli.output import print_json
    from allod.home import Home
    from allod.interpreter.profiles import load, plain, shown, where

    home = Home.open()
    profile = load(home, name)
    if as_json:
        print_json(plain(profile))
    else:
        print(f"# {where(home, name)}\n\n{shown(profile)}", end="")


def new(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    base: Annotated[
        str, typer.Option("--from", metavar="NAME", help="The profile it extends.", autocompletion=profile_names)
    ] = "default",
) -> None:
    """Make a profile of your own: a file with everything that can be set, explained and commented out."""
    from allod.cli.output import note
    from allod.home import Home
    from allod.interpreter.profiles import make

    path = make(Home.open(), name, base)
    print(path)
    note(f"`allod profiles edit {name}` opens it, `allod do --profile {name}` takes it.")


def edit(name: Name) -> None:
    """Open a profile in your editor, and say on leaving whether it can be used.

    One of allod's own stays as it is: yours, of the same name, goes over it.
    """
    from allod.cli.editor import edit as in_editor
    from allod.cli.output import note
    from allod.errors import AllodError
    from allod.home import Home
    from allod.interpreter.profiles import load, make, places

    home = Home.open()
    path = places(home, name)[0]
    made = ""
    if not path.is_file():
        load(home, name)  # that there is none is said before anything is written
        made = make(home, name, name).read_text(encoding="utf-8")
    while True:
        in_editor(path)
        try:
            if made and path.read_text(encoding="utf-8", errors="replace") == made:
                path.unlink()
                note(f"Nothing was changed: '{name}' is allod's own still.")
            load(home, name)
        except AllodError as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise
            note(f"Error: {error.message}")
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise
            continue
        if path.is_file():
            print(path)
        return
