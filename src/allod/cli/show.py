"""``allod show``: what a model is, in short or one part of it in full."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from allod.cli.completion import local_names

if TYPE_CHECKING:
    from allod.cli.library import Shown

LICENSE_LINES = 2  # of each licence's beginning, in the overview


def register(app: typer.Typer) -> None:
    """Adds ``show``."""
    app.command("show")(show)


def show(
    model: Annotated[str, typer.Argument(help="A model that is here.", autocompletion=local_names)],
    license_: Annotated[bool, typer.Option("--license", help="Print the licence.")] = False,
    modelfile: Annotated[bool, typer.Option("--modelfile", help="Print the Modelfile.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Print the parameters.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Print the prompt template.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Print the system message.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="With all metadata and tensors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a model is: size, abilities, parameters, licence."""
    from allod.cli.library import open_library
    from allod.cli.output import print_json
    from allod.errors import BadRequest
    from allod.home import Home

    wanted = {
        "license": license_,
        "modelfile": modelfile,
        "parameters": parameters,
        "template": template,
        "system": system,
    }
    parts = [name for name, yes in wanted.items() if yes]
    if len(parts) > 1:
        raise BadRequest(f"--{parts[0]} and --{parts[1]} do not go together", "Ask for one part at a time.")
    found = open_library(Home.open()).show(model, verbose)
    if as_json:
        print_json(as_dict(found, verbose))
    elif parts:
        print(getattr(found, parts[0]))
    else:
        print_overview(found, verbose)


def as_dict(found: "Shown", verbose: bool) -> dict[str, Any]:
    """The fields as Ollama's /api/show names them; long arrays and tensors where ``verbose``."""
    fields = {
        "name": found.name,
        "details": found.details,
        "capabilities": found.capabilities,
        "parameters": found.parameters,
        "template": found.template,
        "system": found.system,
        "license": found.license,
        "modelfile": found.modelfile,
        "model_info": found.info,
    }
    return fields | ({"tensors": found.tensors} if verbose else {})


def print_overview(found: "Shown", verbose: bool = False) -> None:
    """Headed sections, as Ollama prints them."""
    architecture = str(found.info.get("general.architecture") or found.details.get("family") or "")
    facts = {
        "architecture": architecture,
        "parameters": found.details.get("parameter_size", ""),
        "context length": found.info.get(f"{architecture}.context_length", ""),
        "embedding length": found.info.get(f"{architecture}.embedding_length", ""),
        "quantization": found.details.get("quantization_level", ""),
    }
    section("Model", [(key, str(value or "unknown")) for key, value in facts.items()])
    section("Capabilities", [(name, "") for name in found.capabilities])
    section("Parameters", [(key, rest) for key, _, rest in (li.partition(" ") for li in found.parameters.splitlines())])
    section("System", [(line, "") for line in found.system.strip().splitlines()])
    lines = [line.strip() for line in found.license.splitlines() if line.strip()]
    section("License", [(line, "") for line in lines[:LICENSE_LINES]])
    if verbose:
        section("Metadata", [(key, short(value)) for key, value in sorted(found.info.items())])
        section("Tensors", [(t["name"], f"{t['type']:<8} {t['shape']}") for t in found.tensors])


def section(title: str, rows: list[tuple[str, str]]) -> None:
    """A heading with two columns below it; nothing for no rows."""
    if not rows:
        return
    print(f"  {title}")
    width = max((len(key) for key, value in rows if value), default=0)
    for key, value in rows:
        print(f"    {key:<{width}}    {value.strip()}".rstrip())
    print()


def short(value: Any) -> str:
    """A value of the metadata on one line; of a long list its beginning."""
    if isinstance(value, list):
        shown = ", ".join(map(str, value[:3]))  # pyright: ignore[reportUnknownArgumentType]
        return f"[{shown}{f', … {len(value)} in all' if len(value) > 3 else ''}]"  # pyright: ignore[reportUnknownArgumentType]
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= 100 else f"{text[:99]}…"
