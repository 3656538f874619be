"""Who may pass where keys are asked for: a middleware behind ``security.Guard``.

A key comes as ``Authorization: Bearer …`` or ``x-api-key``. Without one, or with a wrong one, the answer is 401; a key
that is not good for the route or the model gives 403, one that came too often 429, each in the form of the API that was
asked. A key for some models only does not get at what changes models, nor at jobs, which run code.
"""

import time
from collections.abc import Callable
from contextvars import ContextVar
from fnmatch import fnmatchcase

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from allod.errors import AllodError, RateLimited, Refused, Unauthorized
from allod.keys import EVERYTHING, OWN, Key, Keys
from allod.models.name import Name

OPEN = ("/", "/health")  # say that a server is here, which whoever can connect knows
MANAGING = ("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/*", "/allod/v1/*")
KEY: ContextVar[Key] = ContextVar("KEY", default=OWN)  # with which the current request came

Answer = Callable[[str, AllodError], ASGIApp]  # the answer to a request for a path that failed


class Access:
    """Asks for keys, where there are any or where ``always``."""

    def __init__(self, app: ASGIApp, keys: Keys, answer: Answer, always: bool = False) -> None:
        self.app = app
        self.keys = keys
        self.answer = answer
        self.always = always
        self.pails: dict[str, Pail] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through, or answers it here."""
        app = self.app
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                if self.always or self.keys.list():
                    KEY.set(self.passed(scope["path"], Headers(scope=scope)))
            except AllodError as error:
                app = self.answer(scope["path"], error)
        await app(scope, receive, send)

    def passed(self, path: str, headers: Headers) -> Key:
        """The key of a request that may pass.

        Raises:
            Unauthorized: no key, or a wrong one.
            Refused: it is not good for this.
            RateLimited: it came too often.
            BadSettings: the file of the keys is broken.
        """
        said = secret(headers)
        key = self.keys.of(said) if said else None
        if key is None:
            what = "invalid API key" if said else "an API key is required"
            raise Unauthorized(what, "`allod keys add NAME` makes one; send it as Authorization: Bearer KEY.")
        manages = any(fnmatchcase(path, pattern) for pattern in MANAGING)
        if not key.opens(path) or (manages and key.models != EVERYTHING):
            raise Refused(f"the key '{key.name}' is not good for {path[:80]}", "Ask who runs this server for another.")
        if key.rate:
            self.pails.setdefault(key.digest, Pail(key.rate)).take(key)
        return key


class Pail:
    """So many requests a minute: a pail that holds a minute's worth and is filled evenly (a token bucket)."""

    def __init__(self, rate: int) -> None:
        self.left = float(rate)
        self.at = time.monotonic()

    def take(self, key: Key) -> None:
        """One request. Raises RateLimited."""
        now = time.monotonic()
        self.left = min(float(key.rate), self.left + (now - self.at) * key.rate / 60)
        self.at = now
        if self.left < 1:
            wait = int((1 - self.left) * 60 / key.rate) + 1
            raise RateLimited(
                f"the key '{key.name}' has {key.rate} requests a minute", f"Ask again in {wait} s.", retry_after=wait
            )
        self.left -= 1


def secret(headers: Headers) -> str:
    """The key that a request brings; empty: none."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" and value.strip() else headers.get("x-api-key", "").strip()


def check_model(name: Name) -> None:
    """Returns where the current request's key is good for a model.

    Raises:
        Refused: it is not.
    """
    key = KEY.get()
    short = str(name)
    if not key.may_use(short, short.removesuffix(":latest"), name.full):
        raise Refused(f"the key '{key.name}' is not good for the model '{short}'", "Ask for another model or key.")
