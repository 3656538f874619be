"""Prefix snapshots: what one process computed of a prompt's beginning the next one reads, and nothing else ever."""

import asyncio
import json
import logging
import os
import resource
import shutil
import stat
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_helpers import SMALL, answered, ask, lora, projector, small_load
from msgspec import structs

from allod.chat import ChatRequest, Message
from allod.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.engine.prefix import SEAM, messages_of, without_keep
from allod.engine.slots import Slots
from allod.engine.snapshots import FORGOTTEN, HEADER, Key, Snapshots
from allod.errors import BadSettings
from allod.home import Home

SYSTEM = "You answer questions on cities in few words. " + " ".join(f"City {n} has {n * 37} houses." for n in range(12))
QUESTION = "What is the capital of France?"
DIGESTS = ("sha256:" + "b" * 64,)
KEY = Key(
    engine="e 1",
    weights=DIGESTS,
    adapters=(),
    context=1024,
    slots=2,
    batch=0,
    ubatch=512,
    gpu_layers=-1,
    tokens="0" * 64,
)
Begin = Callable[..., Any]


class Watched(Snapshots):
    """Remembers under which key something was stored last."""

    key = KEY

    def store(self, key: Key, name: str) -> bool:
        self.key = key
        return super().store(key, name)


@pytest.fixture
def snapshots(tmp_path: Path) -> Watched:
    made = Watched(tmp_path / "snapshots", 1 << 30, reserve=0)
    assert made.prepare()
    return made


@pytest.fixture
def begin(snapshots: Snapshots, smollm2_path: Path) -> Begin:
    """``async with begin() as runner``: a process of SmolLM2's that has computed nothing yet."""

    @asynccontextmanager
    async def begun(folder: Snapshots | None = snapshots, **changes: object) -> AsyncIterator[LlamaRunner]:
        load = small_load(smollm2_path, **{"digests": DIGESTS} | changes)
        runner = await LlamaRunner.start(load, snapshots=folder)
        try:
            yield runner
        finally:
            await runner.close()

    return begun


def job(question: str = QUESTION, keep: int = 1) -> ChatRequest:
    request = ask(question, max_tokens=10)
    request.messages.insert(0, Message("system", SYSTEM))
    request.keep = keep
    return request


async def said(runner: LlamaRunner, request: ChatRequest | None = None) -> tuple[str, int]:
    """The answer, and how many tokens of its prompt were there already."""
    text, last = await answered(runner.chat(request or job()))
    assert last.usage
    return text, last.usage.cached_tokens


def kept(snapshots: Snapshots) -> list[Path]:
    return sorted(snapshots.folder.glob("*.snapshot"))


async def written(snapshots: Snapshots, count: int = 1) -> list[Path]:
    """The snapshots, once there are so many."""
    async with asyncio.timeout(10):
        while len(kept(snapshots)) < count or list(snapshots.work.iterdir()):
            await asyncio.sleep(0.01)
    return kept(snapshots)


