"""Hosts as a person grants them, and what may be connected to on the strength of that.

    allowed = Allowed(("example.org", "*.example.com:8080", "127.0.0.1:8000"))
    allowed.permits("www.example.com", 8080)
    allowed.reachable(address, "www.example.com", 8080)      # an address that the name resolved to

A name that was granted must not lead into the machine or the network around it, whatever its owner has it resolve to:
addresses that are not public are reached only where they were granted themselves, or by a name that is a local one.
"""

import ipaddress
import re
from collections.abc import Iterable

from msgspec import Struct

from allod.egress.policy import is_loopback
from allod.errors import BadRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PORTS = (80, 443)  # of a host that is granted without one
LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
HOSTS = "Give a host as in example.org, *.example.org or example.org:8080."
LOCAL = ("local", "lan", "internal", "intranet", "home.arpa")  # what names in a network of one's own end in
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
COMPATIBLE = ipaddress.IPv6Network("::/96")


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


def as_address(name: str) -> Address | None:
    """The IP address that a name is; None where it is a name."""
    try:
        return None if "%" in name else ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


# ── what was granted ────────────────────────────────────────────────────────────────────────────────────────────────


class Host(Struct, frozen=True):
    """One granted host, taken apart. ``port`` None: the usual ones."""

    name: str
    port: int | None
    below: bool  # whether every name below it is meant, and not itself
    address: Address | None

    @classmethod
    def of(cls, text: str) -> "Host":
        """From what ``host_of`` wrote, or what a person did."""
        name, port = split(host_of(text))
        below = name.startswith("*.")
        name = name.removeprefix("*.")
        address = as_address(name)
        return cls(str(address) if address else name, port, below, address)

    @property
    def loopback(self) -> bool:
        """Whether it is this machine itself."""
        return is_loopback(self.name)

    def names(self, name: str, port: int) -> bool:
        """Whether it stands for a host and port."""
        if port != self.port and not (self.port is None and port in PORTS):
            return False
        return name.endswith("." + self.name) if self.below else name == self.name


class Allowed:
    """Hosts that were granted. ``trusted`` ones may have any address: the person's own settings name them."""

    def __init__(self, hosts: Iterable[str], trusted: Iterable[str] = ()) -> None:
        self.trusted = [Host.of(text) for text in trusted]
        self.hosts = [Host.of(text) for text in hosts] + self.trusted

    def permits(self, host: str, port: int) -> bool:
        """Whether a host, as a request names it, was granted."""
        return any(granted.names(plain(host), port) for granted in self.hosts)

    def reachable(self, address: Address, host: str, port: int) -> bool:
        """Whether an address that a granted host resolved to may be connected to."""
        name = plain(host)
        address = inner(address)
        if is_public(address) or any(granted.names(name, port) for granted in self.trusted):
            return True
        if any(granted.address == address and granted.names(str(address), port) for granted in self.hosts):
            return True
        if not any(granted.names(name, port) and not granted.below for granted in self.hosts):
            return False
        if is_loopback(name):
            return address.is_loopback
        local = "." not in name or name.endswith(tuple("." + end for end in LOCAL))
        never = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
        return local and address.is_private and not never and as_address(name) is None


def plain(host: str) -> str:
    """A host as it is compared: lower case, without brackets and last dot, addresses in their usual form."""
    name = host.strip("[]").rstrip(".").lower()
    address = as_address(name)
    return str(address) if address else name


def inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet."""
    if isinstance(address, ipaddress.IPv6Address) and (address in COMPATIBLE or address.is_site_local):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
