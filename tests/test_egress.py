"""The only door to the network: what it lets through, what it writes down, and how it behaves towards bad servers."""

import os
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from allod.egress import Egress, is_loopback
from allod.egress.answer import origin
from allod.egress.door import check_redirect
from allod.egress.proxy import proxy_for
from allod.errors import AllodError, Cancelled, Disk, Network, Offline, Refused, Unreachable, Unsupported
from allod.home import EgressRule, EgressSettings, Home, Settings
from models.servers import Fault, FileServer

DATA = os.urandom(300_000)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def with_settings(home: Home, settings: Settings) -> Home:
    return msgspec.structs.replace(home, settings=settings)


# ── policy ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("a.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_what_cannot_leave_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_pull_is_allowed_and_unknown_purposes_are_asked_about(home: Home) -> None:
    asked: list[tuple[str, str]] = []

    def asker(purpose: str, host: str) -> bool:
        asked.append((purpose, host))
        return host == "good.example"

    egress = Egress(home, asker)
    egress.check("pull", "registry.example")
    egress.check("hosted-model", "good.example")
    egress.check("hosted-model", "good.example")
    with pytest.raises(Refused, match=r"refuses bad\.example for hosted-model"):
        egress.check("hosted-model", "bad.example")
    assert asked == [("hosted-model", "good.example"), ("hosted-model", "bad.example")]  # each once


def test_without_anybody_to_ask_the_answer_is_no(home: Home) -> None:
    with pytest.raises(Refused) as caught:
        Egress(home).check("hosted-model", "api.example")
    assert 'purpose = "hosted-model", host = "api.example"' in caught.value.remedy


def test_the_first_rule_that_matches_decides(home: Home) -> None:
    rules = [
        EgressRule(action="allow", host="ok.corp.example"),
        EgressRule(action="deny", host="*.corp.example", purpose="pull"),
    ]
    egress = Egress(with_settings(home, Settings(egress=EgressSettings(rules=rules))))
    egress.check("pull", "ok.corp.example")
    egress.check("pull", "pypi.org")
    with pytest.raises(Refused):
        egress.check("pull", "WWW.corp.example")


def test_offline_refuses_everything_but_loopback_and_says_why(home: Home) -> None:
    egress = Egress(with_settings(home, Settings(offline=True)))
    egress.check("pull", "127.0.0.1")
    with pytest.raises(Offline, match=r"offline mode: no connection to pypi\.org \(pull\)"):
        egress.check("pull", "pypi.org")
    with egress.door("pull") as door, pytest.raises(Offline):
        door.open("https://pypi.org/simple/")
    (row,) = egress.ledger.rows()
    assert (row["host"], row["outcome"], row["sent"], row["received"]) == ("pypi.org", "refused", 0, 0)


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_httpx_requests_are_counted_both_ways(home: Home) -> None:
    egress = Egress(home)
    with FileServer({"/file": DATA}) as server:
        async with egress.client("pull") as client:
            answer = await client.get(f"{server.url}/file?token=secret")
    assert answer.content == DATA
    (row,) = egress.ledger.rows()
    assert (row["purpose"], row["method"], row["path"], row["status"]) == ("pull", "GET", "/file", 200)
    assert (row["outcome"], row["loopback"], row["via"]) == ("done", 1, "")
    assert len(DATA) < int(str(row["received"])) < len(DATA) + 400
    assert 50 < int(str(row["sent"])) < 400


async def test_each_hop_of_a_redirect_is_asked_and_recorded(home: Home) -> None:
    egress = Egress(with_settings(home, Settings(offline=True)))
    with FileServer() as server:
        server.files["/start"] = lambda seen: (302, {"Location": "http://elsewhere.example/x"}, b"")
        async with egress.client("pull") as client:
            with pytest.raises(Offline, match=r"elsewhere\.example"):
                await client.get(f"{server.url}/start")
    assert [(row["host"], row["outcome"]) for row in egress.ledger.rows()] == [
        ("elsewhere.example", "refused"),
        ("127.0.0.1", "done"),
    ]


