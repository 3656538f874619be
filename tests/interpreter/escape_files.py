"""Attempts to read and write what lies outside: files, and the memory of others. See ``escape_attempts``."""

import ctypes
import mmap
import os

from escape_tools import attempt, call, libc, processes, show

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
