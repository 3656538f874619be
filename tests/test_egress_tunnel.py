"""The proxy for the code of jobs: granted hosts and no others, every connection asked, pinned and written down."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from allod.egress import Egress
from allod.egress import tunnel as tunnel_module
from allod.egress.hosts import Allowed
from allod.egress.request import BadHead, parse
from allod.egress.tunnel import Tunnel
from allod.errors import DiskFull
from allod.home import EgressRule, EgressSettings, Home, Settings
from models.servers import FileServer

pytestmark = pytest.mark.anyio
DATA = os.urandom(300_000)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


class Served:
    """A tunnel that is being served, and what its clients do."""

    def __init__(self, home: Home, path: Path, tunnel: Tunnel) -> None:
        self.home = home
        self.path = path
        self.tunnel = tunnel

    async def send(self, data: bytes, *, end: bool = False) -> bytes:
        """What comes back for these bytes, until the connection ends."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(data)
        if end:
            writer.write_eof()
        with contextlib.suppress(ConnectionResetError):
            async with asyncio.timeout(10):
                answer = await reader.read()
        writer.close()
        return answer

    async def get(self, url: str, host: str = "x", more: str = "") -> bytes:
        return await self.send(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())

    def rows(self) -> list[dict[str, object]]:
        return self.tunnel.egress.ledger.rows()


@contextlib.asynccontextmanager
async def serving(home: Home, *hosts: str, trusted: tuple[str, ...] = ()) -> AsyncIterator[Served]:
    path = home.folder("t") / "s"
    tunnel = Tunnel(Egress(home), "job", Allowed(hosts, trusted))
    async with tunnel.serving(path):
        yield Served(home, path, tunnel)


async def test_a_granted_host_answers_and_is_written_down(home: Home) -> None:
    with FileServer({"/file": DATA}) as server:
        async with serving(home, f"127.0.0.1:{server.port}") as served:
            answer = await served.get(f"http://127.0.0.1:{server.port}/file?secret=1", "elsewhere.example")
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
            assert body == DATA
        (row,) = served.rows()
        assert (row["purpose"], row["host"], row["port"], row["path"]) == ("job", "127.0.0.1", server.port, "/file")
        assert (row["outcome"], row["method"], row["loopback"]) == ("done", "GET", 1)
        assert row["received"] == len(answer)
        assert 30 < int(str(row["sent"])) < 200
        assert server.requests()[-1].headers["host"] == f"127.0.0.1:{server.port}"  # the URL's, whatever the code says


async def test_what_is_not_granted_is_refused_and_written_down(home: Home) -> None:
    with FileServer({"/file": DATA}) as server:
        async with serving(home, "example.org", "127.0.0.1:9") as served:
            answer = await served.get(f"http://127.0.0.1:{server.port}/file")
            assert answer.startswith(b"HTTP/1.1 403 127.0.0.1:")
            assert b"allod do --net" in answer
            answer = await served.send(f"CONNECT localhost:{server.port} HTTP/1.1\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert served.tunnel.refused == ["127.0.0.1", "localhost"]
            assert [(row["outcome"], row["sent"], row["received"]) for row in served.rows()] == [("refused", 0, 0)] * 2
        assert server.requests() == []


async def test_without_a_record_no_connection(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise DiskFull("no connection is made, as the ledger is full")

    with FileServer({"/file": DATA}) as server:
        async with serving(home, server.host) as served:
            monkeypatch.setattr(served.tunnel.egress.ledger, "begin", full)
            assert (await served.get(f"{server.url}/file")).startswith(b"HTTP/1.1 502 no connection is made")
        assert server.requests() == []


def named(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]], counts: list[str] | None = None) -> None:
    """Has names resolve to these addresses, as a name's owner can."""
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: object, **kwargs: object):
        if host not in addresses:
            return real(host, port, *args, **kwargs)  # pyright: ignore
        if counts is not None:
            counts.append(host)
        return [
            (socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port))
            for a in addresses[host]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


