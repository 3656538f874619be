"""Memory that a loaded model really takes, over what allod.models.memory said before: at most 1, at least 0.9.

    .venv/bin/python bench/memory.py [model.gguf ...]

Starts allod's own worker at several contexts and slots, has it compute one full batch, and reads its resident memory.
Without arguments: SmolLM2, as `make test` pulled it.
"""

import asyncio
import sys
from pathlib import Path

import psutil

from allod.chat import CompletionRequest, Options
from allod.engine.llama import LlamaRunner, Load
from allod.models.gguf import read_header
from allod.models.memory import estimate

SMOLLM2 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SIZES = ((2048, 1), (8192, 1), (4096, 4))  # tokens a slot, slots


async def really(path: Path, context: int, slots: int) -> int:
    """Resident bytes of a worker after a prompt of more than one batch."""
    runner = await LlamaRunner.start(Load(name=path.name, model=path, context=context, slots=slots, threads=2))
    try:
        request = CompletionRequest(prompt=[i % 10_000 + 100 for i in range(600)], options=Options(max_tokens=2))
        async for _ in runner.complete(request):
            pass
        return psutil.Process(runner.child.pid).memory_info().rss
    finally:
        await runner.close()


def main() -> None:
    root = Path(__file__).parent.parent
    smollm2 = root / ".cache" / "home" / "data" / "models" / "blobs" / f"sha256-{SMOLLM2}"
    for path in [Path(argument) for argument in sys.argv[1:]] or [smollm2]:
        gguf = read_header(path)
        for context, slots in SIZES:
            said = estimate(gguf, path.stat().st_size, context, slots).total
            real = asyncio.run(really(path, context, slots))
            print(
                f"{gguf.name}: {slots} x {context} tokens: {real / 1e6:.0f} / {said / 1e6:.0f} MB = {real / said:.3f}"
            )


if __name__ == "__main__":
    main()
