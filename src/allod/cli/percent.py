"""What may be typed in the conversation of `allod do` besides jobs: % commands, and / commands as in `allod run`.

The names of the % commands are those that users of Open Interpreter know. Each is one row of the table below.
"""

import json
import platform
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from allod.cli.output import note
from allod.cli.transcript import Transcript
from allod.errors import BadRequest

if TYPE_CHECKING:
    from allod.chat import Message, Role
    from allod.cli.desk import Desk

WORD = re.compile(r"[/%][A-Za-z_]+|/\?")
LARGEST = 50 << 20  # bytes of a file to %load


class Command(Struct, frozen=True):
    """One thing that can be typed. ``do`` gets what follows the name; it returns False to leave."""

    name: str
    argument: str
    help: str
    do: "Callable[[Commands, str], Awaitable[bool | None]]"
    others: tuple[str, ...] = ()  # other names for it


class Commands:
    """Carries them out at one desk."""

    def __init__(self, desk: "Desk") -> None:
        self.desk = desk
        self.known = {name: command for command in TABLE for name in (command.name, *command.others)}

    def phrases(self) -> list[str]:
        """All commands, for completion."""
        return sorted(name for name in self.known if name != "%%")

    def takes(self, text: str) -> bool:
        """Whether a text is a command, or a misspelt one, rather than a job that begins with a path or a percentage."""
        return text.startswith("%%") or WORD.fullmatch(text.partition(" ")[0]) is not None

    async def do(self, text: str) -> bool | None:
        """Carries one out; False to leave.

        Raises:
            AllodError: it cannot be done.
        """
        if text.startswith("%%"):
            return await self.shell(text[2:].strip())
        name, _, rest = text.partition(" ")
        command = self.known.get(name)
        if command is None:
            note(f"There is no {name[:40]}; %help lists what there is.")
            return None
        return await command.do(self, rest.strip())

    # ── the conversation ────────────────────────────────────────────────────────────────────────────────────────────

    async def help(self, _: str) -> None:
        """%help"""
        width = max(len(f"{c.name} {c.argument}") for c in TABLE)
        note("What to do with the files here, in your words. Further:")
        for command in TABLE:
            note(f"  {f'{command.name} {command.argument}':<{width}}  {command.help}")

    async def leave(self, _: str) -> bool:
        """/bye"""
        return False

    async def reset(self, _: str) -> None:
        """%reset: a new conversation, without its variables; the old one is kept."""
        from allod.interpreter.conversations import Conversation

        old = self.desk.conversation
        work = self.desk.interpreter
        await work.renew(Conversation.begin(work.home, work.folder, old.model, profile=old.profile))
        if old.head is None and not old.tree():
            old.delete()
        else:
            note(f"A new conversation. The old one: allod do --resume {old.id}")

    async def undo(self, _: str) -> None:
        """%undo: the last turn is not gone on from any more."""
        turn = self.desk.conversation.back()
        if turn is None:
            note("Nothing was said yet.")
            return
        await self.desk.interpreter.renew()
        note(f"Forgotten: {shortened(turn.task)}")
        note("Files that it wrote are as they are; /undo takes back what was applied last.")

    async def save(self, rest: str) -> None:
        """%save: the messages as JSON."""
        messages = [{"role": m.role, "content": m.text} for m in self.desk.conversation.messages]
        write(self.place(rest, "messages.json"), json.dumps(messages, ensure_ascii=False, indent=1) + "\n")

    async def load(self, rest: str) -> None:
        """%load: another conversation begins with these messages."""
        from allod.interpreter.conversations import Conversation
        from allod.interpreter.events import Ended, Started

        path = self.place(rest, "messages.json")
        messages = loaded(path)
        work, old = self.desk.interpreter, self.desk.conversation
        new = Conversation.begin(work.home, work.folder, old.model, profile=old.profile)
        new.add(messages, [], [Started(f"(from {path.name})", old.model, str(work.folder), new.id), Ended("done")])
        await work.renew(new)
        if old.head is None and not old.tree():
            old.delete()
        note(f"{len(messages)} messages from {path}; variables are not in it.")

    # ── the machine ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def tokens(self, rest: str) -> None:
        """%tokens: what the conversation takes of the context."""
        from allod.chat import Message

        runner = self.desk.runner
        messages = [Message("user", rest)] if rest else self.desk.interpreter.agent.history
        count = await runner.count_tokens(messages) if messages else 0
        room = min(
            self.desk.interpreter.profile.bounds.context,
            runner.facts.context or self.desk.interpreter.profile.bounds.context,
        )
        print(f"{count} tokens; the context holds {room}")

    async def info(self, _: str) -> None:
        """%info: what works here."""
        from allod import __version__
        from allod.interpreter.sandbox import Sandbox

        desk, grants = self.desk, self.desk.interpreter.grants
        sandbox = Sandbox.find()
        rows = {
            "allod": f"{__version__}, Python {platform.python_version()}, {platform.platform()}",
            "model": f"{desk.conversation.model}, context {desk.runner.facts.context}",
            "profile": f"{desk.conversation.profile or 'default'}, asks {asks(desk)}",
            "folder": str(desk.interpreter.folder),
            "may read": ", ".join(map(str, grants.read)),
            "may change": ", ".join(map(str, grants.folders)),
            "may reach": ", ".join(grants.net),
            "packages": "may be installed" if grants.packages else "",
            "sandbox": sandbox.name if sandbox.confines else "NONE",
            "conversation": desk.conversation.id,
        }
        for name, text in rows.items():
            if text:
                print(f"{name:<14}{text}")

    async def verbose(self, rest: str) -> None:
        """%verbose: nothing is cut."""
        self.desk.view.verbose = truth(rest, default=not self.desk.view.verbose)
        note(f"Outputs and diffs are {'whole' if self.desk.view.verbose else 'cut'} from here on.")

    async def auto_run(self, rest: str) -> None:
        """%auto_run: blocks are run without asking."""
        wanted = truth(rest, default=self.desk.runs)
        if wanted and self.desk.each:
            raise BadRequest("here each block is asked for", "The profile wants it so, or there is no sandbox.")
        self.desk.runs = not wanted
        note("Blocks run without asking; changes are asked for as ever." if wanted else "Each block is asked for.")

    async def jupyter(self, rest: str) -> None:
        """%jupyter: as a notebook."""
        self.exported(rest, "ipynb")

    async def markdown(self, rest: str) -> None:
        """%markdown: as Markdown."""
        self.exported(rest, "md")

    def exported(self, rest: str, kind: str) -> None:
        """Writes the conversation as a file."""
        from allod.cli.conversations import exported

        title = re.sub(r"[^\w-]+", "-", self.desk.conversation.title).strip("-")[:40] or "conversation"
        path = self.place(rest, free(self.desk.interpreter.folder, title, kind))
        write(path, exported(self.desk.conversation, "md" if kind == "md" else "ipynb", path))

    async def take_back(self, _: str) -> None:
        """/undo: files."""
        from allod.cli.undo import undo

        undo(self.desk.interpreter.folder)

    async def shell(self, command: str) -> None:
        """%%: a command of the person's, in the sandbox, where it sees what the job's code sees."""
        from allod.cli.asking import Interrupts
        from allod.interpreter.attempt import Printed

        if not command:
            raise BadRequest("there is no command after %%", "Type it behind, such as: %% ls -l")
        work, printed = self.desk.interpreter, Printed()
        with Interrupts(self.desk.interrupt):
            async with work.session() as session, aclosing(session.run(command, "bash", stdin=False)) as outputs:
                async for output in outputs:
                    if (event := printed.take(output)) is not None:
                        self.desk.view.show(event)
        if isinstance(self.desk.view, Transcript):
            self.desk.view.end_output()
        if changes := await work.changes():
            note(f"· {len(changes)} file{'s'[: len(changes) != 1]} changed so far; the next job's changes hold them")

    def place(self, rest: str, default: str) -> Path:
        """The file that somebody named; else the default one in the job's folder."""
        path = Path(rest).expanduser() if rest else Path(default)
        return path if path.is_absolute() else self.desk.interpreter.folder / path


