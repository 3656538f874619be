"""What a job may reach besides its folder: more folders, hosts, packages. Nothing of it is given unless asked for.

    grants = parse(read=["~/prices"], folders=["~/reports"], net=["example.org", "*.example.com:8080"], packages=True)
    grants.check(folder, home)

A grant is data. The workspace mounts the folders; ``network`` opens the way to the hosts.
"""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from allod.egress.hosts import host_of
from allod.errors import BadRequest
from allod.home import Home
from allod.interpreter.workspace.folders import checked, hidden


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
            unseen = hidden(home, folder)
            if shown.is_relative_to(folder) and not any(shown.is_relative_to(path) for path in unseen):
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
    if folder == Path("/tmp"):
        raise BadRequest(f"{folder} is another one for the code of a job", "Grant a folder in it.")
    for own in (home.config, home.data, home.cache):
        if folder.is_relative_to(own.resolve()):
            raise BadRequest(f"{folder} is allod's own", "Give a folder of yours.")
