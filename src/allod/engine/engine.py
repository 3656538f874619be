"""Engine: which models are loaded, for whom, and for how long.

    async with Engine(home, store) as engine:
        async with engine.lease("smollm2") as runner:
            async for chunk in runner.chat(request): ...

A lease holds a model in memory; while one is held the model is never evicted. Requests for the same model share one
load and its slots, and so do models on the same weights, each with its own adapters. What does not fit beside what is
loaded waits, in arrival order, until idle models have made room; what would not fit even alone is refused with the
arithmetic. A model that crashed is loaded anew by the next lease.

The state of one loaded model is ``instance.Instance``; the sums are ``plan``'s. All of this runs in one event loop, so
between two awaits nothing changes; ``_pump`` is what looks at the whole after every change.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import datetime
from typing import Any, Self

from msgspec import Struct, structs

from allod.engine import pressure
from allod.engine.child import Child
from allod.engine.instance import Instance, Key, evictable, victims
from allod.engine.llama import LlamaRunner, Load
from allod.engine.options import LoadOptions, keep_alive_seconds
from allod.engine.plan import (
    Files,
    Plan,
    Wish,
    examine,
    fitted,
    fitting_context,
    need,
    roomy,
    shrunk,
    to_load,
    wishes,
    with_siblings,
)
from allod.engine.runner import Runner
from allod.engine.snapshots import Snapshots
from allod.engine.turns import Queue
from allod.errors import AllodError, EngineFailed, ModelNotFound
from allod.home import Home
from allod.models.memory import available, free_swap, human, parse_bytes, too_large
from allod.models.overrides import Overrides
from allod.models.resolve import resolve
from allod.models.store import Model, Store

log = logging.getLogger("allod.engine")

SLOTS = 4  # requests at once a model, where memory allows; twice as many where they take little of it
CRASHES, CRASH_SPAN = 3, 60.0  # so many within so many seconds, and it is not started again for a while


class Running(Struct, frozen=True):
    """One loaded model, as ``allod ps`` shows it. Sizes in bytes, ``context`` in tokens a slot."""

    name: str
    digest: str
    size: int
    size_vram: int
    context: int
    slots: int
    expires_at: datetime  # UTC; centuries away: for ever
    in_use: int  # leases
    pid: int


class Waiter:
    """A lease that has no instance yet."""

    def __init__(self, model: Model, files: Files, wish: Wish, options: LoadOptions) -> None:
        self.model = model
        self.files = files
        self.wish = wish
        self.options = options
        self.key: Key = (files.family, wish.embedding)
        self.whole: Files | None = None  # with the adapters of its siblings, once it is to be loaded
        self.given: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()


class Engine:
    """The models of one process.

    Args:
        slots: requests at once a model, where neither the request nor the settings say; 0: four, or eight.
        spare: a child that was started before there was an engine, for the first load.
    """

    def __init__(
        self,
        home: Home,
        store: Store | None = None,
        *,
        slots: int = 0,
        spare: asyncio.Task[Child] | None = None,
    ) -> None:
        self.home = home
        self.store = store or Store(home.models)
        self.settings = home.settings.engine
        self.overrides = Overrides(home)
        self.queue = Queue(self.settings.queue)
        self._slots = slots
        self._keep_alive = keep_alive_seconds(self.settings.keep_alive)
        self._limit = parse_bytes(self.settings.memory) if self.settings.memory else None
        self._snapshots = Snapshots.open(home)
        self._instances: list[Instance] = []
        self._waiters: deque[Waiter] = deque()
        self._files: dict[str, Files] = {}
        self._crashes: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=CRASHES))
        self.counts: Counter[str] = Counter()  # what happened, for whoever watches
        self._tasks: set[asyncio.Task[None]] = set()
        self._spare = spare
        self._watch: asyncio.Task[None] | None = None  # while anything is loaded
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def lease(
        self, model: str | Model, options: LoadOptions | None = None, keep_alive: float | None = None
    ) -> AsyncGenerator[Runner]:
        """A loaded model for the time of the ``async with``. Do not lease a second model within: they may not fit.

        Args:
            model: a name, or a model of the store.
            options: how to load it; a loaded one that is large enough is taken as it is.
            keep_alive: seconds it stays loaded afterwards, negative for ever; None: as the settings say.

        Raises:
            ModelNotFound, BadName: no such model.
            Busy: too many are waiting.
            TooLarge: it does not fit; the message has the sum.
            EngineFailed, BadGGUF, Unsupported: it cannot be loaded.
        """
        seconds = None if keep_alive is None else keep_alive_seconds(keep_alive)
        self._check_open()
        await self._prepare()
        known = self.overrides.over(self._resolve(model) if isinstance(model, str) else model)
        files = self._examine(known)
        instance = await self._acquire(known, files, options or LoadOptions())
        try:
            assert instance.runner
            yield instance.runner.named(str(known.name), tuple(digest for digest, _ in files.adapters))
        finally:
            self._release(instance, seconds)

    async def _acquire(self, model: Model, files: Files, options: LoadOptions) -> Instance:
        """An instance with one more user, ready."""
        self._check_crashes(model, files)
        own = self.overrides.of(model.name)
        settings = structs.replace(
            self.settings,
            slots=own.slots or self.settings.slots,
            speculate=self.settings.speculate if own.speculate is None else own.speculate,
        )
        waiter = Waiter(model, files, wishes(model, files, options, settings, self._slots or SLOTS), options)
        self._waiters.append(waiter)
        try:
            self._pump()
            first = waiter.given.done()
            with nullcontext() if first else self.queue.place():
                instance = await waiter.given
        except BaseException:
            if waiter.given.done() and not waiter.given.cancelled() and not waiter.given.exception():
                self._release(waiter.given.result(), None)
            raise
        finally:
            self._waiters.remove(waiter)
        try:
            with nullcontext() if first or instance.state == "ready" else self.queue.place():
                await instance.ready.wait()
            if instance.error:
                raise instance.error
            if not instance.adapters.issuperset(digest for digest, _ in files.adapters):
                raise EngineFailed(
                    f"the adapters of '{model.name}' could not be loaded", "Are they made for this model?"
                )
        except BaseException:
            self._release(instance, None)
            raise
        return instance

    def _resolve(self, name: str) -> Model:
        """The model a name means. The catalogue, with its default tags, is read only where the store does not know."""
        try:
            return resolve(name, self.store)
        except ModelNotFound:
            from allod.models.catalogue import Catalogue

            return resolve(name, self.store, Catalogue.load(self.home))

    def _examine(self, model: Model) -> Files:
        """A model's files; looked at once as long as it is loaded."""
        if model.digest not in self._files:
            self._files[model.digest] = examine(model, self.store)
        return self._files[model.digest]

    def _release(self, instance: Instance, keep_alive: float | None) -> None:
        """One user less; the last one starts the clock."""
        if keep_alive is not None:
            instance.keep_alive = keep_alive
        instance.release()
        if not instance.users and instance.state == "ready":
            if instance.draining or instance.keep_alive <= 0:
                self._unload(instance)
            else:
                instance.expire_after(instance.keep_alive, lambda: self._expired(instance))
        self._pump()

    def _expired(self, instance: Instance) -> None:
        if instance in self._instances and not instance.users:
            self._unload(instance)

    # ── what is done about those who wait ───────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        """Gives those who wait what they can have now, first come, first served.

        One who needs memory that is in use holds back the later ones who would need memory too, or who want a model
        that is on its way out for the first; the others go ahead.
        """
        held_back = False
        for waiter in list(self._waiters):
            if waiter.given.done():
                continue
            if instance := self._match(waiter):
                instance.take(waiter.model)
                waiter.given.set_result(instance)
            elif not held_back:
                try:
                    held_back = not self._load_for(waiter)
                except AllodError as error:
                    waiter.given.set_exception(error)

    def _match(self, waiter: Waiter) -> Instance | None:
        """An instance that serves, loaded or being loaded."""
        own = [digest for digest, _ in waiter.files.adapters]
        return next((i for i in self._instances if i.serves(waiter.key, own, waiter.wish, waiter.options)), None)

    def _load_for(self, waiter: Waiter) -> bool:
        """Starts a load if there is room, else makes some. Whether it is settled.

        Raises:
            TooLarge: there will never be room.
        """
        for instance in self._instances:
            if instance.key == waiter.key:
                self._drain(instance)  # it does not serve, or this would not be called
        capacity = self._capacity()
        waiter.whole = waiter.whole or with_siblings(waiter.files, self.store)
        files, asked = waiter.whole, waiter.wish
        wish = shrunk(files, asked if self._slots else roomy(files, asked, capacity), capacity)
        if wish is None:
            self.counts["refusal"] += 1
            sum_ = need(files, asked, asked.context, 1)
            raise too_large(f"'{waiter.model.name}'", sum_, capacity, fitting_context(files, asked, capacity))
        free = capacity - sum(i.memory for i in self._instances)
        if plan := fitted(files, wish, free):
            self._start(waiter, files, plan)
            return True
        wanted = need(files, wish, wish.context, 1).total
        coming = sum(i.memory for i in self._instances if i.state == "closing")
        for victim in victims(evictable(self._instances), wanted - free - coming):
            self.counts["eviction"] += not victim.draining
            self._drain(victim)
        return False

    def _capacity(self) -> int:
        """Bytes for all models together: what is free now and what they hold already."""
        held = sum(i.private_memory() for i in self._instances)
        total = available() + held
        return total if self._limit is None else min(total, self._limit)

    def _drain(self, instance: Instance) -> None:
        """Unloads it, at once or when its last user goes."""
        instance.draining = True
        if not instance.users and instance.state == "ready":
            self._unload(instance)

    # ── loading and unloading ───────────────────────────────────────────────────────────────────────────────────────

    async def _prepare(self) -> None:
        """Starts the first child before it is known what it shall load: it imports while we look."""
        if not self._instances and self._spare is None:
            self._spare = asyncio.create_task(Child.spawn(native=bool(self.settings.binary)))
            await asyncio.sleep(0)

    def _start(self, waiter: Waiter, files: Files, plan: Plan) -> None:
        """Begins to load; the waiter becomes its first user."""
        adapters = frozenset(digest for digest, _ in files.adapters)
        own = self.overrides.of(waiter.model.name).keep_alive
        keep_alive = keep_alive_seconds(own) if own else self._keep_alive
        instance = Instance(waiter.key, waiter.model, waiter.wish, plan, keep_alive, adapters)
        self._instances.append(instance)
        instance.take()
        waiter.given.set_result(instance)
        loads = [to_load(str(waiter.model.name), each, waiter.wish, plan) for each in (files, waiter.files)]
        spare, self._spare = self._spare, None
        instance.work = self._spawn(self._run(instance, loads, spare))
        if self._watch is None or self._watch.done():
            self._watch = self._spawn(self._watch_memory())

    async def _run(self, instance: Instance, loads: list[Load], spare: asyncio.Task[Child] | None) -> None:
        """An instance's life: it loads, serves, and ends by being unloaded or by itself."""
        try:
            runner = await self._loaded(instance, loads, await spare if spare else None)
        except AllodError as error:
            self.counts["load_failure"] += 1
            self._gone(instance, error)
            return
        except asyncio.CancelledError:
            self._gone(instance, EngineFailed("the engine is closing", "Start it again."))
            raise
        instance.loaded(runner)
        self.counts["load"] += 1
        if not instance.users:  # they all left while it loaded
            instance.take()
            self._release(instance, None)
        self._pump()
        await runner.child.wait()
        if instance.state == "ready":
            self._crashes[instance.key[0]].append(time.monotonic())
            self.counts["crash"] += 1
            runner.disconnect()
            self._gone(instance)

    async def _loaded(self, instance: Instance, loads: list[Load], child: Child | None) -> LlamaRunner:
        """The model with its siblings' adapters; without these, where one of them keeps it from loading."""
        together, alone = loads
        try:
            return await LlamaRunner.start(together, self.queue, child, self._snapshots)
        except EngineFailed:
            if together.adapters == alone.adapters:
                raise
        log.warning("%s loads only without the adapters of other models made on it", alone.name)
        instance.adapters = frozenset(digest for digest, _ in alone.adapters)
        return await LlamaRunner.start(alone, self.queue, None, self._snapshots)

    async def _watch_memory(self) -> None:
        """Lets models go while something else takes the memory."""
        while self._instances:
            await asyncio.sleep(pressure.EVERY)
            for each in self._instances:
                if each.look():
                    what, was = human(each.held), human(each.plan.memory.total)
                    log.warning("%s holds %s of memory, %s were reckoned with", next(iter(each.models)), what, was)
            free = available()
            instance = pressure.relief(self._instances, free, free_swap())
            if instance is None:
                continue
            name = next(iter(instance.models), instance.key[0])
            self.counts["pressure"] += 1
            log.warning("memory is short (%s left): %s is unloaded", human(free), name)
            if instance.users and instance.runner:
                await instance.runner.child.kill("was ended because memory ran out, with other programs taking it")
            else:
                self._unload(instance)

    def _unload(self, instance: Instance) -> None:
        """Kills its child; the memory is free when that is gone."""

        self.counts["unload"] += 1

        async def unload(runner: LlamaRunner) -> None:
            await runner.close()
            self._gone(instance)

        self._spawn(unload(instance.close()))

    def _gone(self, instance: Instance, error: AllodError | None = None) -> None:
        """Forgets it."""
        instance.end(error)
        if instance in self._instances:
            self._instances.remove(instance)
        if all(i.key[0] != instance.key[0] for i in self._instances):
            self._files = {digest: files for digest, files in self._files.items() if files.family != instance.key[0]}
        self._pump()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _check_open(self) -> None:
        if self._closed:
            raise EngineFailed("the engine is closed", "Start it again.")

    def _check_crashes(self, model: Model, files: Files) -> None:
        """Raises EngineFailed for a model that does nothing but crash."""
        times = self._crashes.get(files.family)
        if times and len(times) == CRASHES and time.monotonic() - times[0] < CRASH_SPAN:
            raise EngineFailed(
                f"'{model.name}' crashed {CRASHES} times within {CRASH_SPAN:.0f} seconds; it is not started for now",
                "Try again in a minute, with a smaller context or another build of the model.",
            )

    # ── looking and ending ──────────────────────────────────────────────────────────────────────────────────────────

    def running(self) -> list[Running]:
        """What is loaded now, the one used last first."""
        ready = [i for i in self._instances if i.state == "ready"]
        return [
            Running(
                name=name,
                digest=model.digest,
                size=i.memory,
                size_vram=0,
                context=i.context,
                slots=i.plan.slots,
                expires_at=i.expires_at(),
                in_use=i.users,
                pid=i.pid,
            )
            for i in sorted(ready, key=lambda i: -i.last_used)
            for name, model in i.models.items()
        ]

    def runners(self) -> list[tuple[str, LlamaRunner]]:
        """Every child that answers now, by the name of a model that uses it."""
        ready = [i for i in self._instances if i.state == "ready" and i.models]
        return [(next(iter(i.models)), i.runner) for i in ready if i.runner]

    async def unload(self, name: str) -> None:
        """Unloads a model by name, when its last user goes, unless others share its child. Returns where it is not
        loaded, too."""
        with suppress(AllodError):
            name = str(self._resolve(name).name)
        for instance in list(self._instances):
            if name in instance.models and instance.state in ("loading", "ready"):
                del instance.models[name]
                if not instance.models:
                    self._drain(instance)
        gone = [i for i in self._instances if i.state == "closing"]
        await asyncio.gather(*(i.gone.wait() for i in gone))

    async def close(self) -> None:
        """Ends every child, those that load too; who waits gets an error."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.given.done():
                waiter.given.set_exception(EngineFailed("the engine is closing", "Start it again."))
        for instance in self._instances:
            if instance.state == "ready":
                self._unload(instance)
            elif instance.state == "loading" and instance.work:
                instance.work.cancel()
        if self._spare:
            await (await self._spare).kill()
        if self._watch:
            self._watch.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