async def test_an_answer_left_early_is_cut_and_a_dead_port_failed(home: Home) -> None:
    egress = Egress(home)
    with FileServer({"/file": DATA}) as server:
        async with egress.client("pull") as client, client.stream("GET", f"{server.url}/file") as answer:
            async for _ in answer.aiter_raw():
                break
        url = server.url
    async with egress.client("pull") as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
    assert [row["outcome"] for row in egress.ledger.rows()] == ["failed", "cut"]


def test_a_door_counts_the_ranges_of_one_file_in_one_row(home: Home) -> None:
    egress = Egress(home)
    with FileServer({"/file": DATA}) as server, egress.door("pull") as door:
        for first in range(0, 300_000, 100_000):
            with door.open(f"{server.url}/file?sig=secret", {"Range": f"bytes={first}-{first + 99_999}"}) as answer:
                assert answer.body(100_000) == DATA[first : first + 100_000]
    (row,) = egress.ledger.rows()
    assert (row["path"], row["status"], row["outcome"]) == ("/file", 206, "done")
    assert 300_000 < int(str(row["received"])) < 301_000


def test_a_running_transfer_is_in_the_ledger_before_it_ends(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.egress.ledger.EVERY", 0.0)
    egress = Egress(home)
    with FileServer({"/file": DATA}) as server:
        server.gate_at = 100_000
        with egress.door("pull") as door, door.open(f"{server.url}/file") as answer:
            assert answer.read(1000)
            assert server.held.wait(10)
            answer.read(1000)
            with closing(sqlite3.connect(home.data / "allod.db")) as db:  # as another process sees it
                ((outcome, received),) = db.execute("SELECT outcome, received FROM ledger")
            assert outcome == "open"
            assert received > 0
            server.gate.set()


def test_no_connection_without_a_record(home: Home) -> None:
    home.data.mkdir(parents=True)
    (home.data / "allod.db").mkdir()
    with FileServer({"/file": DATA}) as server:
        with pytest.raises(Disk), Egress(home).door("pull") as door:
            door.open(f"{server.url}/file")
        assert server.seen == []


async def test_a_ledger_that_becomes_unwritable_refuses_with_a_reason(home: Home) -> None:
    egress = Egress(home)
    with FileServer({"/file": DATA}) as server:
        with egress.door("pull") as door, door.open(f"{server.url}/file") as answer:
            answer.body(len(DATA))
        egress.ledger.execute("PRAGMA query_only = 1")
        with pytest.raises(Disk, match=r"no connection is made, as the ledger .* cannot be written"):
            egress.door("pull").open(f"{server.url}/file")
        async with egress.client("pull") as client:
            with pytest.raises(Disk, match="no connection is made"):
                await client.get(f"{server.url}/file")
        assert len(server.seen) == 1


# ── proxies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def connect_proxy(log: list[bytes]) -> Iterator[int]:
    """A proxy that answers CONNECT by a tunnel to loopback, whatever the host, and plain requests with its own text."""
    listener = socket.create_server(("127.0.0.1", 0))

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            log.append(head)
            if head.startswith(b"CONNECT"):
                port = int(re.findall(rb":(\d+) ", head)[0])
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                upstream = socket.create_connection(("127.0.0.1", port))
                threading.Thread(target=copy, args=(client, upstream), daemon=True).start()
                threading.Thread(target=copy, args=(upstream, client), daemon=True).start()
            else:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


async def test_a_proxy_is_used_and_in_the_ledger(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[bytes] = []
    egress = Egress(home)
    with connect_proxy(log) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss@127.0.0.1:{port}")
        with egress.door("pull") as door, door.open("http://mirror.example/file") as answer:
            assert answer.body(10) == b"proxy"
        async with egress.client("pull") as client:
            assert (await client.get("http://mirror.example/file")).content == b"proxy"
    for head in log:
        assert head.startswith(b"GET http://mirror.example/file HTTP/1.1")
        assert b"Basic dXNlcjpwQHNz" in head
    assert [(row["host"], row["via"], row["loopback"]) for row in egress.ledger.rows()] == [
        ("mirror.example", f"127.0.0.1:{port}", 0)
    ] * 2


def test_tls_goes_through_the_proxy_by_connect(
    home: Home, monkeypatch: pytest.MonkeyPatch, tls_server: tuple[FileServer, Path]
) -> None:
    server, authority = tls_server
    log: list[bytes] = []
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    egress = Egress(home)
    with connect_proxy(log) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")  # without http://, as curl allows
        with egress.door("pull") as door, door.open(f"https://models.example:{server.port}/file") as answer:
            assert answer.body(len(DATA)) == DATA
    assert log[0].startswith(f"CONNECT models.example:{server.port} HTTP/1.".encode())
    (row,) = egress.ledger.rows()
    assert (row["scheme"], row["host"], row["via"]) == ("https", "models.example", f"127.0.0.1:{port}")


def test_loopback_and_no_proxy_hosts_go_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "corp.example,.intranet")
    assert proxy_for("https://localhost:5000/") is None
    assert proxy_for("https://corp.example/") is None
    assert proxy_for("https://a.intranet/") is None
    found = proxy_for("https://pypi.org/")
    assert found is not None
    assert found.address == "proxy.example:3128"
    assert proxy_for("http://pypi.org/") is None  # HTTP_PROXY is not set


def test_a_proxy_that_is_not_understood_is_never_gone_around(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9050")
    with Egress(home).door("pull") as door, pytest.raises(Unsupported, match="socks5h"):
        door.open("https://pypi.org/")


def test_a_rule_may_deny_the_proxy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    rules = [EgressRule(action="deny", host="proxy.example")]
    egress = Egress(with_settings(home, Settings(egress=EgressSettings(rules=rules))))
    with egress.door("pull") as door, pytest.raises(Refused, match=r"proxy\.example"):
        door.open("http://mirror.example/")


# ── the door ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_credentials_do_not_follow_a_redirect_to_another_host(home: Home) -> None:
    with FileServer({"/file": DATA}) as cdn, FileServer({"/here": DATA}) as server:
        server.files["/away"] = lambda seen: (307, {"Location": f"{cdn.url}/file"}, b"")
        server.files["/stay"] = lambda seen: (307, {"Location": "/here"}, b"")
        with Egress(home).door("pull") as door:
            for path in ("/away", "/stay"):
                with door.open(server.url + path, {"Authorization": "Bearer t", "Range": "bytes=0-9"}) as answer:
                    assert answer.body(10) == DATA[:10]
    assert "authorization" not in cdn.seen[0].headers
    assert cdn.seen[0].headers["range"] == "bytes=0-9"
    assert all(seen.headers["authorization"] == "Bearer t" for seen in server.seen)


def test_redirects_that_are_not_followed() -> None:
    with pytest.raises(Network, match="https:// to http://"):
        check_redirect(origin("https://a.example"), origin("http://a.example"))
    for near in ("http://127.0.0.1:9", "http://localhost", "http://169.254.169.254", "http://[::1]:80"):
        with pytest.raises(Network, match="this machine's own"):
            check_redirect(origin("http://a.example"), origin(near))
    check_redirect(origin("https://a.example"), origin("https://cdn.example:8443"))
    check_redirect(origin("http://127.0.0.1:1"), origin("http://127.0.0.1:2"))


def test_a_redirect_loop_and_a_strange_target_end(home: Home) -> None:
    with FileServer() as server, Egress(home).door("pull") as door:
        server.files["/loop"] = lambda seen: (302, {"Location": "/loop"}, b"")
        server.files["/odd"] = lambda seen: (302, {"Location": "file:///etc/passwd"}, b"")
        with pytest.raises(Network, match="more than 10 times"):
            door.open(f"{server.url}/loop")
        with pytest.raises(Network, match="not an http"):
            door.open(f"{server.url}/odd")


@pytest.mark.parametrize("url", ["", "ftp://x/y", "http://", "https://[::1", "http://x:99999/", "/path"])
def test_what_is_no_address(home: Home, url: str) -> None:
    with Egress(home).door("pull") as door, pytest.raises(Network, match="not an http"):
        door.open(url)


def test_a_body_is_bounded_and_a_short_one_is_noticed(home: Home) -> None:
    with FileServer({"/file": DATA}) as server, Egress(home).door("pull") as door:
        with door.open(f"{server.url}/file") as answer, pytest.raises(Network, match="more than 1000 bytes"):
            answer.body(1000)
        server.faults.append(Fault(cut=1000))
        with door.open(f"{server.url}/file") as answer, pytest.raises(Unreachable, match="broke off 299000 bytes"):
            answer.body(len(DATA))


def test_connections_are_kept_and_replaced_when_their_server_closed_them(home: Home) -> None:
    with FileServer({"/file": DATA}) as server, Egress(home).door("pull") as door:
        ports: set[int] = set()
        accept = server.httpd.get_request
        server.httpd.get_request = lambda: (ports.add((found := accept())[1][1]), found)[1]  # type: ignore[method-assign]
        for _ in range(3):
            with door.open(f"{server.url}/file") as answer:
                answer.body(len(DATA))
        assert len(ports) == 1
        (idle,) = door._idle.values()  # as if the server had closed it: what is written to it comes back as an end
        idle[0].sock.shutdown(socket.SHUT_RDWR)
        with door.open(f"{server.url}/file") as answer:
            assert answer.body(len(DATA)) == DATA
        assert len(ports) == 2


def test_a_silent_server_is_given_up(home: Home) -> None:
    with FileServer({"/file": DATA}) as server, Egress(home).door("pull", stall=0.2) as door:
        server.faults.append(Fault(stall=1000))
        with door.open(f"{server.url}/file") as answer, pytest.raises(Unreachable, match="sent nothing for too long"):
            answer.body(len(DATA))


def test_shutting_a_door_wakes_who_waits_at_it(home: Home) -> None:
    failures: list[AllodError] = []
    with FileServer({"/file": DATA}) as server, Egress(home).door("pull", stall=30) as door:
        server.gate_at = 1000

        def read() -> None:
            try:
                door.open(f"{server.url}/file").body(len(DATA))
            except AllodError as error:
                failures.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        assert server.held.wait(10)
        since = time.monotonic()
        door.shut()
        reader.join(10)
        assert time.monotonic() - since < 2
        with pytest.raises(Cancelled):
            door.open(f"{server.url}/file")
    assert [type(failure) for failure in failures] == [Cancelled]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel",
    ],
)
def test_answers_that_are_not_http(home: Home, answer: bytes) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        client.recv(65536)
        client.sendall(answer)
        client.shutdown(socket.SHUT_RDWR)
        client.close()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with listener, Egress(home).door("pull", stall=2) as door, pytest.raises(Unreachable):
        door.open(url).body(1000)


