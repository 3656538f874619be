"""Sending a model to a registry (the distribution specification, section Push).

    async for step in push("registry.example.org/office/letters:1b", home, store, egress):
        print(step.status, step.completed, step.total)

Blobs that the registry has are not sent. The others go in pieces; where the connection breaks, the registry is asked
how much has come, and the rest follows, in this push or, as long as the registry remembers the upload, in the next. The
manifest goes last, byte for byte, so that the model has the same digest there.

Where an upload goes is the registry's to say, but only within its own origin: nobody else gets the model or the
credentials.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from allod.egress import Egress
from allod.egress.answer import origin
from allod.errors import Network, Unreachable
from allod.home import Home
from allod.models.manifest import MANIFEST, Layer
from allod.models.name import Name
from allod.models.progress import Progress
from allod.models.sources.registry import AUTH_FILE, RegistryAuth, base_url, credentials
from allod.models.sources.web import Web
from allod.models.store import Store
from allod.models.transfer.download import Watch

if TYPE_CHECKING:
    import httpx

PIECE = 8 << 20  # bytes of one request
READ = 256 << 10
TRIES = 5  # in a row without a byte getting through
PAUSE = 0.5  # seconds before the second; then twice as long each time
RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
GO_ON = "Run the same command again: it goes on where it stopped."


async def push(
    name: str, home: Home, store: Store, egress: Egress, *, insecure: bool = False
) -> AsyncGenerator[Progress]:
    """Sends a model, with Ollama's words for every step; the last is ``success``.

    Raises:
        BadName: not a name, or ``http://`` where it is not allowed.
        ModelNotFound: it is not here.
        Network: the registry cannot be reached, or does not take it.
        Offline, Refused: the policy does not allow it.
    """
    yield Progress("retrieving manifest")
    wanted = Name.parse(name)
    model, raw = store.get(wanted), store.read_manifest(wanted)
    scheme = next((s for s in ("http", "https") if name.startswith(f"{s}://")), "")
    base = base_url(wanted.host, scheme, insecure or home.settings.registry_insecure)
    web = Web(egress.door("push"), Watch())
    auth = RegistryAuth(web, base, credentials(home.config / AUTH_FILE, wanted.host))
    async with egress.client("push") as http:
        http.follow_redirects = False
        there = Repository(http, auth, base, f"{quote(wanted.namespace)}/{quote(wanted.model)}", store)
        layers = {layer.digest: layer for layer in (*model.manifest.layers, model.manifest.config) if layer.digest}
        for layer in layers.values():
            async for done in there.upload(layer):
                status = f"pushing {layer.digest.removeprefix('sha256:')[:12]}"
                yield Progress(status, layer.digest, layer.size, done)
        yield Progress("pushing manifest")
        await there.manifest(wanted.tag, raw)
    yield Progress("success")


class Repository:
    """One repository of a registry. ``path`` is its name as it stands in URLs."""

    def __init__(self, http: "httpx.AsyncClient", auth: RegistryAuth, base: str, path: str, store: Store) -> None:
        self.http = http
        self.auth = auth
        self.base = f"{base}/v2/{path}"
        self.store = store

    async def upload(self, layer: Layer) -> AsyncIterator[int]:
        """Sends a blob; yields how many bytes of it are there. Raises Network."""
        if (await self.ask("HEAD", f"{self.base}/blobs/{layer.digest}", (200, 404))).status_code == 200:
            yield layer.size
            return
        note = self.store.state / "pushes" / f"{layer.digest.replace(':', '-')}.json"
        url, done = await self.begun(note)
        failures = 0
        while True:
            yield done
            try:
                if done >= layer.size:
                    await self.finish(url, layer)
                    break
                url, done = await self.send(url, layer, done)
                keep(note, self.base, url)
                failures = 0
            except Unreachable as error:
                failures += 1
                if failures == TRIES:
                    raise Network(error.message, GO_ON) from error
                await asyncio.sleep(PAUSE * 2 ** (failures - 1))
                url, done = await self.begun(note)
        note.unlink(missing_ok=True)

    async def begun(self, note: Path) -> tuple[str, int]:
        """An upload that the registry still knows, and how much of it has come; else a new one."""
        url = kept(note, self.base)
        if url:
            answer = await self.ask("GET", url, (204, 404, 400, 416))
            if answer.status_code == 204:
                return self.location(answer, url), came(answer)
        answer = await self.ask("POST", f"{self.base}/blobs/uploads/", (202,), content=b"")
        url = self.location(answer)
        keep(note, self.base, url)
        return url, 0

    async def send(self, url: str, layer: Layer, start: int) -> tuple[str, int]:
        """One piece; where the next one goes, and how much has come."""
        end = min(start + PIECE, layer.size)
        headers = {"content-type": "application/octet-stream", "content-range": f"{start}-{end - 1}"}
        headers["content-length"] = str(end - start)
        data = piece(self.store.blob(layer.digest), start, end)
        answer = await self.ask("PATCH", url, (202, 204, 416), content=data, headers=headers, again=False)
        if answer.status_code == 416:  # it has less, or more, than we think
            return url, came(await self.ask("GET", url, (204,)))
        return self.location(answer, url), came(answer, otherwise=end)

    async def finish(self, url: str, layer: Layer) -> None:
        """All bytes are there: the registry checks their digest."""
        query = "&" if urlsplit(url).query else "?"
        await self.ask("PUT", f"{url}{query}digest={quote(layer.digest)}", (201, 204), content=b"")

    async def manifest(self, tag: str, raw: bytes) -> None:
        """The last step: from then on it is listed."""
        fields = msgspec.json.decode(raw)
        kind = fields.get("mediaType") if isinstance(fields, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        headers = {"content-type": kind if isinstance(kind, str) else MANIFEST}
        await self.ask("PUT", f"{self.base}/manifests/{quote(tag)}", (200, 201), content=raw, headers=headers)

    async def ask(
        self,
        method: str,
        url: str,
        accept: tuple[int, ...],
        content: "bytes | AsyncIterator[bytes] | None" = None,
        headers: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> "httpx.Response":
        """One request, with a token where the registry wants one.

        Raises:
            Unreachable: it did not get through; trying again may help.
            Network: another answer than ``accept``.
        """
        import httpx

        try:
            given = {**(headers or {}), **self.auth.headers(url)}
            answer = await self.http.request(method, url, content=content, headers=given)
            if answer.status_code == 401 and await asyncio.to_thread(
                self.auth.challenged, answer.headers.get("www-authenticate", "")
            ):
                if not again:
                    raise Unreachable(f"{self.name} wants a new token")
                given = {**(headers or {}), **self.auth.headers(url)}
                answer = await self.http.request(method, url, content=content, headers=given)
        except httpx.HTTPError as error:
            raise Unreachable(f"{self.name} cannot be reached: {error or type(error).__name__}") from error
        if answer.status_code in accept:
            return answer
        if answer.status_code >= 500 or answer.status_code == 429:
            raise Unreachable(f"{self.name} answered {answer.status_code}")
        raise self.refused(answer)

    def refused(self, answer: "httpx.Response") -> Network:
        """The error for an answer that says no, with the registry's own words."""
        if answer.status_code in (401, 403):
            return Network(
                f"{self.name} does not let us push",
                f"Put a user and password for it into {AUTH_FILE} in the config folder.",
            )
        if answer.is_redirect:
            return Network(f"{self.name} sends the upload elsewhere, which is not followed")
        words = answer.text[:200].strip() if answer.text.isprintable() else ""
        return Network(f"{self.name} answered {answer.status_code}" + (f": {words}" if words else ""))

    @property
    def name(self) -> str:
        """The registry's host."""
        return urlsplit(self.base).netloc

    def location(self, answer: "httpx.Response", otherwise: str = "") -> str:
        """Where the registry wants the next request. Raises Network for another origin."""
        said = answer.headers.get("location", "")
        if not said and not otherwise:
            raise Network(f"{self.name} does not say where the upload goes")
        url = urljoin(self.base, said) if said else otherwise
        if origin(url) != origin(self.base):
            raise Network(f"{self.name} wants the upload at {url[:200]}, which is not its own host")
        return url


