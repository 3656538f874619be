"""Attempts on other programs, the machine and its kernel. See ``escape_attempts``."""

import ctypes
import errno
import glob
import os
import resource
import signal
import socket

from escape_tools import ARM, attempt, call, libc, past

# ── reach ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def say(family, kind, address, w):
    with socket.socket(family, kind) as s:
        s.settimeout(1)
        s.connect(address)
        s.send(w["name"].encode())


@attempt("reach")
def tcp(w):
    say(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", w["tcp"]), w)


@attempt("reach")
def tcp_by_any_address(w):
    for address in ("0.0.0.0", "127.9.9.9", *w["addresses"]):
        try:
            say(socket.AF_INET, socket.SOCK_STREAM, (address, w["tcp"]), w)
        except OSError as error:
            print(error)


@attempt("reach")
def tcp_version_6(w):
    say(socket.AF_INET6, socket.SOCK_STREAM, ("::ffff:127.0.0.1", w["tcp"]), w)


@attempt("reach")
def tcp_fast_open(w):
    with socket.socket() as s:
        s.sendto(w["name"].encode(), 0x20000000, ("127.0.0.1", w["tcp"]))


@attempt("reach")
def udp_as_a_name_lookup(w):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(w["name"].encode(), ("127.0.0.1", w["udp"]))


@attempt("reach")
def abstract_socket(w):
    say(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + w["abstract"], w)


@attempt("reach")
def abstract_datagram(w):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(w["name"].encode(), "\0" + w["abstract"] + "-datagram")


@attempt("reach")
def socket_in_the_folder(w):
    os.chdir(w["folder"])
    say(socket.AF_UNIX, socket.SOCK_STREAM, "agent.sock", w)


@attempt("reach")
def socket_in_a_folder_to_read(w):
    os.chdir(w["given"])
    say(socket.AF_UNIX, socket.SOCK_STREAM, "agent.sock", w)


@attempt("reach")
def socket_by_a_link(w):
    os.symlink(w["runtime"] + "/bus", "bus-link")
    say(socket.AF_UNIX, socket.SOCK_STREAM, "bus-link", w)


@attempt("reach")
def datagram_socket_by_path(w):
    os.chdir(w["runtime"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(w["name"].encode(), "log")


@attempt("reach")
def agents_and_desktops_by_path(w):
    for name in ("bus", "wayland-0", "docker.sock", "ssh-agent"):
        try:
            os.chdir(w["runtime"])
            say(socket.AF_UNIX, socket.SOCK_STREAM, name, w)
        except OSError as error:
            print(error)


@attempt("reach")
def agents_and_desktops_by_environment(w):
    for name in ("SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "WAYLAND_DISPLAY"):
        path = os.environ.get(name, "").partition("path=")[2] or os.environ.get(name, "").replace("unix://", "")
        try:
            os.chdir(os.path.dirname(path) or ".")
            say(socket.AF_UNIX, socket.SOCK_STREAM, os.path.basename(path), w)
        except OSError as error:
            print(error)


@attempt("reach")
def pipe_in_the_folder(w):
    fd = os.open(os.path.join(w["folder"], "pipe"), os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, w["name"].encode())


# ── hurt ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attempt("hurt")
def kill_it(w):
    os.kill(w["victim"], signal.SIGKILL)


@attempt("hurt")
def kill_its_group(w):
    os.killpg(w["victim"], signal.SIGTERM)


@attempt("hurt")
def kill_its_thread(w):
    print(call(234, 131, w["victim"], w["victim"], signal.SIGKILL))


@attempt("hurt")
def queue_a_signal(w):
    information = (ctypes.c_int * 32)(signal.SIGTERM, 0, -1)
    print(call(129, 138, w["victim"], signal.SIGTERM, information))


@attempt("hurt")
def signal_by_descriptor(w):
    pidfd = call(434, 434, w["victim"], 0)
    print(call(424, 424, pidfd, signal.SIGKILL, 0, 0))


@attempt("hurt")
def signal_by_a_file(w):
    """The kernel sends a signal to whom a descriptor names as its owner."""
    import fcntl

    one, other = socket.socketpair()
    fcntl.fcntl(one, fcntl.F_SETOWN, w["victim"])
    fcntl.fcntl(one, 10, signal.SIGKILL)  # F_SETSIG
    fcntl.fcntl(one, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    other.send(b"x")


@attempt("hurt")
def trace_it(w):
    """With PTRACE_O_EXITKILL: it ends with this process."""
    print(call(101, 117, 0x4206, w["victim"], 0, 0x100000))


@attempt("hurt")
def make_it_slow(w):
    os.setpriority(os.PRIO_PROCESS, w["victim"], 15)


@attempt("hurt")
def keep_it_to_one_processor(w):
    os.sched_setaffinity(w["victim"], {min(os.sched_getaffinity(0))})


@attempt("hurt")
def make_it_run_last(w):
    os.sched_setscheduler(w["victim"], os.SCHED_IDLE, os.sched_param(0))


@attempt("hurt")
def make_it_read_last(w):
    print(call(251, 30, 1, w["victim"], 3 << 13))


@attempt("hurt")
def limit_it(w):
    resource.prlimit(w["victim"], resource.RLIMIT_NOFILE, (5, 5))


@attempt("hurt")
def have_it_killed_first(w):
    with open(f"/proc/{w['victim']}/oom_score_adj", "w") as file:
        file.write("777")


# ── machine ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_all(text, *patterns):
    for path in [path for pattern in patterns for path in glob.glob(pattern)]:
        try:
            with open(path, "w") as file:
                file.write(text)
        except OSError as error:
            print(error)


def of_process(pid, path):
    """A path as that process sees it."""
    return os.path.join("/proc", pid, "root", path)


@attempt("machine", "")
def core_pattern(w):
    write_all("|/bin/sh", "/proc/sys/kernel/core_pattern", of_process("*", "proc/sys/kernel/core_pattern"))


@attempt("machine", "")
def settings_of_the_kernel(w):
    write_all("/tmp/x", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/fs/binfmt_misc/register")
    write_all("1", "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/randomize_va_space")
    libc.mount(b"proc", b"/tmp", b"proc", 0, None)
    write_all("|/bin/sh", "/tmp/sys/kernel/core_pattern")


@attempt("machine", "")
def names_of_the_machine(w):
    libc.sethostname(b"escaped", 7)
    libc.setdomainname(b"escaped", 7)
    write_all("escaped", "/proc/sys/kernel/hostname")


@attempt("machine", "")
def magic_key(w):
    write_all("h", "/proc/sysrq-trigger", of_process("1", "proc/sysrq-trigger"))


@attempt("machine", "")
def settings_in_sys(w):
    libc.mount(b"sysfs", b"/tmp", b"sysfs", 0, None)
    write_all("/bin/sh", "/sys/kernel/uevent_helper", "/tmp/kernel/uevent_helper")
    write_all("100", "/sys/kernel/mm/ksm/sleep_millisecs", "/tmp/kernel/mm/ksm/sleep_millisecs")


@attempt("machine", "root")
def a_cgroup_of_its_own(w):
    for place in (*glob.glob("/sys/fs/cgroup/*/"), "/sys/fs/cgroup/"):
        try:
            os.mkdir(place + w["cgroup"])
        except OSError as error:
            print(error)


@attempt("machine", "")
def release_agent(w):
    libc.unshare(0x10020000)
    os.mkdir("cgroups")
    for kind in (b"memory", b"pids", b"cpu", b"name=systemd"):
        libc.mount(b"x", b"cgroups", b"cgroup", 0, kind)
        write_all("/tmp/agent", "cgroups/release_agent", "/sys/fs/cgroup/*/release_agent")


@attempt("machine", "root")
def the_kernels_log(w):
    write_all(w["mark"] + "\n", "/dev/kmsg", "/proc/kmsg")


# ── past ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attempt("past", "root")
def make_a_device(w):
    os.mknod("device", 0o20666, os.makedev(1, 9))
    fd = os.open("device", os.O_RDONLY)
    past(len(os.read(fd, 4)))


@attempt("past", "root")
def open_disks_and_memory(w):
    for path in (*glob.glob("/dev/**", recursive=True), "/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"):
        try:
            import stat

            mode = os.stat(path).st_mode
            if stat.S_ISBLK(mode) or os.path.basename(path) in ("mem", "kmem", "port", "kvm", "fuse", "loop-control"):
                os.close(os.open(path, os.O_RDWR))
                print("PAST", path)
        except OSError:
            pass


@attempt("past", "root")
def another_user(w):
    os.setresuid(12345, 12345, 12345)
    print("PAST", os.getuid())


@attempt("past")
def namespaces(w):
    for flags in (0x10000000, 0x10020000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000):
        past(-ctypes.get_errno() if libc.unshare(flags) else 0)
    past(call(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0) and -errno.EPERM)


@attempt("past", "root")
def namespaces_of_others(w):
    for pid in (1, os.getppid(), w["pid"]):
        try:
            past(call(308, 268, os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0))
        except OSError:
            pass


# calls with arguments that do nothing where they are let through: (x86_64, aarch64, arguments, who may)
CALLS = {
    "bpf": (321, 280, (0, b"\2\0\0\0" + b"\4\0\0\0" * 2 + b"\1\0\0\0" + bytes(112), 128), "root"),
    "io_uring": (425, 425, (4, bytes(120)), "root"),
    "perf_event_open": (298, 241, (b"\1\0\0\0\x80\0\0\0" + bytes(120), 0, -1, -1, 0), "root"),
    "userfaultfd": (323, 282, (0,), "root"),
    "kexec": (246, 104, (0, 999, 0, 0), "root"),
    "init_module": (175, 105, (0, 0, b"\0"), "root"),
    "delete_module": (176, 106, (b"no-such-module\0", 0), "root"),
    "add_key": (248, 217, (b"user\0", b"allod-escape\0", b"x", 1, -1), "anyone"),
    "fanotify": (300, 262, (0, 0), "root"),
    "new_mounts": (430, 430, (b"tmpfs\0", 0), "root"),
    "open_tree": (428, 428, (-100, b"/\0", 1), "root"),
    "reboot": (169, 142, (1, 2, 3, 0), "root"),
    "swapon": (167, 224, (b"/no/such\0", 0), "root"),
    "acct": (163, 89, (b"/no/such\0",), "root"),
    "kernel_log": (103, 116, (10, 0, 0), "root"),
    "ports": (172, 79, (3,), "root"),
}


def called(name):
    x86, arm, arguments, who = CALLS[name]

    def function(w):
        past(call(x86, arm, *arguments))

    function.__name__ = f"call_{name}"
    if not (ARM and name == "ports"):
        attempt("past", who)(function)


for each in CALLS:
    called(each)

FAMILIES = {
    "packets": (17, 3, 0x300, "root"), "raw": (2, 3, 1, "root"), "vsock": (40, 1, 0, ""), "alg": (38, 5, 0, "anyone"),
    "netlink_audit": (16, 3, 9, "anyone"), "netlink_uevent": (16, 2, 15, "anyone"),
    "netlink_sock_diag": (16, 3, 4, "anyone"), "bluetooth": (31, 3, 1, ""), "can": (29, 3, 1, ""),
}  # fmt: skip


def connected(name):
    family, kind, protocol, who = FAMILIES[name]

    def function(w):
        past(call(41, 198, family, kind, protocol))

    function.__name__ = f"socket_{name}"
    attempt("past", who)(function)


for each in FAMILIES:
    connected(each)
