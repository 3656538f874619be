"""What all doors share: bodies, errors, streams, clients that go away."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from allod.errors import BadRequest, BodyTooLarge, Busy, EngineFailed, Stopping
from allod.server.door import Endpoint, Json, Stream, attended, decode, read, read_body
from allod.server.ollama_wire import NATIVE, ChatBody
from allod.server.openai_wire import OPENAI


class Connection:
    """One request to an ASGI application, and what comes back."""

    def __init__(self, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        raw = [(k.encode(), v.encode()) for k, v in (headers or {}).items()]
        self.scope = {"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}
        self.incoming = [{"type": "http.request", "body": body, "more_body": False}]
        self.gone = asyncio.Event()
        self.sent: list[Any] = []
        self.got_some = asyncio.Event()

    async def receive(self) -> Any:
        if self.incoming:
            return self.incoming.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        self.got_some.set()

    async def run(self, app: ASGIApp) -> None:
        await app(self.scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "missing request body"),
        (b"  \n", "missing request body"),
        (b"not json", "invalid JSON"),
        (b'{"model": "x"', "invalid JSON"),
        (b'{"model": NaN}', "invalid JSON"),
        (b'{"model": 1e999}', "model"),
        (b'{"options": {"seed": 1e999}}', "out of range"),
        (b"\xff\xfe{}", "invalid JSON"),
        (b'{"model": "\xff"}', "not UTF-8"),
        (b'{"options": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "nested too deeply"),
        (b"[]", "Expected `object`"),
        (b"null", "Expected `object`"),
        (b'{"model": 3}', "Expected `str | null`, got `int` - at `$.model`"),
        (b'{"messages": [{"role": "user", "content": ["x"]}]}', "$.messages[0].content"),
        (b'{"messages": "hi"}', "$.messages"),
    ],
)
def test_bad_bodies_are_told_in_a_line(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest) as error:
        decode(body, ChatBody)
    assert said in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 300


def test_unknown_fields_and_nulls_are_ignored() -> None:
    body = decode(b'{"model": "m", "whatever": {"x": [1]}, "messages": null, "options": null, "think": null}', ChatBody)
    assert (body.model, body.messages, body.options) == ("m", None, None)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_has_a_bound(declared: bool) -> None:
    connection = Connection(b"x" * 1000, {"content-length": "1000"} if declared else None)
    with pytest.raises(BodyTooLarge):
        await read_body(Request(connection.scope, connection.receive), limit=999)  # type: ignore[arg-type]


async def test_a_bug_is_a_500_without_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> ASGIApp:
        raise ZeroDivisionError("secret detail")

    connection = Connection()
    await connection.run(Endpoint(NATIVE, handler))
    assert connection.status == 500
    assert connection.body == b'{"error":"internal error. The server\'s log has the details."}'
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


async def test_busy_says_when_to_come_again() -> None:
    async def handler(request: Request) -> ASGIApp:
        raise Busy("full", "wait", retry_after=7)

    connection = Connection()
    await connection.run(Endpoint(NATIVE, handler))
    assert connection.status == 503
    assert (b"retry-after", b"7") in connection.sent[0]["headers"]
    assert connection.body == b'{"error":"server busy, please try again.  maximum pending requests exceeded"}'


async def test_an_error_before_the_first_chunk_has_its_status() -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        raise BadRequest("no")
        yield b""

    connection = Connection()
    await connection.run(Stream(NATIVE, chunks()))
    assert (connection.status, connection.body) == (400, b'{"error":"no"}')


async def test_a_later_error_ends_the_stream() -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        yield b'{"a":1}\n'
        raise EngineFailed("died", "again")

    native, openai = Connection(), Connection()
    await native.run(Stream(NATIVE, chunks()))
    assert native.status == 200
    assert (b"content-type", b"application/x-ndjson") in native.sent[0]["headers"]
    assert native.body == b'{"a":1}\n{"error":"died. again"}\n'
    assert native.sent[-1].get("more_body") in (None, False)
    await openai.run(Stream(OPENAI, chunks()))
    error = b'{"error":{"message":"died. again","type":"api_error","param":null,"code":null}}'
    assert openai.body == b'{"a":1}\ndata: ' + error + b"\n\ndata: [DONE]\n\n"


async def test_an_empty_stream_is_an_answer_too() -> None:
    async def chunks() -> AsyncGenerator[bytes]:
        return
        yield b""

    connection = Connection()
    await connection.run(Stream(NATIVE, chunks()))
    assert (connection.status, connection.body) == (200, b"")


async def test_a_stream_stops_when_its_client_goes_away() -> None:
    cleaned = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # cleaning up may wait for things
            cleaned.set()

    connection = Connection()
    running = asyncio.create_task(connection.run(Stream(NATIVE, chunks())))
    await connection.got_some.wait()
    connection.gone.set()
    await asyncio.wait_for(running, 1)
    assert cleaned.is_set()


async def test_work_stops_when_its_client_goes_away() -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    async def handler(request: Request) -> ASGIApp:
        await read(request, ChatBody)
        await attended(request, work())
        return Json({})

    connection = Connection(b"{}")
    running = asyncio.create_task(connection.run(Endpoint(NATIVE, handler)))
    await started.wait()
    connection.gone.set()
    await asyncio.wait_for(running, 1)
    assert cleaned.is_set()
    assert connection.status == 499


async def test_a_server_that_stops_cancels_what_runs() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    connection = Connection()
    request = Request(connection.scope, connection.receive)  # type: ignore[arg-type]
    running = asyncio.create_task(attended(request, work()))
    await started.wait()
    running.cancel()
    with pytest.raises(Stopping):
        await running


async def test_a_server_that_stops_ends_its_streams() -> None:
    cleaned = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes]:
        try:
            yield b'{"a":1}\n'
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    connection = Connection()
    running = asyncio.create_task(connection.run(Stream(NATIVE, chunks())))
    await connection.got_some.wait()
    running.cancel()
    await running
    assert cleaned.is_set()
    assert connection.body == b'{"a":1}\n{"error":"the server is being stopped. Ask again when it is back."}\n'
    assert not connection.sent[-1].get("more_body")
