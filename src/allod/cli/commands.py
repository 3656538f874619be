"""What may be typed after a slash in the conversation: /set, /show, /load, /save, /clear, /list, /bye, /?."""

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from allod.cli.chat import LOADING, THINK_LEVELS, Chat, parse_format, parse_think
from allod.cli.library import open_library
from allod.cli.pictures import pictures_in
from allod.errors import BadRequest, Unsupported

if TYPE_CHECKING:
    from allod.cli.repl import Repl

HELP = """\
  /set            Set parameters, the system message, the format…
  /show           Show what is known of the model
  /load <model>   Go on with another model
  /save <model>   Keep model, settings and conversation as a new model
  /clear          Forget the conversation
  /list           List the models that are here
  /bye            Leave
  /?, /help       This; /? set, /? show and /? shortcuts say more

Text between three quotes (\"\"\") may have many lines. A picture's path shows it to a model that sees.
"""
HELP_SET = """\
  /set parameter <name> <value>…   Set a parameter
  /set system <text>               Set the system message
  /set format json | <schema>      Have answers in JSON; /set noformat undoes it
  /set think [level] | nothink     Let the model think first, or not
  /set verbose | quiet             Print timings, or not
  /set wordwrap | nowordwrap       Break lines at words, or not
  /set history | nohistory         Keep what is typed for the next time, or not
"""
HELP_SHOW = """\
  /show info         What the model is
  /show license      Its licence
  /show modelfile    Its Modelfile
  /show parameters   Its parameters and those set here
  /show system       The system message
  /show template     The prompt template
"""
HELP_SHORTCUTS = """\
  Ctrl-C        Stop the answer; on a line, clear it; on an empty line twice, leave
  Ctrl-D        Leave
  Ctrl-G        Write the message in an editor ($VISUAL or $EDITOR)
  Ctrl-A, -E    To the beginning or end of the line
  Ctrl-K, -U    Delete to the end or beginning of the line
  Ctrl-W        Delete the word before
  Ctrl-R        Search in what was typed before
  Ctrl-L        Clear the screen
  Tab           Complete a command
"""
SHOWN = ("info", "license", "modelfile", "parameters", "system", "template")
SWITCHES = ("history", "nohistory", "wordwrap", "nowordwrap", "verbose", "quiet", "noformat", "nothink")


