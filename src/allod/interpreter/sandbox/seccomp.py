"""System calls that confined code may not make, as a filter the kernel runs (classic BPF, seccomp(2)).

``program()`` gives the bytes that ``bwrap --seccomp`` and prctl(PR_SET_SECCOMP) take. It is a list of what is refused:
calls that reach other processes, the machine, or parts of the kernel that programs do without and attackers do not.
Other architectures' calls and x86's x32 are refused whole, as their numbers differ.

``strict`` is for a sandbox without namespaces of its own: only Unix sockets, and these only to listen on, as Landlock
does not see to which path one connects; no memory or queues shared by number; no other process made slower; and what
changes a file's mode, owner or times does nothing and says that it did, as Landlock lets it through for files that may
not even be read.
"""

import errno
import platform
import struct
from collections.abc import Sequence

# name: (x86_64, aarch64), None where it does not exist. Since 424 the numbers are the same.
CALLS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280), "chroot": (161, 51),
    "clock_adjtime": (305, 266), "clock_settime": (227, 112), "create_module": (174, None),
    "delete_module": (176, 106), "fanotify_init": (300, 262), "finit_module": (313, 273), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433), "init_module": (175, 105),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "io_uring_setup": (425, 425),
    "ioperm": (173, None), "iopl": (172, None), "kcmp": (312, 272), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "keyctl": (250, 219), "migrate_pages": (256, 238), "mount": (165, 40),
    "mount_setattr": (442, 442), "move_mount": (429, 429), "move_pages": (279, 239), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "open_tree_attr": (467, 467), "perf_event_open": (298, 241), "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41), "process_madvise": (440, 440), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "reboot": (169, 142), "request_key": (249, 218), "setdomainname": (171, 162), "sethostname": (170, 161),
    "setns": (308, 268), "settimeofday": (164, 170), "swapoff": (168, 225), "swapon": (167, 224),
    "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "userfaultfd": (323, 282), "vhangup": (153, 58),
}  # fmt: skip
STRICT: dict[str, tuple[int | None, int | None]] = {
    "connect": (42, 203), "fsetxattr": (190, 7), "fremovexattr": (199, 16), "lremovexattr": (198, 15),
    "lsetxattr": (189, 6), "mq_open": (240, 180), "msgget": (68, 186), "removexattr": (197, 14),
    "removexattrat": (466, 466), "semget": (64, 190), "setxattr": (188, 5), "setxattrat": (463, 463),
    "shmat": (30, 196), "shmget": (29, 194), "file_setattr": (469, 469),
}  # fmt: skip
PRETENDED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "chown": (92, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "fchown": (93, 55), "fchownat": (260, 54), "futimesat": (261, None), "lchown": (94, None), "utime": (132, None),
    "utimensat": (280, 88), "utimes": (235, None),
}  # fmt: skip
TRUNCATE = (76, 45)
CLONE, CLONE3, IOCTL, PERSONALITY = (56, 220), (435, 435), (16, 29), (135, 92)
# How a process is run, which the first argument names; threads cannot be told from processes. With 0, the caller.
SCHEDULES: dict[str, tuple[int | None, int | None]] = {
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}  # fmt: skip
PRIORITY, IO_PRIORITY = (141, 140), (251, 30)  # the second argument, where the first says that it is a process
SOCKET, SOCKETPAIR, SENDTO, PRLIMIT = (41, 198), (53, 199), (44, 206), (302, 261)

NAMESPACES = 0x7E020000  # every CLONE_NEW* that fits into clone's flags
TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # typing into a terminal; the console's own menu of such things
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
DATAGRAM, TYPE = 2, 0xF

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "arm64": (0xC00000B7, 1)}
X32 = 0x40000000
# linux/bpf_common.h and linux/seccomp.h
LOAD, EQUAL, AT_LEAST, ANY_BIT, MASK, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data

Step = tuple[int, int, int, int]  # code, jump if true, jump if false, value
EPERM = (RETURN, 0, 0, ERRNO | errno.EPERM)
PASS = (RETURN, 0, 0, ALLOW)


def supported(machine: str = "") -> bool:
    """Whether there is a filter for this processor."""
    return (machine or platform.machine()) in ARCHITECTURES


def program(*, strict: bool = False, truncate: bool = True, machine: str = "") -> bytes:
    """The filter. ``truncate=False`` refuses to shorten files by their path too, for a Landlock that does not.

    Raises:
        KeyError: not for this processor.
    """
    architecture, column = ARCHITECTURES[machine or platform.machine()]
    steps: list[Step] = [
        (LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER),
    ]  # fmt: skip
    if column == 0:
        steps += [(AT_LEAST, 0, 1, X32), EPERM]

    def rule(call: tuple[int | None, int | None], *body: Step) -> None:
        if (number := call[column]) is not None:
            steps.extend([(EQUAL, 0, len(body), number), *body])

    for call in CALLS.values():
        rule(call, EPERM)
    rule(CLONE3, (RETURN, 0, 0, ERRNO | errno.ENOSYS))  # its flags cannot be seen; libc goes back to clone
    rule(CLONE, low(0), (ANY_BIT, 0, 1, NAMESPACES), EPERM, PASS)
    rule(IOCTL, low(1), *one_of((TIOCSTI, TIOCLINUX), EPERM, PASS))
    rule(PERSONALITY, low(0), *one_of((0, 0xFFFFFFFF), PASS, EPERM))
    if not strict:
        # Of netlink only routes, with which programs list addresses.
        rule(SOCKET, low(0), *one_of((UNIX, INET, INET6), PASS), (EQUAL, 1, 0, NETLINK), EPERM,
             low(2), *one_of((0,), PASS, EPERM))  # fmt: skip
    else:
        for call in STRICT.values():
            rule(call, EPERM)
        for call in PRETENDED.values():
            rule(call, (RETURN, 0, 0, ERRNO))
        for call in (SOCKET, SOCKETPAIR):
            rule(call, low(0), (EQUAL, 1, 0, UNIX), EPERM, low(1), (MASK, 0, 0, TYPE),
                 *one_of((DATAGRAM,), EPERM, PASS))  # fmt: skip
        rule(SENDTO, low(4), (EQUAL, 1, 0, 0), EPERM, high(4), *one_of((0,), PASS, EPERM))
        rule(PRLIMIT, low(0), *one_of((0,), PASS, EPERM))
        for call in SCHEDULES.values():
            rule(call, low(0), *one_of((0,), PASS, (RETURN, 0, 0, ERRNO)))  # programs take a refusal for a fault
        for call, own in ((PRIORITY, 0), (IO_PRIORITY, 1)):
            rule(call, low(0), (EQUAL, 1, 0, own), EPERM, low(1), *one_of((0,), PASS, EPERM))
        if not truncate:
            rule(TRUNCATE, EPERM)
    steps.append(PASS)
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def low(argument: int) -> Step:
    """Loads the lower half of an argument; both processors put it first."""
    return (LOAD, 0, 0, ARGUMENTS + 8 * argument)


def high(argument: int) -> Step:
    """Loads the upper half."""
    return (LOAD, 0, 0, ARGUMENTS + 8 * argument + 4)


def one_of(values: Sequence[int], then: Step, otherwise: Step | None = None) -> list[Step]:
    """Ends with ``then`` where the loaded value is one of these, else with ``otherwise`` or what follows."""
    found = [step for value in values for step in ((EQUAL, 0, 1, value), then)]
    return [*found, otherwise] if otherwise else found
