"""How many threads a model should compute with: the physical cores this process may use.

llama.cpp's threads wait for each other at every layer, so one thread more than there are cores to run it makes all of
them slow; a second thread on a core (hyper-threading) brings nothing.
"""

import os
from pathlib import Path

CPUS = Path("/sys/devices/system/cpu")


def cores(cpus: Path = CPUS, cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Physical cores within this process's affinity and its control group's share of time; at least 1."""
    if not hasattr(os, "sched_getaffinity"):
        import psutil  # here: 20 ms that Linux does without

        return psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    physical = {siblings(cpus, cpu) for cpu in allowed}
    return max(1, min(len(physical), share(cgroup)))


def siblings(cpus: Path, cpu: int) -> str:
    """The logical CPUs that share a core with this one, as the kernel lists them; itself where it does not say."""
    try:
        return (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def share(cgroup: Path) -> int:
    """CPUs' worth of time that the control group allows; a large number where it sets no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 16
    return max(1, int(quota) // int(period)) if quota.isdigit() and period.isdigit() and int(period) else 1 << 16
