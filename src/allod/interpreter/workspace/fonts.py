"""matplotlib's list of fonts, made once instead of by every job that plots: up to seconds on a machine with many fonts.

The list is made in a sandbox of its own by matplotlib alone: what a job leaves behind, the next must not trust.
"""

import asyncio
import contextlib
import importlib.metadata
import shutil
import sys
import tempfile
from pathlib import Path

from allod.home import Home
from allod.interpreter.sandbox import Limits, Sandbox, View, environment
from allod.interpreter.workspace import tree

INSIDE = "/run/allod/fonts"


def cache(home: Home) -> Path | None:
    """Where the list is or will be; None without matplotlib."""
    try:
        return home.folder("matplotlib", "cache") / importlib.metadata.version("matplotlib")
    except importlib.metadata.PackageNotFoundError:
        return None


def give(home: Home, job_home: Path) -> None:
    """Copies the list, if there is one, to where a job's matplotlib looks for it."""
    made = cache(home)
    if made is not None and made.is_dir():
        with contextlib.suppress(OSError):
            shutil.copytree(made, job_home / ".config" / "matplotlib")


async def make(home: Home, sandbox: Sandbox) -> None:
    """Makes the list if it is missing. Fails silently: it only saves time."""
    made = cache(home)
    if made is None or made.is_dir():
        return
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=made.parent))
    try:
        for part in ("folder", "upper", "work", "home", "tmp", "made"):
            (folder / part).mkdir()
        view = View(
            folder=folder / "folder",
            upper=folder / "upper",
            work=folder / "work",
            home=folder / "home",
            tmp=folder / "tmp",
            writable=((folder / "made", INSIDE),),
        )
        command = [sys.executable, "-c", "import matplotlib.font_manager"]
        process = await sandbox.spawn(view, command, environment() | {"MPLCONFIGDIR": INSIDE}, Limits())
        try:
            assert process.bwrap.stdout is not None
            await process.bwrap.stdout.read()
            if await process.wait() == 0:
                (folder / "made").rename(made)
        finally:
            process.kill()
            await asyncio.shield(process.wait())
    except OSError:
        pass
    finally:
        tree.remove_tree(folder)
