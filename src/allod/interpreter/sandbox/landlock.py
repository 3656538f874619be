"""Sandboxes without namespaces, for where bubblewrap cannot be: Landlock with seccomp, and none at all.

What the program sees is not another world but a part of this one: the system's files to read, a *copy* of the user's
folder to change (``view.upper``; it is the working directory), a home and a place for temporary files. All lie at their
real paths, and the variables say where. See https://docs.kernel.org/userspace-api/landlock.html.

Weaker than bubblewrap, even so: other files cannot be read or written, but it can be seen that they are there; nothing
can be connected to, so what needs a server of its own on this machine fails; /proc/self, /dev/shm and literal /tmp are
closed, so multiprocessing's locks fail; what changes modes, owners and times of files does nothing.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from allod.errors import SandboxFailed
from allod.interpreter.sandbox import seccomp
from allod.interpreter.sandbox.bubblewrap import ETC, INSIDE_HOME, Process, Sandbox, View, python_folders, read_all
from allod.interpreter.sandbox.cgroup import Cgroup
from allod.interpreter.sandbox.limits import Limits, descendants, limit_process, memory_limit

LAUNCHER = Path(__file__).with_name("launch.py")
# linux/landlock.h
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL = 1 << 13, 1 << 14, 1 << 15
MAKE_DEVICES = 1 << 6 | 1 << 11  # character and block devices: not even in the job's own folders
EVERYTHING = (1 << 13) - 1  # what the first version knows
LOOK = READ_FILE | READ_DIR
RUN = LOOK | EXECUTE
CHANGE = (EVERYTHING | REFER | TRUNCATE) & ~MAKE_DEVICES
TCP, SCOPES = 0b11, 0b11  # bind and connect; abstract sockets and signals

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/var/cache/fontconfig")
DEVICES = {"/dev/null": LOOK | WRITE_FILE | TRUNCATE, "/dev/zero": LOOK | WRITE_FILE, "/dev/full": LOOK | WRITE_FILE,
           "/dev/random": LOOK, "/dev/urandom": LOOK}  # fmt: skip
# Of /proc what is about the machine; nothing about processes, whose command lines may hold secrets.
PROC = ("cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "uptime", "version", "sys/kernel/osrelease",
        "sys/kernel/pid_max", "sys/vm/overcommit_memory")  # fmt: skip
CPUS = "/sys/devices/system/cpu"
# Version of Landlock: what one before it lets through.
SINCE = {3: "by their path, files could be shortened but for the filter", 6: "it can signal your other programs"}


class Tree(Process):
    """A running program below ``launch.py``, which kills all of it when told to or when allod ends."""

    def __init__(self, launcher: asyncio.subprocess.Process, control: int, cgroup: Cgroup | None) -> None:
        super().__init__(launcher, launcher.pid, cgroup)
        self._control = control

    def kill(self) -> None:
        """Kills everything below, at once; the launcher goes on until nothing is left."""
        self._release()
        if not self.ended:
            for pid in descendants(self.init)[1:]:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.kill(self.init, signal.SIGCONT)

    async def wait(self) -> int:
        """Waits for the end and clears up; the program's exit status."""
        status = await super().wait()
        self._release()
        return status

    def _release(self) -> None:
        if self._control >= 0:
            os.close(self._control)
            self._control = -1


class Launched(Sandbox):
    """What the sandboxes that ``launch.py`` makes have in common; by itself one that confines nothing."""

    name = "none"
    confines = False
    overlays = False
    mounts = False

    def __init__(self) -> None:
        super().__init__(Path())

    @property
    def lacks(self) -> tuple[str, ...]:
        """What this does not keep code from, each as a sentence about code."""
        return ("it can read, change and send everything that you can",)

    def rules(self, view: View) -> dict[str, Any] | None:
        """What ``launch.py`` tells Landlock; None: nothing."""
        return None

    @property
    def refused(self) -> bytes:
        """The filter of system calls; empty: none."""
        return b""

    def argv(self, view: View, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """The command as the launcher runs it."""
        names = translations(view)
        return [translated(word, names) for word in command]

    async def _spawn(self, view: View, command: Sequence[str], env: Mapping[str, str], limits: Limits) -> Process:
        if view.folders:
            raise SandboxFailed(
                f"the sandbox {self.name} cannot show a further folder", "Without --add-folder; or see `allod doctor`."
            )
        control_read, control = os.pipe()
        answer, answer_write = os.pipe()
        names = translations(view)
        wanted: dict[str, Any] = {
            "command": self.argv(view, command, env),
            "env": {name: translated(value, names) for name, value in env.items()},
            "folder": str(view.upper),
            "landlock": self.rules(view),
            "seccomp": self.refused.hex(),
            "limits": [] if hasattr(resource, "prlimit") else own_limits(limits),
            "answer": answer_write,
        }
        try:
            launcher = await launch((control_read, answer_write))
        except SandboxFailed:
            os.close(control)
            os.close(answer)
            raise
        finally:
            os.close(control_read)
            os.close(answer_write)
        cgroup = held(launcher.pid, limits)
        process = Tree(launcher, control, cgroup)
        try:
            await asyncio.to_thread(write_all, control, json.dumps(wanted).encode() + b"\n")
        finally:
            said = await asyncio.to_thread(read_all, answer)
        if said != b"ok\n":
            assert launcher.stdout is not None
            words = (said.removeprefix(b"ok\n") or await launcher.stdout.read()).decode(errors="replace").strip()
            process.kill()
            await process.wait()
            raise SandboxFailed(f"the sandbox could not be made: {words[-500:]}", "Run `allod doctor`.")
        return process


class Landlock(Launched):
    """Landlock of the running kernel, with a filter of system calls."""

    name = "landlock"
    confines = True

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version

    @property
    def lacks(self) -> tuple[str, ...]:
        """What bubblewrap would do besides."""
        older = tuple(what for version, what in SINCE.items() if self.version < version)
        return (
            "it can see which files there are",
            "its folder is a copy",
            "no multiprocessing",
            "no --net, --packages, --add-folder",
            *older,
        )

    @property
    def refused(self) -> bytes:
        return seccomp.program(strict=True, truncate=self.version >= 3)

    def rules(self, view: View) -> dict[str, Any]:
        """What is allowed where, for the kernel's version of Landlock."""
        files = EVERYTHING
        for version, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL)):
            files |= right if self.version >= version else 0
        network, scopes = TCP if self.version >= 4 else 0, SCOPES if self.version >= 6 else 0
        size = 24 if self.version >= 6 else 16 if self.version >= 4 else 8
        return {"rights": (files, network, scopes), "size": size, "paths": [*allowed(view)]}


