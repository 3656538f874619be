"""Prefixes: the beginning that many conversations share is computed once, kept on disk, and put back into slots.

    prefixes = Prefixes(snapshots, child, key)    # of one loaded model
    await prefixes.ready(slot, body, keep)        # then the request itself; llama.cpp finds its beginning in the slot

What is kept is the first ``keep`` messages as the model's template renders them, up to where the next message's text
begins, less a few tokens that could turn out differently with what follows. Nothing of the rest of a conversation
reaches the disk: the prefix is computed by itself and saved before the request goes on, which costs a hundredth of
computing it, where taking it out of an answered conversation would cost that conversation its own cache. Requests that
come meanwhile with the same prefix wait, and then read it, rather than compute it side by side.

llama.cpp compares tokens itself and uses of a slot only what is equal, so a prefix that was cut wrongly costs time, not
truth. What goes wrong here is never the answer's trouble: it is computed as ever.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from struct import pack
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from allod.engine.habits import LONG
from allod.engine.slots import prompt_of
from allod.engine.snapshots import Key, Snapshots
from allod.engine.wire import KEEP
from allod.errors import AllodError, EngineFailed

LEAST = 64  # tokens; fewer are computed sooner than read
SEAM = 4  # tokens at a prefix's end that may merge with what follows
MARK = "ALLOD-7d1f0c"  # stands for the next message's text
REST = 600.0  # seconds after a failure to save
KNOWN = 32  # prefixes whose tokens are remembered
REMEMBERED = 1024  # of which it is remembered that they are on disk
KEEP_KEY = b'"%s"' % KEEP.encode()  # a quote within a JSON text is escaped, so this is a key, or a whole text
CHAT = ("/v1/chat/completions",)
ROLES = (b'"system"', b'"developer"')
T = TypeVar("T")


class Rendered(Struct):
    """The reply of ``/apply-template``."""

    prompt: str


class Saved(Struct):
    """The reply of ``/slots/N?action=save``."""

    n_saved: int = 0
    n_written: int = 0


class Restored(Struct):
    """The reply of ``/slots/N?action=restore``."""

    n_restored: int = 0


class Scale(Struct):
    """Of ``lora``."""

    id: int
    scale: float


class Process(Protocol):
    """What is asked of the model's process."""

    async def ask(self, path: str, body: Any, kind: type[T], method: str = "POST") -> T:
        """A request whose reply is one JSON value."""
        ...

    async def prompt_tokens(self, prompt: str) -> list[int]:
        """Token ids of a whole prompt."""
        ...

    async def compute(self, slot: int, tokens: list[int], lora: Any) -> None:
        """Has a slot hold just these tokens."""
        ...


