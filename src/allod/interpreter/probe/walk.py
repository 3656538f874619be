"""Walks the folder and asks the right module about each file. Runs in the job's Python."""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from allod.interpreter.probe import documents, markup, media, settings, tables, texts
from allod.interpreter.probe.finding import Finding

Reader = Callable[[Path, Finding], None]
READERS: dict[str, Reader] = {
    **dict.fromkeys((".csv", ".tsv", ".tab"), tables.comma_separated),
    **dict.fromkeys((".xlsx", ".xlsm"), tables.workbook),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), tables.database),
    ".pdf": documents.pdf,
    ".docx": documents.word,
    ".xml": markup.xml,
    **dict.fromkeys((".html", ".htm"), markup.page),
    **dict.fromkeys((".ini", ".cfg"), settings.ini),
    ".toml": settings.toml,
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".geojson"), texts.structured),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"), media.picture),
    **dict.fromkeys((".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz"), media.archive),
}
SKIPPED = {".git", ".venv", "node_modules", "__pycache__", ".ipynb_checkpoints", ".DS_Store"}
LOOKED_AT = 24  # files that are opened
WRITTEN_BY_HAND = {".xml", ".html", ".htm", ".ini", ".cfg", ".toml"}  # to be changed as text, so that the rest stays
CHANGED = re.compile(r"\b(?:chang|edit|set|add|append|insert|remov|delet|replac|renam|updat|correct|fix)(?:e?s|ed)?\b")


def look(task: str, seconds: float, names: int) -> str:
    """The findings as JSON: {"files": [Finding…], "names": [[path, size]…], "more": bool}."""
    until = time.monotonic() + seconds
    found, more = walk(Path(), names, until)
    said = task.casefold()

    def order(item: tuple[str, int]) -> tuple[bool, bool, int, str]:
        path = item[0].casefold()
        stem = re.sub(r"\.\w+$", "", path.rpartition("/")[2])
        return (path.rpartition("/")[2] not in said, len(stem) < 3 or stem not in said, path.count("/"), path)

    files: list[Finding] = []
    for path, size in sorted(found, key=order)[:LOOKED_AT]:
        if time.monotonic() > until:
            break
        files.append(inspect(path, size, as_text=is_changed(path, said)))
    return json.dumps({"files": [dataclasses.asdict(f) for f in files], "names": found, "more": more})


def walk(top: Path, most: int, until: float) -> tuple[list[tuple[str, int]], bool]:
    """Paths and sizes of the files below ``top``, nearest folders first; whether there are more."""
    found: list[tuple[str, int]] = []
    queue = [top]
    while queue:
        folder = queue.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name.casefold())
        except OSError:
            continue
        for entry in entries:
            if entry.name in SKIPPED or (entry.name.startswith(".") and entry.is_dir()):
                continue
            if len(found) >= most or time.monotonic() > until:
                return found, True
            with contextlib.suppress(OSError):  # a link that leads nowhere, or in a circle
                if entry.is_dir(follow_symlinks=False):
                    queue.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=True):
                    found.append((Path(entry.path).as_posix(), entry.stat().st_size))
    return found, False


def is_changed(path: str, said: str) -> bool:
    """Whether a task has a file that people write changed in its place: no other file is spoken of."""
    if Path(path).suffix.lower() not in WRITTEN_BY_HAND or not CHANGED.search(said):
        return False
    return {name.rpartition("/")[2] for name in re.findall(r"[\w./-]*\w\.[a-z]\w{1,4}\b", said)} <= {
        path.rpartition("/")[2].casefold()
    }


def inspect(path: str, size: int, as_text: bool = False) -> Finding:
    """What one file holds; never raises, whatever the file does to its reader."""
    finding = Finding(path, size)
    if not size:
        finding.about = "empty"
        return finding
    suffix = Path(path).suffix.lower()
    reader = READERS.get(suffix) if not as_text else None
    attempts: list[Reader] = [reader] if reader else []
    if suffix in (".txt", "") and reader is None:
        attempts.append(tables_only_if_regular)
    if reader is None or suffix in WRITTEN_BY_HAND or reader in (tables.comma_separated, texts.structured):
        attempts.append(texts.plain)
    problem = ""
    for attempt in attempts:
        try:
            attempt(Path(path), finding)
        except (Exception, RecursionError) as error:  # noqa: BLE001  # a hostile file may raise anything
            problem = problem or f"cannot be read as {suffix.lstrip('.')}: {type(error).__name__}: {error}"[:160]
            finding = Finding(path, size)
        else:
            break
    if problem and suffix not in (".txt", "") and reader is not None:
        finding.lines.insert(0, problem)
    return finding


def tables_only_if_regular(path: Path, finding: Finding) -> None:
    """A .txt that is really a table: tabs, semicolons or bars on every line (commas are prose)."""
    text, _ = texts.read(path)
    separator, start, rows = tables.shape(text[:200_000])
    lines = len(text.splitlines()[:60])
    if separator not in ("\t", ";", "|") or start or len(rows) < 3 or len({len(row) for row in rows}) > 1 or lines < 3:
        raise ValueError("no table")
    tables.comma_separated(path, finding)
