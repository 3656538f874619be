"""``allod keys``: API keys of the server. Making, listing and removing them."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds ``keys`` with its commands."""
    group = typer.Typer(
        help="Make, list and remove API keys of the server.", rich_markup_mode=None, no_args_is_help=True
    )
    group.command("add")(add)
    group.command("list")(list_)
    group.command("rm")(remove)
    app.add_typer(group, name="keys")


def key_names(incomplete: str) -> list[str]:
    """Names of keys that begin so, for completion."""
    from allod.errors import AllodError
    from allod.home import Home
    from allod.keys import Keys

    try:
        return [key.name for key in Keys(Home.open()).list() if key.name.startswith(incomplete)]
    except AllodError:
        return []


def add(
    name: Annotated[str, typer.Argument(help="What to call it, such as the person or program that gets it.")],
    routes: Annotated[
        list[str] | None, typer.Option("--route", metavar="PATTERN", help="Only these routes; may be given many times.")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", metavar="PATTERN", help="Only these models; may be given many times.")
    ] = None,
    rate: Annotated[int, typer.Option(help="Requests a minute at most; 0: no limit.")] = 0,
) -> None:
    """Make a key and print it: the only time that it can be seen."""
    from allod.cli.output import note
    from allod.home import Home
    from allod.keys import Keys

    keys = Keys(Home.open())
    first = not keys.list()
    print(keys.add(name, tuple(routes or ()), tuple(models or ()), rate))
    note("Send it as `Authorization: Bearer KEY`. It is stored as a hash only and cannot be shown again.")
    if first:
        note("From now on the server wants a key from every client but the commands of this user on this machine.")


def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the keys, without their secrets."""
    from allod.cli.output import print_json, print_table
    from allod.home import Home
    from allod.keys import Keys

    keys = Keys(Home.open()).list()
    if as_json:
        fields = ("name", "created", "routes", "models", "rate")
        print_json([{name: getattr(key, name) for name in fields} for key in keys])
        return
    rows = [
        (k.name, k.created, " ".join(k.routes), " ".join(k.models), f"{k.rate}/min" if k.rate else "") for k in keys
    ]
    print_table(("NAME", "CREATED", "ROUTES", "MODELS", "RATE"), rows)


def remove(name: Annotated[str, typer.Argument(help="Which one.", autocompletion=key_names)]) -> None:
    """Remove a key: whoever has it is refused from now on."""
    from allod.home import Home
    from allod.keys import Keys

    Keys(Home.open()).remove(name)
