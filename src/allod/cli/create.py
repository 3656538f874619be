"""``allod create``: a model from a GGUF file, or from another model with its own system message and parameters."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allod.home import Home
    from allod.models.modelfile import Modelfile


def register(app: typer.Typer) -> None:
    """Adds ``create``."""
    app.command("create")(create)


def create(
    model: Annotated[str, typer.Argument(help="The name it gets.")],
    file: Annotated[
        str,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="The Modelfile; `-` reads it from stdin.  [default: Modelfile]",
            show_default=False,
        ),
    ] = "",
    source: Annotated[
        str, typer.Option("--from", metavar="SOURCE", help="A GGUF file or a model, in place of a Modelfile.")
    ] = "",
    quantize: Annotated[
        str,
        typer.Option("--quantize", "-q", metavar="TYPE", help="Quantize an F16, BF16 or F32 model: Q4_K_M, Q8_0…"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print progress as JSON lines.")] = False,
) -> None:
    """Make a model from a Modelfile or a GGUF file."""
    from msgspec.structs import replace

    from allod.cli.progress import show_steps
    from allod.home import Home
    from allod.models.create import create as build
    from allod.models.store import Store

    home = Home.open()
    refuse_elsewhere(home)
    recipe, base = read_recipe(file, source)
    for warning in recipe.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    recipe = replace(recipe, sources=tuple(found_source(home, source, base, as_json) for source in recipe.sources))
    show_steps(build(Store(home.models), model, recipe, base, quantize), as_json=as_json)


def found_source(home: "Home", source: str, base: Path, as_json: bool) -> str:
    """A FROM as the store knows it: a path as it stands, a model by its full name, pulled if it is not here."""
    import asyncio

    from allod.cli.fetch import pull
    from allod.cli.library import LocalLibrary
    from allod.errors import ModelNotFound
    from allod.models.create import local

    if local(source, base) is not None:
        return source
    library = LocalLibrary(home)
    try:
        return str(library.find(source).name)
    except ModelNotFound as missing:
        asyncio.run(pull(home, source, missing, as_json=as_json))
        return str(library.find(source).name)


def read_recipe(file: str, source: str) -> "tuple[Modelfile, Path]":
    """The Modelfile and the folder its paths are relative to. Raises BadRequest, BadModelfile, NotFound, ReadOnly."""
    from allod.errors import BadRequest
    from allod.models.modelfile import Modelfile, parse

    if source and file:
        raise BadRequest("--from and --file do not go together", "Give a GGUF file, or a Modelfile that names it.")
    if source:
        path = Path(source).expanduser()
        return Modelfile(sources=(str(path) if path.exists() else source,)), Path.cwd()
    if file == "-":
        return parse(sys.stdin.buffer.read()), Path.cwd()
    path = Path(file or "Modelfile").expanduser()
    return parse(read_modelfile(path)), path.absolute().parent


def read_modelfile(path: Path) -> bytes:
    """The file's bytes."""
    from allod.errors import BadModelfile, NotFound, ReadOnly
    from allod.models.modelfile import LARGEST

    try:
        if path.stat().st_size > LARGEST:
            raise BadModelfile(
                f"{path} is too large for a Modelfile", f"If it holds the weights, type --from {path}, without -f."
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {path}", "Name a Modelfile with -f, or give a GGUF file with --from file.gguf."
        ) from None
    except OSError as error:
        raise ReadOnly(
            f"cannot read {path}: {error.strerror}", "A Modelfile is a text file; see docs/cli.md."
        ) from error


def refuse_elsewhere(home: "Home") -> None:
    """Raises Unsupported where the models are another machine's."""
    from allod.cli.library import is_here
    from allod.errors import Unsupported

    if not is_here(home.settings.host):
        raise Unsupported(
            f"models cannot be created on another machine ({home.settings.host}) from here",
            "Create it there, or unset ALLOD_HOST to create it here.",
        )