TABLE = (
    Command("%help", "", "this", Commands.help, ("/?", "/help")),
    Command("%undo", "", "forgets the last job and its answer; the next one is told nothing of it", Commands.undo),
    Command("/undo", "", "takes back the files that were applied last", Commands.take_back),
    Command("%reset", "", "begins a new conversation", Commands.reset, ("/clear",)),
    Command("%%", "COMMAND", "runs a shell command in the sandbox", Commands.shell),
    Command("%auto_run", "[true|false]", "runs blocks of code without asking", Commands.auto_run),
    Command("%verbose", "[true|false]", "shows outputs and diffs whole, and counts tokens", Commands.verbose),
    Command("%info", "", "the model, the sandbox, what code may reach", Commands.info),
    Command("%tokens", "[TEXT]", "how much of the model's context is used, or a text would use", Commands.tokens),
    Command("%jupyter", "[FILE]", "writes the conversation as a notebook", Commands.jupyter),
    Command("%markdown", "[FILE]", "writes the conversation as Markdown", Commands.markdown),
    Command("%save", "[FILE]", "writes the messages as JSON", Commands.save, ("%save_message",)),
    Command("%load", "[FILE]", "begins a conversation with such messages", Commands.load, ("%load_message",)),
    Command("/bye", "", "leaves, as Ctrl-D does", Commands.leave, ("/exit", "/quit")),
)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, text: str) -> None:
    """Writes a new file and says so. Raises Conflict, NotFound."""
    from allod.cli.conversations import save

    save(path, text, force=False)
    print(path)


