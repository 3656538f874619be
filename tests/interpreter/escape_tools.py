"""What the attempts to get out are made with. Inside the sandbox this and they are one program
(``escape_attempts.SOURCE``), so that nothing of the tests has to be shown there.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import sys

ATTEMPTS = {}
ARM = platform.machine() == "aarch64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def attempt(kind, control="anyone"):
    def noted(function):
        ATTEMPTS[function.__name__] = (function, kind, control)
        return function

    return noted


def call(x86, arm, *arguments):
    """A system call by number; its result, or -errno."""
    given = [a if isinstance(a, (bytes, ctypes.Array, ctypes.Structure)) else ctypes.c_long(a) for a in arguments]
    found = libc.syscall(ctypes.c_long(arm if ARM else x86), *given)
    return found if found >= 0 else -ctypes.get_errno()


def past(result):
    """Says PAST where the kernel did more than refuse."""
    print("PAST" if result not in (-errno.EPERM, -errno.EACCES, -errno.ENOSYS) else "no", result)


def show(*paths):
    """Says what is in files, as far as they can be read."""
    for path in paths:
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0) as file:
                print((file.read(1 << 20) or b"").decode(errors="replace"))
        except OSError as error:
            print(error)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def tried(function, w):
    """What one attempt says, made in a process and a folder of its own, within seconds."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        signal.alarm(3)
        for fd in (1, 2):
            os.dup2(writer, fd)
        try:
            if w.get("own_mounts"):  # outside: what it does to mounts ends with it
                libc.unshare(0x20000)
                libc.mount(b"none", b"/", None, 0x44000, None)
            os.mkdir(f"try-{w['name']}")
            os.chdir(f"try-{w['name']}")
            function(w)
        except BaseException as error:
            print(type(error).__name__, error)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.close(writer)
    said = b""
    while len(said) < 1 << 21 and (data := os.read(reader, 1 << 16)):
        said += data
    os.close(reader)
    os.waitpid(pid, 0)
    return said.decode(errors="replace")


def main(w, names):
    said = {name: tried(ATTEMPTS[name][0], {**w, "name": name, "victim": w["victims"].get(name)}) for name in names}
    print("\n" + json.dumps(said), flush=True)
