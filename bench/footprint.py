"""Disk space of a base install (no extras) in a new virtual environment, without torch.

python bench/footprint.py
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

LIMIT_MB = 400


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        root = Path(__file__).parent.parent
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", root], check=True)
        # Blocks on disk, as `du` counts them: a hard-linked file once.
        seen: dict[tuple[int, int], int] = {}
        for path in Path(folder).rglob("*"):
            stat = path.lstat()
            seen[(stat.st_dev, stat.st_ino)] = stat.st_blocks * 512
        total = sum(seen.values()) / 1e6
        torch = list(Path(folder).glob("lib/python*/site-packages/torch"))
    print(f"base install: {total:.0f} MB on disk (limit {LIMIT_MB}), torch: {'yes' if torch else 'no'}")
    return int(total > LIMIT_MB or bool(torch))


if __name__ == "__main__":
    sys.exit(main())
