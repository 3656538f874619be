"""Context and slots by memory; who goes first; threads by cores. Sums only, nothing is loaded."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from allod.engine.cores import cores
from allod.engine.instance import Instance, evictable, victims
from allod.engine.options import LoadOptions
from allod.engine.plan import Files, fitted, need, roomy, shrunk, speculates, to_load, wishes
from allod.errors import BadRequest
from allod.home import EngineSettings
from allod.models.gguf import read_header
from allod.models.store import Model

GB = 10**9


@pytest.fixture(scope="module")
def files(smollm2_path: Path) -> Files:
    return Files(smollm2_path, read_header(smollm2_path), smollm2_path.stat().st_size, None, 0, (), 0)


def model(**params: object) -> Model:
    return cast("Model", SimpleNamespace(params=params, name="m"))


def wish(
    files: Files, *, given: LoadOptions | None = None, settings: EngineSettings | None = None, **params: Any
) -> Any:
    return wishes(model(**params), files, given or LoadOptions(), settings or EngineSettings(), 4)


def test_the_request_goes_before_the_model_before_the_settings(files: Files) -> None:
    settings = EngineSettings(context=3000, slots=3, threads=3)
    assert (wish(files).context, wish(files).slots, wish(files).asked) == (8192, 4, False)
    w = wish(files, settings=settings)
    assert (w.context, w.slots, w.threads) == (3000, 3, 3)
    w = wish(files, settings=settings, num_ctx=2000, num_thread=2, num_batch=64, num_gpu=0)
    assert (w.context, w.threads, w.batch, w.gpu_layers) == (2000, 2, 64, 0)
    given = LoadOptions(context=1000, slots=1, threads=1, batch=32, gpu_layers=5)
    w = wish(files, given=given, settings=settings, num_ctx=2000, num_thread=2, num_batch=64, num_gpu=0)
    assert (w.context, w.slots, w.threads, w.batch, w.gpu_layers) == (1000, 1, 1, 32, 5)


@pytest.mark.parametrize("asked", [10_000, 10**9, 10**300])
def test_no_context_beyond_what_it_was_trained_for(files: Files, asked: int) -> None:
    assert wish(files, given=LoadOptions(context=asked)).context == 8192


def test_a_negative_context(files: Files) -> None:
    with pytest.raises(BadRequest):
        wish(files, given=LoadOptions(context=-5))


@pytest.mark.parametrize(("asked", "batch"), [(0, 0), (1, 32), (32, 32), (8192, 8192), (10**300, 8192)])
def test_a_batch_that_the_engine_can_take(files: Files, asked: int, batch: int) -> None:
    assert wish(files, num_batch=asked).batch == batch


def test_a_negative_batch(files: Files) -> None:
    with pytest.raises(BadRequest, match="a batch of -1"):
        wish(files, num_batch=-1)


def test_slots_as_memory_allows(files: Files) -> None:
    w = wish(files)
    one, two, four = (need(files, w, 8192, n).total for n in (1, 2, 4))
    assert one < two < four
    found = {room: fitted(files, w, room) for room in (4 * GB, four, four - 1, two, one, one - 1)}
    assert [plan and plan.slots for plan in found.values()] == [4, 4, 3, 2, 1, None]


def test_more_slots_where_their_cache_is_small(files: Files) -> None:
    w = wish(files)
    cache = need(files, w, 8192, 8).kv
    assert [roomy(files, w, room).slots for room in (16 * cache, 16 * cache - 16, 0)] == [8, 4, 4]
    assert roomy(files, wish(files, num_ctx=1024), 4 * GB).slots == 8
    for given in (LoadOptions(slots=4), LoadOptions(embedding=True)):
        assert roomy(files, wish(files, given=given), 1000 * GB).slots == 4
    assert roomy(files, wish(files, settings=EngineSettings(slots=4)), 1000 * GB).slots == 4


def test_less_context_where_memory_is_short_and_none_was_asked_for(files: Files) -> None:
    w = wish(files)
    room = need(files, w, 3000, 1).total
    small = shrunk(files, w, room)
    assert small and 2500 < small.context <= 3072 and fitted(files, small, room)
    assert shrunk(files, wish(files, given=LoadOptions(context=8192)), room) is None
    assert shrunk(files, w, files.weights) is None
    assert shrunk(files, w, 4 * GB) is w


def test_what_a_chat_model_is_loaded_with_for_vectors(files: Files) -> None:
    w = wish(files, given=LoadOptions(embedding=True, context=700))
    plan = fitted(files, w, 4 * GB)
    assert plan
    load = to_load("m", files, w, plan)
    assert (load.embedding, load.pooling, load.ubatch, load.reranking) == (True, "last", 700, False)
    assert load.batch >= 700


# ── who goes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def instance(size: int, idle: float, users: int = 0, state: str = "ready") -> Instance:
    made = SimpleNamespace(
        memory=size,
        last_used=time.monotonic() - idle,
        users=users,
        state=state,
    )
    return cast("Instance", made)


def test_the_longest_unused_goes_first_weighed_by_size() -> None:
    old, new, large, busy = instance(1, 500), instance(1, 5), instance(100, 50), instance(100, 5000, users=1)
    closing = instance(100, 9000, state="closing")
    assert evictable([busy, new, closing, old, large]) == [large, old, new, busy]


def test_no_more_go_than_have_to() -> None:
    small, large, other = instance(1, 900), instance(50, 100), instance(50, 1)
    assert victims([small, large, other], 0) == []
    assert victims([small, large, other], 1) == [small]
    assert victims([small, large, other], 50) == [large]
    assert victims([small, large, other], 51) == [small, large]
    assert victims([small, large, other], 1000) == [small, large, other]


# ── threads ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def machine(root: Path, siblings: list[str], quota: str = "max 100000") -> tuple[Path, Path]:
    for cpu, line in enumerate(siblings):
        folder = root / "cpus" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(line + "\n")
    (root / "group").mkdir()
    (root / "group" / "cpu.max").write_text(quota + "\n")
    return root / "cpus", root / "group"


@pytest.mark.parametrize(
    "siblings,allowed,quota,count",
    [
        (["0", "1", "2", "3"], {0, 1, 2, 3}, "max 100000", 4),
        (["0,2", "1,3", "0,2", "1,3"], {0, 1, 2, 3}, "max 100000", 2),
        (["0,2", "1,3", "0,2", "1,3"], {0, 2}, "max 100000", 1),
        (["0", "1", "2", "3"], {0, 1, 2, 3}, "250000 100000", 2),
        (["0", "1", "2", "3"], {0, 1, 2, 3}, "50000 100000", 1),
        (["0", "1"], {0, 1}, "nonsense", 2),
        ([], {0, 1, 2}, "max 100000", 3),
    ],
)
def test_physical_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, siblings: list[str], allowed: set[int], quota: str, count: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: allowed)
    assert cores(*machine(tmp_path, siblings, quota)) == count


def test_this_machine_has_some() -> None:
    assert cores() >= 1


def test_tokens_are_guessed_only_where_they_can_be_taken_back(files: Files, smollm2_path: Path) -> None:
    assert speculates(files)
    assert not speculates(msgspec.structs.replace(files, projector=smollm2_path))
    mixed = read_header(smollm2_path)
    mixed.metadata = mixed.metadata | {"llama.full_attention_interval": 4}
    assert not speculates(msgspec.structs.replace(files, gguf=mixed))
    assert wish(files).speculate
    assert not wish(files, given=LoadOptions(exact=True)).speculate
    assert not wish(files, settings=EngineSettings(speculate=False)).speculate
