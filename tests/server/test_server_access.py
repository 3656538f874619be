"""Keys at the door: who passes, who does not, and in whose words it is said. And TLS."""

import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest
from served import Scripted

from allod.errors import BadSettings
from allod.home import Home
from allod.keys import Keys, make_own, to_say
from allod.server import access
from allod.server.app import certificate, create_app
from allod.server.security import check_bind, parse_address

CHATS = {
    "/api/chat": {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "stream": False},
    "/v1/messages": {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    "/v1/responses": {"model": "plain", "input": "Hi", "store": False},
}


@pytest.fixture
def keys(scripted: Scripted) -> Keys:
    return Keys(scripted.home)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def status(scripted: Scripted, path: str, headers: dict[str, str], **more: Any) -> int:
    answer = await scripted.post(path, CHATS.get(path, {}) | more, replies=["Hello"], headers=headers)
    return answer.status_code


@pytest.mark.parametrize("path", CHATS)
async def test_without_keys_nobody_needs_one(scripted: Scripted, path: str) -> None:
    assert await status(scripted, path, {}) == 200
    assert await status(scripted, path, bearer("whatever")) == 200


@pytest.mark.parametrize("path", CHATS)
async def test_with_keys_everybody_needs_one(scripted: Scripted, keys: Keys, path: str) -> None:
    secret = keys.add("phone")
    assert await status(scripted, path, bearer(secret)) == 200
    assert await status(scripted, path, {"x-api-key": secret}) == 200
    assert await status(scripted, path, {"authorization": f"bearer   {secret} "}) == 200
    for wrong in ({}, bearer(""), bearer("x"), {"authorization": secret}, {"authorization": f"Basic {secret}"}):
        answer = await scripted.post(path, CHATS[path], headers=wrong)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    keys.remove("phone")
    assert await status(scripted, path, {}) == 200, "the last one is gone"


async def test_every_route_but_two_is_closed(scripted: Scripted, keys: Keys) -> None:
    keys.add("phone")
    async with scripted.client() as http:
        for route in scripted.app.routes:
            path = re.sub(r"\{[^}]*\}", "x", getattr(route, "path", ""))
            for method in getattr(route, "methods", None) or ():
                answer = await http.request(method, path)
                assert answer.status_code == (200 if path in access.OPEN else 401), (method, path)
        assert (await http.get("/nothing/here")).status_code == 401


async def test_each_says_it_in_its_own_words(scripted: Scripted, keys: Keys) -> None:
    keys.add("phone")
    found = {path: (await scripted.post(path, CHATS[path])).json() for path in CHATS}
    assert "an API key is required" in found["/api/chat"]["error"]
    error = found["/v1/messages"]
    assert (error["type"], error["error"]["type"]) == ("error", "authentication_error")
    assert found["/v1/responses"]["error"]["code"] == "invalid_api_key"


async def test_a_key_for_some_routes(scripted: Scripted, keys: Keys) -> None:
    headers = bearer(keys.add("phone", routes=("/api/*",)))
    assert await status(scripted, "/api/chat", headers) == 200
    assert await status(scripted, "/v1/messages", headers) == 403


async def test_a_key_for_some_models(scripted: Scripted, keys: Keys) -> None:
    headers = bearer(keys.add("phone", models=("plain", "bare:*")))
    for path in CHATS:
        assert await status(scripted, path, headers) == 200
        assert await status(scripted, path, headers, model="PLAIN:latest") == 200
        assert await status(scripted, path, headers, model="clever") == 403
        assert await status(scripted, path, headers, model="nobody") == 404
    show: Callable[[str], Any] = lambda name: scripted.post("/api/show", {"model": name}, headers=headers)  # noqa: E731
    assert [(await show(name)).status_code for name in ("plain", "clever")] == [200, 403]
    for path in ("/api/pull", "/api/create", "/api/copy", "/api/blobs/sha256:0", "/allod/v1/runs"):
        assert await status(scripted, path, headers) == 403, path
    async with scripted.client(**headers) as http:
        assert (await http.request("DELETE", "/api/delete", json={"model": "plain"})).status_code == 403


async def test_a_key_that_comes_too_often(scripted: Scripted, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(access.time, "monotonic", lambda: now)
    slow, quick = bearer(keys.add("slow", rate=3)), bearer(keys.add("quick"))
    found = [await status(scripted, "/api/chat", slow) for _ in range(4)]
    assert found == [200, 200, 200, 429]
    answer = await scripted.post("/v1/messages", CHATS["/v1/messages"], headers=slow)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "21")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert await status(scripted, "/api/chat", quick) == 200
    now += 20.1
    assert [await status(scripted, "/api/chat", slow) for _ in range(2)] == [200, 429]


async def test_a_broken_file_lets_nobody_in(scripted: Scripted, keys: Keys) -> None:
    secret = keys.add("phone")
    keys.path.write_text("[")
    answer = await scripted.post("/api/chat", CHATS["/api/chat"], headers=bearer(secret))
    assert answer.status_code == 400 and "keys.json" in answer.json()["error"]


async def test_beyond_loopback_a_key_is_needed_always(home: Home) -> None:
    transport = httpx.ASGITransport(create_app(home, bind="192.168.1.7"))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/api/tags")).status_code == 401
        make_own(home)
        assert (await http.get("/api/tags", headers=bearer(to_say(home, near=True)))).status_code == 200
    with pytest.raises(BadSettings, match="there is no API key"):
        check_bind(parse_address("192.168.1.7"))
    check_bind(parse_address("192.168.1.7"), keys=True)


# ── a real server, with TLS ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def secured(pem: Path, small_models: Path, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """A server process that speaks TLS and wants keys: its URL, and the environment of its user."""
    environ = {**os.environ, "ALLOD_HOME": str(tmp_path / "home"), "ALLOD_MODELS": str(small_models)}
    environ |= {"ALLOD_CERT": str(pem), "SSL_CERT_FILE": str(pem.with_name("cert.pem"))}
    command = [sys.executable, "-m", "allod", "serve", "--host", "https://127.0.0.1:0"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"listens on (https://[\d.:]+)", line)
        assert found, line + process.stderr.read()
        try:
            yield found[1], environ | {"ALLOD_HOST": found[1]}
        finally:
            process.terminate()
            process.communicate(timeout=20)


def test_over_tls_with_the_clients_and_the_commands(secured: tuple[str, dict[str, str]], pem: Path) -> None:
    url, environ = secured

    def allod(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "allod", *words]
        return subprocess.run(command, env=environ | more, capture_output=True, text=True, timeout=60, check=False)

    made = allod("keys", "add", "phone", "--model", "plain*", "--rate", "100")
    secret = made.stdout.strip()
    assert made.returncode == 0 and "cannot be shown again" in made.stderr and "From now on" in made.stderr
    (listed,) = json.loads(allod("keys", "list", "--json").stdout)
    assert (listed["name"], listed["models"], listed["rate"]) == ("phone", ["plain*"], 100)
    assert "phone" in allod("keys", "list").stdout and secret not in allod("keys", "list").stdout

    trusted = ssl.create_default_context(cafile=str(pem.with_name("cert.pem")))
    with httpx.Client(verify=trusted) as http:
        assert http.get(f"{url}/health").json() == {"status": "ok"}
        assert http.get(f"{url}/api/tags").status_code == 401
        gpt = openai.OpenAI(base_url=f"{url}/v1", api_key=secret, http_client=http, max_retries=0)
        assert "plain:latest" in [model.id for model in gpt.models.list()]
        with pytest.raises(openai.AuthenticationError, match="invalid API key"):
            openai.OpenAI(base_url=f"{url}/v1", api_key="x", http_client=http, max_retries=0).models.list()
        answer = http.post(f"{url}/v1/messages", json=CHATS["/v1/messages"], headers={"x-api-key": "x"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    native = ollama.Client(host=url, headers=bearer(secret), verify=trusted)
    assert native.list().models
    with pytest.raises(ollama.ResponseError, match="not good for the model"):
        native.show("clever")

    assert allod("ps").returncode == 0, "the commands of this user need no key of their own"
    assert allod("ps", ALLOD_API_KEY="wrong").returncode != 0
    assert allod("keys", "rm", "phone").returncode == 0
    gone = allod("keys", "rm", "phone")
    assert gone.returncode == 1 and "no key 'phone'" in gone.stderr


@pytest.mark.parametrize("which", ["nothing", "text", "folder", "key alone", "another's key"])
def test_a_certificate_that_is_none(pem: Path, tmp_path: Path, which: str) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "other.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    cert, key = {
        "nothing": (tmp_path / "none", ""),
        "text": (tmp_path / "text", ""),
        "folder": (tmp_path, ""),
        "key alone": (pem.with_name("key.pem"), ""),
        "another's key": (pem.with_name("cert.pem"), tmp_path / "other.pem"),
    }[which]
    with pytest.raises(BadSettings, match="cannot be used for TLS"):
        certificate(str(cert), str(key))


def test_certificate_and_key_in_one_file_or_two(pem: Path) -> None:
    assert certificate("", "") is None
    assert certificate(str(pem), "") == (str(pem), str(pem))
    parts = str(pem.with_name("cert.pem")), str(pem.with_name("key.pem"))
    assert certificate(*parts) == parts


async def test_a_response_belongs_to_its_key(scripted: Scripted, keys: Keys) -> None:
    mine, other = bearer(keys.add("mine")), bearer(keys.add("other"))
    body = CHATS["/v1/responses"] | {"store": True}
    response = (await scripted.post("/v1/responses", body, replies=["Hello"], headers=mine)).json()
    path = f"/v1/responses/{response['id']}"
    follow = body | {"previous_response_id": response["id"]}
    async with scripted.client(**other) as http:
        for answer in (await http.get(path), await http.delete(path), await http.get(f"{path}/input_items")):
            assert answer.status_code == 404
    assert (await scripted.post("/v1/responses", follow, replies=["No"], headers=other)).status_code == 400
    assert (await scripted.post("/v1/responses", follow, replies=["Yes"], headers=mine)).status_code == 200
    async with scripted.client(**mine) as http:
        assert (await http.post(f"{path}/cancel")).status_code == 400
        assert (await http.get(path)).status_code == (await http.delete(path)).status_code == 200


async def test_a_digest_that_is_none_lets_nobody_in(scripted: Scripted, keys: Keys) -> None:
    keys.path.parent.mkdir(parents=True, exist_ok=True)
    keys.path.write_text('[{"name": "x", "digest": "é", "created": ""}]')
    answer = await scripted.post("/rerank", {}, headers=bearer("x"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
