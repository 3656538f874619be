"""macOS's own sandbox: ``sandbox-exec`` with a profile made from the view. UNTESTED: no Mac has run it yet.

As with Landlock the program sees real paths and changes a copy of the folder. All is denied but what the profile names:
the system and Python to read, the job's own places to write, no network but Unix sockets in these.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

from allod.interpreter.sandbox.bubblewrap import View, python_folders
from allod.interpreter.sandbox.landlock import Launched

PROGRAM = "/usr/bin/sandbox-exec"
SYSTEM = ("/usr", "/bin", "/sbin", "/System", "/Library/Fonts", "/Library/Frameworks", "/private/etc/ssl",
          "/private/etc/localtime", "/private/var/db/timezone", "/opt/homebrew", "/dev/null", "/dev/zero",
          "/dev/random", "/dev/urandom")  # fmt: skip
ALWAYS = """(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read-data (literal "/"))
(allow file-write-data (literal "/dev/null"))
(allow ipc-posix-sem)"""


def available() -> bool:
    """Whether this machine has it."""
    return sys.platform == "darwin" and shutil.which(PROGRAM) is not None


class Seatbelt(Launched):
    """``sandbox-exec`` below the launcher."""

    name = "seatbelt"
    confines = True

    @property
    def lacks(self) -> tuple[str, ...]:
        return ("it is untested", "code can see which files there are", "its folder is a copy")

    def argv(self, view: View, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        return [PROGRAM, "-p", profile(view), *super().argv(view, command, env)]


def profile(view: View) -> str:
    """The rules in sandbox-exec's language, a later one before an earlier."""
    readable = [*SYSTEM, *python_folders(), *(str(outside) for outside, _ in view.readable)]
    writable = [str(path) for path in (view.upper, view.home, view.tmp, *(outside for outside, _ in view.writable))]
    lines = [ALWAYS, f"(allow file-read* {paths(readable)})", f"(allow file-read* file-write* {paths(writable)})"]
    lines.append(f"(allow network-bind {paths(writable)})")
    if view.hidden:
        lines.append(f"(deny file-read* file-write* {paths(str(path) for path in view.hidden)})")
    return "\n".join(lines)


def paths(names: Iterable[str]) -> str:
    """These folders and what is in them, by the paths that the kernel knows them by."""
    quoted = (os.path.realpath(name).replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return " ".join(f'(subpath "{name}")' for name in quoted)
