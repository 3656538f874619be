"""An answer on the terminal as it streams in: thinking in grey, text wrapped, Ollama's statistics on demand."""

import os
import sys
from typing import TextIO

from allod.chat import ChatChunk, Usage
from allod.cli.wrap import Wrapper

GREY, PLAIN = "\x1b[90m", "\x1b[0m"
# What a model writes must not steer the terminal: no control characters but tab and newline, and none that show
# the rest of a line in another order than a program reads it.
HARMLESS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])


class Printer:
    """Writes one answer. ``wrap``: break words at the terminal's edge; ``thinking``: show the model's thoughts too."""

    def __init__(self, *, wrap: bool = True, thinking: bool = True, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        width = os.get_terminal_size(self.stream.fileno()).columns if self.live and wrap else 0
        self.wrapper = Wrapper(width)
        self.grey, self.plain = (GREY, PLAIN) if self.live and "NO_COLOR" not in os.environ else ("", "")
        self.show_thinking = thinking
        self.thinking = False
        self.last = "\n"  # the last character written

    def add(self, chunk: ChatChunk) -> None:
        """Writes a piece at once."""
        if self.live:
            chunk.text, chunk.thinking = chunk.text.translate(HARMLESS), chunk.thinking.translate(HARMLESS)
        if chunk.thinking and self.show_thinking:
            if not self.thinking:
                self.thinking = True
                self.write(f"{self.grey}Thinking...\n")
            self.write(self.wrapper.feed(chunk.thinking))
        if chunk.text:
            self.end_thinking()
            self.write(self.wrapper.feed(chunk.text))

    def end_thinking(self) -> None:
        """Goes over to the answer."""
        if self.thinking:
            self.thinking = False
            lead = "" if self.last == "\n" else "\n"
            self.write(f"{lead}...done thinking.{self.plain}\n\n")
            self.wrapper = Wrapper(self.wrapper.width)

    def end(self) -> None:
        """Ends the line, whole answer or not."""
        if self.thinking:
            self.stream.write(self.plain)
            self.thinking = False
        if self.last != "\n":
            self.write("\n")

    def write(self, text: str) -> None:
        """Text that is shown now."""
        if text:
            self.last = text[-1]
            self.stream.write(text)
            self.stream.flush()


def print_statistics(usage: Usage, total: float, load: float) -> None:
    """What ``--verbose`` says, on stderr, in Ollama's words. ``total`` and ``load`` are seconds."""
    rows = [("total duration", go_duration(total)), ("load duration", go_duration(load))]
    parts = (
        ("prompt eval", usage.prompt_tokens, usage.prompt_tokens - usage.cached_tokens, usage.prompt_seconds),
        ("eval", usage.output_tokens, usage.output_tokens, usage.output_seconds),
    )
    for what, count, computed, seconds in parts:
        rows.append((f"{what} count", f"{count} token(s)"))
        rows.append((f"{what} duration", go_duration(seconds)))
        rows.append((f"{what} rate", f"{computed / seconds if seconds else 0:.2f} tokens/s"))
    sys.stdout.flush()
    for name, value in rows:
        print(f"{name + ':':<21} {value}", file=sys.stderr)


def go_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: ``1m2.5s``, ``187.2351ms``, ``12.4µs``."""
    if seconds >= 1:
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(int(minutes), 60)
        front = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
        return f"{front}{trimmed(rest, 9)}s"
    return f"{trimmed(seconds * 1e3, 6)}ms" if seconds >= 1e-3 else f"{trimmed(seconds * 1e6, 3)}µs"


def trimmed(value: float, digits: int) -> str:
    """A number with at most that many decimals, no trailing zeros."""
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")
