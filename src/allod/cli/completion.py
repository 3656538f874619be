"""What the shells offer after Tab: model names, read straight from the folders that hold them.

    allod --install-completion            then, in a new shell: allod run smol<Tab>

Typer writes the shells' scripts; here are the names, quickly: no manifest is opened. Bash breaks words
at colons, so ``smollm2:1`` reaches us as three words; `mend_bash_words` mends that before Typer looks.
"""

import os
from collections.abc import Iterable

BASH = "complete_bash"
KNOWN = "_ALLOD_COMPLETE_KNOWN"  # the part of the word being typed that stands before its last colon


def local_names(incomplete: str) -> list[str]:
    """Names in the store that begin with ``incomplete``."""
    return offered(stored_names(), incomplete)


def pullable_names(incomplete: str) -> list[str]:
    """Names in the catalogue that begin with ``incomplete``."""
    from allod.home import Home
    from allod.models.catalogue import Catalogue

    return offered(Catalogue.load(Home.open()).names(), incomplete)


def stored_names() -> list[str]:
    """The short name of every model in the store."""
    from allod.errors import AllodError
    from allod.home import Home
    from allod.models.store import Store

    try:
        return [str(name) for name in Store(Home.open().models).names()]
    except AllodError:  # nobody wants an error while pressing Tab
        return []


def offered(names: Iterable[str], incomplete: str) -> list[str]:
    """Those that begin with ``incomplete``; for Bash, of a name with a colon, what follows it."""
    known = os.environ.get(KNOWN, "")
    wanted = (known + incomplete).lower()
    return sorted(name[len(known) :] for name in names if name.lower().startswith(wanted))


def typed_words() -> list[str]:
    """The words after ``allod`` on the line to be completed, the last one (perhaps empty) still being typed."""
    if os.environ["_ALLOD_COMPLETE"] == BASH:
        return os.environ.get("COMP_WORDS", "").split("\n")[1:]
    return os.environ.get("_TYPER_COMPLETE_ARGS", "").split(" ")[1:]


def mend_bash_words() -> None:
    """Joins the words that Bash broke at colons, in the variables that Typer reads.

    Of the word being typed, only what follows its last colon may be completed; the rest goes to ``KNOWN``.
    """
    words = os.environ.get("COMP_WORDS", "").split("\n")
    try:
        at = int(os.environ.get("COMP_CWORD", ""))
    except ValueError:
        return
    joined: list[str] = []
    for i, word in enumerate(words[: at + 1]):
        if i > 1 and (word == ":" or words[i - 1] == ":"):
            joined[-1] += word
        else:
            joined.append(word)
    known, colon, rest = joined[-1].rpartition(":")
    os.environ[KNOWN] = known + colon
    os.environ["COMP_WORDS"] = "\n".join([*joined[:-1], rest])
    os.environ["COMP_CWORD"] = str(len(joined) - 1)