async def test_a_granted_name_does_not_lead_into_the_machine(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer({"/file": DATA}) as server:
        granted = f"evil.example:{server.port}"
        for address in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0"):
            named(monkeypatch, {"evil.example": [address]})
            async with serving(home, granted) as served:
                answer = await served.get(f"http://{granted}/file")
                assert answer.startswith(b"HTTP/1.1 403 evil.example is at ")
                assert b"--net" in answer
                answer = await served.send(f"CONNECT {granted} HTTP/1.1\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 403 ")
        assert server.requests() == []
        named(monkeypatch, {"evil.example": ["127.0.0.1"]})
        async with serving(home, granted, f"127.0.0.1:{server.port}") as served:  # both were granted
            assert (await served.get(f"http://{granted}/file")).endswith(DATA[-100:])
        async with serving(home, trusted=(granted,)) as served:  # the person's own settings name it
            assert (await served.get(f"http://{granted}/file")).endswith(DATA[-100:])


async def test_a_name_is_looked_up_once_and_its_bad_addresses_are_left_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[str] = []
    named(monkeypatch, {"two.example": ["10.255.255.1", "127.0.0.1"]}, counts)
    with FileServer({"/file": DATA}) as server:
        async with serving(home, f"two.example:{server.port}", f"127.0.0.1:{server.port}") as served:
            assert (await served.get(f"http://two.example:{server.port}/file")).endswith(DATA[-100:])
    assert counts == ["two.example"]


async def test_tls_goes_through_untouched(home: Home, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext"
    command = ["openssl", *what.split(), "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = FileServer({"/file": DATA})
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    with server:
        async with serving(home, f"localhost:{server.port}") as served:
            reader, writer = await asyncio.open_unix_connection(str(served.path))
            writer.write(f"CONNECT localhost:{server.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await writer.start_tls(ssl.create_default_context(cafile=certificate), server_hostname="localhost")
            writer.write(b"GET /file HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(DATA)
            writer.close()
        (row,) = served.rows()
        assert (row["method"], row["scheme"], row["host"], row["outcome"]) == ("CONNECT", "https", "localhost", "done")
        assert int(str(row["received"])) > len(DATA)
        assert int(str(row["sent"])) > 300


async def test_the_policy_is_asked(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = msgspec.structs.replace(home, settings=Settings(offline=True))
    rules = [EgressRule(action="deny", host="bad.example"), EgressRule(action="ask", host="ask.example")]
    ruled = msgspec.structs.replace(home, settings=Settings(egress=EgressSettings(rules=rules, default="deny")))
    named(monkeypatch, {name: ["192.0.2.1"] for name in ("good.example", "bad.example", "ask.example")})
    async with serving(offline, "good.example") as served:
        answer = await served.get("http://good.example/")
        assert answer.startswith(b"HTTP/1.1 403 offline mode")
    async with serving(ruled, "bad.example", "ask.example") as served:
        for host in ("bad.example", "ask.example"):
            answer = await served.get(f"http://{host}/")
            assert b"the egress policy refuses " + host.encode() in answer
    assert {row["outcome"] for row in served.rows()} == {"refused"}


async def test_one_request_a_connection(home: Home) -> None:
    """What follows a request's body is not passed on: it could name another site of the same address."""
    with FileServer({"/file": b"1", "/other": b"2"}) as server:
        place = f"127.0.0.1:{server.port}"
        second = b"GET /other HTTP/1.1\r\nHost: hidden.example\r\n\r\n"
        async with serving(home, place) as served:
            await served.send(f"GET http://{place}/file HTTP/1.1\r\n\r\n".encode() + second)
            await served.send(
                f"GET http://{place}/file HTTP/1.1\r\nContent-Length: 3\r\n\r\n".encode() + b"abc" + second
            )
            chunks = b"3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n"
            await served.send(
                f"GET http://{place}/file HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + second
            )
        assert len(server.requests()) == 3
        assert "/other" not in [request.path for request in server.requests()]


async def test_hosts_that_do_not_answer_are_told_in_words(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    async with serving(home, closed, "no-such-name.invalid") as served:
        assert (await served.get(f"http://{closed}/")).startswith(b"HTTP/1.1 502 127.0.0.1")
        assert b"cannot be resolved" in await served.get("http://no-such-name.invalid/")
    monkeypatch.setattr(tunnel_module, "IDLE", 0.2)
    silent = socket.create_server(("127.0.0.1", 0))
    async with serving(home, f"127.0.0.1:{silent.getsockname()[1]}") as served:
        assert await served.get(f"http://127.0.0.1:{silent.getsockname()[1]}/") == b""
    silent.close()
    assert [row["outcome"] for row in served.rows()] == ["cut", "failed", "failed"]


async def test_bounds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel_module, "IN_ALL", 2)
    monkeypatch.setattr(tunnel_module, "HEAD", 0.2)
    async with serving(home, "127.0.0.1:9") as served:
        assert (await served.send(b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * 200_000)).startswith((b"HTTP/1.1 400", b""))
        assert await served.send(b"GET http://a/ HT") == b""
        for status in (b"403", b"403", b"429"):
            assert (await served.get("http://a/")).split()[1] == status
        assert len(served.rows()) == 2


async def test_ending_cuts_what_is_open(home: Home) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    place = f"127.0.0.1:{silent.getsockname()[1]}"
    async with serving(home, place) as served:
        reader, writer = await asyncio.open_unix_connection(str(served.path))
        writer.write(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        assert served.rows()[0]["outcome"] == "open"
    assert await reader.read() == b""
    writer.close()
    silent.close()
    assert served.rows()[0]["outcome"] == "cut"


async def test_the_users_own_proxy_is_the_way(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        if head.startswith(b"CONNECT bad"):
            writer.write(b"HTTP/1.1 407 who are you\r\n\r\n")
        elif head.startswith(b"CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.write(await reader.readexactly(4))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nplain")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://user:pass@127.0.0.1:{port}")
    names = ("good.invalid", "bad.invalid", "private.invalid")
    named(monkeypatch, {"private.invalid": ["10.0.0.1"]})
    async with serving(home, *names) as served:
        assert (await served.get("http://good.invalid/x?y=1")).endswith(b"plain")
        answer = await served.send(b"CONNECT good.invalid:443 HTTP/1.1\r\n\r\nping")
        assert answer.endswith(b"\r\n\r\nping")
        assert b"502 bad.invalid:443 cannot be reached" in await served.send(
            b"CONNECT bad.invalid:443 HTTP/1.1\r\n\r\n"
        )
        assert b"403 private.invalid is at 10.0.0.1" in await served.get("http://private.invalid/")
    server.close()
    assert seen[0].startswith(b"GET http://good.invalid:80/x?y=1 HTTP/1.1\r\nHost: good.invalid\r\n")
    assert all(b"Proxy-Authorization: Basic dXNlcjpwYXNz" in head for head in seen)
    assert len(seen) == 3
    assert {row["via"] for row in served.rows()} == {f"127.0.0.1:{port}"}


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1",
        "GET https://a/ HTTP/1.1",
        "GET http://user:pass@a/ HTTP/1.1",
        "GET http://a:99999/ HTTP/1.1",
        "GET http://a:x/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a/\tb HTTP/1.1",
        "GET http://a/ b HTTP/1.1",
        "GET http://a/",
        "GET http://a/ HTTP/2.0",
        "G\tT http://a/ HTTP/1.1",
        "CONNECT a HTTP/1.1",
        "CONNECT a:b HTTP/1.1",
        "CONNECT a:443/x HTTP/1.1",
        "CONNECT u@a:443 HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "CONNECT [::1:443 HTTP/1.1",
        "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1",
        "POST http://a/ HTTP/1.1\r\nContent-Length: +1",
        "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        "POST http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        "POST http://a/ HTTP/1.1\r\nContent-Length: 1\r\nConnection: content-length",
        "GET http://a/ HTTP/1.1\r\nno colon",
        "GET http://a/ HTTP/1.1\r\nname : value",
        "GET http://a/ HTTP/1.1\r\nX: y\r\n folded: z",
        "GET http://a/ HTTP/1.1\r\nX: y\nInjected: z",
        "",
    ],
)
def test_heads_that_two_might_read_in_two_ways_are_refused(head: str) -> None:
    with pytest.raises(BadHead):
        parse(head.encode() + b"\r\n\r\n")


def test_what_is_meant_for_the_proxy_goes_no_further() -> None:
    head = parse(
        b"GET http://a.example/p?q HTTP/1.1\r\nHost: b\r\nProxy-Authorization: x\r\nProxy-Connection: keep-alive\r\n"
        b"Connection: X-Mine, keep-alive\r\nX-Mine: 1\r\nAccept: */*\r\n\r\n"
    )
    assert head.rewritten("", whole=False) == (
        b"GET /p?q HTTP/1.1\r\nHost: a.example\r\naccept: */*\r\nConnection: close\r\n\r\n"
    )
