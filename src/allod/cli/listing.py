"""``allod list``: the models that are here."""

from typing import Annotated

import typer

from allod.cli.completion import local_names


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
    from allod.cli.output import moment, print_json, print_table, size
    from allod.home import Home

    models = [m for m in open_library(Home.open()).list() if m.name.lower().startswith(prefix.lower())]
    if as_json:
        fields = ("name", "digest", "size", "modified_at", "family", "parameters", "quantization")
        rows = [{key: getattr(model, key) for key in fields} for model in models]
        print_json([row | {"modified_at": row["modified_at"].isoformat()} for row in rows])
        return
    print_table(
        ("NAME", "ID", "SIZE", "MODIFIED"),
        [(m.name, m.digest[:12], size(m.size), moment(m.modified_at)) for m in models],
    )
