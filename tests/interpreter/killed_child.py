"""A process that applies and undoes a job over several folders when told, in children of its own to be killed.

    python killed_child.py FOLDER FURTHER…

On stdin: "apply", "undo" or "history", a line each, and after how many seconds to kill it. On stdout: "done" or
"killed", and how long it took.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from workspace_tools import shell

from allod.home import Home
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.grants import parse
from allod.interpreter.workspace.undo import history, undo

EDITS = """
for d in . "$@"; do (
    cd "$d"
    for n in $(seq 10); do echo "new $n" > "new$n"; echo more >> "old$n"; done
    rm -r gone; rm file; mkdir -p file/in; echo x > file/in/x; rm -r folder; echo was a folder > folder
    chmod 700 mode; ln -sf new1 link; mkdir -m 500 locked; head -c 300000 /dev/zero > large
) done
"""


def main(folder: str, *further: str) -> None:
    home = Home.open()
    workspace = Workspace.create(home, Path(folder), parse(folders=further))
    asyncio.run(shell(workspace, EDITS, *further))

    def apply(_: Home) -> None:
        workspace.apply(overwrite=True)

    print("ready 0", flush=True)
    for line in sys.stdin:
        act, _, seconds = line.strip().partition(" ")
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                {"apply": apply, "undo": undo, "history": history}[act](home)
                os._exit(0)
            except BaseException:  # noqa: BLE001
                os._exit(1)
        if seconds:
            time.sleep(float(seconds))
            os.kill(pid, signal.SIGKILL)  # nobody has waited for it yet, so the pid is still its own
        status = os.waitpid(pid, 0)[1]
        how = {0: "done", 9: "killed"}.get(status, f"status {status}")
        print(how, time.monotonic() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
