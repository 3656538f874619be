"""Attempts to get out of the sandbox, run by ``python -c``: each is a function, and what it says is given back as JSON.

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

import ctypes
import errno
import glob
import json
import mmap
import os
import platform
import resource
import signal
import socket
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
            with open(path, "rb") as file:
                print(file.read(1 << 20).decode(errors="replace"))
        except OSError as error:
            print(error)


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


# ── leak: files ─────────────────────────────────────────────────────────────────────────────────────────────────────


@attempt("leak")
def read_by_its_path(w):
    show(w["secret"])


@attempt("leak")
def read_by_dot_dot(w):
    show(w["relative"], os.path.relpath(w["secret"], w["folder"]), "../" * 30 + w["secret"])


@attempt("leak")
def read_settings_keys_and_the_database(w):
    show(*w["private"])


@attempt("leak")
def read_by_a_link(w):
    os.symlink(w["secret"], "link-absolute")
    show("link-absolute")


@attempt("leak")
def read_by_a_relative_link(w):
    os.symlink(os.path.relpath(w["secret"]), "link-relative")
    show("link-relative")


@attempt("leak")
def read_by_a_chain_of_links(w):
    os.symlink("/", "chain-0")
    for n in range(1, 9):
        os.symlink(f"chain-{n - 1}", f"chain-{n}")
    show("chain-8" + w["secret"])


@attempt("leak")
def read_by_a_hard_link(w):
    os.link(w["secret"], "hard-read")
    show("hard-read")


@attempt("leak")
def read_by_a_link_that_was_there(w):
    show(w["linked"])


@attempt("leak", "root")
def read_by_its_handle(w):
    handle = bytes.fromhex(w["handle"])
    fd = call(304, 265, os.open(".", os.O_RDONLY), handle, os.O_RDONLY)
    print(os.read(fd, 1000) if fd >= 0 else fd)


@attempt("leak", "root")
def read_from_outside_of_a_chroot(w):
    os.mkdir("jail")
    here = os.open(".", os.O_RDONLY)
    if libc.chroot(b"jail") == 0:
        os.fchdir(here)
        for _ in range(50):
            os.chdir("..")
        libc.chroot(b".")
    show(w["secret"])


@attempt("leak", "root")
def read_after_a_mount(w):
    """In namespaces of its own where it may; the folder's parent bound over a folder."""
    libc.unshare(0x10020000)
    os.mkdir("mounted")
    for source in (os.path.dirname(w["secret"]), "/"):
        libc.mount(source.encode(), b"mounted", None, 0x1000, None)
    show("mounted/" + os.path.basename(w["secret"]), "mounted" + w["secret"])


@attempt("leak", "root")
def read_below_an_overlay(w):
    """An overlay of its own over the one it is in, with the way out as a lower layer."""
    libc.unshare(0x10020000)
    os.mkdir("over")
    libc.mount(b"overlay", b"over", b"overlay", 0, b"lowerdir=%s:/usr" % os.path.dirname(w["secret"]).encode())
    show("over/" + os.path.basename(w["secret"]))


@attempt("leak")
def read_what_covers_it_taken_away(w):
    """What lies under the mounts of the sandbox: /tmp, the folder, the root."""
    for path in (w["folder"], "/tmp", "/proc/sys", "/"):
        libc.umount2(path.encode(), 2)
    call(155, 41, b".", b".")
    show(w["secret"])


# ── leak: processes ─────────────────────────────────────────────────────────────────────────────────────────────────


@attempt("leak")
def proc_root(w):
    show(*(f"/proc/{pid}/root{w['secret']}" for pid in [1, w["pid"], *processes()]))


@attempt("leak")
def proc_cwd(w):
    show(*(f"/proc/{pid}/cwd/{w['beside']}" for pid in [1, w["pid"], *processes()]))


@attempt("leak")
def proc_fd(w):
    show(f"/proc/{w['pid']}/fd/{w['fd']}", *(f"/proc/{os.getppid()}/fd/{fd}" for fd in range(3, 30)))


@attempt("leak")
def files_that_were_left_open(w):
    for fd in [w["inherited"], *range(3, 200)]:
        try:
            print(os.pread(fd, 1000, 0))
        except OSError:
            pass


@attempt("leak")
def own_environment(w):
    print(dict(os.environ))
    show("/proc/self/environ")


@attempt("leak")
def environments_of_others(w):
    show("/proc/1/environ", *(f"/proc/{pid}/environ" for pid in [w["keeper"], w["pid"], os.getppid(), *processes()]))