# ── TLS ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[tuple[FileServer, Path]]:
    """A file server with a certificate of its own for models.example and localhost, and the certificate's file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext"
    names = "subjectAltName=DNS:models.example,DNS:localhost"
    command = ["openssl", *what.split(), names, "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = FileServer({"/file": DATA})
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    with server:
        yield server, certificate


def test_tls_is_checked_against_the_systems_authorities(
    home: Home, tls_server: tuple[FileServer, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, authority = tls_server
    url = f"https://localhost:{server.port}/file"
    with Egress(home).door("pull") as door, pytest.raises(Network, match="certificate that does not hold") as caught:
        door.open(url)
    assert not isinstance(caught.value, Unreachable)  # trying again will not help
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with Egress(home).door("pull") as door:
        with door.open(url) as answer:
            assert answer.body(len(DATA)) == DATA
        with pytest.raises(Network, match="certificate"):
            door.open(f"https://127.0.0.1:{server.port}/file")  # another name than the certificate's


def test_plain_http_to_a_tls_port_is_an_error_in_words(home: Home, tls_server: tuple[FileServer, Path]) -> None:
    with Egress(home).door("pull", stall=2) as door, pytest.raises(Unreachable):
        door.open(f"http://localhost:{tls_server[0].port}/file").body(10)
