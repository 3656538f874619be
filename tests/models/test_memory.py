"""Memory: the sum against a process that runs, the terms against hand arithmetic, limits against made-up systems."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny

from allod.errors import BadGGUF, BadSettings
from allod.models.gguf import GGUF, read_header
from allod.models.memory import (
    Shape,
    available,
    estimate,
    human,
    largest_context,
    parse_bytes,
    repacked_bytes,
    too_large,
)

K = 1024
LLAMA = {**tiny.LLAMA, "llama.context_length": 8192}


def header(tmp_path: Path, metadata: dict[str, Any], tensors: Any = tiny.TENSORS) -> GGUF:
    return read_header(tiny.write(tmp_path / "x.gguf", metadata, tensors))


def kv(gguf: GGUF, context: int, slots: int = 1, cache_bytes: float = 2) -> int:
    return estimate(gguf, 0, context, slots, cache_bytes=cache_bytes).kv


# ── terms ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_grouped_heads(tmp_path: Path) -> None:
    gguf = header(tmp_path, LLAMA)  # 2 layers, 2 of 4 heads for K and V, 16 values a head
    token = 2 * 2 * (16 + 16)
    assert kv(gguf, 4 * K) == 2 * token * 4 * K
    assert kv(gguf, 4 * K, slots=3) == 3 * 2 * token * 4 * K
    assert kv(gguf, 4 * K, cache_bytes=34 / 32) == token * 4 * K * 34 // 32
    assert kv(gguf, 100) == 2 * token * 256  # a slot's context is rounded up to 256
    assert gguf.kv_bytes_per_token == 2 * token


def test_heads_that_differ_by_layer(tmp_path: Path) -> None:
    gguf = header(tmp_path, {**LLAMA, "llama.block_count": 4, "llama.attention.head_count_kv": [1, 2, 4, 1]})
    assert kv(gguf, 1 * K) == 2 * (1 + 2 + 4 + 1) * 32 * K


def test_key_and_value_lengths(tmp_path: Path) -> None:
    gguf = header(tmp_path, {**LLAMA, "llama.attention.key_length": 192, "llama.attention.value_length": 128})
    assert kv(gguf, 1 * K) == 2 * 2 * 2 * (192 + 128) * K


def test_no_group_means_every_head(tmp_path: Path) -> None:
    metadata = {key: value for key, value in LLAMA.items() if not key.endswith("head_count_kv")}
    assert kv(header(tmp_path, metadata), 1 * K) == 2 * 2 * 4 * 32 * K


GEMMA3 = {
    "general.architecture": "gemma3",
    "gemma3.block_count": 12,
    "gemma3.embedding_length": 64,
    "gemma3.attention.head_count": 4,
    "gemma3.attention.head_count_kv": 1,
    "gemma3.attention.key_length": 16,
    "gemma3.attention.value_length": 16,
    "gemma3.attention.sliding_window": 512,
}


def test_sliding_windows(tmp_path: Path) -> None:
    gguf = header(tmp_path, GEMMA3)  # every sixth layer sees everything
    assert kv(gguf, 8 * K) == 2 * 32 * (2 * 8 * K + 10 * (512 + 512))
    assert kv(gguf, 512) == 2 * 32 * 12 * 512  # never more than the context
    said = [True] * 3 + [False] * 9
    gguf = header(tmp_path, {**GEMMA3, "gemma3.attention.sliding_window_pattern": said})
    assert kv(gguf, 8 * K) == 2 * 32 * (9 * 8 * K + 3 * (512 + 512))


def test_a_window_that_llama_cpp_ignores_is_ignored(tmp_path: Path) -> None:
    gguf = header(tmp_path, {**LLAMA, "llama.attention.sliding_window": 512})
    assert kv(gguf, 8 * K) == kv(header(tmp_path, LLAMA), 8 * K)


def test_layers_with_a_state_instead_of_a_cache(tmp_path: Path) -> None:
    hybrid = {
        **LLAMA,
        "llama.block_count": 4,
        "llama.attention.head_count_kv": [0, 0, 2, 0],
        "llama.ssm.conv_kernel": 4,
        "llama.ssm.inner_size": 128,
        "llama.ssm.state_size": 16,
        "llama.ssm.group_count": 1,
    }
    state = 3 * (128 + 2 * 16) + 16 * 128
    gguf = header(tmp_path, hybrid)
    assert kv(gguf, 1 * K) == 2 * 2 * 32 * K + 4 * 3 * state
    assert kv(gguf, 8 * K) - kv(gguf, 4 * K) == 2 * 2 * 32 * 4 * K
    interval = {**hybrid, "llama.attention.head_count_kv": 2, "llama.full_attention_interval": 4}
    assert kv(header(tmp_path, interval), 1 * K) == kv(gguf, 1 * K)


def test_copies_in_the_cpu_s_order(tmp_path: Path) -> None:
    tensors = [("token_embd.weight", (64, 40), 1), ("blk.0.a.weight", (64, 16), 1), ("blk.0.b.weight", (64, 12), 1)]
    gguf = header(tmp_path, LLAMA, tensors)
    q4 = tuple(type(t)(t.name, t.shape, 2, t.offset) for t in gguf.tensors)
    gguf.tensors = q4
    assert repacked_bytes(gguf, "x86_64") == 64 * 16 // 32 * 18  # not the embeddings, not 12 rows
    assert repacked_bytes(gguf, "s390x") == 0
    assert estimate(gguf, 1000, K, mapped=False).copies == 0


def test_experts_and_projectors(tmp_path: Path) -> None:
    dense = estimate(header(tmp_path, LLAMA), 0, K)
    experts = {**LLAMA, "llama.expert_used_count": 8, "llama.expert_feed_forward_length": 128}
    assert estimate(header(tmp_path, experts), 0, K).compute > dense.compute
    seeing = estimate(header(tmp_path, LLAMA), 0, K, projector_bytes=1000)
    assert seeing.total == dense.total + seeing.projector > dense.total + 1000


def test_the_sum(tmp_path: Path) -> None:
    need = estimate(header(tmp_path, LLAMA), 10**9, 4 * K, 2)
    assert need.total == sum(count for _, count in need.terms())
    lines = need.lines()
    assert lines[0].split() == ["weights", "1.0", "GB"]
    assert lines[-1].split() == ["total", *human(need.total).split()]
    assert "cache for 2 slots of 4096 tokens" in need.sum()
    assert need.fits(need.total)
    assert not need.fits(need.total - 1)
    error = too_large("big", need, 500_000_000, 1024)
    assert error.message == f"big needs {need.sum()}, but 500 MB are free"
    assert "1024 tokens" in error.remedy


def test_the_largest_context(tmp_path: Path) -> None:
    gguf = header(tmp_path, LLAMA)
    for slots in (1, 4):
        need = estimate(gguf, 10**8, 4 * K, slots)
        assert largest_context(gguf, 10**8, need.total, slots) == 4 * K
        assert largest_context(gguf, 10**8, need.total - 1, slots) == 4 * K - 256
    assert largest_context(gguf, 10**8, 1 << 40) == 8 * K  # what it was trained for
    assert largest_context(gguf, 10**8, 10**8) == 0


def test_headers_that_tell_nothing_or_nonsense(tmp_path: Path) -> None:
    need = estimate(header(tmp_path, {}), 1000, K)
    assert (need.weights, need.kv) == (1000, 0)
    with pytest.raises(BadGGUF, match="layers"):
        Shape.of(header(tmp_path, {**LLAMA, "llama.block_count": ("u64", 2**40)}))


# ── a process that runs ─────────────────────────────────────────────────────────────────────────────────────────────

WORKER = """
import json, os, sys, urllib.request
import xllamacpp as x
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 0
p.warmup = p.fit_params = False
p.cache_ram_mib = 0
p.verbosity = -1
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 2
server = x.Server(p)
body = {"prompt": [i % 40000 + 100 for i in range(600)], "n_predict": 2}
url = server.listening_address + "/completion"
data = json.dumps(body).encode()
urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"})).read()
print("ready", flush=True)
sys.stdin.read()
os._exit(0)
"""


@pytest.mark.parametrize(("context", "slots"), [(2 * K, 1), (8 * K, 1), (2 * K, 4)])
def test_smollm2_takes_what_the_sum_says(smollm2_path: Path, context: int, slots: int) -> None:
    """A little less than the sum, and at most a tenth."""
    command = [sys.executable, "-c", WORKER, str(smollm2_path), str(context * slots), str(slots)]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        real = psutil.Process(process.pid).memory_info().rss
    finally:
        process.communicate("")
    need = estimate(read_header(smollm2_path), smollm2_path.stat().st_size, context, slots)
    assert 0.9 * need.total <= real <= need.total, f"really {human(real)}, not {need.sum()}"


# ── what there is ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("6GB", 6_000_000_000),
        ("6 gib", 6 << 30),
        ("1.5G", 1_500_000_000),
        ("500M", 500_000_000),
        ("123", 123),
        ("0", 0),
        (" 2TB ", 2 * 10**12),
    ],
)
def test_amounts(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "much", "-6GB", "6XB", "6GBB", "nan", "9" * 50, "6 G B", "50%"])
def test_wrong_amounts(text: str) -> None:
    with pytest.raises(BadSettings, match=r"engine\.memory"):
        parse_bytes(text)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GB free; proc and cgroup files are put beside."""
    monkeypatch.setattr("allod.models.ram.system_available", lambda: 8_000_000_000)
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path


