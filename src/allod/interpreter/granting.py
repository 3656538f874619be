"""What a job may reach: what its profile grants and what was asked for on top, checked before anything runs."""

from pathlib import Path

from allod.errors import AllodError, BadRequest
from allod.home import Home
from allod.interpreter.profiles import Profile
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.workspace import Grants, grants
from allod.interpreter.workspace.workspace import can_hold


def granted(home: Home, folder: Path, profile: Profile, more: Grants) -> Grants:
    """All of it, for a job in ``folder``.

    Raises:
        AllodError: it makes no sense, the profile forbids more, or the sandbox that is used here cannot give it.
    """
    if profile.strict and more != Grants():
        raise BadRequest("this profile grants nothing", "Leave out read, folders, net, packages, or take another.")
    own = profile.grants
    try:
        said = grants.parse(read=own.read, folders=own.folders, net=own.net, packages=own.packages)
    except AllodError as error:
        error.message = f"the profile grants what it cannot: {error.message}"
        raise
    whole = grants.parse(
        read=[*said.read, *more.read],
        folders=[*said.folders, *more.folders],
        net=[*said.net, *more.net],
        packages=said.packages or more.packages,
    )
    whole.check(folder, home)
    can_hold(Sandbox.find(), whole)
    return whole
