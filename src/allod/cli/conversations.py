"""``allod conversations``: what was said and done with `allod do`. Listing, finding, showing, exporting, deleting."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from allod.home import Home
    from allod.interpreter.conversations import Conversation

Format = Literal["ipynb", "md", "jsonl"]
SUFFIXES: dict[str, Format] = {".ipynb": "ipynb", ".md": "md", ".markdown": "md", ".jsonl": "jsonl"}


def register(app: typer.Typer) -> None:
    """Adds ``conversations`` with its commands."""
    group = typer.Typer(
        help="List, find, show, export and delete the conversations of `allod do`.",
        rich_markup_mode=None,
        no_args_is_help=True,
    )
    commands = {"list": list_, "search": search, "show": show, "export": export, "rename": rename, "rm": rm}
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="conversations")


Id = Annotated[str, typer.Argument(metavar="ID", help="Which one: its id, the beginning of it, or `last`.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Which ones: ids, their beginnings, or `last`.")]
Folder = Annotated[Path | None, typer.Option("--folder", "-C", help="Only those about this folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def opened(home: "Home", id_: str) -> "Conversation":
    """The conversation that somebody named. Raises NotFound, BadRequest."""
    from allod.errors import NotFound
    from allod.interpreter.conversations import Conversation

    if id_ != "last":
        return Conversation.get(home, id_)
    latest = Conversation.list(home, limit=1)
    if not latest:
        raise NotFound("there is no conversation yet", "`allod do` begins one.")
    return Conversation.get(home, latest[0].id)


def list_(
    folder: Folder = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """List conversations, those gone on with latest first."""
    from datetime import datetime

    from msgspec import to_builtins

    from allod.cli.output import moment, print_json, print_table
    from allod.home import Home
    from allod.interpreter.conversations import Conversation

    found = Conversation.list(Home.open(), folder.expanduser().resolve() if folder else None, limit)
    if as_json:
        print_json(to_builtins(found))
        return
    rows = [
        (
            each.id,
            moment(datetime.fromisoformat(each.updated_at)),
            str(each.turns),
            each.status.replace("_", " ") or ("unfinished" if each.turns else "empty"),
            each.folder,
            shown(each.title),
        )
        for each in found
    ]
    print_table(("ID", "WHEN", "JOBS", "LAST", "FOLDER", "TITLE"), rows)


def search(
    words: Annotated[list[str], typer.Argument(help="All of them occur; several in quotes stand side by side.")],
    folder: Folder = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many.")] = 20,
    as_json: Json = False,
) -> None:
    """Find conversations by words that were said, written or printed in them."""
    from datetime import datetime

    from msgspec import to_builtins

    from allod.cli.output import moment, print_json, print_table
    from allod.errors import NotFound
    from allod.home import Home
    from allod.interpreter.conversations import search as find

    text = " ".join(f'"{word}"' if " " in word else word for word in words)
    found = find(Home.open(), text, folder=folder.expanduser().resolve() if folder else None, limit=limit)
    if as_json:
        print_json(to_builtins(found))
        return
    if not found:
        raise NotFound(f"nothing was found for {text[:80]}", "Fewer or other words find more.")
    rows = [
        (each.id, moment(datetime.fromisoformat(each.updated_at)), shown(each.title), shown(each.excerpt))
        for each in found
    ]
    print_table(("ID", "WHEN", "TITLE", "FOUND"), rows)


def show(id_: Id, as_json: Json = False) -> None:
    """Show what was said and done in a conversation."""
    from msgspec import to_builtins

    from allod.cli.output import print_json
    from allod.cli.transcript import Transcript
    from allod.home import Home

    conversation = opened(Home.open(), id_)
    if as_json:
        keys = ("id", "title", "folder", "model", "profile", "head")
        whole: dict[str, Any] = {key: getattr(conversation, key) for key in keys}
        print_json(whole | {"turns": to_builtins(list(conversation.tree().values()))})
        return
    view = Transcript()
    for turn in conversation.turns():
        view.replay(turn.task, turn.events)


def export(
    ids: Ids,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write.", show_default="stdout")] = None,
    format_: Annotated[
        Format | None,
        typer.Option(
            "--format", "-f", help="A notebook, Markdown, or training data.", show_default="by the file's name"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also over a file that is there.")] = False,
) -> None:
    """Write a conversation as a notebook that runs again, as Markdown, or as training data in OpenAI's chat format.

    Several conversations go together into training data only, a line each.
    """
    from allod.errors import BadRequest
    from allod.home import Home
    from allod.interpreter.conversations.export import FORMATS

    kind = format_ or (SUFFIXES.get(out.suffix.lower()) if out else None)
    if kind is None:
        raise BadRequest("it is not said in which format", f"Add --format, one of {', '.join(FORMATS)}.")
    if len(ids) > 1 and kind != "jsonl":
        raise BadRequest(
            "several conversations do not go into one file", "Export one at a time, or with --format jsonl."
        )
    home = Home.open()
    conversations = [opened(home, id_) for id_ in ids]
    if out is not None:
        check_free(out, force)
    to_stdout = out is None or str(out) == "-"
    text = "".join(exported(each, kind, None if to_stdout else out) for each in conversations)
    if not text:
        raise BadRequest(
            "there is nothing to learn from: no job was done", "`allod conversations list` shows which were."
        )
    if to_stdout or out is None:
        sys.stdout.write(text)
    else:
        save(out, text, force)
        print(out)


def exported(conversation: "Conversation", kind: Format, out: Path | None) -> str:
    """The text of one conversation; the figures of Markdown that goes into a file are kept beside it."""
    from allod.errors import AllodError
    from allod.interpreter import profiles
    from allod.interpreter.conversations.export import export as written

    def keep(png: bytes) -> str:
        assert out is not None
        folder = out.with_name(f"{out.stem}_files")
        folder.mkdir(exist_ok=True)
        name = f"figure-{len(list(folder.iterdir())) + 1}.png"
        (folder / name).write_bytes(png)
        return f"{folder.name}/{name}".replace(" ", "%20")

    def system(profile: str) -> str:
        try:
            return profiles.load(conversation.home, profile or "default").prompt.system
        except AllodError:  # it is not there any more
            return profiles.load(conversation.home).prompt.system

    return written(conversation, kind, keep=keep if out is not None else None, system=system)


def check_free(path: Path, force: bool) -> None:
    """Raises Conflict or NotFound where a file cannot be written, before anything is."""
    from allod.errors import Conflict, NotFound

    if path.exists() and not force:
        raise Conflict(f"{path} is there already", "Give another name, or --force.")
    if not path.absolute().parent.is_dir():
        raise NotFound(f"no folder {path.absolute().parent}", "Make it first, or give another name.")


def save(path: Path, text: str, force: bool) -> None:
    """Writes a file, whole or not at all. Raises Conflict, NotFound."""
    import os

    check_free(path, force)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def rename(id_: Id, title: Annotated[list[str], typer.Argument(help="What to call it.")]) -> None:
    """Give a conversation another title."""
    from allod.home import Home

    conversation = opened(Home.open(), id_)
    conversation.rename(" ".join(title))
    print(f"{conversation.id}    {shown(conversation.title)}")


def rm(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Which ones: ids, or `last`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All there are.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete conversations. Files that were written stay, and `allod undo` still takes them back."""
    from allod.errors import BadRequest
    from allod.home import Home
    from allod.interpreter.conversations import Conversation

    home = Home.open()
    if bool(ids) == every:
        raise BadRequest("it is not said which ones", "Give ids, or --all for every one.")
    found = (
        [Conversation.get(home, each.id) for each in Conversation.list(home, limit=1 << 31)]
        if every
        else [opened(home, id_) for id_ in ids or ()]
    )
    if every and found and not yes:
        if not sys.stdin.isatty():
            raise BadRequest("there is nobody to ask before all are deleted", "Add --yes.")
        if not typer.confirm(f"Delete all {len(found)} conversations?", err=True):
            return
    for conversation in found:
        conversation.delete()
        print(f"deleted '{conversation.id}'")


def shown(text: str) -> str:
    """A line that steers no terminal."""
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= 80 else f"{line[:79]}…"
