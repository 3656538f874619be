"""Files of a repository on a Hugging Face host, by its file API.

    hub = Hub(web, "https://huggingface.co", token)
    files = hub.files("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF")
    chosen = choose(files, "Q4_K_M")             # one file, or all shards of one; and the projector beside it

Sizes and SHA-256 digests are those of Git LFS, which the listing tells. Downloads are redirected to other hosts; the
token (HF_TOKEN) is only ever sent to the hub's own.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urljoin

from msgspec import Struct

from allod.egress.answer import Answer, origin
from allod.errors import ModelNotFound, Network
from allod.models.sources.web import Missing, Web
from allod.models.transfer.plan import Plan, Segment

PAGES = 50  # of a listing; 1000 files each
DEFAULT_QUANTS = (
    "Q4_K_M",
    "Q4_K_S",
    "Q4_0",
    "Q5_K_M",
    "Q8_0",
    "Q4_1",
)  # where none is asked for, as the hub itself does
PROJECTOR_QUANTS = ("F16", "BF16", "Q8_0", "F32")
SHA256 = re.compile(r"[0-9a-f]{64}")
SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)
NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')


class HubFile(Struct, frozen=True):
    """A file in Git LFS."""

    path: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]


class Chosen(Struct, frozen=True):
    """The files of one build: its weights, one or all shards in order, and its projector."""

    weights: tuple[HubFile, ...]
    projector: HubFile | None = None


class HubAuth:
    """A token for the hub's own host. Implements `transfer.Auth`."""

    def __init__(self, base: str, token: str) -> None:
        self.origin = origin(base)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def headers(self, url: str) -> dict[str, str]:
        """See `transfer.Auth`."""
        return self._headers if origin(url) == self.origin else {}

    def renew(self, answer: Answer) -> bool:
        """There is nothing to renew."""
        return False


class Hub:
    """One host that speaks Hugging Face's API."""

    def __init__(self, web: Web, base: str, token: str = "") -> None:
        self.web = web
        self.base = base.rstrip("/")
        self.name = origin(base)[1]
        self.auth = HubAuth(base, token.strip())

    def files(self, repo: str, revision: str = "main") -> list[HubFile]:
        """The files of a repository that are in Git LFS: all weights are.

        Raises:
            ModelNotFound: no such repository, revision, or none that the token may see.
            Network, Unreachable, Offline, Refused, Cancelled.
        """
        url = f"{self.base}/api/models/{quote(repo)}/tree/{quote(revision, safe='')}?recursive=true"
        found: list[HubFile] = []
        for _ in range(PAGES):
            try:
                page = self.web.get(url, self.auth.headers(url))
            except Missing as error:
                raise ModelNotFound(f"{self.name} has no repository {repo} at {revision}", "Check its name.") from error
            found += listing(page.json())
            further = NEXT.search(page.headers.get("link", ""))
            if not further:
                return found
            url = urljoin(url, further[1])
        raise Network(f"{self.name} lists too many files for {repo}")

    def plan(self, repo: str, path: str, revision: str, digest: str, size: int) -> Plan:
        """How to get one file, whose digest and size are known."""
        url = f"{self.base}/{quote(repo)}/resolve/{quote(revision, safe='')}/{quote(path)}"
        return Plan(self.name, digest, size, (Segment(url, 0, size, size, size),), self.auth)


def listing(body: Any) -> list[HubFile]:
    """The files in LFS of a page of a listing. Raises Network where it is none."""
    if not isinstance(body, list):
        raise Network("the hub answered JSON that is not a listing of files")
    found: list[HubFile] = []
    for entry in cast("list[Any]", body):
        try:
            lfs = entry["lfs"]
            file = HubFile(str(entry["path"]), int(lfs["size"]), str(lfs["oid"]).lower())
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if SHA256.fullmatch(file.sha256) and file.size > 0:
            found.append(file)
    return found


# ── which files ─────────────────────────────────────────────────────────────────────────────────────────────────────


def choose(files: Sequence[HubFile], quant: str = "") -> Chosen | None:
    """The GGUF files of a quantisation, in any case; empty or ``latest`` means the usual one. None: there is none."""
    ggufs = [file for file in files if file.name.lower().endswith(".gguf")]
    projectors = [file for file in ggufs if is_projector(file)]
    builds = group([file for file in ggufs if not is_projector(file)])
    wanted = [quant] if quant and quant.lower() != "latest" else [*DEFAULT_QUANTS]
    for each in wanted:
        fitting = [build for build in builds if named(build[0], each)]
        if fitting:
            return Chosen(min(fitting, key=lambda build: len(build[0].path)), projector(projectors))
    if quant and quant.lower() != "latest":
        return None
    return Chosen(builds[0], projector(projectors)) if builds else None


def is_projector(file: HubFile) -> bool:
    """Whether a file is a multimodal projector, by its name."""
    return "mmproj" in file.name.lower()


def named(file: HubFile, quant: str) -> bool:
    """Whether a file's name, or the folder it is in, ends in a quantisation: Q4_K is not Q4_K_M."""
    stem = SHARD.sub(r"\1.gguf", file.path)
    pattern = rf"(?:^|[-._/]){re.escape(quant)}(?:\.gguf|/[^/]*)"
    return re.search(pattern + "$", stem, re.IGNORECASE) is not None


def group(files: Sequence[HubFile]) -> list[tuple[HubFile, ...]]:
    """The builds among weight files: single ones, and shards in order; incomplete sets are left out."""
    sets: dict[tuple[str, int], dict[int, HubFile]] = {}
    builds: list[tuple[HubFile, ...]] = []
    for file in sorted(files, key=lambda f: f.path):
        part = SHARD.fullmatch(file.path)
        if part is None:
            builds.append((file,))
        else:
            sets.setdefault((part[1], int(part[3])), {})[int(part[2])] = file
    for (_, count), parts in sets.items():
        if sorted(parts) == list(range(1, count + 1)):
            builds.append(tuple(parts[i] for i in sorted(parts)))
    return builds


def projector(files: Sequence[HubFile]) -> HubFile | None:
    """The projector to take of several: half precision first."""
    for quant in PROJECTOR_QUANTS:
        for file in files:
            if re.search(rf"(?<![a-z]){quant}", file.name, re.IGNORECASE):
                return file
    return files[0] if files else None


def token(environ: Mapping[str, str]) -> str:
    """The user's token for the hub, as the hub's own tools find it."""
    return environ.get("HF_TOKEN", "") or environ.get("HUGGING_FACE_HUB_TOKEN", "")
