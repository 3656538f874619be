"""LlamaRunner: one model in one llama.cpp child, from the parent's side.

    runner = await LlamaRunner.start(Load(name="smollm2:135m", model=path, context=8192, slots=4, threads=4))
    async for chunk in runner.chat(request): ...
    await runner.close()

It knows how the child is set up (``Load``) and llama.cpp's own paths; when and whether to load is the engine's.

A model with adapters gets an explicit list of them in every request: without one llama.cpp goes on with the KV cache
that another adapter left in the slot (seen in its launch_slot_with_task), and the answer is neither's.
"""

import asyncio
import copy
import os
import secrets
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from allod.chat import ChatChunk, ChatRequest, CompletionRequest, Embeddings
from allod.engine.child import Child
from allod.engine.connection import ConnectionLost, Pool
from allod.engine.fold import folded, folds
from allod.engine.habits import Habits
from allod.engine.http_runner import REPLY_LIMIT, HTTPRunner, encode, whole
from allod.engine.prefix import Prefixes, may_be_shared, messages_of, scales, without_keep
from allod.engine.props import Props
from allod.engine.runner import Answer, Facts
from allod.engine.slots import PINNED, prompt_of, with_slot
from allod.engine.snapshots import Key, Snapshots
from allod.engine.stream import CompletionReader
from allod.engine.turns import Queue, Turns
from allod.engine.wire import check_length, check_raw_length, completion_body
from allod.errors import BadRequest, EngineFailed, Unsupported

HEALTH_EVERY = 0.05  # seconds between looks at a native server that is loading


class Load(Struct, frozen=True, kw_only=True):
    """Everything a child is started with. ``context`` is in tokens a slot."""

    name: str
    model: Path
    context: int
    threads: int
    projector: Path | None = None
    adapters: tuple[tuple[str, Path], ...] = ()  # (digest, file)
    slots: int = 1
    batch: int = 0
    ubatch: int = 0
    gpu_layers: int = -1
    embedding: bool = False
    reranking: bool = False
    pooling: str = ""
    cache_mib: int = 0
    digests: tuple[str, ...] = ()  # of the weights
    slot_folder: Path | None = None  # where slots may be saved
    binary: str = ""  # a native llama-server to run instead of the bundled worker
    speculate: bool = False
    draft: Path | None = None  # a model that guesses ``ahead`` tokens at once
    ahead: int = 0
    template: str = ""  # Jinja, in the place of the GGUF's own
    shift: bool = False  # a full context is shifted