def counted(runner: LlamaRunner, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the runner does for prefixes from now on: "compute", "save" or "restore", in its order."""
    done: list[str] = []
    compute, asked = runner.compute, runner.ask

    async def computing(slot: int, tokens: list[int], lora: Any) -> None:
        done.append("compute")
        await compute(slot, tokens, lora)

    async def asking(path: str, body: Any, kind: type[Any], method: str = "POST") -> Any:
        if path.startswith("/slots"):
            done.append(path.partition("=")[2])
        return await asked(path, body, kind, method)

    monkeypatch.setattr(runner, "compute", computing)
    monkeypatch.setattr(runner, "ask", asking)
    return done


# ── what it is for ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_the_next_process_reads_what_the_first_computed(
    begin: Begin, snapshots: Snapshots, smollm2: LlamaRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = job(keep=0)
    without = (await said(smollm2, plain))[0]
    questions = (QUESTION, "How many houses has city 7?", "Hi")
    async with begin() as first:
        done = counted(first, monkeypatch)
        assert (await said(first))[0] == without
        assert done == ["compute", "save"]
        prompt = await first.prompt_tokens(await first.apply_template(plain))
        answers = [(await said(first, job(question)))[0] for question in questions]
    (path,) = await written(snapshots)
    async with begin() as second:
        done = counted(second, monkeypatch)
        text, cached = await said(second)
        assert text == without and done == ["restore"]
        again = [(await said(second, job(question)))[0] for question in questions]
        assert again == answers and done == ["restore"], "the slot holds it from then on"
    assert kept(snapshots) == [path] and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(snapshots.folder.stat().st_mode) == 0o700
    # The file holds the prefix and not a word of the question.
    question = len(await smollm2.tokenize(f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n"))
    opening = len(await smollm2.tokenize("<|im_start|>user\n"))
    assert cached == len(prompt) - question - SEAM and opening < SEAM
    data = path.read_bytes()
    assert packed(prompt[:cached]) in data and packed(prompt[-question : -question + 4]) not in data


def packed(tokens: list[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}i", *tokens)


@pytest.mark.anyio
async def test_several_at_once_compute_it_once(
    begin: Begin, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begin(slots=3) as runner:
        done = counted(runner, monkeypatch)
        found = await asyncio.gather(*(said(runner, job(f"Say {n}.")) for n in range(3)))
        assert done.count("compute") == done.count("save") == 1 and done.count("restore") == 2
        assert all(cached > 100 for _, cached in found)
        await said(runner, job("Say 1."))
        assert len(done) == 4
    await written(snapshots)


@pytest.mark.anyio
async def test_two_processes_at_once(begin: Begin, snapshots: Snapshots) -> None:
    async with begin(slots=1) as one, begin(slots=1) as other:
        found = await asyncio.gather(*(said(runner, job(f"Say {n}.")) for runner in (one, other) for n in range(3)))
    texts = [text for text, _ in found]
    assert texts[:3] == texts[3:]
    await written(snapshots)
    async with begin(slots=1) as third:
        assert [(await said(third, job(f"Say {n}.")))[0] for n in range(3)] == texts[:3]
    assert len(kept(snapshots)) == 1


@pytest.mark.anyio
async def test_raw_bodies_have_it_too(begin: Begin, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 10,
        "allod_keep": 1,
    }

    async def forwarded(runner: LlamaRunner, **more: object) -> dict[str, Any]:
        async with runner.forward("/v1/chat/completions", json.dumps(body | more).encode()) as answer:
            return json.loads(b"".join([data async for data in answer.body]))

    async with begin() as first:
        text = (await said(first))[0]
    async with begin() as second:
        done = counted(second, monkeypatch)
        reply = await forwarded(second)
        assert reply["choices"][0]["message"]["content"] == text
        assert reply["usage"]["prompt_tokens_details"]["cached_tokens"] > 100
        await forwarded(second)
        assert done == ["restore"]
        for keep in ("one", -1, 0, 99, None, [1]):
            assert "choices" in await forwarded(second, allod_keep=keep)
    assert len(kept(snapshots)) <= 2, "99 is all there are"


def test_a_raw_body_loses_what_only_allod_understands() -> None:
    path = "/v1/chat/completions"
    body = b'{"messages": [{"a": 1}, {"b": "x"}], "allod_keep": 1, "n": 2}'
    bare, keep = without_keep(path, body)
    assert (json.loads(bare), keep) == ({"messages": [{"a": 1}, {"b": "x"}], "n": 2}, 1)
    fields, beginning = messages_of(bare, 1)
    assert beginning == b'"messages":[{"a": 1}' and json.loads(bytes(fields["messages"][1])) == {"b": "x"}
    assert without_keep("/v1/completions", body) == (bare, 0)
    for other in (b"", b"[", b'["allod_keep"]', b'{"messages": 7, "allod_keep": 1}', b'{"allod_keep": "x"}', b"\xff"):
        assert without_keep(path, other) == (other, 0)
    assert without_keep(path, b'{"allod_keep": 3}') == (b"{}", 0)


@pytest.mark.anyio
async def test_a_native_server_has_it_too(begin: Begin, snapshots: Snapshots, tmp_path: Path) -> None:
    binary = tmp_path / "llama-server"
    script = Path(__file__).with_name("llama_server.py")
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    binary.chmod(0o755)
    async with begin(binary=str(binary)) as first:
        text = (await said(first))[0]
    (path,) = await written(snapshots)
    async with begin(binary=str(binary)) as second:
        assert await said(second) == (text, 0) or (await said(second))[1] > 100
        os.utime(path, (1, 1))
    binary.write_text(f'#!/bin/sh\n# another build\nexec {sys.executable} {script} "$@"\n')
    async with begin(binary=str(binary)) as third:
        await said(third)
    assert len(await written(snapshots, 2)) == 2 and path.stat().st_mtime == 1, "another build reads its own only"


@pytest.mark.anyio
async def test_leaving_while_it_is_computed(
    begin: Begin, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begin(slots=1) as runner:
        begun = asyncio.Event()
        compute = runner.compute

        async def computing(slot: int, tokens: list[int], lora: Any) -> None:
            begun.set()
            await compute(slot, tokens, lora)

        monkeypatch.setattr(runner, "compute", computing)
        task = asyncio.create_task(said(runner))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        begun.clear()
        text, cached = await said(runner)
        assert text and cached > 100 and begun.is_set(), "what the slot holds was not taken for granted"
    await written(snapshots)


# ── what must not be read ───────────────────────────────────────────────────────────────────────────────────────────


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut within the header": lambda data: data[:50],
    "cut": lambda data: data[: len(data) // 2],
    "cut by a byte": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "another magic": lambda data: flip(data, 0),
    "another key": lambda data: flip(data, 10),
    "a bit of its tokens": lambda data: flip(data, HEADER.size + 20),
    "a bit of its end": lambda data: flip(data, len(data) - 1),
    "noise": lambda data: os.urandom(len(data)),
    "llama.cpp's own": lambda data: data[HEADER.size :],
}


@pytest.mark.anyio
async def test_a_broken_one_is_removed_and_never_shown_to_llama_cpp(
    begin: Begin, snapshots: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begin() as runner:
        text = (await said(runner))[0]
        (path,) = await written(snapshots)
        good = path.read_bytes()
        for name, broken in BROKEN.items():
            path.write_bytes(broken(good))
            assert snapshots.fetch(KEY) is None and path.exists(), "another key's"
            assert snapshots.fetch(snapshots.key) is None, name
            assert not path.exists() and not list(snapshots.work.iterdir()), name
    path.write_bytes(BROKEN["cut"](good))
    async with begin() as again:
        done = counted(again, monkeypatch)
        assert (await said(again))[0] == text and done == ["compute", "save"]
    assert (await written(snapshots))[0].read_bytes() == good, "it was written anew"


@pytest.mark.anyio
async def test_one_that_llama_cpp_refuses_is_removed(
    begin: Begin, snapshots: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with begin() as runner:
        text = (await said(runner))[0]
        (path,) = await written(snapshots)
        key = snapshots.key
    (snapshots.work / "false").write_bytes(b"not llama.cpp's at all" * 9)
    assert snapshots.store(key, "false") and snapshots.path(key) == path
    async with begin() as again:
        done = counted(again, monkeypatch)
        assert (await said(again))[0] == text and done == ["restore", "compute", "save"]
    await written(snapshots)


@pytest.mark.parametrize(
    "other",
    [
        {"engine": "e 2"},
        {"weights": ("sha256:" + "c" * 64,)},
        {"adapters": (("sha256:1", 1.0),)},
        {"adapters": (("sha256:1", 0.5),)},
        {"context": 2048},
        {"slots": 1},
        {"batch": 64},
        {"ubatch": 64},
        {"gpu_layers": 0},
        {"tokens": "1" * 64},
    ],
)
def test_everything_that_matters_is_in_the_key(snapshots: Snapshots, other: dict[str, Any]) -> None:
    key = structs.replace(KEY, **other)
    assert key.digest() != KEY.digest() and snapshots.path(key) != snapshots.path(KEY)
    (snapshots.work / "one").write_bytes(b"of one")
    assert snapshots.store(KEY, "one")
    shutil.copy(snapshots.path(KEY), snapshots.path(key))
    assert snapshots.fetch(key) is None, "a file under another's name"
    name = snapshots.fetch(KEY)
    assert name and (snapshots.work / name).read_bytes() == b"of one"


@pytest.mark.anyio
async def test_another_model_of_the_same_shape_has_its_own(begin: Begin, snapshots: Snapshots) -> None:
    async with begin() as one:
        await said(one)
    async with begin(digests=("sha256:" + "c" * 64,)) as other:
        assert (await said(other))[1] > 0
    assert len(await written(snapshots, 2)) == 2
    async with begin(digests=()) as unknown:
        assert (await said(unknown))[1] == 0, "nobody knows whose it would be"


@pytest.mark.anyio
async def test_adapters_never_mix(begin: Begin, snapshots: Snapshots, tmp_path: Path) -> None:
    one = "sha256:" + "1" * 64
    adapters = ((one, lora(tmp_path / "1.gguf", 1)),)
    asked = []
    for scale in (1.0, 0.0):
        request = job("Tell me about the sea.")
        request.options.max_tokens = 6
        request.adapters = [(one, scale)]
        asked.append(request)
    async with begin(None, adapters=adapters, slots=1) as plain:
        expected = [(await said(plain, structs.replace(request, keep=0)))[0] for request in asked]
    assert expected[0] != expected[1]
    async with begin(adapters=adapters, slots=1) as first:
        assert [(await said(first, request))[0] for request in asked] == expected
    assert len(await written(snapshots, 2)) == 2
    async with begin(adapters=adapters, slots=1) as second:
        for request, text in zip([*asked, *asked], expected * 2, strict=True):
            assert (await said(second, request))[0] == text
    async with begin(adapters=adapters, slots=1) as third:
        assert (await said(third, asked[1]))[1] > 100, "a fresh slot that never had these adapters"


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def put(snapshots: Snapshots, number: int, size: int, used: float) -> Key:
    key = structs.replace(KEY, context=number)
    (snapshots.work / "x").write_bytes(bytes(size))
    snapshots.store(key, "x")
    if snapshots.path(key).exists():
        os.utime(snapshots.path(key), (used, used))
    return key


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, 4000 + 4 * HEADER.size)
    assert snapshots.prepare()
    now = time.time()
    keys = [put(snapshots, n, 1000, now - 100 + n) for n in range(4)]
    assert snapshots.fetch(keys[0]), "used, so it is the youngest now"
    put(snapshots, 9, 1000, now)
    assert [snapshots.path(key).exists() for key in keys] == [True, False, True, True]
    put(snapshots, 10, 3000, now)
    assert len(kept(snapshots)) == 2 and sum(path.stat().st_size for path in kept(snapshots)) <= snapshots.limit
    big = put(snapshots, 11, 9000, now)
    assert not snapshots.path(big).exists() and len(kept(snapshots)) == 2, "one too large drives nobody out"


def test_what_a_killed_process_left_is_cleared(snapshots: Snapshots) -> None:
    old, young = snapshots.work / "old", snapshots.work / "young"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - FORGOTTEN - 1,) * 2)
    assert snapshots.prepare()
    assert young.exists() and not old.exists()


def test_a_folder_that_cannot_be_made(home: Home) -> None:
    home.cache.parent.mkdir(parents=True, exist_ok=True)
    home.cache.write_text("a file where the folder should be")
    assert Snapshots.open(home) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(home: Home) -> None:
    home.folder("snapshots/work", "cache").chmod(0o500)
    assert Snapshots.open(home) is None


def test_the_setting(home: Home) -> None:
    for text, limit in (("0", None), ("1GiB", 1 << 30), ("2GB", 2 * 10**9)):
        home.settings.engine.snapshots = text
        opened = Snapshots.open(home)
        assert (opened and opened.limit) == limit
    home.settings.engine.snapshots = "much"
    with pytest.raises(BadSettings, match=r"engine\.snapshots"):
        Engine(home)


@pytest.mark.anyio
async def test_a_full_disk_is_left_alone(begin: Begin, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.reserve = 1 << 60
    async with begin() as runner:
        done = counted(runner, monkeypatch)
        assert (await said(runner))[0] and done == []
    assert not kept(snapshots)


@pytest.mark.anyio
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
async def test_a_disk_that_fills_up_costs_nothing_but_the_snapshot(
    begin: Begin, snapshots: Snapshots, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING)
    async with begin() as runner:
        resource.prlimit(runner.child.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))  # its writes fail from there on
        done = counted(runner, monkeypatch)
        text, cached = await said(runner)
        assert text and cached > 100 and runner.alive
        await said(runner, job("Another question, in another slot."))
        assert (await answered(runner.chat(job("And one with another beginning.", keep=2))))[0]
    assert done.count("save") == 1, "it was tried once"
    assert len(caplog.records) == 1 and "not kept" in caplog.text and "full" in caplog.text
    assert not kept(snapshots) and not list(snapshots.work.iterdir())


@pytest.mark.anyio
async def test_a_folder_that_vanishes(begin: Begin, snapshots: Snapshots, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with begin() as runner:
        shutil.rmtree(snapshots.folder)
        assert (await said(runner))[0]
        assert runner.alive
    assert len(caplog.records) <= 1


# ── who has none ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_a_short_beginning_is_not_worth_it(begin: Begin, snapshots: Snapshots) -> None:
    request = ask("Hi")
    request.keep = 1
    async with begin() as runner:
        await said(runner, request)
        request.messages = [Message("assistant", "odd"), Message("tool", "odder")]
        await said(runner, request)
    assert not kept(snapshots)


@pytest.mark.anyio
async def test_a_model_that_sees_has_none(begin: Begin, snapshots: Snapshots, tmp_path: Path) -> None:
    async with begin(projector=projector(tmp_path / "eye.gguf")) as runner:
        assert runner.facts.vision and (await said(runner))[0]
    assert not kept(snapshots)


@pytest.mark.anyio
async def test_the_engine_keeps_them_in_the_cache_folder(smollm2_home: Home) -> None:
    folder = smollm2_home.cache / "snapshots"
    options = structs.replace(SMALL, context=1024)
    found = []
    for setting in ("0", "2GB", "2GB"):
        smollm2_home.settings.engine.snapshots = setting
        async with Engine(smollm2_home) as engine, engine.lease("smollm2:135m", options) as runner:
            assert isinstance(runner, LlamaRunner)
            found.append(await said(runner))
        assert len(list(folder.glob("*.snapshot"))) == (setting != "0")
    assert found[0][1] == 0 and found[2][1] > 100
    assert found[1] == found[2]


def test_slots_tell_what_they_held() -> None:
    slots = Slots(1)
    slots.take(b"the beginning and one end")
    assert not slots.held(0, b"the beginning")
    slots.release(0)
    slots.take(b"the beginning and another")
    assert slots.held(0, b"the beginning") and not slots.held(0, b"the beginning and another")
    slots.forget(0)
    slots.release(0)
    slots.take(b"the beginning again")
    assert not slots.held(0, b"the beginning")
