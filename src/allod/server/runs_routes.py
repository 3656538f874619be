"""The routes of conversations and runs, and who may ask for them. The handlers load with the first such request.

A server that only runs models never pays for the interpreter. A job executes code and reads files of this machine, so
of web pages only the server's own may ask, and those of the setting ``origins``: not every page of a local port.
"""

import fnmatch
from functools import cached_property
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from allod.errors import Refused
from allod.server.door import Endpoint, Handler
from allod.server.ollama_wire import NATIVE
from allod.server.state import State

if TYPE_CHECKING:
    from allod.server.runs_door import Handlers

BASE = "/allod/v1"
ROUTES = (
    ("POST", "conversations", "create"),
    ("GET", "conversations", "list"),
    ("GET", "conversations/{id}", "show"),
    ("DELETE", "conversations/{id}", "delete"),
    ("POST", "conversations/{id}/runs", "run"),
    ("GET", "runs/{id}", "status"),
    ("GET", "runs/{id}/events", "events"),
    ("POST", "runs/{id}/approve", "approve"),
    ("POST", "runs/{id}/reject", "reject"),
    ("POST", "runs/{id}/input", "input"),
    ("POST", "runs/{id}/stop", "stop"),
    ("GET", "runs/{id}/changes", "changes"),
    ("POST", "runs/{id}/apply", "apply"),
    ("POST", "runs/{id}/discard", "discard"),
    ("POST", "runs/{id}/undo", "undo"),
)


class Door:
    """``routes`` is what the application takes; ``end`` and ``close`` are what it calls at its own end."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.origins = [o.strip().lower() for o in state.home.settings.origins.split(",") if o.strip()]

    @cached_property
    def handlers(self) -> "Handlers":
        """Loaded at first use."""
        from allod.server.runs_door import Handlers

        return Handlers(self.state)

    def routes(self) -> list[Route]:
        """Every route of this part."""
        return [
            Route(f"{BASE}/{path}", Endpoint(NATIVE, self._handler(name)), methods=[method])
            for method, path, name in ROUTES
        ]

    def _handler(self, name: str) -> Handler:
        async def handler(request: Request) -> ASGIApp:
            self._check_page(request)
            return await getattr(self.handlers, name)(request)

        return handler

    def _check_page(self, request: Request) -> None:
        """Raises Refused for a web page that is neither the server's own nor one that the user named."""
        origin = request.headers.get("origin", "").lower()
        if origin and any(fnmatch.fnmatchcase(origin, pattern) for pattern in self.origins):
            return
        host = request.headers.get("host", "").lower()
        site = request.headers.get("sec-fetch-site", "none")
        if (origin and origin not in (f"http://{host}", f"https://{host}")) or site not in ("none", "same-origin"):
            raise Refused("jobs are not for pages of other origins", "The setting `origins` allows some.")

    async def end(self) -> None:
        """Stops what runs, so that readers see its end."""
        if "handlers" in self.__dict__:
            await self.handlers.held.end()

    async def close(self) -> None:
        """The same, and lets go of everything."""
        if "handlers" in self.__dict__:
            await self.handlers.held.close()
