"""Registries: a real one, and servers that ask for tokens, lie and send too much."""

import base64
import hashlib
import json
import os
import resource
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from allod.egress import Egress
from allod.errors import BadName, BadSettings, DigestMismatch, ModelNotFound, Network
from allod.home import Home
from allod.models.manifest import Layer, parse_manifest
from allod.models.name import Name
from allod.models.sources.registry import Registry, base_url, credentials
from allod.models.sources.web import Web
from allod.models.transfer import Tuning, Watch, download
from models.servers import FileServer, Seen, docker_registry, push

DATA = os.urandom(9_000_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
NAME = Name.parse("localhost/me/tiny:q4")
MANIFEST = b'{"schemaVersion":2,"config":{},"layers":[]}'
HASTY = Tuning(stall=5, backoff=0.01, tries=3, tick=0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.models.sources.web.BACKOFF", 0.01)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/v2/me/tiny/manifests/q4": MANIFEST, f"/v2/me/tiny/blobs/{DIGEST}": DATA}) as server:
        yield server


@pytest.fixture
def web(home: Home) -> Iterator[Web]:
    with Egress(home).door("pull", stall=2) as door:
        yield Web(door, Watch())


def fetch(registry: Registry, home: Home, partial: Path) -> bytes:
    plan = registry.plan(NAME, Layer("x", DIGEST, len(DATA)))
    download(plan, partial, Egress(home), Watch(), HASTY)
    return partial.read_bytes()


def test_a_real_registry_gives_the_bytes_it_was_given(home: Home, web: Web, tmp_path: Path) -> None:
    with docker_registry(tmp_path) as host:
        pushed = push(host, "me/tiny", "q4", [("application/vnd.ollama.image.model", DATA)], b"{}")
        registry = Registry(web, base_url(host))
        raw = registry.manifest(NAME)
        assert raw == pushed
        assert [layer.digest for layer in parse_manifest(raw).layers] == [DIGEST]
        assert fetch(registry, home, tmp_path / "partial") == DATA
        with pytest.raises(ModelNotFound, match="has no model"):
            registry.manifest(Name.parse("localhost/me/nothing"))


def tokens(server: FileServer, challenge: str, give: object, basic: str = "") -> None:
    """Makes a server ask for a bearer token, and give it at /token."""

    def guard(seen: Seen) -> object:
        if seen.headers.get("authorization") == "Bearer good":
            return plain[seen.path]
        return 401, {"WWW-Authenticate": challenge.format(url=server.url)}, b'{"errors":[{"message":"who are you?"}]}'

    def token(seen: Seen) -> object:
        if seen.headers.get("authorization", "") != basic:
            return 401, {}, b""
        return 200, {"Content-Type": "application/json"}, give if isinstance(give, bytes) else json.dumps(give).encode()

    plain = dict(server.files)
    server.files.update(dict.fromkeys(plain, guard))
    server.files["/token"] = token


CHALLENGE = 'Bearer realm="{url}/token",service="registry",scope="repository:me/tiny:pull"'


@pytest.mark.parametrize("give", [{"token": "good"}, {"access_token": "good", "expires_in": 60}])
def test_the_token_dance(home: Home, server: FileServer, web: Web, tmp_path: Path, give: object) -> None:
    tokens(server, CHALLENGE, give)
    registry = Registry(web, server.url)
    assert registry.manifest(NAME) == MANIFEST
    assert fetch(registry, home, tmp_path / "partial") == DATA
    (asked,) = server.requests("/token")
    assert asked.path == "/token?service=registry&scope=repository%3Ame%2Ftiny%3Apull"


def test_credentials_are_shown_to_the_token_service(home: Home, server: FileServer, web: Web) -> None:
    secret = base64.b64encode(b"user:password").decode()
    tokens(server, CHALLENGE, {"token": "good"}, basic=f"Basic {secret}")
    home.config.mkdir(parents=True)
    path = home.config / "auth.json"
    path.write_text(json.dumps({"auths": {server.host: {"auth": secret}, "other.example": {}}}))
    assert Registry(web, server.url, credentials(path, server.host)).manifest(NAME) == MANIFEST
    with pytest.raises(Network, match="answered 401"):
        Registry(web, server.url).manifest(NAME)


