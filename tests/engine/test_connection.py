"""HTTP/1.1 to a child: framing however it is cut, connections used again, and sides that misbehave."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.engine.connection import CHUNK_HEADER_LIMIT, ConnectionLost, Dechunker, Pool

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


# ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunked(parts: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return framed + b"0\r\n" + trailer + b"\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    st.lists(st.integers(min_value=0), max_size=30),
    st.sampled_from([b"", b";name=value", b' ; q="x"']),
    st.sampled_from([b"", b"x-trailer: 1\r\n"]),
)
def test_a_chunked_body_is_what_was_framed(parts: list[bytes], places: list[int], ext: bytes, trailer: bytes) -> None:
    dechunker = Dechunker()
    pieces = [dechunker.feed(piece) for piece in cut(chunked(parts, ext, trailer), places)]
    assert b"".join(pieces) == b"".join(parts)
    assert dechunker.done


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.integers(min_value=1))
def test_a_body_cut_short_is_not_done(parts: list[bytes], less: int) -> None:
    data = chunked(parts)
    dechunker = Dechunker()
    dechunker.feed(data[: -(less % len(data)) or -1])
    assert not dechunker.done


@given(st.binary(max_size=3000), st.lists(st.integers(min_value=0), max_size=9))
def test_any_bytes_end_in_a_body_or_an_error(data: bytes, places: list[int]) -> None:
    dechunker = Dechunker()
    try:
        for piece in cut(data, places):
            dechunker.feed(piece)
    except ConnectionLost:
        pass
    assert len(dechunker._line) <= CHUNK_HEADER_LIMIT  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "data",
    [
        b"5\r\nhelloX\r\n",
        b"-1\r\n",
        b"0x5\r\nhello\r\n",
        b"5 5\r\nhello\r\n",
        b"\r\n",
        b"5\nhello\r\n",
        b"f" * 16 + b"\r\n",
        b"1" * 2000,
        b"5;" + b"x" * 2000 + b"\r\n",
        b"0\r\n\r\nmore",
        b"\xff\xfe\r\n",
    ],
)
def test_what_is_no_chunked_body(data: bytes) -> None:
    with pytest.raises(ConnectionLost):
        Dechunker().feed(data)


# ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def pool(serve: Serve) -> AsyncIterator[Pool]:
    """A pool to a server that answers as ``serve`` does."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    made = Pool("127.0.0.1", server.sockets[0].getsockname()[1], {"authorization": "Bearer key"})
    yield made
    made.close()
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    return head, await reader.readexactly(length)


def answering(*answers: bytes) -> Serve:
    """Serves one answer a request on each connection, then closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request(reader)
            writer.write(answer)
            await writer.drain()

    return serve


async def got(pool: Pool, path: str = "/", body: bytes = b"{}") -> tuple[int, bytes]:
    async with pool.open("POST", path, body) as answer:
        return answer.status, b"".join([piece async for piece in answer.body])


@pytest.mark.anyio
async def test_sends_what_it_should() -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request(reader))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Type: text/x\r\ncontent-length: 2\r\n\r\nok")

    async with pool(serve) as p, p.open("POST", "/path", b"[1]") as answer:
        assert (answer.status, answer.content_type) == (201, "text/x")
        assert [piece async for piece in answer.body] == [b"ok"]
    head, body = seen[0]
    assert head.startswith(b"POST /path HTTP/1.1\r\n") and b"authorization: Bearer key\r\n" in head
    assert body == b"[1]"


@pytest.mark.anyio
async def test_a_connection_is_used_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked([b"a", b"b"]))

    async with pool(serve) as p:
        assert [await got(p) for _ in range(3)] == [(200, b"ab")] * 3
        assert connections == 1
        await asyncio.gather(got(p), got(p))
        assert connections == 2


@pytest.mark.anyio
async def test_an_idle_connection_that_was_closed_is_replaced() -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1"
    async with pool(answering(one)) as p:
        assert await got(p) == (200, b"1")
        assert await got(p) == (200, b"1")


@pytest.mark.anyio
async def test_a_connection_left_early_is_closed() -> None:
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        try:
            await reader.read()
        finally:
            closed.set()

    async with pool(serve) as p:
        async with p.open("POST", "/", b"") as answer:
            async for _ in answer.body:
                break
        await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.anyio
async def test_a_body_to_the_end_of_the_connection() -> None:
    async with pool(answering(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")) as p:
        assert await got(p) == (200, b"until the end")


@pytest.mark.anyio
async def test_an_interim_answer_is_passed_over() -> None:
    async with pool(answering(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")) as p:
        assert await got(p) == (204, b"")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 9999 No\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none(answer: bytes) -> None:
    async with pool(answering(answer)) as p:
        with pytest.raises(ConnectionLost):
            await got(p)


@pytest.mark.anyio
async def test_nobody_there() -> None:
    async with pool(answering(b"")) as p:
        pass
    with pytest.raises(ConnectionLost):
        await got(Pool(p.host, p.port, {}))


@pytest.mark.anyio
async def test_a_large_request_and_a_large_answer() -> None:
    size = 20_000_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()

    async with pool(serve) as p:
        status, body = await got(p, body=b"x" * size)
    assert status == 200 and len(body) == size
