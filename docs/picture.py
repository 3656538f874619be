"""Makes docs/img/do.svg: the films job, really run in a terminal, as a picture for the README.

.venv/bin/python docs/picture.py        (needs the default model: `make try` first)
"""

import os
import pty
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
TASK = "Put the table of films in films.pdf into films.xlsx, longest film first"
COLUMNS = 100


def recorded(command: list[str], folder: Path) -> str:
    """What the command shows in a terminal."""
    leader, follower = pty.openpty()
    env = os.environ | {"COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    with subprocess.Popen(command, cwd=folder, stdin=follower, stdout=follower, stderr=follower, env=env) as process:
        os.close(follower)
        parts: list[bytes] = []
        try:
            while data := os.read(leader, 65536):
                parts.append(data)
        except OSError:  # Linux says EIO where the terminal's other end was closed
            pass
    if process.returncode:
        raise SystemExit(b"".join(parts).decode(errors="replace"))
    return b"".join(parts).decode()


def settled(text: str) -> str:
    """The lines as they stand in the end: what a carriage return or an erasure took back is gone."""
    lines = [re.split(r"\r|\x1b\[2?K", line.rstrip("\r"))[-1] for line in text.split("\n")]
    return re.sub(r"\x1b\[\?\d+[hl]", "", "\n".join(lines))


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "films"
        folder.mkdir()
        shutil.copy(ROOT / "examples" / "films" / "films.pdf", folder)
        text = settled(recorded([str(ROOT / ".venv" / "bin" / "allod"), "do", "--yes", TASK], folder))
        text = text.replace(str(folder.resolve()), "~/films")
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.assemble(("~/films$ ", "bold green"), f'allod do --yes "{TASK}"'))
        console.print(Text.from_ansi(text))
    picture = console.export_svg(title="allod do", clear=False)
    (ROOT / "docs" / "img").mkdir(exist_ok=True)
    (ROOT / "docs" / "img" / "do.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