async def piece(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of a file from ``start`` to ``end``, read as they are sent."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end:
            data = await asyncio.to_thread(file.read, min(READ, end - start))
            if not data:
                raise Network(f"{path.name} is shorter than its manifest says", "`allod pull` it again.")
            start += len(data)
            yield data


def came(answer: "httpx.Response", otherwise: int = 0) -> int:
    """How many bytes the registry says it has (``Range: 0-N``)."""
    found = RANGE.fullmatch(answer.headers.get("range", ""))
    if not found:
        return otherwise
    last = int(found[1])
    return last + 1 if last else 0  # 0-0 is said of an upload that has nothing


# ── uploads that were begun ─────────────────────────────────────────────────────────────────────────────────────────


class Begun(msgspec.Struct):
    """An upload: of which repository, and where it goes on."""

    base: str
    url: str


def keep(note: Path, base: str, url: str) -> None:
    """Remembers an upload for the next push."""
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(msgspec.json.encode(Begun(base, url)))


def kept(note: Path, base: str) -> str:
    """Where an upload to this repository goes on; empty: none is remembered."""
    try:
        found = msgspec.json.decode(note.read_bytes(), type=Begun)
    except (OSError, msgspec.DecodeError):
        return ""
    return found.url if found.base == base and origin(found.url) == origin(base) else ""
