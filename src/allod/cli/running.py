"""``allod ps`` and ``allod stop``: what a running server has in memory.

Without a server nothing stays in memory: a model that a single command loaded goes when the command ends.
"""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allod.cli.remote import Loaded
    from allod.home import Home


def register(app: typer.Typer) -> None:
    """Adds ``ps`` and ``stop``."""
    app.command("ps")(processes)
    app.command("stop")(stop)


def loaded_names(incomplete: str) -> list[str]:
    """Names a server has in memory that begin with ``incomplete``."""
    from allod.cli.completion import offered
    from allod.errors import AllodError
    from allod.home import Home

    try:
        return offered([model.name for model in loaded(Home.open()) or []], incomplete)
    except AllodError:
        return []


def processes(
    prefix: Annotated[str, typer.Argument(help="Only names that begin so.", show_default=False)] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that the running server has in memory."""
    from msgspec.structs import asdict

    from allod.cli.output import note, print_json, print_table, size
    from allod.home import Home

    home = Home.open()
    models = loaded(home)
    if models is None and not as_json:
        note(f"No server is running at {home.settings.host}, so no model stays in memory.")
    rows = [model for model in models or [] if model.name.lower().startswith(prefix.lower())]
    if as_json:
        print_json([asdict(model) | {"processor": processor(model)} for model in rows])
        return
    print_table(
        ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"),
        [
            (m.name, m.digest.removeprefix("sha256:")[:12], size(m.size), processor(m), str(m.context_length), until(m))
            for m in rows
        ],
    )


def stop(
    model: Annotated[str, typer.Argument(help="A model in memory.", autocompletion=loaded_names)],
) -> None:
    """Take a model out of the running server's memory."""
    from msgspec.structs import replace

    from allod.cli.remote import Server
    from allod.errors import NotFound
    from allod.home import Home
    from allod.models.name import Name

    home = Home.open()
    models = loaded(home)
    if models is None:
        raise NotFound(f"no server is running at {home.settings.host}", "Without one, no model stays in memory.")
    wanted = Name.parse(model)
    bare = ":" not in model.rpartition("/")[2]  # then it means whatever tag of that model is there
    for running in models:
        name = Name.parse(running.name)
        if wanted.key == (replace(name, tag=wanted.tag) if bare else name).key:
            Server(home).unload(running.name)
            return
    names = ", ".join(m.name for m in models)
    raise NotFound(f"{model} is not in memory", f"In memory: {names}." if names else "No model is.")


def loaded(home: "Home") -> "list[Loaded] | None":
    """What the server has in memory; None where no server answers on this machine. Raises Network for another one."""
    from allod.cli.library import is_here
    from allod.engine.remote import base_url

    if is_here(home.settings.host) and not answers(base_url(home.settings.host)):
        return None
    from allod.cli.remote import Server

    return Server(home).running()


def answers(url: str) -> bool:
    """Whether something listens there, found out without importing an HTTP client."""
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 80), timeout=1):
            return True
    except OSError:
        return False


def processor(model: "Loaded") -> str:
    """Where it is: ``100% CPU``, ``100% GPU`` or ``48%/52% CPU/GPU``."""
    if not model.size:
        return "Unknown"
    gpu = round(100 * min(model.size_vram, model.size) / model.size)
    if gpu in (0, 100):
        return "100% GPU" if gpu else "100% CPU"
    return f"{100 - gpu}%/{gpu}% CPU/GPU"


def until(model: "Loaded") -> str:
    """When it goes: ``4 minutes from now``, ``Forever``, or ``Stopping...`` once that has passed."""
    from datetime import UTC, datetime

    from allod.cli.output import moment
    from allod.cli.remote import when

    if not model.expires_at:
        return "Forever"
    at = when(model.expires_at)
    return moment(at) if at > datetime.now(UTC) else "Stopping..."