@pytest.mark.parametrize(
    "content", ["", "[]", "nonsense", '{"auths": {"host": {}}}', '{"auths": {"host": {"auth": "é"}}}']
)
def test_a_broken_credentials_file_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "auth.json"
    assert credentials(path, "host") == ""
    path.write_text(content)
    with pytest.raises(BadSettings, match=r"auth\.json cannot be read"):
        credentials(path, "host")


def test_a_realm_elsewhere_is_refused(server: FileServer, web: Web) -> None:
    with FileServer({"/token": b'{"token": "good"}'}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        tokens(server, f'Bearer realm="{elsewhere}/token",service="x"', {})
        with pytest.raises(Network, match="not its own host"):
            Registry(web, server.url, "Basic secret").manifest(NAME)
        assert other.seen == []


@pytest.mark.parametrize("challenge", ["", "Basic realm=x", "Bearer", "Negotiate abc"])
def test_a_challenge_that_cannot_be_met_says_what_to_do(server: FileServer, web: Web, challenge: str) -> None:
    tokens(server, challenge, {})
    with pytest.raises(Network, match="wants to know who asks") as caught:
        Registry(web, server.url).manifest(NAME)
    assert "auth.json" in caught.value.remedy


@pytest.mark.parametrize(
    "give", [{}, [], {"token": ""}, {"token": 5}, {"token": "a\r\nX: y"}, b"no json", b"x" * 70_000]
)
def test_token_services_that_give_none(server: FileServer, web: Web, give: object) -> None:
    tokens(server, CHALLENGE, give)
    with pytest.raises(Network):
        Registry(web, server.url).manifest(NAME)


def test_a_token_that_is_refused_is_not_asked_for_for_ever(server: FileServer, web: Web) -> None:
    tokens(server, CHALLENGE, {"token": "bad"})
    with pytest.raises(Network, match="wants to know who asks"):
        Registry(web, server.url).manifest(NAME)
    assert len(server.requests("/token")) == 1


def test_a_huge_manifest_is_not_read(server: FileServer, web: Web) -> None:
    server.files["/v2/me/tiny/manifests/q4"] = bytes(5 << 20)
    with pytest.raises(Network, match="sends more than 4194304 bytes"):
        Registry(web, server.url).manifest(NAME)
    assert server.body_bytes() <= 5 << 20


def test_a_manifest_that_would_unpack_to_a_hundred_times_its_size(server: FileServer, web: Web) -> None:
    packer = zlib.compressobj(wbits=31)
    packed = b"".join([packer.compress(bytes(1 << 20)) for _ in range(200)]) + packer.flush()
    server.files["/v2/me/tiny/manifests/q4"] = lambda seen: (200, {"Content-Encoding": "gzip"}, packed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert Registry(web, server.url).manifest(NAME) == packed  # and packed it is no manifest
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def test_a_manifest_of_another_digest_than_announced(server: FileServer, web: Web) -> None:
    digest = {"Docker-Content-Digest": f"sha256:{'0' * 64}"}
    server.files["/v2/me/tiny/manifests/q4"] = lambda seen: (200, digest, MANIFEST)
    with pytest.raises(DigestMismatch, match="says that it is sha256:000"):
        Registry(web, server.url).manifest(NAME)


def test_the_servers_own_words_are_in_the_error(server: FileServer, web: Web) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "pay first"}]}'
    server.files["/v2/me/tiny/manifests/q4"] = lambda seen: (402, {}, body)
    with pytest.raises(Network, match=r"answered 402 \(pay first\)"):
        Registry(web, server.url).manifest(NAME)


@pytest.mark.parametrize(
    ("host", "scheme", "insecure", "url"),
    [
        ("registry.ollama.ai", "", False, "https://registry.ollama.ai"),
        ("registry.ollama.ai", "", True, "https://registry.ollama.ai"),
        ("localhost:5000", "", False, "http://localhost:5000"),
        ("127.0.0.1:5000", "https", False, "https://127.0.0.1:5000"),
        ("box.lan:5000", "http", True, "http://box.lan:5000"),
        ("box.lan:5000", "https", True, "https://box.lan:5000"),
    ],
)
def test_addresses(host: str, scheme: str, insecure: bool, url: str) -> None:
    assert base_url(host, scheme, insecure) == url


def test_plain_http_beyond_this_machine_has_to_be_allowed() -> None:
    with pytest.raises(BadName, match="without TLS is refused") as caught:
        base_url("box.lan:5000", "http")
    assert "--insecure" in caught.value.remedy
