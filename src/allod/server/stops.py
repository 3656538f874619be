"""Stop sequences found here instead of in the engine, for protocols that want to be told which of them it was.

    stops = Stops(["END", "\\n\\n"])
    text = stops.feed(piece)                      # what may be shown of it
    if stops.found is not None: ...               # "END": the text ends here, and generation may
    text = stops.rest()                           # at the end: what was held back after all

llama.cpp cuts at a stop sequence too, but its chat completions do not say whether one was met.
"""

from collections.abc import Iterable


class Stops:
    """One text as it comes. A piece that may begin a stop sequence is held back until that is known."""

    def __init__(self, stops: Iterable[str]) -> None:
        self.stops = [stop for stop in stops if stop]
        self.found: str | None = None
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that certainly stands before any stop sequence. After one was found, nothing."""
        if self.found is not None or not self.stops:
            return "" if self.found is not None else piece
        text = self._held + piece
        self._held = ""
        met = [(at, stop) for stop in self.stops if (at := text.find(stop)) >= 0]
        if met:
            at, self.found = min(met, key=lambda pair: (pair[0], -len(pair[1])))
            return text[:at]
        keep = max(beginning(text, stop) for stop in self.stops)
        if keep:
            text, self._held = text[:-keep], text[-keep:]
        return text

    def rest(self) -> str:
        """What was held back, as no stop sequence came of it."""
        held, self._held = self._held, ""
        return held


def beginning(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` are the beginning of ``stop``."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
