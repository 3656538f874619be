"""``allod run``: talk to a model, one question or many. Here the one-shot form; ``repl.py`` has the conversation."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from allod.cli.completion import local_names

if TYPE_CHECKING:
    from allod.chat import Part
    from allod.cli.chat import Chat, Settings
    from allod.engine.runner import Runner
    from allod.home import Home

LARGEST_STDIN = 256 << 20  # bytes


def register(app: typer.Typer) -> None:
    """Adds ``run``."""
    app.command("run")(run)


def run(
    model: Annotated[str, typer.Argument(help="A model; fetched first if it is not here.", autocompletion=local_names)],
    prompt: Annotated[list[str] | None, typer.Argument(help="What to ask; none for a conversation.")] = None,
    system: Annotated[str, typer.Option(metavar="TEXT", help="The system message.", show_default=False)] = "",
    temperature: Annotated[float | None, typer.Option(help="How freely to choose words; 0: the likeliest.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes answers repeatable.")] = None,
    num_ctx: Annotated[
        str, typer.Option(metavar="TOKENS", help="How many tokens of context.", show_default=False)
    ] = "",
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="`json`, or a JSON Schema that the answer must follow.",
            show_default=False,
        ),
    ] = "",
    think: Annotated[
        str, typer.Option(metavar="LEVEL", help="Think first: true, false, low, medium, high, max.", show_default=False)
    ] = "",
    hide_thinking: Annotated[bool, typer.Option("--hidethinking", help="Do not show the thinking.")] = False,
    keep_alive: Annotated[
        str,
        typer.Option(
            "--keepalive", metavar="DURATION", help="How long the model stays loaded: 5m, 1h, -1.", show_default=False
        ),
    ] = "",
    no_wrap: Annotated[bool, typer.Option("--nowordwrap", help="Do not break lines at words.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print timings after the answer.")] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a pull over http:// beyond this machine.")
    ] = False,
) -> None:
    """Talk to a model: one question, piped text, or a conversation."""
    import asyncio

    from allod.cli.chat import Settings, parse_format, parse_keep_alive, parse_think
    from allod.home import Home

    settings = Settings(
        system=system,
        format=parse_format(format_),
        think=parse_think(think),
        hide_thinking=hide_thinking,
        verbose=verbose,
        wrap=not no_wrap,
        keep_alive=parse_keep_alive(keep_alive),
    )
    for name, value in (("temperature", temperature), ("seed", seed), ("num_ctx", num_ctx)):
        if value not in (None, ""):
            settings.set_parameter(name, str(value))
    text = whole_prompt(prompt or [])
    asyncio.run(talk(Home.open(), model, text, settings, insecure))


def whole_prompt(words: list[str]) -> str:
    """What was piped in, then what was typed; empty for a conversation. Raises BadRequest."""
    from allod.errors import BadRequest

    typed = " ".join(words).strip()
    if sys.stdin is None or sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        piped = ""
        if not typed and sys.stdout.isatty():
            return ""
    else:
        piped = read_stdin().strip()
    text = "\n\n".join(filter(None, (piped, typed)))
    if not text:
        raise BadRequest("there is no prompt", "Type one after the model's name, or pipe a text in.")
    return text


def read_stdin() -> str:
    """All of stdin as text. Raises BadRequest."""
    from allod.errors import BadRequest

    data = sys.stdin.buffer.read(LARGEST_STDIN + 1)
    if len(data) > LARGEST_STDIN:
        raise BadRequest("more than 256 MB were piped in", "No model reads that much; pipe a part.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"what was piped in is not UTF-8 text (byte {error.start})", "Convert it first, with iconv for example."
        ) from error


async def talk(home: "Home", name: str, text: str, settings: "Settings", insecure: bool) -> None:
    """One answer, or a conversation where there is no text yet."""
    from allod.cli.chat import Chat
    from allod.cli.fetch import leased
    from allod.engine import connect

    began = time.monotonic()
    async with connect(home) as engine:
        chat = Chat(engine, name, settings)
        if not text:
            from allod.cli.repl import Repl

            await Repl(home, chat).run(insecure)
            return
        async with leased(home, chat, insecure) as runner:
            await answer(chat, runner, text, began)


async def answer(chat: "Chat", runner: "Runner", text: str, began: float) -> None:
    """One turn: an answer, or from an embedding model the vector as JSON."""
    from allod.cli.printer import Printer

    if runner.facts.embedding:
        import json

        found = await runner.embed([text])
        print(json.dumps(found.vectors[0]))
        return
    settings = chat.settings
    printer = Printer(wrap=settings.wrap, thinking=not settings.hide_thinking)
    await chat.reply(with_pictures(text, chat.name, runner), runner, printer, began)


def with_pictures(text: str, name: str, runner: "Runner") -> "str | list[Part]":
    """The text with the pictures it names, where the model sees; where it does not, that is said."""
    from allod.cli.output import note
    from allod.cli.pictures import parts_of, pictures_in

    paths = pictures_in(text)
    if not paths:
        return text
    if not runner.facts.vision:
        note(f"{name} cannot see pictures: it gets the name {paths[0]}, not the picture.")
        return text
    note(f"Added picture {', '.join(map(str, paths))}")
    return parts_of(text, paths)
