"""What a job may reach besides its folder: more folders, hosts, packages. Nothing of it is given unless asked for.

    grants = parse(read=["~/prices"], folders=["~/reports"], net=["example.org", "*.example.com:8080"], packages=True)
    grants.check(folder, home)

A grant is data. The workspace mounts the folders; ``network`` opens the way to the hosts.
"""

import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from allod.errors import BadRequest
from allod.home import Home
from allod.interpreter.workspace.folders import checked

PORTS = (80, 443)  # of a host that is granted without one
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
HOSTS = "Give a host as in example.org, *.example.org or example.org:8080."


class Grants(Struct, frozen=True):
    """What was granted. Paths are real and absolute; hosts are as ``host_of`` writes them."""

    read: tuple[Path, ...] = ()  # folders that code may read, at their own path
    folders: tuple[Path, ...] = ()  # folders that code may change as it may its own: nothing is written until applied
    net: tuple[str, ...] = ()  # hosts
    packages: bool = False  # whether Python packages may be installed, for the time of the job

    @property
    def outside(self) -> bool:
        """Whether what code does may have effects that no undo takes back."""
        return bool(self.net)

    def check(self, folder: Path, home: Home) -> None:
        """Raises BadRequest where the grants and the job's own folder do not go together."""
        for more in self.folders:
            if more == folder:
                raise BadRequest(f"{more} is the job's own folder", "Leave it out: its code may change it anyway.")
            if one := nested(more, folder):
                raise one
            check_apart(more, home)
        for shown in self.read:
            if shown.is_relative_to(folder):
                raise BadRequest(f"{shown} is in the job's own folder", "Leave it out: its code sees it anyway.")
            check_apart(shown, home)


NOTHING = Grants()


def parse(
    *,
    read: Sequence[str | Path] = (),
    folders: Sequence[str | Path] = (),
    net: Sequence[str] = (),
    packages: bool = False,
) -> Grants:
    """Grants from what a person wrote. The same thing twice is once.

    Raises:
        NotFound, BadRequest, ReadOnly: no such folder, one that cannot be granted, or no host.
    """
    more = tuple(dict.fromkeys(checked(Path(text)) for text in folders))
    shown = tuple(dict.fromkeys(checked(Path(text)) for text in read))
    for n, one in enumerate(more):
        for other in more[:n]:
            if error := nested(one, other):
                raise error
        for other in shown:
            if other.is_relative_to(one):
                raise BadRequest(
                    f"{other} is in {one}, which code may change",
                    "Grant it once, to be read or to be changed.",
                )
    return Grants(shown, more, tuple(dict.fromkeys(host_of(text) for text in net)), packages)


def nested(one: Path, other: Path) -> BadRequest | None:
    """The error for two folders of which one holds the other: a file in both would have two versions."""
    if not one.is_relative_to(other) and not other.is_relative_to(one):
        return None
    inner, outer = (one, other) if one.is_relative_to(other) else (other, one)
    return BadRequest(f"{inner} is in {outer}", "Grant the outer folder alone, or two that lie apart.")


def check_apart(folder: Path, home: Home) -> None:
    """Raises BadRequest for allod's own folders: they hold the ledger, conversations and the layers of jobs."""
    for own in (home.config, home.data, home.cache):
        if folder.is_relative_to(own.resolve()):
            raise BadRequest(f"{folder} is allod's own", "Give a folder of yours.")


# ── hosts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def host_of(text: str) -> str:
    """A host as it is granted: lower case, ASCII, ``*.`` for all below it, ``:port`` where one was given.

    >>> host_of("Bücher.example:8080"), host_of("*.Example.org."), host_of("::1")
    ('xn--bcher-kva.example:8080', '*.example.org', '[::1]')

    Raises:
        BadRequest: it is none.
    """
    said = text.strip()
    if "/" in said or "@" in said or "?" in said:
        raise BadRequest(f"{text[:200]!r} is an address, not a host", HOSTS)
    name, port = split(said)
    if port is not None and not 0 < port < 65536:
        raise BadRequest(f"{text[:200]!r} has no port that there is", "Ports are 1 to 65535.")
    star, name = ("*.", name[2:]) if name.startswith("*.") else ("", name)
    if address := as_address(name):
        if star:
            raise BadRequest(f"{text[:200]!r} is no host", "An address stands for itself alone.")
        name = f"[{address}]" if address.version == 6 else str(address)
    else:
        name = name_of(name, text, star)
    return star + name + (f":{port}" if port is not None else "")


def name_of(name: str, text: str, star: str) -> str:
    """A host's name in lower-case ASCII; raises BadRequest."""
    if name in ("", "*"):
        raise BadRequest(
            "a job's code is never given every host" if name else "an empty host", "Name the hosts, one by one."
        )
    try:
        name = name.rstrip(".").encode("idna").decode().lower()
    except UnicodeError as error:
        raise BadRequest(f"{text[:200]!r} is no host", HOSTS) from error
    labels = name.split(".")
    # A name that ends in a number is an address to some and a name to others (127.1, 0x7f.1).
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels) or re.match(r"\d|0x", labels[-1]):
        raise BadRequest(f"{text[:200]!r} is no host", HOSTS)
    if star and len(labels) < 2:
        raise BadRequest(f"{text[:200]!r} would be every host below .{name}", HOSTS)
    return name


def split(text: str) -> tuple[str, int | None]:
    """Host and port; an IPv6 address with a port stands in brackets. Raises BadRequest."""
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in name:
            raise BadRequest(f"{text[:200]!r} is no host", HOSTS)
        port = rest[1:] if rest else None
    elif text.count(":") > 1:
        return text, None
    else:
        name, colon, rest = text.partition(":")
        port = rest if colon else None
    if port is not None and not (port.isascii() and port.isdigit() and len(port) < 6):
        raise BadRequest(f"{text[:200]!r} has no port that there is", "Ports are 1 to 65535.")
    return name, None if port is None else int(port)


def as_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that a name is; None where it is a name."""
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
