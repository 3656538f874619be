"""What a long job says while it runs: Ollama's own words, so that every door can print them as they are.

    Progress("pulling manifest")
    Progress("pulling b179c9523d0e", digest="sha256:b179…", total=98_362_432, completed=4_194_304)
    Progress("verifying sha256 digest")
    Progress("writing manifest")
    Progress("success")

``create`` says ``parsing GGUF``, ``using existing layer sha256:…`` or ``creating new layer sha256:…`` in between.
"""

from collections.abc import Callable

from msgspec import Struct

# Told the bytes done so far of one file, in rising order.
Count = Callable[[int], None]


class Progress(Struct, frozen=True, omit_defaults=True):
    """One step, or one more stretch of a transfer. ``total`` and ``completed`` are bytes of the blob ``digest``."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0


def pulling(digest: str, total: int, completed: int) -> Progress:
    """The line for a blob on its way: ``pulling`` and the first 12 hex digits of ``sha256:<hex>``."""
    return Progress(f"pulling {digest.removeprefix('sha256:')[:12]}", digest, total, completed)
