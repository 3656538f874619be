"""The child: how it starts, dies, and what is said of it; what LlamaRunner has beyond the contract."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from engine_helpers import alive, answered, ask, small_load

from allod.chat import ChatRequest, CompletionRequest, Message, Options
from allod.engine.child import WORKER
from allod.engine.llama import LlamaRunner
from allod.errors import BadRequest, EngineFailed, PromptTooLong, RunnerCrashed, Unsupported

pytestmark = pytest.mark.anyio


@pytest.fixture
async def own(smollm2_path: Path) -> AsyncIterator[LlamaRunner]:
    """A child that a test may kill."""
    runner = await LlamaRunner.start(small_load(smollm2_path, slots=1))
    yield runner
    await runner.close()


def endless() -> ChatRequest:
    return ChatRequest([Message("user", "Talk.")], Options(max_tokens=900, extra={"ignore_eos": True}))


async def gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while alive(pid):
            await asyncio.sleep(0.01)


# ── dying ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_killed_amid_an_answer(own: LlamaRunner) -> None:
    killed = 0.0
    with pytest.raises(RunnerCrashed) as caught:
        async for chunk in own.chat(endless()):
            if chunk.text and not killed:
                killed = time.monotonic()
                os.kill(own.child.pid, signal.SIGKILL)
    assert time.monotonic() - killed < 1
    assert "SIGKILL" in caught.value.message and "smollm2" in caught.value.message
    assert not own.alive and not await own.health()
    with pytest.raises(RunnerCrashed):
        await answered(own.chat(ask("Hi")))


async def test_killed_amid_a_forwarded_answer(own: LlamaRunner) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Talk."}], "ignore_eos": True, "stream": True})
    async with own.forward("/v1/chat/completions", body.encode()) as answer:
        with pytest.raises(RunnerCrashed):  # where the door reads, so that it can end its stream with an error
            async for _ in answer.body:
                if own.alive:
                    os.kill(own.child.pid, signal.SIGKILL)


async def test_killed_while_it_waits(own: LlamaRunner) -> None:
    await answered(own.chat(ask("Hi")))
    os.kill(own.child.pid, signal.SIGABRT)
    await own.child.wait()
    with pytest.raises(RunnerCrashed, match="SIGABRT"):
        await own.tokenize("text")


async def test_closing_kills_it(own: LlamaRunner) -> None:
    pid = own.child.pid
    await own.close()
    assert not alive(pid)
    await own.close()


PARENT = """
import asyncio, sys
from pathlib import Path
from allod.engine.llama import LlamaRunner, Load

