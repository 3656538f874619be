"""Small answers from servers that nobody vouches for: bounded in size, retried a few times, told in words."""

import contextlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from allod.egress.answer import Answer, origin
from allod.egress.door import Door, Unconnected
from allod.errors import Network, Unreachable
from allod.models.transfer.download import Watch
from allod.models.transfer.streams import TRANSIENT, retry_after

T = TypeVar("T")

TRIES = 3
BACKOFF = 0.5  # seconds before the first retry, doubled each time
LONGEST_WAIT = 10.0  # seconds that Retry-After is obeyed for
LARGEST = 16 << 20  # bytes of an answer where nothing smaller is asked for


class Missing(Network):
    """404: the server has nothing at this address."""


class Later(Unreachable):
    """A server that asks to come back in ``wait`` seconds."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class Page(Struct, frozen=True):
    """A whole answer. ``headers`` has lower-case names."""

    url: str
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises Network where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Network(f"{origin(self.url)[1]} answered something that is not JSON: {error}") from error


class Web(Struct, frozen=True):
    """A door for small requests, and who may stop them."""

    door: Door
    watch: Watch

    def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        limit: int = LARGEST,
        method: str = "GET",
        accept: Iterable[int] = (200,),
    ) -> Page:
        """Asks until there is an answer with a status of ``accept``, three times at most.

        Raises:
            Missing: 404, where that is not accepted.
            Network: any other status, or more than ``limit`` bytes.
            Unreachable, Offline, Refused, Cancelled.
        """
        accepted = set(accept)

        def once() -> Page:
            with self.door.open(url, headers, method) as answer:
                if answer.status in accepted:
                    return page(answer, limit)
                message = f"{origin(url)[1]} answered {told(answer)} for {url}"
                if answer.status == 404:
                    raise Missing(message)
                if answer.status in TRANSIENT:
                    raise Later(message, retry_after(answer))
                raise Network(message)

        return self.again(once)

    def again(self, action: Callable[[], T]) -> T:
        """Does it up to three times as long as it raises Unreachable, twice where there is no connection at all."""
        for tries in range(1, TRIES):
            try:
                return action()
            except Unreachable as error:
                if isinstance(error, Unconnected) and tries > 1:
                    raise
                wait = BACKOFF * 2 ** (tries - 1) * random.uniform(0.5, 1.0)
                wait = max(wait, error.wait if isinstance(error, Later) else 0.0)
                if wait > LONGEST_WAIT:
                    raise
                self.watch.stop.wait(wait)
                self.watch.check()
        return action()


def page(answer: Answer, limit: int) -> Page:
    """Reads an answer whole. Raises Network where it is too large, Unreachable, Cancelled."""
    headers = {name.lower(): value for name, value in answer.headers()}
    return Page(answer.url, answer.status, headers, answer.body(limit))


def told(answer: Answer) -> str:
    """A status with what the server says of it in JSON, as registries and hubs do."""
    said = ""
    with contextlib.suppress(Network, ValueError, RecursionError, KeyError, IndexError, TypeError):
        body = json.loads(answer.body(64 << 10))
        said = str(body["error"] if "error" in body else body["errors"][0]["message"])
    return f"{answer.status} ({' '.join(said.split())[:200]})" if said else str(answer.status)
