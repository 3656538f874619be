"""Pictures that a prompt names by their path: ``what does ./photo.png say?``

A path begins with ``/``, ``./``, ``../``, ``~/`` or a letter, may be quoted or have its blanks escaped as terminals do
when a file is dropped on them, and ends in .png, .jpg, .jpeg or .webp. Only paths of files that exist count.
"""

import re
from pathlib import Path

from allod.chat import ImagePart, Part, TextPart
from allod.errors import BadRequest

LARGEST = 100 << 20  # bytes, Ollama's own limit
SUFFIXES = r"\.(?:png|jpe?g|webp)"
PATHS = re.compile(
    rf"'([^'\n]+?{SUFFIXES})'|\"([^\"\n]+?{SUFFIXES})\"|((?:\\.|[^\s\\'\"])+?{SUFFIXES})(?=$|[\s,;:!?)])", re.I
)
SIGNATURES = ((b"\x89PNG\r\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


def is_picture(path: Path) -> bool:
    """Whether a file's name says that it is one."""
    return re.search(rf"{SUFFIXES}$", path.name, re.I) is not None


def pictures_in(text: str) -> list[Path]:
    """The files that ``text`` names, each once, in order."""
    if "." not in text:
        return []
    found: dict[Path, None] = {}
    for match in PATHS.finditer(text):
        written = match[1] or match[2] or re.sub(r"\\(.)", r"\1", match[3])
        try:
            path = Path(written).expanduser()
            if path.is_file():
                found[path] = None
        except (OSError, RuntimeError, ValueError):  # too long for a name, no such user, a NUL
            continue
    return list(found)


def parts_of(text: str, paths: list[Path]) -> list[Part]:
    """``text`` and the pictures, as the parts of a message. Raises BadRequest."""
    return [TextPart(text), *(read_picture(path) for path in paths)]


def read_picture(path: Path) -> ImagePart:
    """A picture's bytes.

    Raises:
        BadRequest: too large, unreadable, or not what its name says.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise BadRequest(f"{path} is larger than 100 MB", "Make the picture smaller.")
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror}", "Check the file's permissions.") from error
    kind = next((kind for start, kind in SIGNATURES if data.startswith(start)), "")
    if not kind or (kind == "image/webp" and data[8:12] != b"WEBP"):
        raise BadRequest(f"{path} is not a PNG, JPEG or WebP picture", "Convert it first.")
    return ImagePart(data, kind)
