"""Model names: ``host/namespace/model:tag``, by Ollama's grammar.

    Name.parse("smollm2:135m")              registry.ollama.ai / library / smollm2 / 135m
    Name.parse("hf.co/user/repo:Q4_K_M")    hf.co / user / repo / Q4_K_M

What is left out is ``registry.ollama.ai``, ``library`` and ``latest``. Case is kept, and ignored in comparisons
(`key`). A parsed name is safe to use as a relative path: no part can be empty, hidden, ``..`` or hold a separator.

Grammar (from Ollama's types/model/name.go): a part begins with a letter, digit or ``_`` and goes on with these, ``-``
and ``.``; no ``.`` in a namespace; ``:`` in a host only; at most 80 characters, a host 350.
"""

import re

from msgspec import Struct

from allod.errors import BadName

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"

LONGEST = 350 + 3 * 81 + len("https://")
PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}


class Name(Struct, frozen=True):
    """A model's name, every part present."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> "Name":
        """Reads a name as a user types it; ``http://`` and ``https://`` in front are dropped.

        Raises:
            BadName: a part is empty, too long or holds a character that the grammar does not allow.
        """
        if len(text) > LONGEST:
            raise BadName(f"a model name of {len(text)} characters is too long", "A part has at most 80 characters.")
        rest = text
        for scheme in ("http://", "https://"):
            rest = rest.removeprefix(scheme)
        tag = TAG
        if rest.rfind(":") > rest.rfind("/"):
            rest, tag = rest.rsplit(":", 1)
        parts = rest.rsplit("/", 2)
        defaults = (HOST, NAMESPACE)[: 3 - len(parts)]
        host, namespace, model = (*defaults, *parts)
        name = cls(host, namespace, model, tag)
        for kind, pattern in PARTS.items():
            part: str = getattr(name, kind)
            if not pattern.fullmatch(part):
                raise BadName(
                    f"{printable(text)} is not a model name: its {kind} is {printable(part) if part else 'empty'}",
                    "A name is [host/][namespace/]model[:tag] in letters, digits, '-', '_' and '.'.",
                )
        return name

    @property
    def full(self) -> str:
        """``host/namespace/model:tag``."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def path(self) -> tuple[str, str, str, str]:
        """The parts of the manifest's path below ``manifests/``."""
        return (self.host, self.namespace, self.model, self.tag)

    @property
    def key(self) -> str:
        """``full`` in one case: equal for names that mean the same model."""
        return self.full.lower()

    def __str__(self) -> str:
        """The short form: without the default host and ``library``, always with the tag."""
        short = f"{self.model}:{self.tag}"
        if self.host.lower() != HOST:
            return self.full
        return short if self.namespace.lower() == NAMESPACE else f"{self.namespace}/{short}"


def printable(text: str) -> str:
    """``text`` in quotes, escaped and cut to a line, fit for an error message."""
    quoted = repr(text[:60])
    return quoted if len(text) <= 60 else f"{quoted[:-1]}…{quoted[-1]}"