class Commands:
    """Carries out commands on one conversation."""

    def __init__(self, repl: "Repl") -> None:
        self.repl = repl
        self.known: dict[str, Callable[[str], Awaitable[bool | None]]] = {
            "/set": self.set,
            "/show": self.show,
            "/load": self.load,
            "/save": self.save,
            "/clear": self.clear,
            "/list": self.list,
            "/bye": self.leave,
            "/exit": self.leave,
            "/?": self.help,
            "/help": self.help,
        }

    def phrases(self) -> list[str]:
        """All commands in full, for completion."""
        from allod.cli.completion import stored_names
        from allod.models.modelfile import PARAMETERS

        phrases = [f"/set parameter {name}" for name in PARAMETERS]
        phrases += [f"/set {word}" for word in ("system", "format json", "think", *SWITCHES)]
        phrases += [f"/set think {level}" for level in THINK_LEVELS]
        phrases += [f"/show {part}" for part in SHOWN]
        phrases += [f"/load {name}" for name in stored_names()]
        return phrases + [word for word in self.known if word not in ("/set", "/show", "/load")]

    def takes(self, text: str) -> bool:
        """Whether it is a command: it begins with a slash and not with the path of a picture."""
        word = text.split(maxsplit=1)[0]
        return text.startswith("/") and (word in self.known or not ("/" in word[1:] or pictures_in(text)))

    async def do(self, text: str) -> bool | None:
        """Carries it out; False means that it was to leave. Raises AllodError."""
        word, _, rest = text.partition(" ")
        word, newline, more = word.partition("\n")
        action = self.known.get(word)
        if action is None:
            raise BadRequest(f"there is no command {word[:40]}", "/? lists them.")
        return await action((more + rest if newline else rest).strip())

    async def leave(self, _rest: str) -> bool:
        """/bye"""
        return False

    async def help(self, rest: str) -> None:
        """/?"""
        pages = {"set": HELP_SET, "/set": HELP_SET, "show": HELP_SHOW, "/show": HELP_SHOW, "shortcuts": HELP_SHORTCUTS}
        print(pages.get(rest, HELP))

    async def clear(self, _rest: str) -> None:
        """/clear"""
        self.repl.chat.messages.clear()
        print("The conversation is forgotten.")

    async def list(self, _rest: str) -> None:
        """/list"""
        from allod.cli.listing import print_models

        print_models(await asyncio.to_thread(open_library(self.repl.home).list))

    async def load(self, rest: str) -> None:
        """/load: the settings stay, the conversation begins anew."""
        if not rest:
            raise BadRequest("/load takes the name of a model", "/list shows those that are here.")
        old = self.repl.chat
        self.repl.chat = Chat(old.engine, rest, old.settings)
        try:
            await self.repl.load()
        except BaseException:
            self.repl.chat = old
            raise
        print(f"Going on with {rest}.")

    async def save(self, rest: str) -> None:
        """/save: a model FROM this one, with the settings and turns of this conversation."""
        from allod.cli.create import refuse_elsewhere
        from allod.models.create import create
        from allod.models.modelfile import Modelfile
        from allod.models.store import Store

        chat = self.repl.chat
        refuse_elsewhere(self.repl.home)
        if not rest:
            raise BadRequest("/save takes the name of the new model", "Such as /save mine.")
        if chat.model is None:
            raise Unsupported(f"{chat.name} is not in this machine's store", "Save a model that is.")
        recipe = Modelfile(
            sources=(str(chat.model.name),),
            system=chat.settings.system,
            params=chat.settings.params,
            messages=[message for message in chat.messages if message.text],
        )
        for _ in create(Store(self.repl.home.models), rest, recipe, self.repl.home.data):
            pass
        print(f"Saved as {rest}.")

    async def show(self, rest: str) -> None:
        """/show"""
        from allod.cli.show import print_overview

        chat = self.repl.chat
        if rest not in SHOWN:
            print(HELP_SHOW)
            return
        found = await asyncio.to_thread(open_library(self.repl.home).show, chat.name)
        if rest == "info":
            print_overview(found)
        elif rest == "system":
            print(chat.settings.system or found.system or "There is no system message.")
        elif rest == "parameters":
            self.show_parameters(found.parameters)
        else:
            print(getattr(found, rest) or f"There is no {rest}.")

    def show_parameters(self, own: str) -> None:
        """The model's own and those set here."""
        from allod.models.modelfile import parameters

        mine = self.repl.chat.settings.params
        for title, text in (("Model defined:", own), ("Set here:", parameters(mine))):
            if text:
                print(title)
                print("\n".join(f"  {line}" for line in text.splitlines()))
        if not own and not mine:
            print("No parameters are set.")

    # ── /set ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, rest: str) -> None:
        """/set"""
        settings = self.repl.chat.settings
        word, _, value = rest.partition(" ")
        value = value.strip()
        match word:
            case "parameter":
                await self.set_parameter(value)
            case "system":
                settings.system = unquoted(value)
                print("The system message is set." if settings.system else "The system message is the model's own.")
            case "format" if value:
                settings.format = parse_format(value)
                print("Answers are JSON.")
            case "noformat":
                settings.format = None
                print("Answers are free.")
            case "think" | "nothink":
                settings.think = False if word == "nothink" else parse_think(value or "true")
                print("The model thinks first." if settings.think else "The model does not think first.")
            case "verbose" | "quiet":
                settings.verbose = word == "verbose"
                print("Timings are printed." if settings.verbose else "Timings are not printed.")
            case "wordwrap" | "nowordwrap":
                settings.wrap = word == "wordwrap"
                print("Lines break at words." if settings.wrap else "Lines do not break at words.")
            case "history" | "nohistory":
                self.repl.reader.remember(self.repl.history if word == "history" else None)
                print("What you type is kept." if word == "history" else "What you type is not kept.")
            case _:
                print(HELP_SET)

    async def set_parameter(self, rest: str) -> None:
        """/set parameter: one that says how to load takes effect at once."""
        try:
            words = shlex.split(rest)
        except ValueError:
            words = rest.split()
        if len(words) < 2:
            raise BadRequest("/set parameter takes a name and a value", "Such as /set parameter temperature 0.2.")
        name, values = words[0].lower(), words[1:]
        settings = self.repl.chat.settings
        before = dict(settings.params)
        settings.set_parameter(name, *values)
        if name in LOADING:
            try:
                await self.repl.load()
            except BaseException:
                settings.params = before
                raise
        print(f"Set {name} to {' '.join(values)}.")


def unquoted(text: str) -> str:
    """``text`` without a pair of quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
