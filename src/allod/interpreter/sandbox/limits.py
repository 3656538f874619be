"""How much a confined program may use, and how that is enforced.

Three means, each where it works: ``setrlimit`` per process (always), a cgroup over all processes of the job (where this
user may make one), and a watch that adds up what the job's processes hold (always, as the first two leave gaps: shared
memory is in no rlimit, and most desktops let nobody make a cgroup).
"""

import contextlib
import os
import resource
from pathlib import Path

import psutil
from msgspec import Struct

GB = 1 << 30


class Limits(Struct, frozen=True):
    """What a kernel's code may use. Bytes and seconds; 0 or less: no limit."""

    wall: float = 600.0  # seconds for one run
    idle: float = 120.0  # seconds without output and without using the processor
    memory: int = 0  # bytes over all processes of the job; 0: three quarters of what the machine has free, at most 8 GB
    processes: int = 512  # threads count
    file: int = 4 * GB  # bytes of a single file
    disk: int = 8 * GB  # bytes the job may write in all
    shown: int = 16_000  # characters of one run's output that are handed on: its head and its tail
    kept: int = 64 << 20  # bytes of one run's output that are kept on disk


def memory_limit(limits: Limits) -> int:
    """Bytes the job may hold."""
    if limits.memory > 0:
        return limits.memory
    return min(8 * GB, max(GB, available_memory() * 3 // 4))


def available_memory() -> int:
    """Bytes the machine could give to a new program now (``MemAvailable``)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 2 * GB


def limit_process(pid: int, limits: Limits) -> None:
    """Sets the limits of a process that has not started its program yet; what it starts inherits them.

    RLIMIT_DATA rather than RLIMIT_AS: it counts private writable memory only, so that the address space which
    allocators, thread stacks and memory-mapped files merely reserve does not look like use, and a program that asks for
    too much gets a MemoryError rather than a failing import.
    """
    wanted = {
        resource.RLIMIT_DATA: memory_limit(limits),
        resource.RLIMIT_NPROC: limits.processes,
        resource.RLIMIT_FSIZE: limits.file,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 4096,
    }
    for what, value in wanted.items():
        if value > 0 or what == resource.RLIMIT_CORE:
            hard = resource.prlimit(pid, what)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, what, (value, value))


class Usage(Struct, frozen=True):
    """What a job's processes hold at a moment."""

    memory: int  # bytes resident, shared memory included; at least what they hold, as shared pages count for each
    cpu: float  # seconds of processor time used so far by those that live


def usage(pids: list[int]) -> Usage:
    """Adds up ``/proc`` over the given processes; those that ended meanwhile count nothing."""
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    memory, cpu = 0, 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            statm = Path(f"/proc/{pid}/statm").read_text().split()
            # Anonymous memory and shared memory; files mapped read-only (libraries) are the machine's, not the job's.
            memory += (int(statm[1]) - int(statm[2])) * page + shared_bytes(pid)
            cpu += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return Usage(memory, cpu / tick)


def proportional(pids: list[int]) -> int:
    """Bytes that the processes hold, memory that several share counted once; slower than ``usage``, which counts what a
    forked process has not written yet twice."""
    kilobytes = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    kilobytes += int(line.split()[1])
    return kilobytes * 1024


def shared_bytes(pid: int) -> int:
    """Bytes of shared memory (shm, memfd, MAP_SHARED) a process has mapped in."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) * 1024
    return 0


def descendants(pid: int) -> list[int]:
    """``pid`` and every process below it, parents first."""
    found = [pid]
    if not Path("/proc/thread-self/children").exists():  # a kernel without CONFIG_PROC_CHILDREN
        with contextlib.suppress(psutil.Error):
            found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return found
    for each in found:
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found