def allowed(view: View) -> Iterable[tuple[str, int]]:
    """Every path that may be reached, with how."""
    yield from ((path, RUN) for path in (*SYSTEM, *python_folders()))
    yield from ((os.path.realpath(f"/etc/{name}"), LOOK) for name in ETC)
    yield from DEVICES.items()
    yield from ((f"/proc/{name}", LOOK) for name in PROC)
    yield CPUS, LOOK
    for outside, _ in view.readable:
        yield from without(outside, view.hidden)
    for place in (view.upper, view.home, view.tmp, *(outside for outside, _ in view.writable)):
        yield str(place), CHANGE | EXECUTE


def without(path: Path, hidden: Sequence[Path]) -> Iterable[tuple[str, int]]:
    """A folder to read, but for what is hidden of it: of the folders above that, only the names are shown."""
    if path in hidden:
        return
    if not any(other.is_relative_to(path) for other in hidden):
        yield str(path), RUN
        return
    yield str(path), READ_DIR
    with contextlib.suppress(OSError):
        for child in path.iterdir():
            if not child.is_symlink():
                yield from without(child, hidden)


def translations(view: View) -> dict[str, str]:
    """Where what bubblewrap would show at a place of its own lies in truth."""
    shown = {inside: str(outside) for outside, inside in (*view.readable, *view.writable)}
    return {**shown, INSIDE_HOME: str(view.home), "/tmp": str(view.tmp), str(view.folder): str(view.upper)}


def translated(text: str, names: Mapping[str, str]) -> str:
    """A word or a variable's value, where it is such a place or lies in one."""
    for inside in sorted(names, key=len, reverse=True):
        real = names[inside]
        if inside == real and (text == inside or text.startswith(inside + "/")):
            return text
        if text == inside or (inside != "/tmp" and text.startswith(inside + "/")):
            return real + text[len(inside) :]
    return text


def held(pid: int, limits: Limits) -> Cgroup | None:
    """Limits a launcher that waits, and with it what it will start."""
    if not hasattr(resource, "prlimit"):
        return None
    # Here the kernel counts all that this user runs, in the sandbox or not.
    processes = limits.processes + threads() if limits.processes > 0 else 0
    limit_process(pid, msgspec.structs.replace(limits, processes=processes))
    cgroup = Cgroup.make(f"allod-{pid}", memory_limit(limits), limits.processes)
    if cgroup is not None and not cgroup.add(pid):
        cgroup.close()
        cgroup = None
    return cgroup


def write_all(fd: int, data: bytes) -> None:
    """Writes all of it, unless the reader ended."""
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(fd, data) :]


def threads() -> int:
    """How many threads this user runs."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == os.geteuid():
                count += sum(1 for _ in (process / "task").iterdir())
    return count


def own_limits(limits: Limits) -> list[tuple[int, int]]:
    """For the launcher to set where a process cannot be limited from outside."""
    wanted = {resource.RLIMIT_FSIZE: limits.file, resource.RLIMIT_NOFILE: 4096}
    return [(resource.RLIMIT_CORE, 0), *((what, value) for what, value in wanted.items() if value > 0)]


async def launch(fds: Sequence[int]) -> asyncio.subprocess.Process:
    """Starts the launcher with these descriptors left open; the first says what it is to do."""
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(LAUNCHER), str(fds[0]),
            stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, pass_fds=fds, env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise SandboxFailed(f"{sys.executable} cannot be run: {error.strerror}", "Run `allod doctor`.") from error


@cache
def version() -> int:
    """The kernel's version of Landlock; 0 where there is none, or none that can be used."""
    if sys.platform != "linux" or not seccomp.supported() or platform.machine() not in ("x86_64", "aarch64"):
        return 0
    found = ctypes.CDLL(None, use_errno=True).syscall(444, None, ctypes.c_size_t(0), ctypes.c_long(1))
    return max(0, found)