def put(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def free(system: Path, limit: str = "") -> int:
    return available(limit, system / "proc", system / "cgroup")


def test_the_machine_and_the_setting(system: Path) -> None:
    assert free(system) == 8_000_000_000
    assert free(system, "6GB") == 6_000_000_000
    assert free(system, "16GB") == 8_000_000_000


def test_control_groups_version_2(system: Path) -> None:
    put(system / "proc" / "self", cgroup="0::/user/session")
    stat = "anon 500\ninactive_file 300\nfile 900"
    put(system / "cgroup" / "user" / "session", memory__max="max", memory__current=5, memory__stat=stat)
    assert free(system) == 8_000_000_000
    put(system / "cgroup" / "user", memory__max=4000, memory__current=1000, memory__stat=stat)
    assert free(system) == 4000 - 1000 + 300  # a parent's limit counts; caches can be given back
    put(system / "cgroup" / "user", memory__current=9000)
    assert free(system) == 0


def test_control_groups_version_1(system: Path) -> None:
    put(system / "proc" / "self", cgroup="5:cpu:/x\n4:memory:/docker/abc\n0::/")
    put(
        system / "cgroup" / "memory",  # in a container the host's path is not there
        memory__limit_in_bytes=5000,
        memory__usage_in_bytes=2000,
        memory__stat="total_inactive_file 100",
    )
    assert free(system) == 5000 - 2000 + 100
    put(system / "cgroup" / "memory", memory__limit_in_bytes=9223372036854771712)
    assert free(system) == 8_000_000_000


def test_files_that_cannot_be_read(system: Path) -> None:
    put(system / "proc" / "self", cgroup="nonsense\n::::\n0::/../../etc")
    put(system / "cgroup", memory__max="x", memory__current="")
    assert free(system) == 8_000_000_000


def test_this_machine() -> None:
    assert 0 < available() <= psutil.virtual_memory().total
