"""``allod serve``: the server in the foreground."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds ``serve`` and Ollama's other word for it."""
    app.command("serve")(serve)
    app.command("start", hidden=True)(serve)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; default: ALLOD_HOST, else 127.0.0.1:11435.", show_default=False)
    ] = "",
    cert: Annotated[str, typer.Option(help="A PEM file with a certificate: speak TLS.", show_default=False)] = "",
    cert_key: Annotated[
        str, typer.Option(help="A PEM file with its private key, if it is not in the same.", show_default=False)
    ] = "",
) -> None:
    """Serve the Ollama, OpenAI and Anthropic APIs until Ctrl-C."""
    from allod.home import Home
    from allod.server.app import serve as serve_app

    home = Home.open()
    serve_app(home, host or home.settings.host, cert, cert_key)
