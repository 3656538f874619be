"""What there is outside for ``escape_attempts`` to get at, and how it is told that one did.

with World(tmp_path) as world:
    …                                   # the attempts are run, with world.known
    world.escaped(name, said)           # by what is different outside, or the secret in what it said
"""

import contextlib
import ctypes
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Self

import psutil
from escape_attempts import ATTEMPTS, call
from workspace_tools import tree_of

SETTINGS = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/proc/sys/kernel/sysrq",
    "/proc/sys/vm/panic_on_oom", "/proc/sys/kernel/randomize_va_space", "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/domainname", "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/sleep_millisecs",
    "/proc/self/mountinfo", "/proc/sys/fs/binfmt_misc/status",
)  # fmt: skip


class World:
    """The user's folder with what lies beside it, servers, and processes: one target or victim for each attempt."""

    def __init__(self, place: Path) -> None:
        self.token = f"SECRET-{secrets.token_hex(8)}"
        self.got: list[bytes] = []
        self._stack = contextlib.ExitStack()
        user = self.user = place / "user"
        self.folder, self.given, self.runtime = user / "work", user / "given", user / "run"
        for each in (self.folder, self.given, self.runtime, user / ".ssh", user / "targets"):
            each.mkdir(parents=True)
        self.secret = user / "beside.txt"
        for path in (self.secret, user / ".ssh" / "id_ed25519", user / ".netrc"):
            path.write_text(self.token)
        (self.folder / "a.txt").write_text("a\n")
        (self.folder / "linked").symlink_to(self.secret)
        (self.given / "file").write_text("given\n")
        self.victims: dict[str, subprocess.Popen[bytes]] = {}
        self.known: dict[str, Any] = {}
        self._before: dict[str, object] = {}

    def __enter__(self) -> Self:
        for name, (_, kind, _) in ATTEMPTS.items():
            if kind == "write":
                (self.user / "targets" / name).mkdir()
                (self.user / "targets" / name / "file").write_text("before\n")
            if kind == "hurt":
                self.victims[name] = self._started(["sleep", "300"])
        self.keeper = self._started([sys.executable, "-c", "import time; time.sleep(300)", self.token])
        fd = os.open(self.secret, os.O_RDONLY)
        os.set_inheritable(fd, True)
        self._stack.callback(os.close, fd)
        self.known |= {
            "folder": str(self.folder), "given": str(self.given), "secret": str(self.secret), "pid": os.getpid(),
            "relative": "../beside.txt", "beside": os.path.relpath(self.secret), "linked": str(self.folder / "linked"),
            "private": [str(self.user / ".ssh" / "id_ed25519"), str(self.user / ".netrc")], "fd": fd, "inherited": fd,
            "victims": {name: each.pid for name, each in self.victims.items()}, "keeper": self.keeper.pid,
            "targets": str(self.user / "targets"), "runtime": str(self.runtime),
            "stack": stack_of(self.keeper.pid), "handle": handle_of(self.secret), "cgroup": f"escape-{os.getpid()}",
            "mark": f"allod-escape-{self.token[-8:]}", "abstract": self.token[-8:], "addresses": addresses(),
            **self._shared(), **self._servers(),
        }  # fmt: skip
        self._before = {name: self._state(name) for name in ATTEMPTS}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for path in cgroups(self.known["cgroup"]):
            path.rmdir()

    def environment(self) -> dict[str, str]:
        """What the user's own environment holds: keys, and ways to agents and the desktop."""
        runtime = self.runtime
        return {
            "OPENAI_API_KEY": self.token, "SSH_AUTH_SOCK": f"{runtime}/ssh-agent", "WAYLAND_DISPLAY": "wayland-0",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus", "DOCKER_HOST": f"unix://{runtime}/docker.sock",
            "XDG_RUNTIME_DIR": str(runtime), "HOME": str(self.user),
        }  # fmt: skip

    def escaped(self, name: str, said: str) -> bool:
        """Whether an attempt did what it tried."""
        kind = ATTEMPTS[name][1]
        if kind == "leak":
            return self.token in said
        if kind == "past":
            return "PAST" in said
        if kind == "reach":
            return name.encode() in self.got
        return self._state(name) != self._before[name]

    def _state(self, name: str) -> object:
        kind = ATTEMPTS[name][1]
        if kind == "write":
            return [details(self.user / "targets" / name), details(self.given)]
        if kind == "hurt":
            return how(self.victims[name])
        return machine(self.known["cgroup"], self.known["mark"]) if kind == "machine" else None

    def _started(self, command: list[str]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(command, env={**os.environ, "TOKEN": self.token}, start_new_session=True)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _shared(self) -> dict[str, Any]:
        """Memory and a key that are found by number or name."""
        libc = ctypes.CDLL(None)
        libc.shmat.restype = ctypes.c_void_p
        number = secrets.randbelow(1 << 30) + 1
        segment = libc.shmget(number, 4096, 0o1600)
        at = libc.shmat(segment, None, 0)
        ctypes.memmove(at, self.token.encode(), len(self.token))
        self._stack.callback(libc.shmctl, segment, 0, None)
        named = Path(f"/dev/shm/allod-{number}")
        named.write_text(self.token)
        self._stack.callback(named.unlink)
        key = f"allod-{number}"
        found = call(248, 217, b"user\0", key.encode() + b"\0", self.token.encode(), len(self.token), -4)
        if found > 0:
            call(250, 219, 5, found, 0x3F3F0000)
            self._stack.callback(call, 250, 219, 9, found, -4)
        return {"shm": number, "dev_shm": str(named), "key": key}

    def _servers(self) -> dict[str, Any]:
        """Listeners of every kind; what arrives is in ``got``."""
        tcp = self._served(socket.socket(), ("", 0))
        udp = self._served(socket.socket(type=socket.SOCK_DGRAM), ("127.0.0.1", 0))
        name = "\0" + self.token[-8:]
        self._served(socket.socket(socket.AF_UNIX), name)
        self._served(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), f"{name}-datagram")
        here = Path.cwd()
        places = [self.folder / "agent.sock", self.given / "agent.sock"]
        places += [self.runtime / each for each in ("bus", "wayland-0", "docker.sock", "ssh-agent")]
        for place in places:
            os.chdir(place.parent)  # a socket's path is short
            self._served(socket.socket(socket.AF_UNIX), place.name)
        os.chdir(self.runtime)
        self._served(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), "log")
        os.chdir(here)
        os.mkfifo(self.folder / "pipe")
        pipe = os.open(self.folder / "pipe", os.O_RDWR)
        threading.Thread(target=self._read, args=(pipe,), daemon=True).start()
        self._stack.callback(os.write, pipe, b"end")
        return {"tcp": tcp.getsockname()[1], "udp": udp.getsockname()[1]}

    def _served(self, listener: socket.socket, address: Any) -> socket.socket:
        listener.bind(address)
        stream = listener.type == socket.SOCK_STREAM
        if stream:
            listener.listen(64)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    if not stream:
                        self.got.append(listener.recv(1000))
                        continue
                    connection, _ = listener.accept()
                    connection.settimeout(2)
                    with connection, contextlib.suppress(OSError):
                        self.got.append(connection.recv(1000))

        threading.Thread(target=serve, daemon=True).start()
        self._stack.callback(listener.close)
        self._stack.callback(shut, listener)
        return listener

    def _read(self, pipe: int) -> None:
        while (data := os.read(pipe, 1000)) != b"end":
            self.got.append(data)
        os.close(pipe)


