"""Tests once more as ``nobody``, who has no privileges to lose, where they run as root."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(*names: str) -> None:
    """Runs test files of this folder, which must pass. Their own call of this is skipped there."""
    if not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("needs setpriv and unshare")
    python = Path(os.path.realpath(sys.executable)).parent.parent
    base = Path("/tmp") / f"allod-nobody-{os.getpid()}"
    base.mkdir()
    os.chown(base, 65534, 65534)
    script = ["set -e", "mount --make-rprivate /"]
    if closed := unreadable_root(python / "bin"):
        script += [
            f"mkdir {base}/python && mount --bind '{python}' {base}/python",
            f"mount -t tmpfs -o mode=755 tmpfs '{closed}' && mkdir -p '{python}'",
            f"mount --bind {base}/python '{python}'",
        ]
    tests = [Path(__file__).with_name(name) for name in names]
    script.append(
        f"exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME={base} '{sys.executable}' -m pytest -q -x"
        f" -p no:cacheprovider --basetemp={base}/t {' '.join(map(str, tests))}"
    )
    try:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", "\n".join(script)], capture_output=True, text=True, timeout=170, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert " passed" in done.stdout
    finally:
        shutil.rmtree(base, ignore_errors=True)


def unreadable_root(path: Path) -> Path | None:
    """The topmost folder on the way to ``path`` that others may not enter."""
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)
