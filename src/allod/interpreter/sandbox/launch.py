# pyright: basic
"""The program above a confined program where there are no namespaces: ``python -I -S launch.py FD``.

It reads what to do as JSON from FD, which stays open as long as allod wants the program to run. Its child gives up its
privileges, confines itself with Landlock and seccomp as far as it was told to, and becomes the program. This one stays
outside of that: it takes in every orphan below it, and when the program or allod ends, it kills all that is left.

It imports nothing but the standard library. Before anything is confined it says ``ok`` on the descriptor ``answer``, or
what went wrong.
"""

import ctypes
import json
import os
import select
import signal
import struct
import sys
import time

# linux/prctl.h
SET_PDEATHSIG, SET_SECCOMP, CAPBSET_DROP, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, CAP_AMBIENT = 1, 22, 24, 36, 38, 47
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock's, on all processors
PATH_BENEATH = 1
FILE_RIGHTS = 0b1100000000000111  # those that a rule for a file may have: execute, write, read, truncate, ioctl
CAPSET = {"x86_64": 126, "aarch64": 91}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
if sys.platform == "linux":
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


def main(fd):
    """Runs the program and ends with its status."""
    file = os.fdopen(fd, "rb", buffering=0)
    wanted = json.loads(file.readline())
    if sys.platform == "linux":
        check(libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken, waker = os.pipe()
    for end in (waker, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    child = os.fork()
    if not child:
        begin(wanted, fd)
    os.close(wanted["answer"])
    for outer in (0, 1, 2):  # a reader of the output is told the end when the programs have ended, not this one
        os.dup2(os.open(os.devnull, os.O_RDWR), outer)
    status = None
    while status is None:
        ready, _, _ = select.select([fd, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            status = reaped(child)
        if fd in ready and not os.read(fd, 4096):
            break
    end_all()
    os._exit(128 + signal.SIGKILL if status is None else status if status >= 0 else 128 - status)


def reaped(child):
    """Takes in what ended; the status of ``child`` if it did."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if not pid:
            return found
        if pid == child:
            found = os.waitstatus_to_exitcode(status)


def end_all():
    """Kills everything below this, stopped first, so that nothing is started meanwhile."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for _ in range(50):
            before = descendants()
            for pid in before:
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
            reaped(0)
            if number == signal.SIGSTOP and descendants() == before:
                break
            if number == signal.SIGKILL:
                if not before:
                    return
                time.sleep(0.005)


def descendants():
    """Every process below this, in order of their numbers."""
    parents = {}
    try:
        names = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError):
            pass
    found = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return sorted(found - {os.getpid()})


def begin(wanted, fd):
    """Confines this process and becomes the program."""
    answer = wanted["answer"]
    try:
        os.close(fd)
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        for what, value in wanted["limits"]:
            limit(what, value)
        ruleset = rules(wanted["landlock"]) if wanted["landlock"] else None
        os.chdir(wanted["folder"])
        if sys.platform == "linux":
            give_up_privileges(bool(wanted["landlock"]))
        if ruleset is not None:
            check(libc.syscall(ctypes.c_long(RESTRICT_SELF), ctypes.c_long(ruleset), ctypes.c_long(0)), "landlock")
        if wanted["seccomp"]:
            refuse(bytes.fromhex(wanted["seccomp"]))
        # No file that was open outside is open inside, but for the answer, which closes itself.
        os.set_inheritable(answer, False)
        os.closerange(3, answer)
        os.closerange(answer + 1, 65536)
        os.write(answer, b"ok\n")
        os.execvpe(wanted["command"][0], wanted["command"], wanted["env"])
    except OSError as error:
        os.write(answer, f"{error.strerror}{f': {error.filename}' if error.filename else ''}".encode())
    finally:
        os._exit(127)


def limit(what, value):
    """Never above what is allowed already."""
    import resource

    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def rules(wanted):
    """A Landlock ruleset: ``rights`` over files, the network and scopes; ``paths``, what is allowed where."""
    attributes = struct.pack("=QQQ", *wanted["rights"])[: wanted["size"]]
    ruleset = libc.syscall(
        ctypes.c_long(CREATE_RULESET), attributes, ctypes.c_size_t(len(attributes)), ctypes.c_long(0)
    )
    check(ruleset, "landlock")
    for path, allowed in wanted["paths"]:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there needs no rule
        allowed &= wanted["rights"][0] & (-1 if os.path.isdir(path) else FILE_RIGHTS)
        if allowed:
            rule = struct.pack("=Qi", allowed, place)
            added = libc.syscall(
                ctypes.c_long(ADD_RULE), ctypes.c_long(ruleset), ctypes.c_long(PATH_BENEATH), rule, ctypes.c_long(0)
            )
            check(added, path)
        os.close(place)
    return ruleset


def give_up_privileges(all_of_them):
    """Every capability, and those that a program could give."""
    check(libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if not all_of_them:
        return
    libc.prctl(CAP_AMBIENT, 4, 0, 0, 0)
    number = 0
    while libc.prctl(CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    check(libc.syscall(ctypes.c_long(CAPSET[os.uname().machine]), header, none), "capabilities")


def refuse(program):
    """Puts the filter of system calls in force."""
    steps = ctypes.create_string_buffer(program)
    filters = struct.pack("@HP", len(program) // 8, ctypes.addressof(steps))
    pointer = ctypes.create_string_buffer(filters)
    check(libc.prctl(SET_SECCOMP, 2, ctypes.addressof(pointer), 0, 0), "seccomp")


def check(result, what):
    """Raises OSError where a call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main(int(sys.argv[1]))
