"""What the tests of workspaces share: running shell in one, and a folder as a value to compare."""

import os
import stat
from pathlib import Path

import msgspec

from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels.outputs import Failure, Result, Stream
from allod.interpreter.sandbox import Limits, Sandbox, environment
from allod.interpreter.workspace import Workspace
from allod.interpreter.workspace.reach import Reach

Tree = dict[bytes, tuple[object, ...]]


async def shell(workspace: Workspace, script: str, *arguments: str) -> str:
    """Runs a shell script in the workspace's sandbox; its output, which must not be an error."""
    command = ["/bin/sh", "-ec", script, "sh", *arguments]
    async with Reach.opened(workspace) as reach:
        view, env = reach.view(workspace.view), reach.environment(environment())
        if workspace.job.copied:  # as a sandbox without overlays shows it
            binds = [(part.upper, str(part.folder)) for part in workspace.parts]
            view = msgspec.structs.replace(view, folders=(), hidden=(), writable=(*view.writable, *binds))
        process = await Sandbox.find().spawn(view, reach.command(command), env, Limits())
        assert process.bwrap.stdout is not None
        said = (await process.bwrap.stdout.read()).decode(errors="replace")
        status = await process.wait()
    assert status == 0, said
    return said


async def output(kernel: Kernel, code: str) -> str:
    """What a run prints, failures included."""
    texts: list[str] = []
    async for each in kernel.run(code):
        if isinstance(each, Stream | Result | Failure):
            texts.append(each.text)
    return "\n".join(texts)


def tree_of(folder: Path) -> Tree:
    """Every path below a folder with its kind, mode and content."""
    found: Tree = {}
    for base, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = base + b"/" + name
            st = os.lstat(path)
            key = os.path.relpath(path, os.fsencode(folder))
            if stat.S_ISLNK(st.st_mode):
                found[key] = ("link", os.readlink(path))  # noqa: PTH115
            elif stat.S_ISDIR(st.st_mode):
                found[key] = ("folder", stat.S_IMODE(st.st_mode))
            else:
                found[key] = ("file", stat.S_IMODE(st.st_mode), Path(os.fsdecode(path)).read_bytes())
    return found


def times_of(folder: Path) -> dict[str, int]:
    """The modification times of the files of a folder."""
    return {str(p.relative_to(folder)): p.lstat().st_mtime_ns for p in folder.rglob("*") if not p.is_dir()}
