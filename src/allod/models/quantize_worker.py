"""The child that quantizes: ggml's own row functions by ctypes, out of the engine's library.

    python quantize_worker.py OUT < jobs.json

Jobs are ``[path, start, type, target, offset, rows, values]``: where the values are, ggml types, and where they go.
Prints the bytes done so far, one number a line. Functions by ggml's include/ggml.h.
"""

import ctypes
import importlib.util
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PIECE = 1 << 20  # values that a thread takes at a time
F32, F16, BF16 = 0, 1, 30
TO_FLOAT = {F16: "ggml_fp16_to_fp32_row", BF16: "ggml_bf16_to_fp32_row"}
FROM_FLOAT = {F16: "ggml_fp32_to_fp16_row", BF16: "ggml_fp32_to_bf16_row"}
Job = tuple[str, int, int, int, int, int, int]


def library() -> ctypes.CDLL:
    """The engine's, with ggml in it."""
    spec = importlib.util.find_spec("xllamacpp")
    if not spec or not spec.origin:
        raise SystemExit("the package xllamacpp is not installed")
    ggml = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("xllamacpp*.so"))))
    for name in (*TO_FLOAT.values(), *FROM_FLOAT.values()):
        getattr(ggml, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        getattr(ggml, name).restype = None
    ggml.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_row_size.argtypes = [ctypes.c_int, ctypes.c_int64]
    ggml.ggml_row_size.restype = ctypes.c_size_t
    return ggml


def convert(ggml: ctypes.CDLL, data: bytes, source: int, target: int, rows: int, values: int) -> bytes:
    """Whole rows of one type in another."""
    if source == target:
        return data
    count = rows * values
    floats = ctypes.create_string_buffer(4 * count)
    if source == F32:
        ctypes.memmove(floats, data, 4 * count)
    else:
        getattr(ggml, TO_FLOAT[source])(data, floats, count)
    if target == F32:
        return floats.raw
    out = ctypes.create_string_buffer(rows * ggml.ggml_row_size(target, values))
    if target in FROM_FLOAT:
        getattr(ggml, FROM_FLOAT[target])(floats, out, count)
    else:
        ggml.ggml_quantize_chunk(target, floats, out, 0, rows, values, None)
    return out.raw


def piece(ggml: ctypes.CDLL, job: Job, file: int, out: int, first: int, last: int) -> int:
    """Converts some rows of a tensor; returns the bytes they have become."""
    _, start, source, target, offset, _, values = job
    wide, narrow = ggml.ggml_row_size(source, values), ggml.ggml_row_size(target, values)
    data = os.pread(file, (last - first) * wide, start + first * wide)
    if len(data) < (last - first) * wide:
        raise SystemExit("the file has been cut short")
    made = memoryview(convert(ggml, data, source, target, last - first, values))
    at = offset + first * narrow
    while made:
        written = os.pwrite(out, made, at)
        made, at = made[written:], at + written
    return (last - first) * narrow


def main() -> None:
    """Does the jobs, several rows at a time on every core."""
    jobs: list[Job] = [tuple(job) for job in json.load(sys.stdin)]
    ggml = library()
    done = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with Path(sys.argv[1]).open("r+b") as out, ThreadPoolExecutor(cores) as pool:
        for job in jobs:
            path, rows, values = job[0], job[5], job[6]
            step = max(1, PIECE // values)
            with Path(path).open("rb") as file:
                work = [
                    pool.submit(piece, ggml, job, file.fileno(), out.fileno(), first, min(rows, first + step))
                    for first in range(0, rows, step)
                ]
                for each in work:
                    done += each.result()
                    print(done, flush=True)


if __name__ == "__main__":
    main()