@attempt("leak")
def command_lines_of_others(w):
    show(*(f"/proc/{pid}/cmdline" for pid in [w["keeper"], *processes()]))


@attempt("leak")
def memory_of_others(w):
    for pid in [w["keeper"], *processes()]:
        try:
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for line in maps:
                    if "[stack]" in line:
                        start, end = (int(n, 16) for n in line.split()[0].split("-"))
                        memory.seek(start)
                        print(memory.read(end - start))
        except OSError as error:
            print(error)


@attempt("leak")
def memory_of_others_by_call(w):
    buffer = ctypes.create_string_buffer(w["stack"][1])
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), len(buffer))
    there = (ctypes.c_size_t * 2)(w["stack"][0], len(buffer))
    print(call(310, 270, w["keeper"], here, 1, there, 1, 0), buffer.raw)


@attempt("leak")
def a_descriptor_of_another(w):
    pidfd = call(434, 434, w["pid"], 0)
    fd = call(438, 438, pidfd, w["fd"], 0)
    print(os.pread(fd, 1000, 0) if fd >= 0 else fd)


@attempt("leak")
def shared_memory_by_number(w):
    libc.shmat.restype = ctypes.c_void_p
    found = libc.shmget(w["shm"], 0, 0)
    at = libc.shmat(found, None, 0o10000)
    print(ctypes.string_at(at, 100) if found >= 0 and at != ctypes.c_void_p(-1).value else "no")


@attempt("leak")
def shared_memory_by_name(w):
    show(w["dev_shm"])


@attempt("leak", "root")
def keys_of_the_user(w):
    """From the kernel's keyring of this user."""
    found = call(250, 219, 10, -4, b"user\0", w["key"].encode() + b"\0", 0)
    buffer = ctypes.create_string_buffer(200)
    print(found, call(250, 219, 11, found, buffer, 200), buffer.value)


# ── write ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def target(w):
    """The file of this attempt, in a folder of its own."""
    return os.path.join(w["targets"], w["name"], "file")


@attempt("write")
def write_it(w):
    with open(target(w), "a") as file:
        file.write("x")


@attempt("write")
def shorten_it(w):
    os.truncate(target(w), 0)


@attempt("write")
def put_another_in_its_place(w):
    with open("mine", "w") as file:
        file.write("x")
    os.replace("mine", target(w))


@attempt("write")
def rename_it(w):
    os.rename(target(w), target(w) + "-renamed")


@attempt("write")
def delete_it(w):
    os.unlink(target(w))


@attempt("write")
def make_another_beside_it(w):
    os.mkdir(target(w) + "-folder")


@attempt("write")
def link_beside_it(w):
    os.symlink("/etc/passwd", target(w) + "-link")


@attempt("write")
def change_its_mode(w):
    os.chmod(target(w), 0o4777)


@attempt("write")
def change_its_times(w):
    os.utime(target(w), (1, 1))


@attempt("write", "root")
def change_its_owner(w):
    os.chown(target(w), 4321, 4321)


@attempt("write")
def change_its_attributes(w):
    os.setxattr(target(w), "user.x", b"x")


@attempt("write")
def write_by_a_link(w):
    os.symlink(target(w), "link-write")
    with open("link-write", "w") as file:
        file.write("x")


@attempt("write")
def write_by_a_hard_link(w):
    os.link(target(w), "hard-write")
    with open("hard-write", "w") as file:
        file.write("x")


@attempt("write")
def write_by_proc_root(w):
    for pid in (1, w["pid"], os.getppid()):
        try:
            with open(f"/proc/{pid}/root{target(w)}", "w") as file:
                file.write("x")
        except OSError as error:
            print(error)


@attempt("write")
def write_by_mapping_it(w):
    with open(target(w), "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[0:1] = b"x"


@attempt("write")
def write_what_was_given_to_read(w):
    with open(os.path.join(w["given"], "file"), "a") as file:
        file.write("x")


@attempt("write", "root")
def write_after_a_remount(w):
    for path in ("/", "/usr", w["given"], os.path.dirname(target(w))):
        libc.mount(None, path.encode(), None, 0x20 | 0x1000, None)
        call(442, 442, -100, path.encode(), 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32)
    with open(target(w), "a") as file:
        file.write("x")


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


@attempt("machine", "")
def core_pattern(w):
    write_all("|/bin/sh", "/proc/sys/kernel/core_pattern", "/proc/*/root/proc/sys/kernel/core_pattern")


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
    write_all("h", "/proc/sysrq-trigger", "/proc/1/root/proc/sysrq-trigger")


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


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────────────


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


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2].split())
