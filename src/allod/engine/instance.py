"""One loaded model: its state, its users, when it goes. And which of several should go first.

Decides nothing by itself; the engine does, in one event loop.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from allod.engine.llama import LlamaRunner, resident
from allod.engine.options import FOREVER, LoadOptions
from allod.engine.plan import Plan, Wish
from allod.errors import AllodError
from allod.models.store import Model

Key = tuple[str, bool]  # the files that models can share (plan.Files.family); whether for embeddings
State = Literal["loading", "ready", "closing", "gone"]
TOLERANCE = 1.05  # of the memory reckoned with
NEVER = datetime(2318, 1, 1, tzinfo=UTC)  # what Ollama's clients take for never


class Instance:
    """A model that is loaded, or on its way in or out, with the adapters of others that are made on it."""

    def __init__(
        self, key: Key, model: Model, wish: Wish, plan: Plan, keep_alive: float, adapters: frozenset[str] = frozenset()
    ) -> None:
        self.key = key
        self.models = {str(model.name): model}  # those that use it, by name
        self.adapters = adapters  # digests
        self.wish = wish
        self.plan = plan
        self.keep_alive = keep_alive  # seconds after the last use
        self.state: State = "loading"
        self.runner: LlamaRunner | None = None
        self.error: AllodError | None = None
        self.users = 0
        self.draining = False  # takes no new users
        self.last_used = time.monotonic()
        self.ready = asyncio.Event()  # loaded, or failed
        self.gone = asyncio.Event()
        self.held = 0  # the most bytes that its process was seen to hold, file pages it shares included
        self.work: asyncio.Task[None] | None = None  # loads it, then watches over it
        self._timer: asyncio.TimerHandle | None = None

    def serves(self, key: Key, adapters: Iterable[str], wish: Wish, options: LoadOptions) -> bool:
        """Whether it can be had for that: the same model, large enough, loaded as it was explicitly asked for."""
        if self.key != key or self.draining or self.state not in ("loading", "ready"):
            return False
        if not self.adapters.issuperset(adapters):
            return False
        # One that had to be loaded with less than usual serves who asks for the usual: it would not get more.
        usual = not wish.asked and self.wish.context >= wish.context
        return (
            (self.plan.context >= wish.context or usual)
            and options.slots <= self.wish.slots
            and not (options.exact and self.wish.speculate)
            and options.shift == self.wish.shift
            and (not options.threads or self.wish.threads == wish.threads)
            and (not options.batch or self.wish.batch == wish.batch)
            and (options.gpu_layers < 0 or self.wish.gpu_layers == wish.gpu_layers)
        )

    # ── users ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def take(self, model: Model | None = None) -> None:
        """One user more; the clock stops."""
        if model:
            self.models[str(model.name)] = model
        self.users += 1
        self.last_used = time.monotonic()
        self._stop_clock()

    def release(self) -> None:
        """One user less."""
        self.users -= 1
        self.last_used = time.monotonic()

    def expire_after(self, seconds: float, call: Callable[[], None]) -> None:
        """Starts the clock."""
        self._stop_clock()
        if seconds != FOREVER:
            self._timer = asyncio.get_running_loop().call_later(seconds, call)

    def _stop_clock(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def expires_at(self) -> datetime:
        """When it would go if nobody came any more."""
        if self.keep_alive > 1e9:
            return NEVER
        since = 0.0 if self.users else time.monotonic() - self.last_used
        return datetime.now(UTC) + timedelta(seconds=self.keep_alive - since)

    # ── states ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def loaded(self, runner: LlamaRunner) -> None:
        """It answers."""
        self.runner = runner
        self.state = "ready"
        self.ready.set()

    def close(self) -> LlamaRunner:
        """It takes no requests any more; its runner is to be closed."""
        assert self.runner
        self.state = "closing"
        self.draining = True
        self._stop_clock()
        return self.runner

    def end(self, error: AllodError | None = None) -> None:
        """Its process is gone."""
        self.state = "gone"
        self.error = error
        self._stop_clock()
        self.ready.set()
        self.gone.set()

    # ── facts ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def context(self) -> int:
        """Tokens a slot, as the child says."""
        return self.runner.facts.context if self.runner else self.plan.context

    @property
    def pid(self) -> int:
        """The child's; 0 before there is one."""
        return self.runner.child.pid if self.runner else 0

    @property
    def memory(self) -> int:
        """Bytes it counts for: those that were reckoned with, or more if its process has been seen to hold more."""
        return max(self.plan.memory.total, self.held)

    def look(self) -> bool:
        """Sees what its process holds; whether that is, for the first time, well above what was reckoned with."""
        most = TOLERANCE * self.plan.memory.total
        before, self.held = self.held, max(self.held, resident(self.pid) if self.pid else 0)
        return before <= most < self.held

    def private_memory(self) -> int:
        """Bytes its process holds for itself; pages of the model's file are shared, and count as free elsewhere."""
        if not self.pid:
            return 0
        try:
            lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
        except (OSError, StopIteration):  # gone this moment, or a system without /proc
            return 0


def evictable(instances: Iterable[Instance]) -> list[Instance]:
    """Those that could go, in the order in which they should: idle before busy, then longest unused times largest."""
    now = time.monotonic()
    staying = [i for i in instances if i.state in ("loading", "ready")]
    return sorted(staying, key=lambda i: (i.users > 0, -(now - i.last_used + 1.0) * i.memory))


def victims(order: list[Instance], missing: int) -> list[Instance]:
    """The first of ``order`` that together free ``missing`` bytes, without those that turn out not to be needed."""
    chosen: list[Instance] = []
    for instance in order:
        if sum(i.memory for i in chosen) >= missing:
            break
        chosen.append(instance)
    for instance in list(chosen):
        rest = sum(i.memory for i in chosen) - instance.memory
        if rest >= missing:
            chosen.remove(instance)
    return chosen
