"""``allod list``: the models that are here."""

from typing import TYPE_CHECKING, Annotated

import typer

from allod.cli.completion import local_names

if TYPE_CHECKING:
    from allod.cli.library import Listed


def register(app: typer.Typer) -> None:
    """Adds ``list`` and its short form ``ls``."""
    app.command("list")(list_models)
    app.command("ls", hidden=True)(list_models)


def list_models(
    prefix: Annotated[
        str, typer.Argument(help="Only names that begin so.", autocompletion=local_names, show_default=False)
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that are here."""
    from allod.cli.library import open_library
    from allod.cli.output import print_json
    from allod.home import Home

    models = [m for m in open_library(Home.open()).list() if m.name.lower().startswith(prefix.lower())]
    if as_json:
        fields = ("name", "digest", "size", "modified_at", "family", "parameters", "quantization")
        rows = [{key: getattr(model, key) for key in fields} for model in models]
        print_json([row | {"modified_at": row["modified_at"].isoformat()} for row in rows])
    else:
        print_models(models)


def print_models(models: "list[Listed]") -> None:
    """The table."""
    from allod.cli.output import moment, print_table, size

    rows = [(m.name, m.digest[:12], size(m.size), moment(m.modified_at)) for m in models]
    print_table(("NAME", "ID", "SIZE", "MODIFIED"), rows)
