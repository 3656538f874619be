"""Printing: tables in Ollama's layout, JSON, sizes and times in words.

Sizes are decimal (1 MB = 10⁶ bytes) and rounded as Ollama rounds them (format/bytes.go, format/time.go).
"""

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime


def print_json(value: object) -> None:
    """Indented JSON on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: object) -> None:
    """One compact line of JSON on stdout, at once: for what is still going on."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns padded to their widest cell and four spaces, no borders."""
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        print("".join(f"{cell:<{width}}    " for cell, width in zip(row, widths, strict=True)).rstrip())


def size(count: float) -> str:
    """Bytes in words: ``986 MB``, ``1.1 GB``, ``12 GB``."""
    for unit, bytes_ in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= bytes_:
            value = count / bytes_
            return f"{int(value)} {unit}" if value >= 10 or value == int(value) else f"{value:.1f} {unit}"
    return f"{int(count)} B"


def duration(seconds: float) -> str:
    """A span in words: ``4 minutes``, ``About an hour``, ``3 weeks``."""
    whole = int(seconds)
    hours = round(seconds / 3600)
    days = hours // 24
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < 60, f"{whole} seconds"),
        (whole < 120, "About a minute"),
        (whole < 3600, f"{whole // 60} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 14, f"{days} days"),
        (hours < 24 * 60, f"{days // 7} weeks"),
        (hours < 24 * 730, f"{days // 30} months"),
    )
    return next((text for fits, text in steps if fits), f"{days // 365} years")


def moment(when: datetime, now: datetime | None = None) -> str:
    """A time relative to now: ``2 days ago``, ``4 minutes from now``; ``Forever`` when it is decades off."""
    seconds = ((now or datetime.now(UTC)) - when).total_seconds()
    if seconds < -20 * 365 * 86400:
        return "Forever"
    return f"{duration(-seconds)} from now" if seconds < 0 else f"{duration(seconds)} ago"


def clock(seconds: float) -> str:
    """A span for progress and statistics: ``52s``, ``4m07s``, ``1h03m``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def terminal() -> tuple[int, int]:
    """The terminal's columns and lines."""
    width, height = shutil.get_terminal_size()
    return max(width, 20), max(height, 4)


def note(text: str) -> None:
    """A line for the person, on stderr: stdout is for what was asked for."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
