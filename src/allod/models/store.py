"""The model store, in Ollama's own layout: a folder may be shared with Ollama in both directions.

    <root>/manifests/<host>/<namespace>/<model>/<tag>      a JSON manifest naming blobs
    <root>/manifests-v2/…                                  the same as symlinks to blobs, written by Ollama since 2026
    <root>/blobs/sha256-<64 hex>                           weights, templates, parameters, configs
    <root>/.allod/                                         partial downloads, locks, notes; Ollama does not look there

    store = Store(home.models)
    model = store.get("smollm2:135m")        # Model: the manifest with everything it names, read and checked
    path = store.loadable(model)             # what llama.cpp opens

A manifest is only written when all its blobs are there, so a model that is listed can be loaded. What changes manifests
holds the store's lock. The store knows nothing of the catalogue (``resolve.py``) and of the network (``pull.py``).
"""

import contextlib
import difflib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from allod.chat import Message
from allod.errors import BadName, Disk, ModelNotFound, NotFound
from allod.models import disk
from allod.models import manifest as wire
from allod.models.blobs import Blobs
from allod.models.manifest import (
    ADAPTER,
    CONFIG,
    DRAFT,
    LICENSE,
    MESSAGES,
    MODEL,
    PARAMS,
    PROJECTOR,
    PROMPT,
    SYSTEM,
    TEMPLATE,
    Layer,
    Manifest,
    ModelConfig,
)
from allod.models.name import Name

__all__ = [
    "ADAPTER",
    "CONFIG",
    "DRAFT",
    "LICENSE",
    "MESSAGES",
    "MODEL",
    "PARAMS",
    "PROJECTOR",
    "PROMPT",
    "SYSTEM",
    "TEMPLATE",
    "Layer",
    "Manifest",
    "Message",
    "Model",
    "ModelConfig",
    "Store",
]

LARGEST_TEXT = 16 << 20  # bytes of a template, licence, params… layer
GRACE = 3600.0  # seconds that prune leaves a new blob alone: its manifest may be on its way


class Turn(Struct):
    """An entry of the messages layer, as far as allod uses it."""

    role: Literal["system", "user", "assistant"]
    content: str = ""


class Model(Struct, frozen=True):
    """A model of the store: its manifest, and what the manifest names."""

    name: Name
    digest: str  # SHA-256 of the manifest's bytes, 64 hex digits: Ollama's model ID
    size: int  # bytes of all layers and the config
    modified_at: datetime  # UTC
    manifest: Manifest
    config: ModelConfig
    weights: tuple[Path, ...] = ()  # several: shards in order; none: a model of another engine or in the cloud
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    template: str = ""  # Go template; empty: the GGUF's own
    system: str = ""
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    messages: list[Message] = field(default_factory=list[Message])  # every conversation begins with these
    licenses: list[str] = field(default_factory=list[str])