def shut(listener: socket.socket) -> None:
    """Wakes the thread that waits for it."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


def details(folder: Path) -> object:
    """All that can be changed of a folder and what is in it, but for times of reading."""
    stats = [(p.name, p.lstat()) for p in sorted(folder.iterdir()) if not p.is_socket()]
    files = tree_of(folder) if not list(folder.glob("*.sock")) else {}
    more = [(name, st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_nlink, st.st_size) for name, st in stats]
    return files, more, [os.listxattr(folder / name, follow_symlinks=False) for name, _ in stats]


def how(victim: "subprocess.Popen[bytes]") -> object:
    """How a process is: alive, its state, and what others may set of it."""
    time.sleep(0.002)
    if victim.poll() is not None:
        return victim.returncode
    process = psutil.Process(victim.pid)
    score = Path(f"/proc/{victim.pid}/oom_score_adj").read_text()
    fields = Path(f"/proc/{victim.pid}/stat").read_text().rpartition(")")[2].split()
    traced = Path(f"/proc/{victim.pid}/status").read_text().partition("TracerPid:\t")[2].split()[0]
    policy = os.sched_getscheduler(victim.pid)
    limit = process.rlimit(psutil.RLIMIT_NOFILE)
    return fields[0] in "tT", process.nice(), process.cpu_affinity(), limit, process.ionice(), score, traced, policy


def machine(cgroup: str, mark: str) -> object:
    """Settings of the machine that root may change."""
    found = {}
    for path in (*SETTINGS, *map(str, Path("/sys/fs/cgroup").glob("*/release_agent"))):
        with contextlib.suppress(OSError):
            found[path] = Path(path).read_text()
    return found, sorted(map(str, cgroups(cgroup))), mark in kernel_log()


def cgroups(name: str) -> list[Path]:
    """The cgroups of that name at the top of each hierarchy."""
    root = Path("/sys/fs/cgroup")
    return [path for path in (root / name, *root.glob(f"*/{name}")) if path.exists()]


def kernel_log() -> str:
    """The kernel's messages, where they may be read."""
    said = b""
    with contextlib.suppress(OSError):
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            with contextlib.suppress(BlockingIOError):
                while True:
                    with contextlib.suppress(BrokenPipeError):
                        said += os.read(fd, 1 << 13)
        finally:
            os.close(fd)
    return said.decode(errors="replace")


def stack_of(pid: int) -> tuple[int, int]:
    """Where a process has its environment: address and length of the end of its stack."""
    for _ in range(100):
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "[stack]" in line:
                end = int(line.split()[0].split("-")[1], 16)
                return end - 0x2000, 0x2000
        time.sleep(0.01)
    return 0, 1


def handle_of(path: Path) -> str:
    """The file handle by which open_by_handle_at(2) knows a file."""
    buffer = ctypes.create_string_buffer(b"\x80\0\0\0", 136)
    found = call(303, 264, -100, os.fsencode(path) + b"\0", buffer, (ctypes.c_int * 1)(), 0)
    return buffer.raw.hex() if found == 0 else "00" * 136


def addresses() -> list[str]:
    """The addresses of this machine's other interfaces."""
    found = [a.address for each in psutil.net_if_addrs().values() for a in each if a.family == socket.AF_INET]
    return [address for address in found if not address.startswith("127.")]
