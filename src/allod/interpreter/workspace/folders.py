"""Which folders a job may be given, and what of them its code does not see."""

import os
import tempfile
from pathlib import Path

from allod.errors import BadRequest, NotFound, ReadOnly
from allod.home import Home

# Folders that belong to the system: nobody's job is in them.
SYSTEM = ("/", "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/var", "/opt", "/run", "/home")
UNREAL = ("/dev", "/proc", "/sys")


def checked(folder: Path) -> Path:
    """The real path of a folder in which a job may run; raises NotFound or BadRequest."""
    try:
        real = folder.expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotFound(f"no folder {folder}", "Give the path of a folder that exists.") from error
    if not real.is_dir():
        raise BadRequest(f"{folder} is not a folder", "Give the folder that holds the file.")
    if str(real) in SYSTEM or any(real.is_relative_to(unreal) for unreal in UNREAL):
        raise BadRequest(f"{real} belongs to the system", "Run allod in a folder of your own.")
    if not os.access(real, os.R_OK | os.X_OK):
        raise ReadOnly(f"{real} cannot be read", "Check its permissions.")
    return real


def elsewhere() -> list[Path]:
    """Where layers of jobs may lie besides the data folder: on other disks, in a folder of this user's."""
    shared = [Path("/var/tmp"), Path(tempfile.gettempdir())]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        shared.append(Path(runtime))
    return [place / f"allod-{os.geteuid()}" for place in shared]


def hidden(home: Home, folder: Path) -> tuple[Path, ...]:
    """What of the folder code does not see: allod's own things, and settings and keys where it is the user's home."""
    found = {path.resolve() for path in (home.config, home.data, home.cache, home.models, *elsewhere())}
    user = Path.home().resolve()
    if user.is_relative_to(folder):
        found |= {path for path in user.iterdir() if path.name.startswith(".") and not path.is_symlink()}
    inside = sorted(path for path in found if path.is_relative_to(folder) and path != folder and path.exists())
    return tuple(p for p in inside if not any(p != other and p.is_relative_to(other) for other in inside))