class Store(Blobs):
    """The models under one folder. Makes no folder before something is written."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.manifests = root / "manifests"
        self.manifests_v2 = root / "manifests-v2"
        self.warnings: list[str] = []

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def list(self) -> "list[Model]":
        """All models, newest first. What cannot be read is left out; ``warnings`` says what and why."""
        self.warnings = []
        models: list[Model] = []
        for name, path in self._named().items():
            try:
                models.append(self._read(name, path))
            except (Disk, NotFound) as error:
                self.warnings.append(f"{name}: {error.message}")
        return sorted(models, key=lambda model: (-model.modified_at.timestamp(), str(model.name)))

    def names(self) -> "list[Name]":
        """The names of all manifests, sound or not, in alphabetical order; opens none of them."""
        return sorted(self._named(), key=lambda name: name.key)

    def get(self, name: str | Name) -> Model:
        """The model of that name, in any case; a name without a tag means ``latest``.

        Raises:
            BadName: not a name.
            ModelNotFound: no such model; carries the nearest names.
            NotFound: the model is here but one of its blobs is not.
            Disk: its manifest is broken.
        """
        wanted = Name.parse(name) if isinstance(name, str) else name
        found = self._find(wanted)
        if found is None:
            raise self._not_found(str(name))
        return self._read(*found)

    def read_manifest(self, name: str | Name) -> bytes:
        """The bytes of a model's manifest. Raises as ``get`` does."""
        wanted = Name.parse(name) if isinstance(name, str) else name
        found = self._find(wanted)
        if found is None:
            raise self._not_found(str(name))
        return self._manifest_bytes(*found)

    def _not_found(self, name: str) -> ModelNotFound:
        known = [str(n) for n in self.names()]
        near = tuple(difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5))
        remedy = (
            f"Did you mean {' or '.join(near)}?" if near else "`allod list` shows what is here, `allod pull` gets one."
        )
        return ModelNotFound(f"model '{name[:120]}' not found", remedy, near)

    def _find(self, wanted: Name) -> tuple[Name, Path] | None:
        """The stored spelling of a name and the path of its manifest."""
        for root in (self.manifests_v2, self.manifests):
            path = root.joinpath(*wanted.path)
            if path.is_file():
                return wanted, path
        for name, path in self._named().items():
            if name.key == wanted.key:
                return name, path
        return None

    def _named(self) -> dict[Name, Path]:
        """Every manifest's path by its name; of two with one name Ollama's newer layout wins, as it does in Ollama."""
        found: dict[str, tuple[Name, Path]] = {}
        for root in (self.manifests_v2, self.manifests):
            for path in sorted(root.glob("*/*/*/*")):
                host, namespace, model, tag = path.relative_to(root).parts
                with contextlib.suppress(BadName):  # editors' and file managers' own files
                    name = Name.parse(f"{host}/{namespace}/{model}:{tag}")
                    if path.is_file():
                        found.setdefault(name.key, (name, path))
        return dict(found.values())

    def _manifest_bytes(self, name: Name, path: Path) -> bytes:
        """A manifest file's bytes; a link among Ollama's newer manifests has to lead to a blob of this store."""
        try:
            if path.is_symlink():
                self._check_link(path)
            if path.stat().st_size > wire.LARGEST_MANIFEST:
                raise ValueError(f"it has {path.stat().st_size} bytes")
            return path.read_bytes()
        except ValueError as error:
            raise broken(name, path, error) from error
        except OSError as error:
            raise disk.disk_error(error, "read", path) from error

    def _check_link(self, path: Path) -> None:
        target = path.resolve()
        if target.parent != self.folder.resolve() or not wire.DIGEST.fullmatch(target.name):
            raise ValueError("it is a link to something that is not a blob")
        if wire.digest_of(target.read_bytes()) != wire.canonical(target.name):
            raise ValueError("its bytes are not those of its digest")

    def _read(self, name: Name, path: Path) -> Model:
        """Reads and checks a manifest and everything it names."""
        data = self._manifest_bytes(name, path)
        try:
            manifest = self._parse(data)
            texts = Texts(self, manifest)
            config = wire.parse_config(texts.one(CONFIG) or b"{}")
            self._check_blobs(manifest)
            return Model(
                name=name,
                digest=hashlib.sha256(data).hexdigest(),
                size=sum(layer.size for layer in (*manifest.layers, manifest.config)),
                modified_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
                manifest=manifest,
                config=config,
                weights=tuple(self.blob(layer.digest) for layer in manifest.layers if layer.media_type == MODEL),
                projector=next((self.blob(la.digest) for la in manifest.layers if la.media_type == PROJECTOR), None),
                adapters=tuple(self.blob(layer.digest) for layer in manifest.layers if layer.media_type == ADAPTER),
                template=texts.text(TEMPLATE) or texts.text(PROMPT),
                system=texts.text(SYSTEM),
                params=wire.load_object(texts.one(PARAMS) or b"{}"),
                messages=parse_messages(texts.one(MESSAGES)),
                licenses=[text.decode("utf-8", "replace") for text in texts.all(LICENSE)],
            )
        except ValueError as error:
            raise broken(name, path, error) from error
        except OSError as error:
            raise disk.disk_error(error, "read", path) from error

    def _parse(self, data: bytes) -> Manifest:
        """A manifest, or the one of a list of manifests that suits llama.cpp. Raises ValueError, OSError, NotFound."""
        for entry in wire.children(data):
            if "layers" in entry:
                return wire.parse_manifest(msgspec.json.encode(entry))
            digest = wire.text(entry, "digest")
            if not wire.DIGEST.fullmatch(digest):
                raise ValueError("it lists a manifest without a digest")
            path = self.blob(digest)
            if not path.is_file():
                raise wire.missing_blob(digest)
            return wire.parse_manifest(path.read_bytes())
        return wire.parse_manifest(data)

    def _check_blobs(self, manifest: Manifest) -> None:
        """Raises NotFound where a blob is missing, ValueError where one has another size than the manifest says."""
        for layer in manifest.blobs:
            try:
                size = self.blob(layer.digest).stat().st_size
            except FileNotFoundError:
                raise wire.missing_blob(layer.digest) from None
            if size != layer.size:
                raise ValueError(f"the blob {layer.digest} has {size} bytes instead of {layer.size}")

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return disk.lock(self.state / "locks" / "manifests")

    def write(self, name: str | Name, manifest: Manifest, raw: bytes | None = None) -> Model:
        """Names a model. Its blobs have to be here; blobs that only its predecessor used are removed.

        Args:
            raw: the manifest's bytes as a registry sent them; they are kept, and with them the model's digest there.

        Raises:
            NotFound: a blob is missing.
            BadName, DiskFull, ReadOnly, Disk.
        """
        name = Name.parse(name) if isinstance(name, str) else name
        with self._locked():
            return self._write(name, raw if raw is not None else manifest.encode())

    def _write(self, name: Name, data: bytes) -> Model:
        before = self._find(name)
        stored = before[0] if before else self._spelling(name)
        path = self.manifests.joinpath(*stored.path)
        try:
            self._check_blobs(self._parse(data))
        except ValueError as error:
            raise broken(name, path, error) from error
        replaced = self._blobs_of(before[1]) if before else set[str]()
        disk.write_atomically(path, data)
        self._drop_manifest(self.manifests_v2.joinpath(*stored.path), self.manifests_v2)
        if replaced:
            self._remove_unused(replaced)
        return self._read(stored, path)

    def _spelling(self, name: Name) -> Name:
        """``name`` with the spelling of folders that are there already, so that case never makes two of one model."""
        parts: list[str] = []
        for part in name.path[:3]:
            folder = self.manifests.joinpath(*parts)
            there = [p.name for p in folder.iterdir()] if folder.is_dir() and not (folder / part).exists() else []
            parts.append(next((p for p in there if p.lower() == part.lower()), part))
        return Name(parts[0], parts[1], parts[2], name.tag)

    def copy(self, source: str | Name, target: str | Name) -> Model:
        """Gives a model a second name. Raises as ``get`` and ``write`` do."""
        name = Name.parse(target) if isinstance(target, str) else target
        with self._locked():
            return self._write(name, self.read_manifest(source))

    def delete(self, name: str | Name) -> int:
        """Removes a model, sound or broken, and the blobs no other model uses; returns the bytes freed.

        Raises:
            ModelNotFound, BadName, ReadOnly, Disk.
        """
        wanted = Name.parse(name) if isinstance(name, str) else name
        with self._locked():
            found = self._find(wanted)
            if found is None:
                raise self._not_found(str(name))
            candidates = self._blobs_of(found[1])
            for root in (self.manifests_v2, self.manifests):
                self._drop_manifest(root.joinpath(*found[0].path), root)
            return self._remove_unused(candidates)

    def _drop_manifest(self, path: Path, root: Path) -> None:
        """Removes a manifest and the folders it leaves empty."""
        with disk.disk_errors("remove", path):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
        with contextlib.suppress(OSError):
            for folder in list(path.parents)[:3]:
                if folder != root:
                    folder.rmdir()

    def _blobs_of(self, path: Path) -> set[str]:
        """The digests that a manifest file leads to; whatever can be made out of a broken one."""
        try:
            data = path.read_bytes() if path.stat().st_size <= wire.LARGEST_MANIFEST else b""
            digests = {wire.digest_of(data)} if path.is_symlink() else set[str]()
        except OSError:
            return set()
        # Whatever looks like a digest counts: manifests nest, and one blob too many kept is better than one too few.
        found = {f"sha256:{match[1].decode().lower()}" for match in DIGEST_BYTES.finditer(data)}
        for digest in list(found):
            child = self.blob(digest)
            with contextlib.suppress(OSError):
                if child.stat().st_size < 1 << 16 and b"schemaVersion" in (text := child.read_bytes()):
                    found |= {f"sha256:{match[1].decode().lower()}" for match in DIGEST_BYTES.finditer(text)}
        return found | digests

    def _in_use(self) -> set[str]:
        """The digests that any manifest leads to, broken ones too."""
        used: set[str] = set()
        for root in (self.manifests_v2, self.manifests):
            for path in root.glob("*/*/*/*"):
                used |= self._blobs_of(path)
        return used

    def _remove_unused(self, candidates: set[str]) -> int:
        return sum(self.remove(digest) for digest in sorted(candidates - self._in_use()))

    def prune(self, grace: float = GRACE) -> int:
        """Removes blobs that no manifest names and that are older than ``grace`` seconds; returns the bytes freed.

        Partial downloads are kept: they are what a pull goes on from. Raises ReadOnly, Disk.
        """
        freed = 0
        with self._locked():
            used = self._in_use()
            oldest = time.time() - grace
            for path in self._blob_files():
                digest = wire.canonical(path.name)
                if digest not in used and path.stat().st_mtime <= oldest:
                    freed += self.remove(digest)
        return freed

    def _blob_files(self) -> Iterator[Path]:
        with contextlib.suppress(FileNotFoundError):
            yield from (p for p in self.folder.iterdir() if wire.DIGEST.fullmatch(p.name) and p.is_file())

    # ── loading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def loadable(self, model: Model) -> Path:
        """A path that llama.cpp opens: the blob, or the first of the shards' symlinks, named as llama.cpp wants them.

        Raises:
            NotFound: the model has no GGUF weights.
            Conflict: a file linked into the store was edited since.
            ReadOnly, DiskFull, Disk: the symlinks cannot be made.
        """
        for layer in model.manifest.layers:
            if layer.media_type in (MODEL, PROJECTOR, ADAPTER):
                self.check_linked(layer.digest)
        if not model.weights:
            raise NotFound(f"{model.name} has no GGUF weights", "It is made for another engine; pull a GGUF build.")
        if len(model.weights) == 1:
            return model.weights[0]
        count = len(model.weights)
        folder = self.state / "shards" / hashlib.sha256("".join(map(str, model.weights)).encode()).hexdigest()[:32]
        disk.make_folder(folder)
        links = [folder / f"model-{i:05}-of-{count:05}.gguf" for i in range(1, count + 1)]
        for path, target in zip(links, model.weights, strict=True):
            with disk.disk_errors("write", path):
                place_symlink(path, target.absolute())
        return links[0]


