"""What a run prints: its head and tail to hand on, the whole on disk, both bounded."""

from collections import deque
from pathlib import Path


class Spool:
    """Takes pieces of text; gives back those that are to be shown now, and at the end the tail that was held back."""

    def __init__(self, path: Path, shown: int, kept: int) -> None:
        self.path = path
        self.head = shown // 2
        self.tail = shown - self.head
        self.kept = kept
        self.total = 0
        self._passed = 0
        self._held: deque[str] = deque()
        self._held_size = 0
        self._written = 0
        self._file = path.open("w", encoding="utf-8", errors="replace", newline="")

    def write(self, text: str) -> str:
        """Keeps ``text``; returns what of it belongs to the head."""
        self.total += len(text)
        if self._written < self.kept:
            self._file.write(text[: self.kept - self._written])
            self._written += len(text)
        room = max(0, self.head - self._passed)
        now, rest = text[:room], text[room:]
        self._passed += len(now)
        if rest:
            self._held.append(rest)
            self._held_size += len(rest)
            while self._held and self._held_size - len(self._held[0]) >= self.tail:
                self._held_size -= len(self._held.popleft())
        return now

    def rest(self) -> str:
        """The tail, with a line that says what is left out between head and tail. Empty where the head was all."""
        text = "".join(self._held)[-self.tail :] if self.tail else ""
        self._held.clear()
        self._held_size = 0
        left = self.total - self._passed - len(text)
        self._passed = self.total
        if left <= 0:
            return text
        return f"\n[… {left:,} characters left out …]\n{text}"

    def close(self) -> None:
        """Closes the file; one that holds nothing is removed."""
        self._file.close()
        if not self.total:
            self.path.unlink(missing_ok=True)