class Prefixes:
    """The prefixes of one loaded model. ``key`` makes the key for tokens (their hash) and adapters' scales."""

    def __init__(self, snapshots: Snapshots, child: Process, key: Callable[[str, Mapping[int, float]], Key]) -> None:
        self._snapshots = snapshots
        self._child = child
        self._key = key
        self._tokens: OrderedDict[bytes, list[int]] = OrderedDict()
        self._safe: OrderedDict[bytes, None] = OrderedDict()  # that were read or saved, or could not be
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()  # of those at work
        self._work: set[asyncio.Task[None]] = set()
        self._resting = 0.0  # until then nothing is saved, as it did not work

    def unknown(self, body: Mapping[str, Any], keep: int) -> bool:
        """Whether this process has neither read nor saved the prefix of a request."""
        return name_of(body, keep) not in self._safe

    async def ready(self, slot: int, body: Mapping[str, Any], keep: int, save: bool = True) -> bool:
        """Has a slot hold the prefix of a request, read from disk or else, where it is to be saved, computed; whether
        it does."""
        name = name_of(body, keep)
        done = await self._ready(slot, name, body, keep, save)
        if done or save:  # what could not be saved now is not tried at every request
            self._safe[name] = None
            self._safe.move_to_end(name)
            if len(self._safe) > REMEMBERED:
                self._safe.popitem(last=False)
        return done

    async def _ready(self, slot: int, of: bytes, body: Mapping[str, Any], keep: int, save: bool) -> bool:
        """The same, without remembering it."""
        try:
            tokens = await self._prefix(of, body, keep)
            if len(tokens) < LEAST:
                return False
            key = self._key(sha256(pack(f"<{len(tokens)}i", *tokens)).hexdigest(), scales(body.get("lora")))
            lock = self._locks.setdefault(key, asyncio.Lock())
            await lock.acquire()
            release = lock.release
            try:
                if await self._restore(slot, key, tokens, body.get("lora")):
                    return True
                if not save or time.monotonic() < self._resting or not await asyncio.to_thread(self._snapshots.room):
                    return False
                await self._child.compute(slot, tokens, body.get("lora"))
                if (name := await self._saved(slot, len(tokens))) is not None:
                    self._later(self._store(key, name, lock.release))
                    release = nothing  # the others wait until it can be read
                return True
            finally:
                release()
        except (AllodError, msgspec.ValidationError):
            return False  # what it was the request itself will meet, if it matters

    async def close(self) -> None:
        """Returns when nothing is being written any more."""
        await asyncio.gather(*self._work)

    # ── which tokens ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _prefix(self, name: bytes, body: Mapping[str, Any], keep: int) -> list[int]:
        """The tokens that are the same whatever follows the first ``keep`` messages."""
        if name not in self._tokens:
            prompt = (await self._child.ask("/apply-template", opened(body, keep), Rendered)).prompt
            text, found, _ = prompt.rpartition(MARK)
            self._tokens[name] = (await self._child.prompt_tokens(text))[:-SEAM] if found else []
            if len(self._tokens) > KNOWN:
                self._tokens.popitem(last=False)
        self._tokens.move_to_end(name)
        return self._tokens[name]

    # ── in and out of the slot ──────────────────────────────────────────────────────────────────────────────────────

    async def _restore(self, slot: int, key: Key, tokens: list[int], lora: Any) -> bool:
        """Reads the prefix into a slot; whether there was one that llama.cpp took."""
        name = await self._fetched(key)
        if name is None:
            return False
        try:
            if lora:  # a slot that last worked with other adapters throws away what it holds
                await self._child.compute(slot, tokens[:1], lora)
            reply = await self._child.ask(f"/slots/{slot}?action=restore", {"filename": name}, Restored)
        except EngineFailed:
            self._snapshots.drop(key)  # should it be the file that ended the process, it does so once
            raise
        except AllodError:
            reply = Restored()
        finally:
            self._snapshots.remove(name)
        if reply.n_restored != len(tokens):
            await asyncio.to_thread(self._snapshots.drop, key)
            return False
        return True

    async def _fetched(self, key: Key) -> str | None:
        """A copy to read from; removed where nobody waits for it any more."""
        fetching = asyncio.ensure_future(asyncio.to_thread(self._snapshots.fetch, key))
        try:
            return await asyncio.shield(fetching)
        except asyncio.CancelledError:
            fetching.add_done_callback(lambda done: self._snapshots.remove(done.result() or ""))
            raise

    async def _saved(self, slot: int, count: int) -> str | None:
        """Writes what a slot holds into the work folder; the file's name, None where that failed."""
        name = self._snapshots.fresh()
        try:
            reply = await self._child.ask(f"/slots/{slot}?action=save", {"filename": name}, Saved)
            if reply.n_saved == count and reply.n_written:
                return name
            if not reply.n_written:
                self._complain("nothing was written; is the disk full?")
        except AllodError as error:
            self._complain(f"{error.message}; is the disk full?")
        except BaseException:
            self._snapshots.remove(name)
            raise
        self._snapshots.remove(name)
        return None

    async def _store(self, key: Key, name: str, done: Callable[[], None]) -> None:
        """Keeps what was saved."""
        try:
            await asyncio.to_thread(self._snapshots.store, key, name)
        except OSError as error:
            self._complain(error.strerror or str(error))
        finally:
            done()

    def _later(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _complain(self, reason: str) -> None:
        """Says so; nothing is saved for a while."""
        import logging  # here: seldom needed

        logging.getLogger("allod.engine").warning(
            "the beginning of the prompt is not kept in %s: %s", self._snapshots.folder, reason
        )
        self._resting = time.monotonic() + REST


def nothing() -> None:
    """Does nothing."""


def opened(body: Mapping[str, Any], keep: int) -> dict[str, Any]:
    """A chat body whose messages after the first ``keep`` are one that says MARK."""
    messages: list[Any] = body["messages"]
    role = "user"
    if keep < len(messages):
        message = messages[keep]
        if isinstance(message, msgspec.Raw):
            message = msgspec.json.decode(message)
        if isinstance(message, dict) and cast("dict[str, Any]", message).get("role") == "system":
            role = "system"
    rest = {name: value for name, value in body.items() if name in RENDERING}
    return rest | {"messages": [*messages[:keep], {"role": role, "content": MARK}]}


def name_of(body: Mapping[str, Any], keep: int) -> bytes:
    """What the beginning of a body is remembered by, with its adapters."""
    return sha256(msgspec.json.encode([opened(body, keep), body.get("lora")])).digest()


# What of a body a template may look at.
RENDERING = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "chat_template_kwargs", "model")


def without_keep(path: str, body: bytes) -> tuple[bytes, int]:
    """A raw body without what only allod understands, and that; what cannot be read is left for llama.cpp to refuse."""
    if KEEP_KEY not in body:
        return body, 0
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        keep = msgspec.json.decode(fields.pop(KEEP, b"0"), type=int)
        turns = msgspec.json.decode(fields.get("messages", b"[]"), type=list[msgspec.Raw])
    except msgspec.DecodeError:
        return body, 0
    return msgspec.json.encode(fields), keep if path in CHAT and turns else 0


def may_be_shared(path: str, body: bytes) -> bool:
    """Whether a raw body is one whose beginning others may have too, as far as can be told by looking at its bytes."""
    return path in CHAT and len(body) > LONG and any(role in body for role in ROLES)


def messages_of(body: bytes, keep: int) -> tuple[dict[str, Any], bytes]:
    """A raw body's fields, its messages one by one, and the text of the first ``keep`` as ``slots`` remembers it; no
    messages where it has none."""
    try:
        fields: dict[str, Any] = dict(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
        fields["messages"] = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
    except (msgspec.DecodeError, KeyError):  # llama.cpp will say so
        return {"messages": []}, b""
    prompt = prompt_of(body)
    end = prompt.find(b'"messages"')
    for turn in fields["messages"][:keep]:
        end = prompt.find(bytes(turn), end) + len(bytes(turn))
    return fields, prompt[:end]


def scales(lora: Any) -> dict[int, float]:
    """The adapters of a body: their number → how strongly they are applied."""
    if isinstance(lora, msgspec.Raw):
        lora = msgspec.json.decode(lora)
    entries = msgspec.convert(lora or [], list[Scale], strict=False)
    return {entry.id: entry.scale for entry in entries}
