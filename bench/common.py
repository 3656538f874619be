"""What the benchmarks share: what machine this is, where SmolLM2 lies, where results go."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
OUT = ROOT / "bench" / "out"
SMOLLM2 = "sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2() -> Path:
    """SmolLM2-135M-Instruct (Q4_1), as `make test` pulled it; ends with what to do where it did not yet."""
    path = ROOT / ".cache" / "home" / "data" / "models" / "blobs" / SMOLLM2
    if not path.exists():
        sys.exit("SmolLM2 is not here: run `make test` first, which fetches it")
    return path


def machine() -> dict[str, Any]:
    """This machine, its load before the run, and the state of the code."""
    names = [line.partition(":")[2].strip() for line in read("/proc/cpuinfo").splitlines() if "model name" in line]
    memory = [int(line.split()[1]) for line in read("/proc/meminfo").splitlines() if line.startswith("MemTotal")]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory[0] / 1e6, 1) if memory else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "commit": commit(),
    }


def commit() -> str:
    """The commit of the checkout, with a plus where files differ from it."""

    def git(*arguments: str) -> str:
        try:
            return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return ""

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD").strip() or "unknown") + ("+" if changed.strip() else "")


def introduce() -> dict[str, Any]:
    """Prints what the figures depend on, and returns it."""
    found = machine()
    print(
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB, load {found['load'][0]}; {found['commit']}"
    )
    return found


def record(name: str, found: dict[str, Any], result: dict[str, Any]) -> None:
    """Writes a result with its machine to bench/out/<name>.json."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.json").write_text(json.dumps({"machine": found, **result}, indent=2) + "\n")


def read(path: str) -> str:
    """A file of the system, empty where there is none."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""
