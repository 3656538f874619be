"""Pictures named by URL: fetched by https where a rule names the host, from nowhere else, and only pictures."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from served import Scripted, add

from allod.chat import ImagePart
from allod.home import Home

pytestmark = pytest.mark.anyio

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
RULE = '[[egress.rules]]\naction = "{action}"\npurpose = "picture"\nhost = "{host}"\n'
SEEING = {"tokenizer.chat_template": "{{ messages }}", "llama.vision.block_count": 1}


class Pictures(BaseHTTPRequestHandler):
    """Answers each path in its own way."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        match self.path:
            case "/cat.png":
                self.answer(200, PNG)
            case "/page":
                self.answer(200, b"<html>")
            case "/empty":
                self.answer(200, b"")
            case "/huge.png":
                self.answer(200, PNG + bytes(21 * 2**20))
            case "/moved":
                self.answer(302, b"", location="/cat.png")
            case "/elsewhere":
                self.answer(302, b"", location="https://elsewhere.example.org/cat.png")
            case "/plain":
                self.answer(302, b"", location="http://127.0.0.1:1/cat.png")
            case "/round":
                self.answer(302, b"", location="/round")
            case _:
                self.answer(404, b"")

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"content-type": "image/png", "content-length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:  # not all of it is wanted
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pictures(pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an https server whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pem.with_name("cert.pem")))
    monkeypatch.setattr(Pictures, "asked", [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def allowing(scripted: Scripted, host: str = "localhost", action: str = "allow") -> Scripted:
    """The same with a rule, and with a model that sees."""
    add(scripted.home, "seeing", **SEEING)
    scripted.home.config.mkdir(parents=True, exist_ok=True)
    (scripted.home.config / "config.toml").write_text(RULE.format(host=host, action=action))
    return Scripted(Home.open())


def bodies(url: str) -> dict[str, dict[str, Any]]:
    """A request that shows a picture, for each API."""
    chat = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url}}]
    item = [{"type": "input_text", "text": "?"}, {"type": "input_image", "image_url": url}]
    block = [{"type": "text", "text": "?"}, {"type": "image", "source": {"type": "url", "url": url}}]
    return {
        "/v1/chat/completions": {"model": "seeing", "messages": [{"role": "user", "content": chat}]},
        "/v1/responses": {"model": "seeing", "input": [{"role": "user", "content": item}], "store": False},
        "/v1/messages": {"model": "seeing", "max_tokens": 5, "messages": [{"role": "user", "content": block}]},
    }


WHOLE = '{"choices":[{"message":{"role":"assistant","content":"A cat."}}]}'


def shown(scripted: Scripted) -> bytes:
    """The picture that the model was given."""
    if scripted.runner.forwarded:
        part = json.loads(scripted.runner.forwarded[-1][1])["messages"][-1]["content"][1]
        kind, _, data = part["image_url"]["url"].partition(",")
        assert kind == "data:image/png;base64"
        return base64.b64decode(data)
    (part,) = [p for p in scripted.runner.requests[-1].messages[-1].content if isinstance(p, ImagePart)]  # type: ignore[union-attr]
    assert part.media_type == "image/png"
    return part.data


@pytest.mark.parametrize("path", list(bodies("")))
@pytest.mark.parametrize("picture", ["/cat.png", "/moved"])
async def test_a_picture_is_fetched(scripted: Scripted, pictures: str, path: str, picture: str) -> None:
    server = allowing(scripted)
    replies = [WHOLE if "chat" in path else "A cat."]
    answer = await server.post(path, bodies(pictures + picture)[path], replies=replies)
    assert answer.status_code == 200, answer.text
    assert shown(server) == PNG
    rows = [row for row in server.app.state.shared.egress.ledger.rows() if row["purpose"] == "picture"]
    assert len(rows) == (2 if picture == "/moved" else 1)


@pytest.mark.parametrize("path", list(bodies("")))
async def test_without_a_rule_nothing_is_fetched(scripted: Scripted, pictures: str, path: str) -> None:
    for server in (allowing(scripted, host="other.example.org"), allowing(scripted, action="deny")):
        answer = await server.post(path, bodies(f"{pictures}/cat.png")[path])
        assert answer.status_code == 403
        assert 'purpose = "picture", host = "localhost"' in answer.json()["error"]["message"]
        assert not server.runner.requests and not server.runner.forwarded
    assert not Pictures.asked


@pytest.mark.parametrize(
    ("picture", "status", "said"),
    [
        ("/page", 400, "is not a PNG"),
        ("/empty", 400, "is not a PNG"),
        ("/huge.png", 400, "is larger than 20 MB"),
        ("/none", 502, "answered 404"),
        ("/round", 502, "redirects too often"),
        ("/elsewhere", 403, "pictures are not fetched from elsewhere.example.org"),
        ("/plain", 403, "by https only"),
    ],
)
async def test_what_comes_must_be_a_picture(
    scripted: Scripted, pictures: str, picture: str, status: int, said: str
) -> None:
    server = allowing(scripted)
    path = "/v1/messages"
    answer = await server.post(path, bodies(pictures + picture)[path])
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]["message"]
    assert not server.runner.requests


@pytest.mark.parametrize(
    ("url", "status", "said"),
    [
        ("http://localhost/x.png", 403, "by https only"),
        ("https://[::1/x.png", 400, "not a URL"),
        ("https:///x.png", 403, "by https only"),
        ("https://localhost:1/x.png", 502, "cannot be fetched"),
        ("https://169.254.169.254/latest", 403, "pictures are not fetched from 169.254.169.254"),
        ("https://localhost@evil.example.org/x.png", 403, "pictures are not fetched from evil.example.org"),
        ("https://" + "x" * 100_000, 403, "pictures are not fetched"),
    ],
)
async def test_bad_urls(scripted: Scripted, url: str, status: int, said: str) -> None:
    server = allowing(scripted)
    answer = await server.post("/v1/messages", bodies(url)["/v1/messages"])
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert len(answer.content) < 1500


async def test_too_many(scripted: Scripted, pictures: str) -> None:
    server = allowing(scripted)
    body = bodies(f"{pictures}/cat.png")["/v1/chat/completions"]
    body["messages"][0]["content"] *= 17
    answer = await server.post("/v1/chat/completions", body)
    assert (answer.status_code, "more than 16 pictures" in answer.text) == (400, True)
    assert not Pictures.asked


async def test_a_url_in_a_text_is_a_text(scripted: Scripted) -> None:
    text = '{"url": "https://elsewhere.example.org/x.png"}'
    body = {"model": "plain", "messages": [{"role": "user", "content": text}], "max_tokens": 5}
    assert (await scripted.post("/v1/messages", body, replies=["Yes."])).status_code == 200
