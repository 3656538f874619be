"""A cgroup over all processes of a job, where this user may make one: memory and processes, held to by the kernel.

Version 2: beside the group that allod runs in, where its parent is delegated to this user, as systemd does for what it
starts in a desktop session. Version 1: below allod's own group, which only root may do. Elsewhere there is none, and
``run`` watches instead. See https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import Self

ROOT = Path("/sys/fs/cgroup")


class Cgroup:
    """The folders of one group: one in version 2, one for each controller in version 1."""

    def __init__(self, folders: list[Path]) -> None:
        self.folders = folders

    @classmethod
    def make(cls, name: str, memory: int, processes: int) -> Self | None:
        """A new group with these limits; None where that is not allowed here."""
        try:
            own = own_groups()
            if "" in own and (ROOT / "cgroup.controllers").exists():
                return cls._version_2(name, own[""], memory, processes)
            return cls._version_1(name, own, memory, processes)
        except OSError:
            return None

    @classmethod
    def _version_2(cls, name: str, own: str, memory: int, processes: int) -> Self | None:
        parent = (ROOT / own.lstrip("/")).parent
        if own == "/" or not {"memory", "pids"} <= set((parent / "cgroup.subtree_control").read_text().split()):
            return None
        folder = parent / name
        sweep(parent)
        folder.mkdir()
        group = cls([folder])
        try:
            # Moving a process also needs write permission on the group above both, which shows only now.
            if not os.access(parent / "cgroup.procs", os.W_OK):
                raise PermissionError
            (folder / "memory.max").write_text(str(memory))
            (folder / "pids.max").write_text(str(processes))
            with contextlib.suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
        except OSError:
            group.close()
            return None
        return group

    @classmethod
    def _version_1(cls, name: str, own: dict[str, str], memory: int, processes: int) -> Self | None:
        limits = {"memory": ("memory.limit_in_bytes", memory), "pids": ("pids.max", processes)}
        if not limits.keys() <= own.keys():
            return None
        group = cls([])
        try:
            for controller, (file, value) in limits.items():
                folder = ROOT / controller / own[controller].lstrip("/") / name
                sweep(folder.parent)
                folder.mkdir()
                group.folders.append(folder)
                (folder / file).write_text(str(value))
        except OSError:
            group.close()
            return None
        return group

    def add(self, pid: int) -> bool:
        """Puts a process into it, with all that it will start; False where that is not allowed."""
        try:
            for folder in self.folders:
                (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        return True

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel killed something in it for memory."""
        for folder in self.folders:
            for file in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    for line in (folder / file).read_text().splitlines():
                        if line.startswith("oom_kill ") and int(line.split()[1]) > 0:
                            return True
        return False

    def close(self) -> bool:
        """Removes it; False where a process that was killed has not quite ended."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not any(folder.exists() for folder in self.folders)


def sweep(parent: Path) -> None:
    """Removes the groups of processes that were killed; one that is in use cannot be removed, a new one must not."""
    for old in parent.glob("allod-*"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 60:
                old.rmdir()


def own_groups() -> dict[str, str]:
    """Controller → path of the group that this process is in; version 2 has the controller ''."""
    found: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        found |= dict.fromkeys(controllers.split(","), path)
    return found