async def main():
    load = Load(name="m", model=Path(sys.argv[1]), context=512, threads=1)
    runner = await LlamaRunner.start(load)
    print(runner.child.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_parent_that_is_killed_takes_it_along(smollm2_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(smollm2_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        assert alive(pid)
        parent.kill()
    await gone(pid)


async def test_a_closed_stdin_ends_it(smollm2_path: Path) -> None:
    """What ends it where the kernel does not tell of a parent's death."""
    runner = await LlamaRunner.start(small_load(smollm2_path, slots=1))
    assert runner.child.process.stdin
    runner.child.process.stdin.close()
    await asyncio.wait_for(runner.child.wait(), 5)
    await runner.close()


def test_a_worker_without_a_parent_ends() -> None:
    done = subprocess.run([sys.executable, "-P", WORKER], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert done.returncode == 1 and b"parent" in done.stderr


# ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "content,words",
    [
        (b"", "could not be loaded"),
        (b"not a model", "magic"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 64, "could not be loaded"),
    ],
)
async def test_a_file_that_is_no_model(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(EngineFailed, match=words) as caught:
        await LlamaRunner.start(small_load(path))
    assert "Traceback" not in caught.value.message and caught.value.remedy


async def test_a_model_cut_short(tmp_path: Path, smollm2_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    with smollm2_path.open("rb") as file:
        path.write_bytes(file.read(9_000_000))
    with pytest.raises(EngineFailed, match="not within the file bounds"):
        await LlamaRunner.start(small_load(path))


async def test_only_who_has_the_key_may_ask(smollm2: LlamaRunner) -> None:
    async with httpx.AsyncClient() as http:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            assert (await http.get(f"{smollm2.url}/props", headers=headers)).status_code == 401
    assert smollm2.url.startswith("http://127.0.0.1:")
    command = Path(f"/proc/{smollm2.child.pid}/cmdline").read_bytes()
    assert smollm2.key.encode() not in command
    assert smollm2.key.encode() not in Path(f"/proc/{smollm2.child.pid}/environ").read_bytes()


async def test_several_start_side_by_side(smollm2_path: Path) -> None:
    runners = await asyncio.gather(*(LlamaRunner.start(small_load(smollm2_path, slots=1)) for _ in range(3)))
    assert len({r.url for r in runners}) == 3 and len({r.key for r in runners}) == 3
    await asyncio.gather(*(r.close() for r in runners))


async def test_a_cancelled_start_leaves_nothing_behind(smollm2_path: Path) -> None:
    before = children()
    task = asyncio.create_task(LlamaRunner.start(small_load(smollm2_path)))
    async with asyncio.timeout(5):
        while not (new := children() - before):
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for pid in new:
        await gone(pid)


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


# ── a native server in its place ────────────────────────────────────────────────────────────────────────────────────


def script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def native(tmp_path: Path) -> str:
    stand_in = Path(__file__).with_name("llama_server.py")
    return script(tmp_path / "llama-server", f'#!/bin/sh\nexec "{sys.executable}" -P "{stand_in}" "$@"\n')


async def test_a_native_server_takes_its_place(native: str, smollm2_path: Path, smollm2: LlamaRunner) -> None:
    runner = await LlamaRunner.start(small_load(smollm2_path, binary=native))
    try:
        assert (await answered(runner.chat(ask("Say hello."))))[0] == (await answered(smollm2.chat(ask("Say hello."))))[
            0
        ]
        assert (runner.facts.context, runner.facts.slots, runner.facts.model) == (1024, 2, "smollm2:135m")
        assert runner.key not in Path(f"/proc/{runner.child.pid}/cmdline").read_text()
        pid = runner.child.pid
        assert runner.child.process.stdin
        runner.child.process.stdin.close()
        await gone(pid)
        with pytest.raises(RunnerCrashed):
            await answered(runner.chat(ask("Hi")))
    finally:
        await runner.close()


async def test_a_native_server_that_dies_at_once(tmp_path: Path, smollm2_path: Path) -> None:
    binary = script(tmp_path / "llama-server", "#!/bin/sh\necho error: CUDA driver is too old >&2; exit 3\n")
    with pytest.raises(EngineFailed, match="CUDA driver is too old") as caught:
        await LlamaRunner.start(small_load(smollm2_path, binary=binary))
    assert "engine.binary" in caught.value.remedy


async def test_a_native_server_that_is_not_there(tmp_path: Path, smollm2_path: Path) -> None:
    with pytest.raises(EngineFailed, match="No such file"):
        await LlamaRunner.start(small_load(smollm2_path, binary=str(tmp_path / "none")))


async def test_a_flag_that_a_native_server_does_not_know(native: str, smollm2_path: Path) -> None:
    with pytest.raises(EngineFailed, match="pooling"):
        await LlamaRunner.start(small_load(smollm2_path, binary=native, pooling="nonsense"))


# ── beyond the contract ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_vectors_of_a_chat_model(smollm2_path: Path) -> None:
    load = small_load(smollm2_path, embedding=True, pooling="last", context=512, ubatch=512, batch=2048)
    runner = await LlamaRunner.start(load)
    try:
        assert runner.facts.embedding
        found = await runner.embed(["The cat sat.", "A cat was sitting.", "Tax law of 1923.", "The cat sat."])
        one, near, far, again = found.vectors
        assert len(one) == 576 and sum(x * x for x in one) == pytest.approx(1, abs=1e-3)
        assert one == pytest.approx(again, abs=1e-4)
        dot = lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))  # noqa: E731
        assert dot(one, near) > dot(one, far)
        assert found.prompt_tokens > 10
        tokens = await runner.tokenize("The cat sat.")
        assert (await runner.embed([tokens])).vectors[0] == pytest.approx(one, abs=1e-4)
        assert (await runner.embed([])).vectors == []
        many = await runner.embed([f"text {n}" for n in range(40)])
        assert len(many.vectors) == 40
    finally:
        await runner.close()


async def test_infill_needs_a_model_made_for_it(smollm2: LlamaRunner) -> None:
    with pytest.raises(Unsupported, match="Infill"):
        await answered(smollm2.complete(CompletionRequest("a", suffix="b")))


async def test_an_id_outside_the_vocabulary(smollm2: LlamaRunner) -> None:
    with pytest.raises(BadRequest):
        await smollm2.detokenize([10**9])
    with pytest.raises(BadRequest):
        await answered(smollm2.complete(CompletionRequest([10**9], Options(max_tokens=1))))


async def test_a_forwarded_body_of_50_mb_is_refused_at_once(smollm2: LlamaRunner) -> None:
    for content in ("word " * 10_000_000, [{"type": "text", "text": "word " * 10_000_000}]):
        body = json.dumps({"messages": [{"role": "user", "content": content}], "stream": True}).encode()
        began = time.monotonic()
        with pytest.raises(PromptTooLong):
            async with smollm2.forward("/v1/chat/completions", body):
                pass
        assert time.monotonic() - began < 2
    async with smollm2.forward("/v1/chat/completions", b"[" * 10_000_000) as answer:
        assert answer.status == 400


async def test_a_large_picture_is_no_long_text(smollm2: LlamaRunner) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5_000_000}}
    body = json.dumps({"messages": [{"role": "user", "content": [picture]}]}).encode()
    async with smollm2.forward("/v1/chat/completions", body) as answer:
        assert answer.status == 500 and b"image input is not supported" in b"".join([d async for d in answer.body])


async def test_adapters_that_it_does_not_have(smollm2: LlamaRunner) -> None:
    request = ask("Hi")
    request.adapters = [("sha256:" + "0" * 64, 1.0)]
    with pytest.raises(BadRequest, match="no adapter"):
        await answered(smollm2.chat(request))
