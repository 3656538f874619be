"""Where the layers of a job may lie: a disk on which overlayfs can write.

Not every disk is one (another overlay, as in a container; a network share; FAT), and not below the job's own folder, as
a layer inside of what it lies over sees itself. So places are tried for real, once for each place and kernel.
"""

import hashlib
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from allod.errors import ReadOnly, SandboxFailed
from allod.home import Home, make_folder
from allod.interpreter.sandbox.bubblewrap import find_bwrap, remedy
from allod.interpreter.workspace import tree
from allod.interpreter.workspace.folders import elsewhere

# What a layer must be able to hold: whiteouts, replaced folders, copied-up files.
TRIAL = "rm a && rm -r d && mkdir d && test ! -e d/x && echo new > b && mv b c && test ! -e a"


def layers_for(home: Home, folders: Sequence[Path], name: str, *, overlays: bool = True) -> Path:
    """A new, empty place for the layers of the job ``name`` over ``folders``; not made yet. Without overlays any
    disk will do.

    Raises:
        SandboxFailed: there is none; the message has bubblewrap's own words.
    """
    said = ""
    for place in candidates(home, folders):
        said = complaint(home, place) if overlays else ""
        if not said:
            return place / name / "layers" if place.name == "jobs" else place / name
    raise SandboxFailed(f"no disk here can hold the layers of a job: {said or 'none can be written'}", remedy(said))


def candidates(home: Home, folders: Sequence[Path]) -> Iterator[Path]:
    """Places outside of the folders, best first; each made, and nobody else's."""
    jobs = home.folder("jobs")
    if not within(jobs, folders):
        yield jobs
    for own in elsewhere():
        if within(own, folders):
            continue
        try:
            make_folder(own)
            if own.is_symlink() or own.lstat().st_uid != os.geteuid():
                continue  # in a folder that all may write, somebody may have been there first
            own.chmod(0o700)
        except (OSError, ReadOnly):
            continue
        yield own


def within(place: Path, folders: Sequence[Path]) -> bool:
    """Whether a place lies in one of the folders."""
    return any(place.resolve().is_relative_to(folder) for folder in folders)


def complaint(home: Home, place: Path) -> str:
    """Why ``place`` cannot hold layers; empty where it can. Tried once, then remembered."""
    where = hashlib.blake2b(f"{platform.release()} {place.stat().st_dev} {place}".encode(errors="replace"))
    known = home.folder("overlay", "cache") / where.hexdigest()[:16]
    if known.exists():
        return ""
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=place, ignore_cleanup_errors=True) as made:
        trial = Path(made)
        for part in ("lower/d", "upper", "work"):
            (trial / part).mkdir(parents=True)
        (trial / "lower" / "a").touch()
        (trial / "lower" / "d" / "x").touch()
        argv = [str(find_bwrap()), "--unshare-all", "--unshare-user", "--ro-bind", "/", "/"]
        argv += ["--overlay-src", made + "/lower", "--overlay", made + "/upper", made + "/work", made + "/lower"]
        argv += ["--chdir", made + "/lower", "/bin/sh", "-c", TRIAL]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        tree.remove_tree(trial / "work")
    if done.returncode:
        return done.stderr.strip() or "an overlay there does not work"
    known.touch()
    return ""
