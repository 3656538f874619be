"""allod's own API for jobs: conversations and runs over HTTP. The routes are in docs/api.md.

The server owns each run; a client starts it, reads its events from any point on, answers it, and may go at any time.
Clients of other machines get at jobs in the folders of the setting ``folders`` and at no others; which pages may ask
was judged before (``runs_routes``).
"""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from starlette.requests import Request
from starlette.types import ASGIApp

from allod.egress import is_loopback
from allod.errors import BadRequest, Conflict, NotFound, Refused
from allod.interpreter import profiles
from allod.interpreter.attempt import Decision
from allod.interpreter.conversations import Conversation
from allod.interpreter.events import Ended
from allod.interpreter.given import Given
from allod.interpreter.workspace import checked
from allod.server import runs_log
from allod.server.conversations import Conversations, Order
from allod.server.door import Json, Stream, attended, encode
from allod.server.runs import INTERRUPTED, Run
from allod.server.runs_log import Entry
from allod.server.runs_routes import BASE
from allod.server.runs_wire import (
    LARGE,
    Approval,
    Choice,
    Events,
    Input,
    NewConversation,
    NewRun,
    Nothing,
    Overwrite,
    Rejection,
    Told,
    after,
    body_of,
    plain,
    sent,
)
from allod.server.state import State

BREATH = 15.0  # seconds after which a stream in which nothing happens says that it lives
LISTED = 200


