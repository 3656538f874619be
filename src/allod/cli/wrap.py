"""Words broken at the terminal's edge while they stream in.

    wrapper = Wrapper(80)
    sys.stdout.write(wrapper.feed("text as it comes"))

A word is shown at once, letter by letter; when it turns out not to fit, it is taken back and goes on the next line, as
Ollama does it. Without a width nothing is changed.
"""

import unicodedata

MARGIN = 5  # columns left free at the right
NARROWEST = 20  # below this many columns, the terminal wraps better than we do


class Wrapper:
    """Knows the column the cursor is in and the word that is being written."""

    def __init__(self, width: int = 0) -> None:
        self.width = width if width >= NARROWEST else 0
        self.column = 0
        self.word = ""

    def feed(self, text: str) -> str:
        """What to write for ``text``."""
        return "".join(map(self.put, text)) if self.width else text

    def put(self, char: str) -> str:
        """What to write for one character."""
        if char == "\n":
            self.column, self.word = 0, ""
            return char
        if char.isspace():
            self.word = ""
            if self.column >= self.width - MARGIN:
                self.column = 0
                return "\n"
            self.column += 1
            return char
        if self.column + width_of(char) > self.width - MARGIN:
            return self.over_the_edge(char)
        self.word += char
        self.column += width_of(char)
        return char

    def over_the_edge(self, char: str) -> str:
        """Takes the word back and writes it on the next line; one that is as long as a line is cut instead."""
        word, taken = self.word, sum(map(width_of, self.word))
        if taken >= self.column or taken > self.width - 2 * MARGIN:
            self.word, self.column = char, width_of(char)
            return f"\n{char}"
        self.word += char
        self.column = taken + width_of(char)
        back = f"\x1b[{taken}D\x1b[K" if taken else ""
        return f"{back}\n{word}{char}"


def width_of(char: str) -> int:
    """Columns a character takes: 2 for wide East Asian ones and emoji, 0 for what combines with the one before."""
    if char < "\u0300":
        return 1
    if unicodedata.combining(char) or unicodedata.category(char) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
