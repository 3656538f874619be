"""Ollama's API, the part that makes models: blobs that are uploaded, and /api/create over them or over a model.

No path ever comes from the wire: files are named by digest, and get their names back only inside a temporary folder.
"""

import asyncio
import hashlib
import re
import secrets
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.chat import Message
from allod.errors import BadName, BadRequest, ModelNotFound, NotFound, Unsupported
from allod.models import disk
from allod.models.create import create
from allod.models.manifest import canonical
from allod.models.modelfile import Modelfile, typed
from allod.models.progress import Progress
from allod.models.quantize_plan import target
from allod.models.store import Store
from allod.server import ollama_requests as requests
from allod.server.door import Endpoint, read
from allod.server.ollama_models import named, progress
from allod.server.ollama_wire import NATIVE, CreateBody
from allod.server.state import State

PIECE = 4 * 2**20  # bytes of an upload that are hashed and written at a time
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+ -]{0,199}")
ACTION = re.compile(r"\{\{-?\s*(/\*.*?\*/|.*?)\s*-?\}\}", re.DOTALL)


class Create:
    """The handlers; ``routes`` is what the application takes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def routes(self) -> list[Route]:
        """Every route of this part."""
        return [
            Route("/api/create", Endpoint(NATIVE, self.create), methods=["POST"]),
            Route("/api/blobs/{digest}", Endpoint(NATIVE, self.has_blob), methods=["HEAD"]),
            Route("/api/blobs/{digest}", Endpoint(NATIVE, self.take_blob), methods=["POST"]),
        ]

    # ── blobs ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def has_blob(self, request: Request) -> ASGIApp:
        """Whether a blob is here."""
        digest = digest_in(request)
        if not self.state.store.has(digest):
            raise NotFound(f'blob "{digest}" not found')
        return Response()

    async def take_blob(self, request: Request) -> ASGIApp:
        """Takes a blob in, checking its digest on the way to the disk."""
        digest = digest_in(request)
        store = self.state.store
        if store.has(digest):
            return Response()
        path = store.partial(digest).with_name(f"upload-{secrets.token_hex(8)}")
        with disk.disk_errors("write", path):
            try:
                with path.open("xb") as file:
                    found = await received(request, file)
                if found != digest:
                    raise BadRequest(f'digest mismatch, expected "{digest}", got "{found}"')
                await asyncio.to_thread(store.commit, digest, path)
            finally:
                path.unlink(missing_ok=True)
        return Response(status_code=201)

    # ── create ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> ASGIApp:
        """Makes a model of uploaded files or of another model."""
        body = await read(request, CreateBody)
        name = named(body.model or body.name or "", "invalid model name")
        if not body.from_ and not body.files:
            raise BadRequest("neither 'from' or 'files' was specified")
        if body.remote_host:
            raise Unsupported("remote_host is not supported", "Models run where allod runs.")
        if body.quantize:
            target(body.quantize)
        check_template(body.template or "")
        recipe(body)  # whatever is wrong with it is said before anything is fetched
        return await progress(request, self._creating(name, body), body.stream)

    async def _creating(self, name: str, body: CreateBody) -> AsyncGenerator[Progress]:
        store = self.state.store
        if body.from_:
            source = named(body.from_, "invalid model name")
            try:
                model = await self.state.model(source)
            except ModelNotFound:
                async with aclosing(self.state.pull(source)) as steps:
                    async for step in steps:
                        if step.status != "success":  # the whole has only begun
                            yield step
                model = await self.state.model(source)
            sources, body.files = (model.name.full,), None
        else:
            sources = ()
        with tempfile.TemporaryDirectory(prefix="allod-create-") as folder:
            if body.files:
                sources = (str(placed(Path(folder, "files"), body.files, store)),)
            adapters: tuple[str, ...] = ()
            if body.adapters:
                adapters = (str(placed(Path(folder, "adapters"), body.adapters, store)),)
            drafts: tuple[str, ...] = ()
            if body.draft_files:
                given = placed(Path(folder, "drafts"), body.draft_files, store)
                drafts = tuple(str(path) for path in sorted(given.iterdir()))
            # No relative path is ever meant, so the base is a folder that is not there.
            steps = create(
                store, name, recipe(body, sources, adapters, drafts), Path(folder, "none"), body.quantize or ""
            )
            while (step := await asyncio.to_thread(next, steps, None)) is not None:
                yield step


async def received(request: Request, file: BinaryIO) -> str:
    """Writes the body to a file; returns its digest. Raises OSError."""
    state, piece = hashlib.sha256(), bytearray()

    def write(data: bytes) -> None:
        state.update(data)
        file.write(data)

    async for chunk in request.stream():
        piece += chunk
        if len(piece) >= PIECE:
            await asyncio.to_thread(write, bytes(piece))
            piece.clear()
    write(bytes(piece))
    return f"sha256:{state.hexdigest()}"


def digest_in(request: Request) -> str:
    """The digest in the path.

    Raises:
        BadRequest: not one.
    """
    try:
        return canonical(request.path_params["digest"])
    except BadName as error:
        raise BadRequest("invalid digest format") from error


def placed(folder: Path, files: dict[str, str], store: Store) -> Path:
    """A folder in which uploaded blobs have their file names, as the parts of a split model are known by these.

    Raises:
        BadRequest: a file name or a digest that is none.
        NotFound: a blob that was not uploaded.
    """
    folder.mkdir()
    for file, digest in files.items():
        name = file.removeprefix("./")
        if file.startswith(("/", "\\")) or ".." in file.split("/"):
            raise BadRequest("file path must be relative")
        if not FILE_NAME.fullmatch(name):
            raise BadRequest(f"{file[:80]!r} is not a file name")
        try:
            blob = store.blob(digest)
        except BadName as error:
            raise BadRequest("invalid digest format") from error
        if not blob.is_file():
            raise NotFound(f'blob "{digest}" not found')
        link = folder / (name if name.lower().endswith(".gguf") else f"{name}.gguf")
        if link.is_symlink():
            raise BadRequest(f"two files are named {name!r}")
        link.symlink_to(blob.absolute())
    return folder


def recipe(
    body: CreateBody,
    sources: tuple[str, ...] = (),
    adapters: tuple[str, ...] = (),
    drafts: tuple[str, ...] = (),
) -> Modelfile:
    """The request as a Modelfile.

    Raises:
        BadRequest: a parameter or a message that is wrong.
    """
    licenses = [body.license] if isinstance(body.license, str) else body.license or []
    try:
        params = {key: typed(key, value) for key, value in (body.parameters or {}).items() if value is not None}
    except ValueError as error:
        raise BadRequest(str(error)) from error
    turns = [requests.message(wire) for wire in body.messages or []]
    return Modelfile(
        sources=sources,
        adapters=adapters,
        drafts=drafts,
        template=body.template or "",
        system=body.system or "",
        params=params,
        messages=[Message(turn.role, turn.text) for turn in turns],
        licenses=[text for text in licenses if text],
        renderer=body.renderer or "",
        parser=body.parser or "",
        requires=body.requires or "",
    )


def check_template(text: str) -> None:
    """Returns where the blocks of a Go template are closed; what its actions mean is not looked at.

    Raises:
        BadRequest: an action or a block is left open, or an ``end`` has no block.
    """
    depth = 0
    for found in ACTION.finditer(text):
        word = found[1].split(maxsplit=1)[:1]
        depth += (word in (["if"], ["range"], ["with"], ["define"], ["block"])) - (word == ["end"])
        if depth < 0 or (word == ["else"] and not depth):
            raise BadRequest(f"template error: unexpected {{{{{word[0]}}}}}")
    if depth or "{{" in ACTION.sub("", text):
        raise BadRequest("template error: unexpected EOF" if depth else "template error: unclosed action")
