"""Quantizing a model: a child process computes, with the engine's own kernels; this side waits and tells.

    for step in quantize([f16.gguf], target_path, "Q4_K_M"):
        print(step.status, step.completed, step.total)

The child is `quantize_worker.py`: ggml aborts the process it is in where something is wrong, and keeps 100 MB of code.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from allod.errors import DiskFull, EngineFailed
from allod.models.disk import disk_errors
from allod.models.memory import human
from allod.models.progress import Progress

WORKER = Path(__file__).with_name("quantize_worker.py")
NOBODY = "sha256:" + 64 * "0"  # Ollama's digest of a file that has none yet


def quantize(files: list[Path], out: Path, kind: str, was: str) -> Iterator[Progress]:
    """Writes the model in ``files`` to ``out``, quantized. Left early, nothing goes on.

    Args:
        files: the model, F32, F16 or BF16; the parts of a split one in their order.
        kind: one of ``quantize_plan.TARGETS``.
        was: what it is now, for the message.

    Raises:
        BadRequest: the model is quantized already.
        EngineFailed: the child ended; says how.
        DiskFull, ReadOnly, Disk: ``out`` cannot be written.
    """
    from allod.models.quantize_plan import planned

    plan = planned(files, kind)
    status = f"quantizing {was} model to {kind}"
    yield Progress(status, NOBODY, total=plan.size)
    if (free := shutil.disk_usage(out.parent).free) < plan.size:
        raise DiskFull(
            f"{human(plan.size)} are needed for the quantized model and {human(free)} are free in {out.parent}",
            "Make room and create it again.",
        )
    with disk_errors("write", out), out.open("wb") as file:
        file.truncate(plan.size)
        file.write(plan.head)
    jobs = [
        [item.path, item.start, item.tensor.type, item.target, len(plan.head) + item.offset, *row(item.tensor.shape)]
        for item in plan.items
    ]
    command = [sys.executable, "-P", str(WORKER), str(out)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stdin and child.stdout and child.stderr
        child.stdin.write(json.dumps(jobs).encode())
        child.stdin.close()
        for line in child.stdout:
            yield Progress(status, NOBODY, total=plan.size, completed=len(plan.head) + int(line))
        said = child.stderr.read().decode(errors="replace").strip().splitlines()
        if child.wait():
            raise EngineFailed(
                f"quantizing failed: {said[-1][:300] if said else f'the process ended with {child.returncode}'}",
                "See that there is room on the disk; else report this.",
            )
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()


def row(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and values a row."""
    values = shape[0] if shape else 1
    rows = 1
    for side in shape[1:]:
        rows *= side
    return rows, values