class LlamaRunner(HTTPRunner):
    """A loaded model in a child process."""

    vectors = "base64"  # a tenth less time for many short texts

    def __init__(self, load: Load, child: Child, key: str, turns: Turns, snapshots: Snapshots | None = None) -> None:
        super().__init__(Facts(model=load.name, context=load.context, slots=load.slots, embedding=load.embedding))
        self.load = load
        self.own = tuple(digest for digest, _ in load.adapters)  # applied where a request names none
        self.child = child
        self.key = key
        self._turns = turns
        self._pool = Pool(*child.address, {"authorization": f"Bearer {key}"})
        self._marker = ""
        self._closed = False
        self._build = child.build
        self._prefixes: Prefixes | None = None
        self._habits = Habits()
        # llama.cpp saves no slot of a model with a projector, and the key of a snapshot names the weights.
        if snapshots and load.digests and not load.projector and not load.embedding and not load.reranking:
            self._prefixes = Prefixes(snapshots, self, self._snapshot_key)

    @classmethod
    async def start(
        cls,
        load: Load,
        queue: Queue | None = None,
        child: Child | None = None,
        snapshots: Snapshots | None = None,
    ) -> "LlamaRunner":
        """Starts a child (or takes one that was spawned) and waits until the model answers.

        Args:
            snapshots: where the beginnings of prompts are kept; None: nowhere.

        Raises:
            EngineFailed: it could not be loaded; the message carries the child's last words.
        """
        key = secrets.token_urlsafe(32)
        child = child or await Child.spawn(native=bool(load.binary))
        if snapshots:
            load = structs.replace(load, slot_folder=snapshots.work)
        try:
            await child.load(parameters(load, key))
            runner = cls(load, child, key, Turns(load.slots, queue or Queue(sys.maxsize)), snapshots)
            await runner._learn()
        except BaseException:
            await child.kill()
            raise
        return runner

    async def _learn(self) -> None:
        """Waits for a native server, then asks what was loaded."""
        while self.load.binary and not await self.health():
            if not self.child.alive:
                await self.child.kill()
                raise EngineFailed(
                    f"{self.load.binary} could not load '{self.load.name}': {self.child.first_error()}",
                    "Check the setting engine.binary; empty, it takes the bundled engine.",
                )
            await asyncio.sleep(HEALTH_EVERY)
        props = await self.ask("/props", None, Props, method="GET")
        self._marker = props.media_marker
        self._build = self._build or f"{self.load.binary} {stamp(self.load.binary)} {props.build_info}"
        self.facts = structs.replace(
            props.facts(self.load.name), embedding=self.load.embedding, memory=resident(self.child.pid)
        )

    def named(self, name: str, adapters: tuple[str, ...]) -> "LlamaRunner":
        """The same child for a model of that name, which has these of the adapters (digests); not to be closed."""
        if name == self.facts.model and adapters == self.own:
            return self
        other = copy.copy(self)
        other.facts = structs.replace(self.facts, model=name)
        other.own = adapters
        return other

    # ── the protocol, where llama.cpp has more than /v1 ─────────────────────────────────────────────────────────────

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[ChatChunk]:
        """Continues raw text or tokens; with a suffix, what stands between.

        Raises:
            Unsupported: a suffix, or pictures, for a model that was not made for them.
        """
        if request.images and not self.facts.vision:
            raise Unsupported(f"'{self.facts.model}' cannot see pictures", "Use a model with vision.")
        check_length(request.prompt, self.facts.context)
        path, body = completion_body(request, self._marker)
        reader = CompletionReader(request.top_logprobs, self.facts.model)
        async with aclosing(self._answer(path, self._more(body, request), reader)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, inputs: list[str] | list[list[int]]) -> Embeddings:
        """One vector an input, in one pass.

        Raises:
            Unsupported: it was loaded to chat; LoadOptions.embedding loads it for this.
        """
        if not self.facts.embedding:
            raise Unsupported(f"'{self.facts.model}' is loaded to chat", "Lease it with LoadOptions(embedding=True).")
        return await super().embed(inputs)

    async def detokenize(self, tokens: list[int]) -> str:
        """The text of token ids.

        Raises:
            BadRequest: an id that the vocabulary lacks.
        """
        try:
            return await super().detokenize(tokens)
        except EngineFailed as error:
            if "range_check" not in error.message:
                raise
            raise BadRequest(
                "a token id is outside the vocabulary", "Send ids that this model's tokenize gave."
            ) from None

    @asynccontextmanager
    async def forward(self, path: str, body: bytes) -> AsyncGenerator[Answer]:
        """Posts ``body`` to llama.cpp's own ``path`` and hands the answer through.

        Streams pass byte for byte. A chat or completion that is not to be streamed is streamed from the child all the
        same and put together here: llama.cpp notices only between events that nobody waits any more.
        """
        check_raw_length(body, self.facts.context)
        body, keep = without_keep(path, body)
        if self.load.adapters:
            body = self._with_adapters(body)
        fold = folds(path, body)
        async with self.turn(prompt_of(body)) as slot:
            if keep > 0 or may_be_shared(path, body):
                fields, beginning = messages_of(body, max(keep, 1))
                shared = True if keep > 0 else self.shared(fields)
                if shared is not None:
                    await self.prepare(slot, fields, max(keep, 1), beginning, shared)
            pinned = with_slot(path, fold or body, slot)
            async with self.send("POST", path, pinned) as answer:
                if fold:
                    yield await folded(answer, self._told)
                else:
                    yield Answer(answer.status, answer.content_type, self._told(answer.body))

    async def _told(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """A body that breaks off with our error."""
        try:
            async for data in body:
                yield data
        except ConnectionLost:
            raise await self._fate() from None

    # ── prefixes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def shared(self, body: Mapping[str, Any]) -> bool | None:
        return self._habits.shared(body) if self._prefixes else None

    async def prepare(self, slot: int | None, body: Mapping[str, Any], keep: int, beginning: bytes, save: bool) -> None:
        """Has the slot hold the prefix, where it does not already and it is on disk or to be saved there."""
        slots = self._turns.slots
        if slot is None or self._prefixes is None:
            return
        if slots.held(slot, self._mark + beginning) and not (save and self._prefixes.unknown(body, keep)):
            return
        try:
            await self._prefixes.ready(slot, body, keep, save)
        except BaseException:
            slots.forget(slot)  # it may hold anything by now
            raise

    async def compute(self, slot: int, tokens: list[int], lora: Any) -> None:
        """Has a slot hold just these tokens."""
        body: dict[str, Any] = {"prompt": tokens, "n_predict": 0, "id_slot": slot, "cache_prompt": True, "stream": True}
        if lora:
            body["lora"] = lora
        async with self.send("POST", "/completion", encode(body)) as answer:
            await self._check(answer)
            await whole(answer.body, REPLY_LIMIT)

    def _snapshot_key(self, tokens: str, scales: Mapping[int, float]) -> Key:
        """What decides about a snapshot of this model as it is loaded."""
        load = self.load
        return Key(
            engine=self._build,
            weights=load.digests,
            adapters=tuple(
                (digest, scale) for index, (digest, _) in enumerate(load.adapters) if (scale := scales.get(index, 1.0))
            ),
            context=load.context,
            slots=load.slots,
            batch=load.batch,
            ubatch=load.ubatch,
            gpu_layers=load.gpu_layers,
            tokens=tokens,
        )

    # ── adapters ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _more(self, body: dict[str, Any], request: ChatRequest | CompletionRequest) -> dict[str, Any]:
        body = super()._more(body, request)
        # llama.cpp gives no probabilities for what was guessed.
        if (self.load.speculate or self.load.draft) and request.top_logprobs is not None:
            raise Unsupported(
                f"'{self.facts.model}' is loaded to guess tokens ahead, which have no probabilities",
                "Lease it with LoadOptions(exact=True).",
            )
        wanted = request.adapters if isinstance(request, ChatRequest) else []
        if wanted or self.load.adapters:
            body["lora"] = self._scales(dict(wanted))
        return body

    def _scales(self, wanted: dict[str, float]) -> list[dict[str, float]]:
        """llama.cpp's list: every adapter, those not wanted at 0; all of the model's own where none is named."""
        if unknown := set(wanted) - set(self.own):
            raise BadRequest(f"'{self.facts.model}' has no adapter {sorted(unknown)[0][:80]}", "Name one that it has.")
        wanted = wanted or dict.fromkeys(self.own, 1.0)
        return [{"id": index, "scale": wanted.get(digest, 0.0)} for index, (digest, _) in enumerate(self.load.adapters)]

    def _with_adapters(self, body: bytes) -> bytes:
        """A raw body with the list; what cannot be read is left to llama.cpp to refuse.

        Where it has one (``"lora": [{"id": 0, "scale": 0.5}]``), its numbers are those of the model's own adapters.
        """
        try:
            fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:
            return body
        try:
            asked = scales(fields.get("lora"))
        except msgspec.ValidationError as error:
            raise BadRequest(f"invalid lora: {error}", 'Write it as [{"id": 0, "scale": 1.0}].') from None
        if unknown := [number for number in asked if not 0 <= number < len(self.own)]:
            raise BadRequest(f"'{self.facts.model}' has no adapter number {unknown[0]}", f"It has {len(self.own)}.")
        named = {self.own[number]: scale for number, scale in asked.items()}
        fields["lora"] = msgspec.Raw(msgspec.json.encode(self._scales(named)))
        return msgspec.json.encode(fields)

    @property
    def _mark(self) -> bytes:
        """What prompts of this model begin with where slots are chosen: what other adapters left is of no use."""
        return "".join(self.own).encode()

    # ── the way there ───────────────────────────────────────────────────────────────────────────────────────────────

    def turn(self, prompt: bytes = b"") -> AbstractAsyncContextManager[int]:
        """Held while a request uses the model; the slot it should take."""
        return self._turns.turn(self._mark + prompt)

    @asynccontextmanager
    async def send(self, method: str, path: str, body: bytes = b"") -> AsyncGenerator[Answer]:
        try:
            async with self._pool.open(method, path, body, stream=path in PINNED) as answer:
                yield answer
        except ConnectionLost:
            raise await self._fate() from None

    async def metrics(self) -> str:
        """llama.cpp's own figures, in Prometheus' text format."""
        async with self.send("GET", "/metrics") as answer:
            await self._check(answer)
            return (await whole(answer.body, REPLY_LIMIT)).decode(errors="replace")

    @property
    def url(self) -> str:
        """Where the child's own server listens; it wants ``key`` as bearer."""
        host, port = self.child.address
        return f"http://{host}:{port}"

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self.child.alive

    async def _fate(self) -> EngineFailed:
        """Why a connection broke."""
        if self._closed:
            return EngineFailed(f"'{self.facts.model}' was unloaded meanwhile", "Ask again.")
        return await self.child.fate(self.facts.model)

    def disconnect(self) -> None:
        """Closes the connections that wait for further requests."""
        self._pool.close()

    async def close(self) -> None:
        """Kills the child and gives the memory back."""
        self._closed = True
        self.disconnect()
        await self.child.kill()
        if self._prefixes:
            await self._prefixes.close()


# ── setting a child up ──────────────────────────────────────────────────────────────────────────────────────────────


def parameters(load: Load, key: str) -> dict[str, Any]:
    """The ``Parameters`` of ``llama_worker``."""
    return {
        "key": key,
        "command": native_command(load) if load.binary else [],
        "name": load.name,
        "model": str(load.model),
        "projector": str(load.projector or ""),
        "adapters": [str(path) for _, path in load.adapters],
        "context": load.context * load.slots,
        "slots": load.slots,
        "batch": load.batch,
        "ubatch": load.ubatch,
        "threads": load.threads,
        "gpu_layers": load.gpu_layers,
        "embedding": load.embedding,
        "reranking": load.reranking,
        "pooling": load.pooling,
        "cache_mib": load.cache_mib,
        "slot_folder": str(load.slot_folder or ""),
        "speculate": load.speculate,
        "draft": str(load.draft or ""),
        "ahead": load.ahead,
        "template": load.template,
        "shift": load.shift,
    }


def native_command(load: Load) -> list[str]:
    """The command line of a native ``llama-server``; the worker adds the port, and the key by environment."""
    command = [load.binary, "--host", "127.0.0.1", "--model", str(load.model), "--alias", load.name]
    command += ["--ctx-size", str(load.context * load.slots), "--parallel", str(load.slots)]
    command += ["--threads", str(load.threads), "--cache-ram", str(load.cache_mib)]
    command += ["--jinja", "--no-webui", "--no-warmup", "--metrics", "--slots", "--offline"]
    if load.slot_folder:
        command += ["--slot-save-path", str(load.slot_folder)]
    if load.projector:
        command += ["--mmproj", str(load.projector)]
    for _, path in load.adapters:
        command += ["--lora", str(path)]
    if load.shift:
        command += ["--context-shift"]
    if load.template:
        command += ["--chat-template", load.template]
    if load.draft:
        command += ["--spec-type", "draft-simple", "--spec-draft-model", str(load.draft)]
        command += ["--spec-draft-n-max", str(load.ahead)]
    if load.batch:
        command += ["--batch-size", str(load.batch)]
    if load.ubatch:
        command += ["--ubatch-size", str(load.ubatch)]
    if load.gpu_layers >= 0:
        command += ["--n-gpu-layers", str(load.gpu_layers)]
    if load.embedding:
        command += ["--embeddings"]
    if load.reranking:
        command += ["--reranking"]
    if load.pooling:
        command += ["--pooling", load.pooling]
    return command


def stamp(binary: str) -> str:
    """What changes when a program is replaced by another build; empty where it is not found."""
    try:
        state = Path(shutil.which(binary) or binary).stat()
    except OSError:
        return ""
    return f"{state.st_size} {state.st_mtime_ns}"


def resident(pid: int) -> int:
    """Bytes of memory that a process holds, the file pages it shares included; 0 where that cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
