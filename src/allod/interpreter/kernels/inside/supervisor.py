# pyright: basic
"""The sandbox's own program: starts kernels on request, and tells how they end. ``python supervisor.py SOCKET``.

Allod connects once, before any code runs, and sends a line of JSON for each program: ``{"start": 1, "argv": […],
"env": {…}}``. Answers: ``{"started": 1, "pid": 12}``, ``{"failed": 1, "reason": "…"}``, ``{"ended": 1, "status": 0}``.
When allod goes away, this ends, and with it everything inside. Nothing here is trusted by allod.
"""

import json
import os
import select
import signal
import socket
import sys


def main(path):
    """Serves the one connection until it is closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    os.write(1, b"ready\n")
    control, _ = listener.accept()
    listener.close()
    os.unlink(path)
    waker, woken = socket.socketpair()
    waker.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    programs = {}
    rest = b""
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            for pid, status in ended():
                if pid in programs:
                    say(control, {"ended": programs.pop(pid), "status": status})
        if control in ready:
            data = control.recv(1 << 16)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                begin(control, json.loads(line), programs)


def say(control, message):
    """One line to allod."""
    control.sendall(json.dumps(message).encode() + b"\n")


def begin(control, wanted, programs):
    """Starts one program, in a session of its own, so that it can be interrupted alone."""
    number, argv = wanted["start"], wanted["argv"]
    env = dict(os.environ) | wanted["env"]
    default = [signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE]
    try:
        pid = os.posix_spawnp(argv[0], argv, env, setsid=True, setsigdef=default)
    except OSError as error:
        say(control, {"failed": number, "reason": f"{argv[0]}: {error.strerror}"})
        return
    programs[pid] = number
    say(control, {"started": number, "pid": pid})


def ended():
    """Every child that ended, with its status; -n where signal n ended it."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(sys.argv[1])
