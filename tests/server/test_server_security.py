"""Addresses, Host and Origin."""

import asyncio
import socket
from typing import Any

import httpx
import pytest
from served import Scripted
from starlette.types import Receive, Scope, Send

from allod.engine.turns import CLIENT
from allod.errors import BadSettings
from allod.home import Home
from allod.server.app import serve
from allod.server.security import Address, Guard, check_bind, known_host, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:11435", "127.0.0.1", 11435),
        ("127.0.0.1", "127.0.0.1", 11435),
        (":8080", "127.0.0.1", 8080),
        ("http://localhost:1234/", "localhost", 1234),
        ("[::1]:99", "::1", 99),
        ("[::1]", "::1", 11435),
        ("127.0.0.1:0", "127.0.0.1", 0),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:99999", "a b:1", "ftp://x:1", "::1:80", "127.0.0.1:x", "x" * 5000 + ":1:1"]
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadSettings) as error:
        parse_address(text)
    assert len(error.value.message) < 200
    assert error.value.remedy


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "8.8.8.8", "example.com", "127.0.0.1.evil.com"])
def test_nothing_but_loopback_is_listened_on(home: Home, host: str) -> None:
    with pytest.raises(BadSettings, match="will not listen") as error:
        check_bind(Address(host, 11435))
    assert "ssh -L" in error.value.remedy
    with pytest.raises(BadSettings, match="will not listen"):
        serve(home, str(Address(host, 11435)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_is_fine(host: str) -> None:
    check_bind(Address(host, 1))


def test_a_taken_port_is_an_error_that_says_what_to_do(home: Home) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(BadSettings, match=r"cannot listen on 127.0.0.1:.*in use") as error:
        serve(home, f"127.0.0.1:{taken.getsockname()[1]}")
    assert "running already" in error.value.remedy


@pytest.mark.parametrize(
    "header",
    ["localhost", "localhost:11435", "127.0.0.1:11435", "[::1]:11435", "[::1]", "192.168.3.4:1", "0.0.0.0", "",
     "LOCALHOST", "box.local", "a.b.internal:9", "x.localhost", socket.gethostname()],
)  # fmt: skip
def test_hosts_that_mean_this_machine(header: str) -> None:
    assert known_host(header)


@pytest.mark.parametrize(
    "header", ["evil.com", "evil.com:11435", "localhost.evil.com", "8.8.8.8", "evil.com:80:80", "[evil]"]
)
def test_hosts_that_do_not(header: str) -> None:
    assert not known_host(header)


async def test_a_foreign_host_is_refused(scripted: Scripted) -> None:
    async with scripted.client(host="evil.com") as http:
        answer = await http.get("/api/tags")
    assert (answer.status_code, answer.content) == (403, b"")


async def test_on_another_address_the_host_is_not_looked_at(scripted: Scripted) -> None:
    guard = Guard(scripted.app.router, bind="192.168.1.7")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://evil.com") as http:
        assert (await http.get("/api/version")).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:3000", "https://127.0.0.1", "http://0.0.0.0:8", "app://obsidian.md", "tauri://localhost",
     "vscode-webview://abc", "chrome-extension://xyz", "http://localhost"],
)  # fmt: skip
async def test_pages_of_this_machine_may_ask(scripted: Scripted, origin: str) -> None:
    async with scripted.client(origin=origin) as http:
        answer = await http.get("/api/version")
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize(
    "origin", ["https://evil.com", "null", "http://localhost.evil.com", "http://localhostevil.com"]
)
async def test_pages_from_elsewhere_may_not(scripted: Scripted, origin: str) -> None:
    async with scripted.client(origin=origin) as http:
        for method in ("GET", "POST", "OPTIONS"):
            answer = await http.request(method, "/api/chat")
            assert (answer.status_code, answer.content) == (403, b"")
            assert "access-control-allow-origin" not in answer.headers


async def test_origins_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOD_ORIGINS", "https://my.site, https://*.example.org")
    async with Scripted(Home.open()).client(origin="https://a.example.org") as http:
        assert (await http.get("/api/version")).status_code == 200


async def test_a_preflight_is_answered(scripted: Scripted) -> None:
    async with scripted.client(origin="http://localhost:3000") as http:
        answer = await http.options("/v1/messages", headers={"access-control-request-headers": "x-api-key"})
    assert answer.status_code == 204
    allowed = answer.headers["access-control-allow-headers"].lower()
    for header in ("authorization", "content-type", "x-api-key", "anthropic-version", "x-stainless-os"):
        assert header in allowed
    assert "DELETE" in answer.headers["access-control-allow-methods"]


async def test_options_without_an_origin(scripted: Scripted) -> None:
    async with scripted.client() as http:
        assert (await http.options("/api/chat")).status_code == 204


@pytest.mark.anyio
async def test_clients_are_told_apart_by_program_machine_and_key() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await asyncio.create_task(whose()))

    async def whose() -> str:
        return CLIENT.get()

    async def ask(host: str = "127.0.0.1", **headers: str) -> str:
        raw = [(b"host", b"localhost"), *((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items())]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": raw, "client": (host, 1234)}
        await Guard(app)(scope, nothing, nothing)
        return seen[-1]

    async def nothing(*_: object) -> Any: ...

    plain = await ask(user_agent="chat")
    assert plain == await ask(user_agent="chat")
    others = [await ask(user_agent="code"), await ask("10.0.0.2", user_agent="chat")]
    others += [await ask(user_agent="chat", **{key: "sk-1"}) for key in ("authorization", "x_api_key")]
    assert len({plain, *others}) == 4
    assert "sk-1" not in "".join(seen)
