"""The person's own editor: VISUAL, else EDITOR, else vi."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from allod.cli.output import note
from allod.errors import BadRequest


def edit(path: Path) -> None:
    """Opens a file in the editor and waits for its end.

    Raises:
        BadRequest: the editor cannot be started, or failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        subprocess.run([*shlex.split(editor), str(path)], check=True)
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise BadRequest(f"the editor `{editor}` failed: {error}", "EDITOR names another one.") from error


def edited(text: str, suffix: str = ".py") -> str:
    """The text as the person leaves it in their editor; as it is, and a note, where the editor fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"block{suffix}"
        path.write_text(text, encoding="utf-8")
        try:
            edit(path)
        except BadRequest as error:
            note(f"{error.message[0].upper()}{error.message[1:]}; the code is as it was. {error.remedy}")
            return text
        return path.read_text(encoding="utf-8", errors="replace")
