"""Files given along with a job: `allod do --file photo.png "What does the sign say?"`.

Code can read every one: those of the folder where they are, others as copies in a folder of their own, which the
job may read. Pictures are also shown to a model that sees; that another one does not is said.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from allod.cli.output import note
from allod.errors import BadRequest

if TYPE_CHECKING:
    from allod.chat import ImagePart
    from allod.engine.runner import Facts

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Attached:
    """``paths`` are how the job's code names the files, ``pictures`` those among them that a model can be shown."""

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        """Copies what is outside ``folder``. Raises BadRequest for what cannot be read."""
        from allod.cli.pictures import read_picture

        self.paths: list[str] = []
        self.pictures: list[ImagePart] = []
        self.copies: Path | None = None
        try:
            for file in files:
                real = checked(file)
                if real.suffix.lower() in PICTURES:
                    self.pictures.append(read_picture(real))
                inside = real.is_relative_to(folder)
                self.paths.append(str(real.relative_to(folder)) if inside else str(self._copy(real)))
        except BaseException:
            self.close()
            raise

    def _copy(self, file: Path) -> Path:
        if self.copies is None:
            self.copies = Path(tempfile.mkdtemp(prefix="allod-files-")).resolve()
        target = self.copies / file.name
        number = 1
        while target.exists():
            number += 1
            target = self.copies / f"{file.stem}-{number}{file.suffix}"
        shutil.copyfile(file, target)
        return target

    def task(self, text: str) -> str:
        """What the model is told: the job, and which files came with it."""
        return f"{text}\nFiles given with this job: {', '.join(self.paths)}" if self.paths else text

    def shown(self, facts: "Facts", model: str) -> "list[ImagePart]":
        """The pictures that the model can look at; that it sees none is said."""
        if self.pictures and not facts.vision:
            note(
                f"{model} cannot see: only its code can open the picture. "
                "A model that sees: `allod do --profile moondream`."
            )
            return []
        return self.pictures

    def close(self) -> None:
        """Removes the copies."""
        if self.copies is not None:
            shutil.rmtree(self.copies, ignore_errors=True)


def checked(file: Path) -> Path:
    """The real path of a file that can be read. Raises BadRequest."""
    try:
        real = file.expanduser().resolve(strict=True)
        if not real.is_file():
            raise BadRequest(f"{file} is not a file", "--file takes one file; --read lets code read a whole folder.")
        with real.open("rb"):
            return real
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise BadRequest(f"cannot read {str(file)[:200]}: {why}", "Give the path of a file that is there.") from error
