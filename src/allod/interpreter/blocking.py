"""The interpreter for programs without async.

    with Interpreter(folder=".", approve=lambda code: True) as interpreter:
        for event in interpreter.do("Total the invoices"):
            ...
        interpreter.apply()

A facade: an event loop in a thread of its own, on which an `AsyncInterpreter` works. Several work side by side, each
may be used and stopped from any thread. Leaving a loop over ``do`` early ends that job.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar

from allod.errors import BadRequest
from allod.home import Home
from allod.interpreter.attempt import Decision
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Code, Event
from allod.interpreter.interpreter import AsyncInterpreter, Leaser
from allod.interpreter.profiles import Profile
from allod.interpreter.workspace import Applied, Change

T = TypeVar("T")
Approve = Callable[[Code], Decision | bool | str]
Ask = Callable[[str, bool], str]


class Interpreter:
    """See `AsyncInterpreter` for the arguments. ``approve`` and ``ask`` are called in a thread of their own."""

    def __init__(
        self,
        folder: str | Path | None = None,
        model: str | None = None,
        profile: str | Profile | None = None,
        *,
        conversation: str = "",
        read: Sequence[str | Path] = (),
        folders: Sequence[str | Path] = (),
        net: Sequence[str] = (),
        packages: bool = False,
        approve: Approve | None = None,
        ask: Ask | None = None,
        auto: bool = False,
        unconfined: bool = False,
        seed: int | None = None,
        keep_alive: float | None = None,
        keep: bool = False,
        rest: float | None = None,
        home: Home | None = None,
        engine: Leaser | None = None,
    ) -> None:
        self._inner = AsyncInterpreter(
            folder,
            model,
            profile,
            conversation=conversation,
            read=read,
            folders=folders,
            net=net,
            packages=packages,
            approve=_aside(approve),
            ask=_aside(ask),
            auto=auto,
            unconfined=unconfined,
            seed=seed,
            keep_alive=keep_alive,
            keep=keep,
            rest=rest,
            home=home,
            engine=engine,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Makes the workspace. Nothing runs yet, and no model is loaded."""
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, args=(loop,), name="allod-interpreter", daemon=True)
        self._thread.start()
        try:
            self._wait(self._inner.open())
        except BaseException:
            self._end()
            raise

    @staticmethod
    def _turn(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def close(self) -> None:
        """Ends the session and a job that is going on; what was not applied is dropped."""
        if self._loop is None:
            return
        try:
            self._wait(self._closed())
        finally:
            self._end()

    async def _closed(self) -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == JOB:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
        await self._inner.close()

    def _end(self) -> None:
        loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        with contextlib.suppress(RuntimeError, TimeoutError):
            asyncio.run_coroutine_threadsafe(_shutdown(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs work on the loop; cancelled where the caller is interrupted."""
        if self._loop is None:
            work.close()
            raise BadRequest("the interpreter is not open", "Enter it first: `with Interpreter(…) as interpreter`.")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    # ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def do(
        self,
        task: str,
        *,
        files: Sequence[str | Path] = (),
        model: str = "",
        approve: Approve | None = None,
        ask: Ask | None = None,
    ) -> Generator[Event]:
        """Does one job; the last event is Ended.

        Raises:
            AllodError: the model cannot be used, a file cannot be read, or a job is going on.
        """
        events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()

        async def pump() -> None:
            work = self._inner.do(task, files=files, model=model, approve=_aside(approve), ask=_aside(ask))
            try:
                async with aclosing(work):
                    async for event in work:
                        events.put(event)
            except asyncio.CancelledError:
                events.put(BadRequest("the interpreter was closed", "Keep it open until the job's last event."))
                raise
            except BaseException as error:  # noqa: BLE001 - it is the caller's, in its own thread
                events.put(error)
            else:
                events.put(None)

        over = threading.Event()

        async def begin() -> asyncio.Task[None]:
            begun = asyncio.create_task(pump(), name=JOB)
            begun.add_done_callback(lambda _: over.set())
            return begun

        job = self._wait(begin())
        try:
            while (event := events.get()) is not None:
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            if self._loop is not None and not over.is_set():
                self._loop.call_soon_threadsafe(job.cancel)
            over.wait()

    def stop(self) -> None:
        """Ends the job that is going on, from any thread; it still tells its last events."""
        self._wait(self._inner.stop())

    # ── the rest of it ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def conversation(self) -> Conversation:
        """What was said, in the database; its ``id`` resumes it."""
        return self._inner.conversation

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self._inner.folder

    def changes(self) -> tuple[Change, ...]:
        """The files that are not as they were. Nothing of it is in the folder yet."""
        return self._wait(self._inner.changes())

    def apply(self, paths: Sequence[str] | None = None, *, overwrite: bool = False) -> Applied:
        """Writes the changes into the folder: all, or those at or below ``paths``. All or nothing; undoable."""
        return self._wait(self._inner.apply(paths, overwrite=overwrite))

    def discard(self) -> None:
        """Drops what was not applied."""
        self._wait(self._inner.discard())

    def undo(self, *, overwrite: bool = False) -> Applied:
        """Takes back what this interpreter applied last."""
        return self._wait(self._inner.undo(overwrite=overwrite))


JOB = "allod-job"


async def _shutdown() -> None:
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def _aside(call: Callable[..., T] | None) -> Callable[..., Coroutine[Any, Any, T]] | None:
    """A callback that may block, for the loop."""
    if call is None:
        return None

    async def asked(*arguments: Any) -> T:
        return await asyncio.to_thread(call, *arguments)

    return asked
