"""`allod serve` for a benchmark, and the default model's file."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from common import ROOT, smollm2


def default_model() -> Path:
    """qwen2.5-coder:1.5b (Q4_K_M), as `make test-all` pulled it, else SmolLM2."""
    store = Store(Home.open({"ALLOD_HOME": str(ROOT / ".cache" / "home")}).models)
    found = next((m for m in store.list() if str(m.name).startswith("qwen2.5-coder:1.5b")), None)
    return found.weights[0] if found else smollm2()


@contextmanager
def serving(
    home: Path, models: Mapping[str, str], cores: set[int] | None = None, **environ: str
) -> Iterator[tuple[str, psutil.Process]]:
    """`allod serve` on a free port with models made from these Modelfiles, held to some cores: its address, and it."""
    around = {**os.environ, "ALLOD_HOME": str(home), "ALLOD_OFFLINE": "1", **environ}
    store = Store(Home.open(around).models)
    for name, modelfile in models.items():
        for _ in create(store, name, parse(modelfile), home):
            pass
    command = [sys.executable, "-m", "allod", "serve", "--host", "127.0.0.1:0"]
    with subprocess.Popen(command, env=around, stderr=subprocess.PIPE, text=True) as process:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        assert process.stderr
        found = re.search(r"http://[\d.:]+", process.stderr.readline())
        assert found
        log = threading.Thread(target=process.stderr.read)  # or it fills up, and the server stands still
        log.start()
        try:
            yield found[0], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)
            log.join()