def loaded(path: Path) -> "list[Message]":
    """Messages from a file as %save writes it. Raises BadRequest."""
    from allod.chat import Message

    try:
        if path.stat().st_size > LARGEST:
            raise BadRequest(f"{path} is larger than 50 MB", "That is no conversation.")
        read: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadRequest(f"cannot read {path}: {error}", "Give a file that %save wrote.") from error
    items = cast("list[Any]", read) if isinstance(read, list) else []
    messages = [Message(role, text) for role, text in map(said, items) if role in ("user", "assistant")]
    if not items or len(messages) < len(items):
        raise BadRequest(
            f"{path} is not a list of messages", 'Each is like {"role": "user" or "assistant", "content": "text"}.'
        )
    return messages


def said(item: Any) -> "tuple[Role, str]":
    """Role and text of a message as %save writes it; another role than those it writes where it is none."""
    fields = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    role, text = fields.get("role"), fields.get("content")
    return (cast("Role", role), text) if isinstance(role, str) and isinstance(text, str) else ("tool", "")


def free(folder: Path, stem: str, suffix: str) -> str:
    """A name that no file in the folder has."""
    number = 1
    while (folder / (name := f"{stem}{f'-{number}' if number > 1 else ''}.{suffix}")).exists():
        number += 1
    return name


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def truth(text: str, default: bool) -> bool:
    """``true``, ``false`` or nothing. Raises BadRequest."""
    words = {"": default, "true": True, "on": True, "false": False, "off": False}
    if text.lower() not in words:
        raise BadRequest(f"'{text[:40]}' is neither true nor false", "Type true, false or nothing.")
    return words[text.lower()]


def asks(desk: "Desk") -> str:
    """What the person is asked, in words."""
    if desk.runs:
        return "before each block and before changes are applied"
    return "before changes are applied" if desk.applies else "nothing"


def shortened(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