DIGEST_BYTES = re.compile(rb"sha256[:-]([0-9a-fA-F]{64})")


class Texts:
    """The small layers of a manifest, read with a bound on their size."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store = store
        self.layers = manifest.blobs

    def all(self, media_type: str) -> list[bytes]:
        """The bytes of every layer of a type, in order. Raises NotFound, ValueError, OSError."""
        found: list[bytes] = []
        for layer in self.layers:
            if layer.media_type == media_type:
                path = self.store.blob(layer.digest)
                if layer.size > LARGEST_TEXT or (path.is_file() and path.stat().st_size > LARGEST_TEXT):
                    raise ValueError(f"the {media_type.rpartition('.')[2]} layer {layer.digest} has {layer.size} bytes")
                try:
                    found.append(path.read_bytes())
                except FileNotFoundError:
                    raise wire.missing_blob(layer.digest) from None
        return found

    def one(self, media_type: str) -> bytes:
        """The bytes of the last layer of a type, empty where there is none."""
        return (self.all(media_type) or [b""])[-1]

    def text(self, media_type: str) -> str:
        """The same as text."""
        return self.one(media_type).decode("utf-8", "replace")


def parse_messages(data: bytes) -> list[Message]:
    """The turns of a messages layer. Raises ValueError."""
    if not data:
        return []
    try:
        return [Message(turn.role, turn.content) for turn in msgspec.json.decode(data, type=list[Turn])]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"its messages are wrong: {error}") from error


def place_symlink(path: Path, target: Path) -> None:
    """Makes ``path`` a symlink to ``target``, atomically. Raises OSError."""
    if path.is_symlink() and path.readlink() == target:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    draft.symlink_to(target)
    draft.replace(path)


def broken(name: Name, path: Path, error: Exception) -> Disk:
    """The error for a manifest that cannot be used."""
    return Disk(f"the manifest of {name} is broken: {error}", f"Pull the model again, or remove {path}.")
