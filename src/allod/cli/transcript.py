"""A job's events for people and for programs.

    view = Transcript() or JsonLines()
    view.show(event)            # as each comes

The terminal gets prose as it is spoken, code as it is written, output cut to its head, the files that changed. A
program gets one JSON object a line: the events of `allod.interpreter.events`, prose in whole pieces.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allod.cli.output import note, size
from allod.cli.printer import GREY, HARMLESS, PLAIN
from allod.cli.wrap import Wrapper

if TYPE_CHECKING:
    from allod.interpreter.events import Event
    from allod.interpreter.workspace import Change

RED, GREEN, YELLOW, BOLD = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m"
OUTPUT_LINES = 40  # of one block's output
DIFF_LINES = 30  # of all diffs together
PREVIEW_LINES = 8  # of one file's preview
FILES = 50  # of the list of changes
COLOURS = {"created": GREEN, "changed": YELLOW, "deleted": RED}


class Transcript:
    """On the terminal, or as plain text where stdout is none.

    ``figure`` keeps a picture that code showed, and says where. ``verbose``: nothing is cut, and tokens are told.
    """

    def __init__(self, figure: Callable[[bytes], Path] | None = None) -> None:
        self.figure = figure
        self.verbose = False
        self.live = sys.stdout.isatty()
        width = os.get_terminal_size(sys.stdout.fileno()).columns if self.live else 0
        self.wrapper = Wrapper(width)
        self.colours = self.live and "NO_COLOR" not in os.environ
        self.last = "\n"
        self.streamed = False  # whether the block at hand was shown while it was written
        self.lines = 0  # of output, since the last block
        self.left_out = 0

    def show(self, event: "Event") -> None:
        """Writes one event."""
        from allod.interpreter import events as e

        match event:
            case e.Prose(text):
                if self.lines:
                    self.end_output()
                self.write(self.wrapper.feed(self.safe(text)))
            case e.Thought(text):
                self.write(self.paint(self.safe(text), GREY))
            case e.CodeOpened():
                self.fresh_line()
                self.streamed = True
            case e.CodeText(text):
                self.code(text)
            case e.Code(code, _, author):
                self.block(code, author)
            case e.Output(text, kind, png):
                self.output(self.picture(png) if kind == "picture" else text)
            case e.Error(_, _, output):
                self.end_output()
                self.write(self.paint(self.safe(output).rstrip() + "\n", RED))
            case e.Notice(text):
                self.end_output()
                note(self.paint(f"· {self.safe(text)}", GREY))
            case e.Changes(changes):
                self.end_output()
                self.changes(changes)
            case e.Applied(folder, paths):
                self.applied(folder, paths)
            case e.Usage():
                self.end_output()
                words = f"{event.blocks} block{'s'[: event.blocks != 1]}, {event.seconds:.0f} s"
                tries = f", {event.attempts} attempts" if event.attempts > 1 else ""
                tokens = f", {event.prompt_tokens} tokens read, {event.output_tokens} written" if self.verbose else ""
                note(self.paint(f"· {words}{tries}{tokens}", GREY))
            case _:
                self.fresh_line()

    def replay(self, task: str, events: "Sequence[Event]") -> None:
        """A job of before, as it was shown. What was said last is kept as the answer alone."""
        from allod.interpreter import events as e

        self.fresh_line()
        for n, line in enumerate(self.safe(task).splitlines() or [""]):
            self.write(self.paint(f"{'...' if n else '>>>'} {line}", BOLD) + "\n")
        for before, event in zip([None, *events], events, strict=False):
            if isinstance(event, e.Answer) and not (isinstance(before, e.Prose) and event.text in before.text):
                self.show(e.Prose(event.text))
            self.show(event)
        self.fresh_line()
        self.write("\n")

    # ── pieces ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def block(self, code: str, author: str) -> None:
        """A block about to run, unless it was shown while it was written."""
        self.fresh_line()
        if author == "allod":
            note(self.paint("· reading the files that the job names", GREY))
        if not self.streamed or author == "user":
            self.code(code.strip("\n") + "\n")
        self.streamed = False
        self.lines = self.left_out = 0

    def code(self, text: str) -> None:
        """Whole lines of code, with a bar at the left."""
        for line in self.highlighted(self.safe(text)).splitlines():
            self.write(f"{self.paint('│', GREY)} {line}\n")

    def output(self, text: str) -> None:
        """What code printed: the first lines, and how many more there were."""
        for line in self.safe(text).splitlines(keepends=True):
            self.lines += self.last == "\n"
            if self.lines > OUTPUT_LINES and not self.verbose:
                self.left_out += line.endswith("\n")
                continue
            self.write(f"{'  ' if self.last == chr(10) else ''}{line}")

    def picture(self, png: bytes) -> str:
        """What stands for a figure: where it can be looked at."""
        if self.figure is None or not png:
            return "[a figure]\n"
        try:
            return f"[figure: {self.figure(png)}]\n"
        except OSError as error:
            return f"[a figure, which could not be kept: {error.strerror}]\n"

    def end_output(self) -> None:
        """Says what was left out, and begins a line."""
        if self.left_out:
            self.fresh_line()
            note(self.paint(f"  … {self.left_out} more lines (all of them: %verbose, or `--output json`)", GREY))
        self.lines = self.left_out = 0
        self.fresh_line()

    def changes(self, changes: "tuple[Change, ...]") -> None:
        """The files that are not as they were, with short diffs of the text among them."""
        self.write("\n" + self.paint("Changes", BOLD) + "\n")
        left = DIFF_LINES
        for change in changes[:FILES]:
            self.write(f"  {self.paint(f'{change.kind:<8}', COLOURS[change.kind])} {self.safe(line_of(change))}\n")
            diff = change.diff.splitlines()[2:] if change.kind == "changed" else []
            preview = change.preview.splitlines()
            self.lines_of(diff, left)
            left = max(left - len(diff), 0)
            if not diff and change.kind != "deleted":
                self.lines_of(preview, PREVIEW_LINES)
        marked = [change for change in changes[FILES:] if change.note]  # none that somebody should look at goes unseen
        for change in marked:
            self.write(f"  {self.paint(f'{change.kind:<8}', COLOURS[change.kind])} {self.safe(line_of(change))}\n")
        if len(changes) > FILES + len(marked):
            self.write(f"  and {len(changes) - FILES - len(marked)} more\n")

    def diffs(self, changes: "Sequence[Change]") -> None:
        """All diffs, whole."""
        for change in changes:
            if change.diff:
                self.write(f"{self.paint(self.safe(change.place), BOLD)}\n")
                lines = change.diff.splitlines()
                self.lines_of(lines[2:], len(lines))

    def lines_of(self, lines: Sequence[str], most: int) -> None:
        """Lines of a diff or a preview, below a file."""
        shown = lines if self.verbose else lines[:most]
        for line in shown:
            colour = GREEN if line.startswith("+") else RED if line.startswith("-") else GREY
            self.write(f"           {self.paint(self.safe(line), colour)}\n")
        if left_out := len(lines) - len(shown):
            self.write(self.paint(f"           … {left_out} more lines\n", GREY))

    def applied(self, folder: str, paths: tuple[str, ...]) -> None:
        """Where the files are now."""
        if len(paths) == 1:
            self.write(f"Applied: {os.path.join(folder, paths[0])}\n")  # noqa: PTH118 - text, not a path to open
        else:
            self.write(f"Applied: {len(paths)} files in {folder}\n")
        note(self.paint("· `allod undo` takes it back", GREY))

    # ── the terminal ────────────────────────────────────────────────────────────────────────────────────────────────

    def safe(self, text: str) -> str:
        """Text that does not steer the terminal."""
        return text.translate(HARMLESS) if self.live else text

    def paint(self, text: str, colour: str) -> str:
        """In colour, where there are colours."""
        return f"{colour}{text}{PLAIN}" if self.colours and text else text

    def fresh_line(self) -> None:
        """Ends the line that is begun."""
        if self.last != "\n":
            self.write("\n")
        self.wrapper = Wrapper(self.wrapper.width)

    def write(self, text: str) -> None:
        """At once."""
        if text:
            self.last = text[-1]
            sys.stdout.write(text)
            sys.stdout.flush()

    def highlighted(self, code: str) -> str:
        """Python in colours."""
        if not self.colours:
            return code
        from pygments import highlight

        return highlight(code, *self.pygments)

    @cached_property
    def pygments(self) -> tuple[Any, Any]:
        """Lexer and formatter."""
        from pygments.formatters.terminal import TerminalFormatter
        from pygments.lexers.python import PythonLexer

        return PythonLexer(stripnl=False), TerminalFormatter()  # pyright: ignore[reportUnknownVariableType]


class JsonLines:
    """One event a line. Pieces of prose are joined; pieces of code are left out, as the whole block follows."""

    def __init__(self) -> None:
        self.prose: list[str] = []
        self.verbose = False

    def diffs(self, changes: "Sequence[Change]") -> None:
        """They are in the event of the changes."""

    def show(self, event: "Event") -> None:
        """Prints one event."""
        from allod.interpreter import events as e

        if isinstance(event, e.Prose):
            self.prose.append(event.text)
            return
        if isinstance(event, e.PIECES):
            return
        said = "".join(self.prose).strip()
        self.prose.clear()
        if said and not isinstance(event, e.Answer):
            print(e.encode(e.Prose(said)))
        print(e.encode(event), flush=True)


def line_of(change: "Change") -> str:
    """A file, its size, and what is odd about it."""
    sizes = f"{size(change.after)}" if change.after is not None else ""
    if change.kind == "changed" and change.before is not None and change.after is not None:
        sizes = f"{size(change.before)} → {size(change.after)}"
    why = f"will not be applied: {change.note}" if change.refused else change.note
    return "   ".join(filter(None, (change.place, sizes, why)))
