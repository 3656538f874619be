"""Edits the current folder at random (argument: a seed), then prints a listing of it. Runs inside a sandbox."""

import os
import random
import shutil
import stat
import sys
from pathlib import Path

dice = random.Random(int(sys.argv[1]))
names = [
    "a.txt",
    "b.bin",
    "deep",
    "deep/er",
    "deep/c.txt",
    "empty",
    "link",
    "run.sh",
    "n1",
    "n2",
    "n1/x",
    "deep/n3",
    "n2/y/z",
]


def clear(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


for _ in range(25):
    path = Path(dice.choice(names))
    act = dice.randrange(8)
    try:
        if act == 0:
            clear(path)
        elif act == 1:
            path.write_text(str(dice.random()))
        elif act == 2:
            path.mkdir(parents=True, exist_ok=True)
        elif act == 3:
            clear(path)
            path.symlink_to(dice.choice(["a.txt", "n1", "nowhere"]))
        elif act == 4:
            path.rename(dice.choice(names))
        elif act == 7:
            copy = Path(dice.choice(names))
            if path.is_dir() and not any(x.resolve().is_relative_to(path.resolve()) for x in (copy, copy.parent)):
                shutil.copytree(path, copy, symlinks=True, dirs_exist_ok=True)
        elif act == 5:
            if not path.is_symlink():
                path.chmod(dice.choice([0o600, 0o644, 0o755, 0o700]) | (0o700 if path.is_dir() else 0))
        else:
            clear(path)
            path.mkdir(parents=True)
            (path / "fresh").write_text("fresh")
    except (OSError, shutil.Error, RuntimeError):
        pass

lines = []
for base, folders, files in os.walk("."):
    for name in (*folders, *files):
        path = Path(base) / name
        st = path.lstat()
        body = str(path.readlink()) if path.is_symlink() else path.read_text("latin-1") if path.is_file() else ""
        mode = 0 if path.is_symlink() else stat.S_IMODE(st.st_mode)
        lines.append(f"{path} {stat.S_IFMT(st.st_mode)} {mode:o} {body!r}")
print("\n".join(sorted(lines)))
