"""Proves a task's check: the solution passes; idle, echoing, dumping and typically wrong results fail.

problems = prove(task, place)        # empty where the task is sound
"""

import contextlib
import io
import os
import re
import shutil
import warnings
import zipfile
from pathlib import Path

from suite.task import Job, Task, digests

NAMED = re.compile(r"[\w-]+\.(?:csv|tsv|xlsx|png|jpg|txt|json|docx|md|html|zip)\b")


def prove(task: Task, place: Path) -> list[str]:
    """What is wrong with the task, in lines. ``place`` is an empty folder to work in."""
    base = place / "base"
    base.mkdir()
    job = Job(task, base)
    found = [f"passes although {how}" for how, said, stray in idle(task, base) if not failing(job, place, said, stray)]
    folder = fresh(base, place)
    said = done(task.solution, folder)
    if complaint := job.complaint(said, folder):
        found.append(f"the solution fails: {complaint}; it said {said[:300]!r}")
    if len(task.wrong) < 2:
        found.append("has fewer than two wrong results")
    for code in task.wrong:
        folder = fresh(base, place)
        if not job.complaint(done(code, folder), folder):
            found.append(f"passes although wrong: {code[:80]!r}")
    again = place / "again"
    again.mkdir()
    if Job(task, again).facts != job.facts:
        found.append("is made differently each time")
    if digests(base) != job.before:
        found.append("the check changes the folder")
    return found


def idle(task: Task, base: Path) -> list[tuple[str, str, bool]]:
    """Results without work: how, what is said, whether files of the names in the prompt are there, empty."""
    asked, held = " ".join(task.prompts), dumped(base)
    return [
        ("nothing was done", "", False),
        ("the question was echoed", asked, False),
        ("the files were dumped", held, False),
        ("both, and empty files", asked + held, True),
    ]


def failing(job: Job, place: Path, said: str, stray: bool) -> bool:
    folder = fresh(job.folder, place)
    if stray:
        for name in NAMED.findall(said):
            if not (folder / name).exists():
                (folder / name).touch()
    return bool(job.complaint(said, folder))


def fresh(base: Path, place: Path) -> Path:
    """A copy of the folder to work in."""
    folder = place / "work"
    shutil.rmtree(folder, ignore_errors=True)
    return shutil.copytree(base, folder)


def done(code: str, folder: Path) -> str:
    """Runs code in the folder, here; what it printed."""
    out, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(code, "solution", "exec"), {"__name__": "__main__"})
    finally:
        os.chdir(before)
    return out.getvalue()


def dumped(folder: Path) -> str:
    """Names and contents of all files, as text."""
    out: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            out += [path.relative_to(folder).as_posix(), path.read_bytes()[:300_000].decode("utf-8", "replace")]
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    out += [archive.read(name)[:100_000].decode("utf-8", "replace") for name in archive.namelist()]
            if path.read_bytes().startswith(b"%PDF"):
                import pypdf

                out += [page.extract_text() for page in pypdf.PdfReader(path).pages]
    return "\n".join(out)
