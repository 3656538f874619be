"""Reading what a person types in the conversation: history, multi-line text, Tab, an editor on Ctrl-G.

    reader = Reader(history_file)
    line = await reader.read()              # raises Interrupted on Ctrl-C, EOFError on Ctrl-D

Wraps prompt_toolkit, which is imported here and nowhere else in ``allod run``.
"""

from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from allod.cli.output import note

QUOTES = '"""'


class Interrupted(Exception):
    """Ctrl-C on an empty line."""


class Words(Completer):
    """Completes commands: the words that may follow what stands before."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.phrases = sorted(phrases)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """Offers the next word of every phrase that begins so."""
        line = document.text_before_cursor
        if not line.startswith("/"):
            return
        start = line.rfind(" ") + 1
        words = {phrase[start:].split(" ")[0] for phrase in self.phrases if phrase.startswith(line)}
        for word in sorted(words - {""}):
            yield Completion(word, start_position=start - len(line))


class Reader:
    """``history`` is the file of earlier lines; None keeps them in memory. ``phrases`` are what Tab completes."""

    def __init__(self, history: Path | None, phrases: Iterable[str] = ()) -> None:
        self.session: PromptSession[str] = PromptSession(
            history=kept(history),
            completer=Words(phrases),
            complete_while_typing=False,
            key_bindings=bindings(),
        )

    def remember(self, history: Path | None) -> None:
        """Keeps lines in that file from now on, or only in memory."""
        self.session.history = kept(history)
        self.session.default_buffer.history = self.session.history

    async def read(self) -> str:
        """One message: a line, or several between three quotes, which are taken off.

        Raises:
            Interrupted: Ctrl-C on an empty line.
            EOFError: Ctrl-D.
        """
        grey = FormattedText([("fg:ansibrightblack", "Send a message (/? for help)")])
        line = await self.line(">>> ", grey)
        head, quotes, rest = line.partition(QUOTES)
        if not quotes or (head.strip() and not head.startswith("/set system")):
            return line.strip()
        lines = [rest]
        while QUOTES not in lines[-1]:
            lines.append(await self.line("... ", None))
        text, _, tail = "\n".join(lines).partition(QUOTES)
        return f"{head}{text}{tail}".strip()

    async def line(self, prompt: str, placeholder: FormattedText | None) -> str:
        """One line as typed."""
        try:
            # not its handler of SIGINT: leaving, it would take away the one of the job that asks
            return await self.session.prompt_async(prompt, placeholder=placeholder, handle_sigint=False)
        except KeyboardInterrupt:
            raise Interrupted from None


def bindings() -> KeyBindings:
    """Ctrl-C clears the line, or interrupts where it is empty; Ctrl-G opens it in an editor."""
    keys = KeyBindings()

    def interrupt(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt, style="class:aborting")

    def edit(event: KeyPressEvent) -> None:
        event.current_buffer.open_in_editor()

    keys.add("c-c")(interrupt)
    keys.add("c-g")(edit)
    return keys


def kept(path: Path | None) -> History:
    """A history in that file, readable by its owner alone; in memory where there is no file or it cannot be written."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        with path.open("ab"):
            pass
    except OSError as error:
        note(f"The history is not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(path)
