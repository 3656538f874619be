"""Clients that are slow, many, gone or mad: the server goes on answering the others, and says what is wrong."""

import asyncio
import contextlib
import json
import resource
import socket
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from served import Live

MODEL = "smollm2:135m"
HI = [{"role": "user", "content": "Say hello."}]
CHAT = f'"model": "{MODEL}", "messages": {json.dumps(HI)}'
CROWD = 1000


@pytest.fixture
async def http(live: Live) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
        yield client


def address(live: Live) -> tuple[str, int]:
    parts = urlsplit(live.url)
    assert parts.hostname and parts.port
    return parts.hostname, parts.port


def request(path: str, body: bytes, *, length: int | None = None) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


async def answers(http: httpx.AsyncClient) -> None:
    """Somebody else is answered, in good time."""
    began = time.monotonic()
    body = {"model": MODEL, "messages": HI, "stream": False, "options": {"num_predict": 4}}
    answer = await http.post("/api/chat", json=body)
    assert (answer.status_code, answer.json()["done"]) == (200, True)
    assert time.monotonic() - began < 20


async def test_a_thousand_connections_that_are_opened_and_left(live: Live, http: httpx.AsyncClient) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CROWD + 200:
        pytest.skip(f"this system lets a process have {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CROWD + 200), hard))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for number in range(CROWD):
            _, writer = await asyncio.open_connection(*address(live))
            stack.callback(writer.close)
            if number % 2:  # half of them begin to say something
                writer.write(b"POST /api/chat HTTP/1.1\r\nhost: local")
        await answers(http)
    await answers(http)
    descriptors = live.process.num_fds()
    for _ in range(200):
        if (descriptors := live.process.num_fds()) < 200:
            break
        await asyncio.sleep(0.05)
    assert descriptors < 200, "what was closed on the other side is closed here too"


async def test_slow_writers(live: Live, http: httpx.AsyncClient) -> None:
    """Headers and bodies that come a byte at a time, or never."""
    body = json.dumps({"model": MODEL, "messages": HI, "stream": False, "options": {"num_predict": 2}}).encode()
    reader, writer = await asyncio.open_connection(*address(live))
    stalled = [await asyncio.open_connection(*address(live)) for _ in range(20)]
    for _, other in stalled:
        other.write(request("/api/chat", body[:9], length=len(body)))
    for byte in request("/api/chat", body):
        writer.write(bytes([byte]))
        await writer.drain()
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 20)
    await answers(http)
    for _, other in (*stalled, (reader, writer)):
        other.close()


async def test_a_client_that_says_it_has_said_all(live: Live, http: httpx.AsyncClient) -> None:
    """Half-closed: it is answered, or hung up on, and nothing waits for it."""
    body = json.dumps({"model": MODEL, "messages": HI, "stream": False, "options": {"num_predict": 2}}).encode()
    reader, writer = await asyncio.open_connection(*address(live))
    writer.write(request("/api/chat", body))
    writer.write_eof()
    first = await asyncio.wait_for(reader.readline(), 20)
    assert first == b"" or b" 200 " in first
    writer.close()
    await answers(http)


async def test_one_who_reads_nothing_of_a_long_answer(live: Live, http: httpx.AsyncClient) -> None:
    body = {"model": MODEL, "messages": HI, "options": {"num_predict": 400, "temperature": 1.5}}
    sockets: list[socket.socket] = []
    for _ in range(4):  # as many as there are slots
        client = socket.create_connection(address(live))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.sendall(request("/api/chat", json.dumps(body).encode()))
        sockets.append(client)
    await answers(http)
    for client in sockets:
        client.close()
    await answers(http)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_ten_thousand_messages(http: httpx.AsyncClient, path: str) -> None:
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"Message {n}."} for n in range(10_001)]
    key = "input" if path == "/v1/responses" else "messages"
    began = time.monotonic()
    answer = await http.post(path, json={"model": MODEL, key: turns, "max_tokens": 5, "stream": False, "store": False})
    assert answer.status_code == 400, answer.text[:300]
    assert "context" in answer.text or "too long" in answer.text
    assert time.monotonic() - began < 20
    await answers(http)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (
            "/api/chat",
            f'{{"model": "nobody", "stream": true, {CHAT}, "stream": false}}',
            200,
        ),
        ("/api/chat", f'{{{CHAT}, "options": {{"temperature": NaN}}}}', 400),
        (
            "/api/chat",
            f'{{{CHAT}, "options": {{"temperature": 1e999}}}}',
            400,
        ),
        (
            "/api/chat",
            f'{{{CHAT}, "options": {{"num_ctx": {"9" * 300}}}}}',
            400,
        ),
        ("/v1/chat/completions", f'{{{CHAT}, "temperature": NaN}}', 400),
        ("/v1/chat/completions", f'{{{CHAT}, "max_tokens": -Infinity}}', 400),
        ("/v1/messages", f'{{{CHAT}, "max_tokens": NaN}}', 400),
        ("/v1/responses", f'{{"model": "{MODEL}", "input": "Hi", "temperature": NaN}}', 400),
        ("/api/embed", f'{{"model": "{MODEL}", "input": "x", "dimensions": NaN}}', 400),
        ("/api/chat", "[" * 100_000, 400),
        ("/api/chat", '{"a":' * 100_000, 400),
        ("/api/chat", f'{{"model": "{"x" * 1_000_000}"}}', 404),
        ("/api/chat", '{"model": "\\ud800"}', 400),
        ("/api/show", '{"model": "../../../etc/passwd"}', 404),
        ("/api/copy", f'{{"source": "{MODEL}", "destination": "../../x"}}', 400),
        ("/api/create", '{"model": "x", "files": {"a": "sha256:../../../etc/passwd"}}', 400),
        ("/api/create", '{"model": "x", "files": {"../../a": "sha256:' + "0" * 64 + '"}}', 400),
    ],
)
async def test_bodies_that_are_mad(http: httpx.AsyncClient, path: str, body: str, status: int) -> None:
    answer = await http.post(path, content=body.encode())
    assert answer.status_code == status, answer.text[:300]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "digest", ["sha256:..%2f..%2fetc%2fpasswd", "sha256:" + "g" * 64, "md5:0", "..", "sha256-" + "0" * 63]
)
async def test_digests_that_are_paths(http: httpx.AsyncClient, digest: str) -> None:
    for method in ("HEAD", "POST"):
        answer = await http.request(method, f"/api/blobs/{digest}", content=b"x" if method == "POST" else None)
        assert answer.status_code in (400, 404)
