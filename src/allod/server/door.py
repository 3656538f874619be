"""What every door shares: reading a request, answering it whole or as a stream, and stopping when the client has gone.

A door is a set of handlers over one `Shape`, the form its protocol gives to errors:

    Route("/api/chat", Endpoint(NATIVE, self.chat), methods=["POST"])

    async def chat(self, request: Request) -> ASGIApp:
        body = await read(request, ChatBody)           # AllodError → the shape's error body, here and everywhere
        return Stream(NATIVE, self.chunks(body))       # headers wait for the first chunk: errors keep their status
        return Json(await attended(request, self.answer(body)))

Handlers know nothing of disconnects and deadlines (``X-Request-Timeout``): their work is cancelled, and what they hold
in ``async with`` is given back.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from allod.errors import AllodError, BadRequest, BodyTooLarge, Busy, Cancelled, Stopping, TimedOut

MAX_BODY = 256 * 2**20  # bytes of a JSON request; pictures in base64 are the largest that make sense
LONGEST = 1e9  # seconds
DEADLINE: ContextVar[float | None] = ContextVar("DEADLINE", default=None)  # of the request, in the event loop's time

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[ASGIApp]]
log = logging.getLogger("allod.server")
encode = msgspec.json.Encoder().encode


class Shape(Protocol):
    """The form one protocol gives to errors and streams."""

    stream_type: str  # the content type of its streams

    def whole(self, error: AllodError) -> bytes:
        """The JSON body of an answer that is nothing but this error."""
        ...

    def late(self, error: AllodError) -> bytes:
        """What ends a stream in which this error came up."""
        ...


class Json(Response):
    """A JSON answer: a Struct or plain data, or bytes that are JSON already."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        """JSON text."""
        return content if isinstance(content, bytes) else encode(content)


class Endpoint:
    """One route as an ASGI application: runs the handler and gives its errors the shape of the door."""

    def __init__(self, shape: Shape, handler: Handler) -> None:
        self.shape = shape
        self.handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        try:
            request = Request(scope, receive)
            DEADLINE.set(deadline(request.headers.get("x-request-timeout")))
            answer = await self.handler(request)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            answer = refusal(self.shape, understood(error))
        await answer(scope, receive, send)


class Stream:
    """A streamed answer. ``chunks`` is run to its end in one task, or cancelled when the client has gone."""

    def __init__(self, shape: Shape, chunks: AsyncGenerator[bytes]) -> None:
        self.shape = shape
        self.chunks = chunks
        self.started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the chunks as they come; an error before the first has its own status, a later one ends the stream."""
        try:
            await while_connected(receive, self._send(send))
        except Cancelled:
            return  # nobody is there to be told
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            known = understood(error)
            if not self.started:
                await refusal(self.shape, known)(scope, receive, send)
                return
            await send({"type": "http.response.body", "body": self.shape.late(known), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, send: Send) -> None:
        """Headers with the first chunk, then the others."""
        kind = self.shape.stream_type.encode()
        headers = [(b"content-type", kind), (b"cache-control", b"no-cache")]
        start = {"type": "http.response.start", "status": 200, "headers": headers}
        async with aclosing(self.chunks) as chunks:
            async for chunk in chunks:
                if not self.started:
                    await send(start)
                    self.started = True
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not self.started:
            await send(start)


async def attended(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled if the client goes away first.

    Raises:
        Cancelled: it went; nobody will read the answer.
        TimedOut: its deadline has passed.
        Stopping: the server is being stopped.
    """
    return await while_connected(request.receive, work)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """`attended`, for a body that has been read. Cancels once, as asyncio does: cleaning up may wait for things."""
    task = asyncio.create_task(work)

    async def cancel_when_gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    late = asyncio.Event()

    def cancel_when_late() -> None:
        late.set()
        task.cancel()

    watcher = asyncio.create_task(cancel_when_gone())
    timer = asyncio.get_running_loop().call_at(when, cancel_when_late) if (when := DEADLINE.get()) else None
    try:
        return await task
    except asyncio.CancelledError:
        if watcher.done():
            raise Cancelled("request canceled") from None
        if late.is_set():
            raise TimedOut("the request's time is over", "Give it more (X-Request-Timeout), or ask for less.") from None
        raise Stopping("the server is being stopped", "Ask again when it is back.") from None
    finally:
        watcher.cancel()
        if timer:
            timer.cancel()


def deadline(seconds: str | None) -> float | None:
    """The event loop's time at which a request with that ``X-Request-Timeout`` is to end; None: never.

    Raises:
        BadRequest: no number of seconds.
    """
    if seconds is None:
        return None
    try:
        left = float(seconds)
    except ValueError:
        left = -1.0
    if not 0 <= left < LONGEST:
        raise BadRequest("invalid X-Request-Timeout", "It is the number of seconds that the request may take.")
    return asyncio.get_running_loop().time() + left


def understood(error: Exception) -> AllodError:
    """An AllodError as it is; anything else is a bug: its traceback goes to the log, a plain line to the client."""
    if isinstance(error, AllodError):
        return error
    log.error("a request failed: %s", error, exc_info=error)
    return AllodError("internal error", "The server's log has the details.")


def refusal(shape: Shape, error: AllodError) -> Response:
    """The answer to a request that failed."""
    headers = {"retry-after": str(error.retry_after)} if isinstance(error, Busy) else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Json(shape.whole(error), error.status, headers)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The body, whatever its Content-Type.

    Raises:
        BodyTooLarge: more than ``limit`` bytes; the rest is not read.
    """
    declared = request.headers.get("content-length", "")
    chunks: list[bytes] = []
    size = int(declared) if declared.isdigit() else 0
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                break
            chunks.append(chunk)
    if size > limit:
        raise BodyTooLarge(f"the request is larger than {limit // 2**20} MB")
    return b"".join(chunks)


async def read(request: Request, kind: type[T]) -> T:
    """The JSON body as ``kind``; fields that ``kind`` lacks are ignored.

    Raises:
        BadRequest: no body, not JSON, or a value of the wrong type; says where.
    """
    return decode(await read_body(request), kind)


def decode(body: bytes, kind: type[T]) -> T:
    """JSON text as ``kind``; see `read`."""
    if not body or body.isspace():
        raise BadRequest("missing request body")
    try:
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise BadRequest("invalid JSON: nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequest("invalid JSON: not UTF-8") from None
    except msgspec.ValidationError as error:
        raise BadRequest(f"invalid request: {error}") from error
    except msgspec.DecodeError as error:
        raise BadRequest(f"invalid JSON: {error}") from error