class Handlers:
    """One method a route of ``runs_routes``; ``held`` are the conversations that are open."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.home = state.home
        self.held = Conversations(state.home, state.engine)
        self.folders = [f.strip() for f in state.home.settings.folders.split(",") if f.strip()]

    def _check_folder(self, request: Request, folder: str) -> None:
        """Raises Refused for a client of another machine and a folder that is not open to it."""
        near = request.client is not None and is_loopback(request.client.host)
        if near and not any(name in request.headers for name in ("forwarded", "x-forwarded-for", "x-real-ip")):
            return
        real = Path(folder).expanduser().resolve()
        if not any(real.is_relative_to(Path(top).expanduser().resolve()) for top in self.folders):
            raise Refused(
                "that folder is not open to clients on other machines", "The server's setting `folders` says which are."
            )

    def _conversation(self, request: Request) -> Conversation:
        id_ = request.path_params["id"]
        said = Conversation.get(self.home, id_)
        if said.id != id_:
            raise NotFound("there is no such conversation", "Give its whole id.")
        self._check_folder(request, said.folder)
        return said

    async def _entry(self, request: Request) -> Entry:
        entry = await asyncio.to_thread(runs_log.get, self.home, request.path_params["id"])
        said = await asyncio.to_thread(Conversation.get, self.home, entry.conversation)
        self._check_folder(request, said.folder)
        return entry

    async def _live(self, request: Request) -> Run:
        """A run that may still be told something. Raises NotFound; Conflict where it is over long since."""
        run = self.held.live((await self._entry(request)).id)
        if run is None:
            raise Conflict("the run is over", "Start another one.")
        return run

    # ── conversations ───────────────────────────────────────────────────────────────────────────────────────────────

    async def create(self, request: Request) -> ASGIApp:
        """A new conversation over a folder."""
        body = await body_of(request, NewConversation)
        try:
            self._check_folder(request, body.folder)
            if not Path(body.folder).expanduser().is_absolute():
                raise BadRequest("the folder is not a whole path", "Begin it with / or ~.")
        except (ValueError, RuntimeError, OSError) as error:
            raise BadRequest(f"{body.folder[:200]!r} is no path", "Give the path of a folder.") from error
        folder = checked(Path(body.folder))
        profile = profiles.load(self.home, body.profile or "default")
        model = body.model or profile.model
        await self.state.model(model)
        said = await asyncio.to_thread(
            Conversation.begin, self.home, folder, model, body.title, body.profile or "default"
        )
        return Json(described(said), 201)

    async def list(self, request: Request) -> ASGIApp:
        """The conversations that were gone on with latest."""
        found: list[object] = []
        for summary in await asyncio.to_thread(Conversation.list, self.home, None, LISTED):
            try:
                self._check_folder(request, summary.folder)
            except Refused:
                continue
            running = self.held.running(summary.id)
            found.append({**plain(summary), "running": running.entry.id if running else None})
        return Json({"conversations": found})

    async def show(self, request: Request) -> ASGIApp:
        """One conversation: its turns and runs."""
        said = self._conversation(request)
        turns = await asyncio.to_thread(said.turns)
        runs = await asyncio.to_thread(runs_log.of, self.home, said.id)
        running = self.held.running(said.id)
        return Json(
            {
                **described(said),
                "running": running.entry.id if running else None,
                "turns": [{k: v for k, v in plain(turn).items() if k != "events"} for turn in turns],
                "runs": [plain(await self._told(entry)) for entry in runs],
            }
        )

    async def delete(self, request: Request) -> ASGIApp:
        """Deletes a conversation; what its jobs applied stays."""
        await self.held.delete(self._conversation(request))
        return Json({})

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self, request: Request) -> ASGIApp:
        """Starts a job in a conversation."""
        said = self._conversation(request)
        body = await body_of(request, NewRun, LARGE)
        if not body.prompt.strip():
            raise BadRequest("there is no job", "Say what to do in `prompt`.")
        files = tuple(Given.named(file.name, file.data) for file in body.files)
        await self.state.model(body.model or said.model)
        order = Order(body.prompt, files, body.model, body.profile, body.auto_approve, body.auto_apply)
        run = await self.held.begin(said.id, order)
        return Json(await self._told(run.entry), 201, {"location": f"{BASE}/runs/{run.entry.id}"})

    async def _told(self, entry: Entry) -> Told:
        run = self.held.live(entry.id)
        if run is None:
            count = await asyncio.to_thread(runs_log.last, self.home, entry.id)
            status, reason = (entry.status, entry.reason) if entry.status else ("interrupted", INTERRUPTED)
            return Told(entry.id, entry.conversation, entry.task, status, reason, entry.begun_at, entry.ended_at, count)
        ended = entry.ended_at or (await asyncio.to_thread(runs_log.get, self.home, entry.id)).ended_at
        return Told(
            entry.id,
            entry.conversation,
            entry.task,
            run.status,
            run.reason,
            entry.begun_at,
            ended,
            run.count,
            run.waiting,
            run.waiting_at if run.waiting else None,
        )

    async def status(self, request: Request) -> ASGIApp:
        """How a run is."""
        return Json(await self._told(await self._entry(request)))

    async def events(self, request: Request) -> ASGIApp:
        """Its events from a point on, to the end."""
        entry, seen = await self._entry(request), after(request)
        run = self.held.live(entry.id)
        return Stream(Events(), self._stream(run, seen) if run is not None else self._replay(entry, seen))

    async def _stream(self, run: Run, seen: int) -> AsyncGenerator[bytes]:
        yield b"retry: 2000\n\n"
        following = run.follow(seen)
        coming: asyncio.Future[tuple[int, bytes] | None] = asyncio.ensure_future(anext(following, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=BREATH)
                if not done:
                    yield b": here\n\n"
                    continue
                if (event := coming.result()) is None:
                    return
                yield sent(*event)
                coming = asyncio.ensure_future(anext(following, None))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await following.aclose()

    async def _replay(self, entry: Entry, seen: int) -> AsyncGenerator[bytes]:
        """A run of which only the record is left. One that was cut off by a kill ends here with the word of that."""
        yield b"retry: 2000\n\n"
        last = await asyncio.to_thread(runs_log.last, self.home, entry.id)
        # The last event always comes: a client that saw more than was written before a kill must learn of the end.
        begin = min(seen, last - 1) if entry.status else seen
        for number, body in await asyncio.to_thread(runs_log.events, self.home, entry.id, begin):
            yield sent(number, body)
        if not entry.status:
            yield sent(max(last, seen) + 1, encode(Ended("stopped", INTERRUPTED)))

    # ── the person's part ───────────────────────────────────────────────────────────────────────────────────────────

    async def approve(self, request: Request) -> ASGIApp:
        """Yes to the block that waits, perhaps as it was edited."""
        run, body = await self._live(request), await body_of(request, Approval)
        run.answer("approve", Decision(True, body.code), body.event)
        return Json({})

    async def reject(self, request: Request) -> ASGIApp:
        """No to it; the run ends."""
        run, body = await self._live(request), await body_of(request, Rejection)
        run.answer("approve", Decision(False), body.event)
        return Json({})

    async def input(self, request: Request) -> ASGIApp:
        """The line that code waits for."""
        run, body = await self._live(request), await body_of(request, Input)
        run.answer("input", body.text, body.event)
        return Json({})

    async def stop(self, request: Request) -> ASGIApp:
        """Ends a run; nothing where it is over."""
        run = await self._live(request)
        await body_of(request, Nothing)
        if not run.over.is_set():
            await self.held.stop(run)
        return Json({})

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def changes(self, request: Request) -> ASGIApp:
        """What is not as it was, in the workspace of the run's conversation."""
        interpreter = await self.held.held((await self._entry(request)).id)
        return Json({"changes": await attended(request, interpreter.changes())})

    async def apply(self, request: Request) -> ASGIApp:
        """Writes changes into the folder."""
        entry, body = await self._entry(request), await body_of(request, Choice)
        return Json(await (await self.held.held(entry.id)).apply(body.paths, overwrite=body.overwrite))

    async def discard(self, request: Request) -> ASGIApp:
        """Drops what was not applied."""
        entry = await self._entry(request)
        await body_of(request, Nothing)
        await (await self.held.held(entry.id)).discard()
        return Json({})

    async def undo(self, request: Request) -> ASGIApp:
        """Takes back what was applied last."""
        entry, body = await self._entry(request), await body_of(request, Overwrite)
        return Json(await (await self.held.held(entry.id)).undo(overwrite=body.overwrite))


def described(said: Conversation) -> dict[str, object]:
    """A conversation in an answer."""
    return {"id": said.id, "title": said.title, "folder": said.folder, "model": said.model, "profile": said.profile}
