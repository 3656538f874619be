"""Attempts to get out of the sandbox: each is a function, and what it says is given back as JSON.

Each tries for real, with all it would need to know (``w``: paths, ports, pids, a file handle), and says nothing about
success: that is judged outside (``escape_world``), by its kind:

    leak     it says a secret that lies outside
    write    a file outside that is its own target is not as it was
    reach    its name arrives at a socket outside
    hurt     a process outside that is its own victim is not as it was
    machine  a setting of the machine is not as it was
    past     it says PAST: the kernel let through a call that nothing inside is to make

``control``: who succeeds with the very same code without a sandbox, so that the attempt is known to be one; empty where
it would harm the machine, or takes what machines do not have.
"""

import re
from pathlib import Path

import escape_files
import escape_others
import escape_tools
from escape_tools import ATTEMPTS, call

__all__ = ["ATTEMPTS", "SOURCE", "call"]


def source() -> str:
    """All of it as one program, for ``python -c``: it takes what they know as JSON, and their names."""
    modules = (escape_tools, escape_files, escape_others)
    texts = [Path(module.__file__).read_text() for module in modules]
    joined = "\n".join(re.sub(r"^from escape_tools import .*$", "", text, flags=re.MULTILINE) for text in texts)
    return joined + "\nmain(json.loads(sys.argv[1]), sys.argv[2].split())\n"


SOURCE = source()
