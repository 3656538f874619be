"""How a model is to be loaded, and for how long it stays: what callers ask of the engine."""

import re

from msgspec import Struct

from allod.errors import BadRequest

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h)")
FOREVER = float("inf")


class LoadOptions(Struct, frozen=True, omit_defaults=True):
    """What cannot be changed while a model is loaded. 0, or -1 for ``gpu_layers``: the engine chooses."""

    context: int = 0  # tokens a slot
    slots: int = 0  # requests at once
    batch: int = 0  # tokens a step of prompt processing
    threads: int = 0
    gpu_layers: int = -1
    embedding: bool = False  # for vectors; a chat model may be asked for them too
    shift: bool = False  # where the context is full, drop the older half of it and go on
    exact: bool = False  # the probability of every token is wanted: none is guessed


def keep_alive_seconds(value: str | float) -> float:
    """Seconds from Ollama's ``keep_alive``: a number, or a Go duration (``1h30m``); negative is for ever.

    Raises:
        BadRequest: neither.
    """
    seconds = 0.0
    if isinstance(value, str):
        text = value.strip()
        sign = -1.0 if text.startswith("-") else 1.0
        rest = text[1:] if text[:1] in ("+", "-") else text
        try:
            seconds = sign * float(rest) if re.fullmatch(r"[0-9]+(\.[0-9]*)?", rest) else sign * go_duration(rest)
        except ValueError:
            raise BadRequest(
                f"'{text[:40]}' is no duration", 'Write it as "5m", "1h30m" or a number of seconds.'
            ) from None
    else:
        seconds = float(value)
    if seconds != seconds:
        raise BadRequest("keep_alive is not a number", 'Write it as "5m", "1h30m" or a number of seconds.')
    return FOREVER if seconds < 0 else seconds


def go_duration(text: str) -> float:
    """Seconds from ``1h30m`` and the like, as Go's time.ParseDuration reads them; raises ValueError."""
    parts = DURATION.findall(text)
    if not parts or "".join(parts) != text:
        raise ValueError(text)
    total = 0.0
    for part in parts:
        number = part.rstrip("nuµμmsh")
        total += float(number) * UNITS[part[len(number) :]]
    return total
