"""How much memory is free for a model: the machine's, a control group's limit, the user's own.

    available("6GB")        bytes; never more than 6 GB

It knows nothing of models. Inside a container the control group's limit counts, not the machine's memory.
"""

import re
from pathlib import Path

from allod.errors import BadSettings

UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
AMOUNT = re.compile(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([KMGT]?)(i?)B?\s*", re.IGNORECASE)


def available(limit: str = "", proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes a further process may take: what the machine has free, within the control group's limit and ``limit``.

    Args:
        limit: ``engine.memory``, e.g. ``6GB``: never more than that. What models that run already take of it is the
            engine's to subtract.

    Raises:
        BadSettings: ``limit`` is not an amount.
    """
    free = [system_available(), *cgroup_free(proc, cgroups)]
    if limit:
        free.append(parse_bytes(limit))
    return max(0, min(free))


def parse_bytes(text: str, setting: str = "engine.memory") -> int:
    """``6GB`` → 6e9, ``6GiB`` → 6 * 2^30, ``500M``, plain bytes. Raises BadSettings."""
    found = AMOUNT.fullmatch(text)
    if not found:
        raise BadSettings(f"{setting} is {text[:40]!r}, which is no amount", "Write it like 6GB or 6GiB.")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** UNITS[unit.upper()])


def system_available() -> int:
    """Bytes the machine can give without swapping."""
    import psutil  # here: it takes 20 ms to load, and most commands ask for no memory

    return psutil.virtual_memory().available


def free_swap() -> int:
    """Bytes of swap that nobody uses."""
    import psutil

    return psutil.swap_memory().free


def cgroup_free(proc: Path, cgroups: Path) -> list[int]:
    """Bytes left under each memory limit of this process's control groups, v2 and v1; caches count as free."""
    free: list[int] = []
    for line in read(proc / "self" / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            root, files = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, files = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # Inside a container the path may be the host's, while the container's own group is mounted as the root.
        folder = root / path.lstrip("/")
        for group in (folder, *folder.parents):
            left = group_left(group, *files)
            free += [] if left is None else [left]
            if group == root:
                break
    return free


def group_left(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """What is left under one group's limit; None where it has none."""
    most, used = read(group / limit).strip(), read(group / usage).strip()
    if not (most.isdigit() and used.isdigit()) or int(most) >= 1 << 60:
        return None
    cached = re.search(rf"^{reclaimable} (\d+)$", read(group / "memory.stat"), re.MULTILINE)
    return int(most) - int(used) + (int(cached[1]) if cached else 0)


def read(path: Path) -> str:
    """A small system file, empty where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def human(count: int) -> str:
    """Bytes as people write them, in powers of ten: 986 MB, 4.7 GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 - 5e5 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count} B"
