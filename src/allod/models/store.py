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
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

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
from allod.models.reading import Model, make_model, manifest_bytes, read_model

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

GRACE = 86400.0  # seconds that prune leaves a new blob alone: its manifest may be on its way, after other shards


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
                models.append(read_model(self, name, path))
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
        return read_model(self, *found)

    def read_manifest(self, name: str | Name) -> bytes:
        """The bytes of a model's manifest. Raises as ``get`` does."""
        wanted = Name.parse(name) if isinstance(name, str) else name
        found = self._find(wanted)
        if found is None:
            raise self._not_found(str(name))
        return manifest_bytes(self, *found)

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
            if is_manifest(path):
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
                    if is_manifest(path):
                        found.setdefault(name.key, (name, path))
        return dict(found.values())

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
        make_model(self, stored, data, datetime.now(UTC))  # what cannot be read is not written
        replaced = self._blobs_of(before[1]) if before else set[str]()
        disk.write_atomically(path, data)
        self._drop_manifest(self.manifests_v2.joinpath(*stored.path), self.manifests_v2)
        if replaced:
            self._remove_unused(replaced)
        return read_model(self, stored, path)

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
        """Removes what nothing leads to and is older than ``grace`` seconds; returns the bytes freed.

        That is: blobs that no manifest names, drafts of writes that were killed, symlinks to shards that are gone.
        Partial downloads are kept: they are what a pull goes on from. Raises ReadOnly, Disk.
        """
        freed = 0
        with self._locked():
            used = self._in_use()
            for path in self._old_files(self.folder, time.time() - grace):
                if wire.DIGEST.fullmatch(path.name) and wire.canonical(path.name) not in used:
                    freed += self.remove(wire.canonical(path.name))
                elif path.name.startswith(disk.DRAFT):
                    freed += path.stat().st_size
                    path.unlink(missing_ok=True)
            for first in (self.state / "shards").glob("*/*-00001-of-*.gguf"):
                if not all(disk.is_file(path) for path in first.parent.iterdir()):
                    shutil.rmtree(first.parent, ignore_errors=True)
        return freed

    def _old_files(self, folder: Path, before: float) -> Iterator[Path]:
        """The files of a folder that were made and written before a time; a hard link was made when it was linked."""
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    found = path.lstat()
                    if stat.S_ISREG(found.st_mode) and max(found.st_mtime, found.st_ctime) <= before:
                        yield path

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


def is_manifest(path: Path) -> bool:
    """Whether a file, or a link that should lead to one, is there."""
    return disk.is_file(path) or path.is_symlink()


def place_symlink(path: Path, target: Path) -> None:
    """Makes ``path`` a symlink to ``target``, atomically. Raises OSError."""
    if path.is_symlink() and path.readlink() == target:
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    draft.symlink_to(target)
    draft.replace(path)
