"""Fast streams come a few events at a time, slow ones one by one, and nothing is held back for long."""

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allod.engine.connection import Pool
from allod.engine.gathering import PATIENCE, Gathering

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
END = b"0\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":" word"}}],"padding":"%s"}\n\n' % (200 * b"x")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """Sends events at a pace, with a stall after some of them; then closes."""

    def __init__(self, events: int, every: float, stall_after: int = 0, stall: float = 0) -> None:
        self.events, self.every, self.stall_after, self.stall = events, every, stall_after, stall
        self.sent: list[float] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for number in range(self.events):
            self.sent.append(time.perf_counter())
            writer.write(chunk(EVENT))
            await writer.drain()
            await asyncio.sleep(self.stall if number + 1 == self.stall_after else self.every)
        writer.write(END)
        await writer.drain()
        writer.close()


async def pieces(server: Server, stream: bool = True) -> list[tuple[int, float]]:
    """Events in each piece as they came, and when."""
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    pool = Pool("127.0.0.1", listening.sockets[0].getsockname()[1], {})
    found: list[tuple[int, float]] = []
    async with listening, pool.open("GET", "/", stream=stream) as answer:
        async for piece in answer.body:
            found.append((piece.count(EVENT), time.perf_counter()))
    return found


@pytest.mark.anyio
async def test_a_fast_stream_comes_together() -> None:
    found = await pieces(Server(300, 0.002))
    assert sum(count for count, _ in found) == 300
    assert len(found) < 150


@pytest.mark.anyio
async def test_a_slow_stream_comes_event_by_event() -> None:
    found = await pieces(Server(8, 0.04))
    assert [count for count, _ in found] == [1] * 8


@pytest.mark.anyio
async def test_what_a_stall_holds_back_is_let_go() -> None:
    server = Server(200, 0.002, stall_after=150, stall=3)
    found = await pieces(server)
    seen, when = 0, 0.0
    for count, at in found:
        seen += count
        if seen >= 150:
            when = at
            break
    assert seen == 150  # before the next was sent
    assert when - server.sent[149] < 2  # well before the stall's end


def test_slow_at_once_and_fast_by_and_by(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    monkeypatch.setattr("allod.engine.gathering.time", fake)
    gathering = made(fake)
    for _ in range(30):
        fake.now += 0.005
        gathering.came(250)
    assert 512 <= gathering.least <= 3300  # bytes of 60 ms, with room for a pace that is not yet known well
    fake.now += 1
    gathering.came(100)
    assert gathering.least == 1
    fake.now += 0.005
    gathering.came(100)
    assert gathering.least == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 300_000), st.floats(0, 2)), max_size=80))
def test_never_more_than_what_comes_in_a_moment(reads: list[tuple[int, float]]) -> None:
    fake = Fake()
    gathering = made(fake)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("allod.engine.gathering.time", fake)
        for size, wait in reads:
            fake.now += wait
            gathering.came(size)
            assert 1 <= gathering.least <= 16 * 1024
            assert fake.options[-1:] in ([], [gathering.least])


class Fake:
    """A socket and a clock."""

    def __init__(self) -> None:
        self.now = 1.0
        self.options: list[int] = []

    def monotonic(self) -> float:
        return self.now

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.options.append(value)

    def call_later(self, delay: float, callback: object) -> None:
        assert delay <= PATIENCE


def made(fake: Fake) -> Gathering:
    gathering = Gathering.__new__(Gathering)
    gathering.__dict__ |= {
        "least": 1,
        "_socket": fake,
        "_loop": fake,
        "_last": 0.0,
        "_bytes": 0.0,
        "_seconds": 0.0,
        "_watch": None,
    }
    return gathering
