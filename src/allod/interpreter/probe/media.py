"""Pictures and archives. Runs in the job's Python."""

import tarfile
import zipfile
from pathlib import Path

from allod.interpreter.probe.finding import Finding, library, quoted, short, variable


def picture(path: Path, finding: Finding) -> None:
    """Size and mode; the picture itself is not decoded."""
    with library("PIL.Image").open(path) as image:
        finding.kind = "picture"
        finding.about = f"picture, {image.width}x{image.height} pixels, {image.format}, {image.mode}"
    finding.name = variable(finding.path)
    finding.what = f"a PIL Image, {image.width}x{image.height} pixels"
    finding.load = [f"{finding.name} = Image.open({quoted(finding.path)})"]


def archive(path: Path, finding: Finding) -> None:
    """The members of a .zip or .tar; nothing is unpacked."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as found:
            members = [(info.filename, info.file_size) for info in found.infolist()]
    else:
        with tarfile.open(path) as tar:
            members = [(info.name, info.size) for info in tar.getmembers()[:2000]]
    finding.kind = "archive"
    shown = ", ".join(f"{short(name, 50)} ({size} bytes)" for name, size in members[:10])
    tail = f" and {len(members) - 10} more" if len(members) > 10 else ""
    finding.about = f"archive of {len(members)} files: {shown}{tail}"
