"""Managing models over HTTP, with a real store: what is listed, shown, copied, deleted, uploaded and made."""

import hashlib
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Scripted, add, gguf

from allod import __version__
from allod.errors import Network
from allod.home import Home
from allod.models.gguf_format import Cursor, Tensor
from allod.models.progress import Progress
from allod.models.quantize_plan import Item, contents, header
from allod.server.app import create_app


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


async def get(scripted: Scripted, path: str, method: str = "GET", **more: Any) -> httpx.Response:
    async with scripted.client() as http:
        return await http.request(method, path, **more)


async def test_root_and_version(scripted: Scripted) -> None:
    assert (await get(scripted, "/")).text == "Ollama is running"
    assert (await get(scripted, "/", "HEAD")).status_code == 200
    answer = await get(scripted, "/api/version")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.content == f'{{"version":"{__version__}"}}'.encode()
    for path in ("/api/version", "/api/tags"):
        assert (await get(scripted, path, "HEAD")).status_code == 200
    assert (await get(scripted, "/health")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/api/show", 405, "405 method not allowed"),
        ("GET", "/api/chat", 405, "405 method not allowed"),
        ("POST", "/api/tags", 405, "405 method not allowed"),
        ("PUT", "/api/blobs/x", 405, "405 method not allowed"),
        ("GET", "/v1/chat/completions", 405, "405 method not allowed"),
        ("GET", "/nothing", 404, "404 page not found"),
        ("GET", "/api/tags/", 404, "404 page not found"),
    ],
)
async def test_wrong_verbs_and_paths(scripted: Scripted, method: str, path: str, status: int, text: str) -> None:
    answer = await get(scripted, path, method)
    assert (answer.status_code, answer.text) == (status, text)


async def test_an_empty_store(home: Home) -> None:
    transport = httpx.ASGITransport(create_app(home))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/api/tags")).content == b'{"models":[]}'
        assert (await http.get("/api/ps")).content == b'{"models":[]}'
        answer = await http.get("/v1/models")
        assert answer.json() == {"data": [], "object": "list"}
        assert answer.headers["content-type"] == "application/json"


async def test_tags(scripted: Scripted) -> None:
    models = (await get(scripted, "/api/tags")).json()["models"]
    assert {model["name"] for model in models} == {f"{n}:latest" for n in ("clever", "plain", "bare", "vectors")}
    assert [m["modified_at"] for m in models] == sorted((m["modified_at"] for m in models), reverse=True)
    plain = next(model for model in models if model["name"] == "plain:latest")
    stored = scripted.store.get("plain")
    assert (plain["digest"], plain["size"], plain["model"]) == (stored.digest, stored.size, "plain:latest")
    assert plain["details"]["family"] == "llama"
    assert plain["details"]["format"] == "gguf"
    assert plain["details"]["parent_model"] == ""


async def test_show(scripted: Scripted) -> None:
    add(
        scripted.home,
        "mine",
        'SYSTEM Be brief\nPARAMETER seed 42\nPARAMETER stop foo\nPARAMETER stop "bar"\nLICENSE MIT',
    )
    body = (await scripted.post("/api/show", {"model": "MINE"})).json()
    assert body["parameters"].splitlines() == [
        "seed                           42",
        'stop                           "foo"',
        'stop                           "bar"',
    ]
    assert (body["system"], body["license"]) == ("Be brief", "MIT")
    assert "FROM " in body["modelfile"]
    assert body["model_info"]["llama.context_length"] == 2048
    assert body["capabilities"] == ["completion"]
    assert "tensors" not in body
    clever = (await scripted.post("/api/show", {"name": "clever", "verbose": True})).json()
    assert clever["capabilities"] == ["completion", "tools", "insert", "thinking"]
    assert clever["tensors"] == []
    assert "enable_thinking" in clever["template"]
    assert (await scripted.post("/api/show", {"model": "vectors"})).json()["capabilities"] == ["embedding"]


async def test_show_for_one_client_that_wants_its_name_back(scripted: Scripted) -> None:
    agent = {"user-agent": "GitHubCopilotChat/1.0"}
    body = (await scripted.post("/api/show", {"model": "Plain"}, headers=agent)).json()
    assert body["model_info"]["general.basename"] == "Plain"


@pytest.mark.parametrize(
    ("path", "method", "body", "status", "said"),
    [
        ("/api/show", "POST", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/show", "POST", {}, 400, "model is required"),
        ("/api/delete", "DELETE", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/delete", "DELETE", {"model": "../x"}, 400, 'name "../x" is invalid'),
        ("/api/copy", "POST", {"source": "nope", "destination": "b"}, 404, 'model "nope" not found'),
        ("/api/copy", "POST", {"source": "/", "destination": "b"}, 400, 'source "/" is invalid'),
        ("/api/copy", "POST", {"source": "plain", "destination": "a b"}, 400, 'destination "a b" is invalid'),
        ("/api/copy", "POST", {}, 400, 'source "" is invalid'),
        ("/api/pull", "POST", {"model": "../../x"}, 400, "invalid model name"),
        ("/api/pull", "POST", {}, 400, "invalid model name"),
        ("/api/create", "POST", {"model": "x"}, 400, "neither 'from' or 'files' was specified"),
        ("/api/create", "POST", {"model": "x y", "from": "plain"}, 400, "invalid model name"),
        ("/api/create", "POST", {"model": "x", "from": "/etc/passwd"}, 400, "invalid model name"),
        ("/api/create", "POST", {"model": "x", "from": "plain", "template": "{{ if .System }}"}, 400,
         "template error: unexpected EOF"),
        ("/api/create", "POST", {"model": "x", "from": "plain", "template": "{{ .Prompt"}, 400,
         "template error: unclosed action"),
        ("/api/create", "POST", {"model": "x", "from": "plain", "template": "a {{ end }}"}, 400,
         "template error: unexpected {{end}}"),
    ],
)  # fmt: skip
async def test_refusals(scripted: Scripted, path: str, method: str, body: Any, status: int, said: str) -> None:
    answer = await get(scripted, path, method, json=body)
    assert (answer.status_code, answer.json()) == (status, {"error": said})


async def test_copy_and_delete(scripted: Scripted) -> None:
    blob = scripted.store.get("plain").weights[0]
    answer = await scripted.post("/api/copy", {"source": "plain", "destination": "someone/second:v1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert (await get(scripted, "/api/delete", "DELETE", json={"model": "plain"})).status_code == 200
    assert blob.exists()
    body = {"model": "someone/second:v1", "messages": [{"role": "user", "content": "?"}], "stream": False}
    answer = await scripted.post("/api/chat", body, replies=["yes"])
    assert answer.json()["message"]["content"] == "yes"
    assert (await get(scripted, "/api/delete", "DELETE", json={"name": "SOMEONE/second:v1"})).status_code == 200
    assert not blob.exists()


async def test_a_broken_model_can_be_deleted(scripted: Scripted) -> None:
    scripted.store.get("plain").weights[0].unlink()
    assert (await scripted.post("/api/show", {"model": "plain"})).status_code == 404
    assert (await get(scripted, "/api/delete", "DELETE", json={"model": "plain"})).status_code == 200
    assert "plain:latest" not in [str(name) for name in scripted.store.names()]


# ── blobs and create ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_blobs(scripted: Scripted) -> None:
    data = b"x" * 10_000_000
    path = f"/api/blobs/{digest_of(data)}"
    assert (await get(scripted, path, "HEAD")).status_code == 404

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65536):
            yield data[at : at + 65536]

    assert (await get(scripted, path, "POST", content=pieces())).status_code == 201
    assert (await get(scripted, path, "HEAD")).status_code == 200
    assert (await get(scripted, path, "POST", content=b"not looked at")).status_code == 200
    assert scripted.store.blob(digest_of(data)).read_bytes() == data
    assert not list(scripted.store.partial(digest_of(data)).parent.iterdir())


async def test_a_wrong_blob_leaves_nothing_behind(scripted: Scripted) -> None:
    digest = digest_of(b"right")
    answer = await get(scripted, f"/api/blobs/{digest}", "POST", content=b"wrong")
    assert answer.status_code == 400
    assert answer.json()["error"] == f'digest mismatch, expected "{digest}", got "{digest_of(b"wrong")}"'
    assert not scripted.store.has(digest)
    assert not list(scripted.store.partial(digest).parent.iterdir())


@pytest.mark.parametrize("text", ["sha256:abc", "md5:" + "0" * 64, "sha256:" + "g" * 64, "..%2f..%2fetc%2fpasswd"])
@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_bad_digests(scripted: Scripted, text: str, method: str) -> None:
    answer = await get(scripted, f"/api/blobs/{text}", method, content=b"x")
    assert answer.status_code in (400, 404)
    if method == "POST" and "%" not in text:
        assert answer.json() == {"error": "invalid digest format"}


async def upload(scripted: Scripted, path: Path) -> str:
    data = path.read_bytes()
    assert (await get(scripted, f"/api/blobs/{digest_of(data)}", "POST", content=data)).status_code == 201
    return digest_of(data)


async def test_create_from_files(scripted: Scripted, tmp_path: Path) -> None:
    digest = await upload(scripted, gguf(tmp_path / "new.gguf", **{"general.name": "new"}))
    body = {
        "model": "made",
        "files": {"new.gguf": digest},
        "parameters": {"seed": 42, "stop": ["foo", "bar"], "temperature": None},
        "system": "S",
        "license": ["A", "B"],
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    }
    answer = await scripted.post("/api/create", body)
    steps = [json.loads(line)["status"] for line in answer.content.splitlines()]
    assert steps[0] == "parsing GGUF"
    assert steps[-2:] == ["writing manifest", "success"]
    shown = (await scripted.post("/api/show", {"model": "made"})).json()
    assert "seed                           42" in shown["parameters"]
    assert 'stop                           "bar"' in shown["parameters"]
    assert shown["messages"] == [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    child = {"model": "child", "from": "made", "parameters": {"seed": 7, "top_k": 1}, "stream": False}
    assert (await scripted.post("/api/create", child)).json() == {"status": "success"}
    model = scripted.store.get("child")
    assert model.params == {"seed": 7, "top_k": 1, "stop": ["foo", "bar"]}
    assert model.licenses == ["A", "B"]


def with_weights(path: Path, **metadata: str | int) -> Path:
    """A GGUF file with one F32 tensor."""
    kept, _ = contents(Cursor(io.BytesIO(gguf(path, **metadata).read_bytes()), path.stat().st_size))
    item = Item("", 0, Tensor("token_embd.weight", (64, 40), 0, 0), 0, 0, 4 * 64 * 40)
    path.write_bytes(header(kept.data, kept.count, [item]) + bytes(item.padded))
    return path


async def test_create_quantizes(scripted: Scripted, tmp_path: Path) -> None:
    digest = await upload(scripted, with_weights(tmp_path / "large.gguf"))
    body = {"model": "made", "files": {"large.gguf": digest}, "quantize": "q8_0"}
    steps = [json.loads(line) for line in (await scripted.post("/api/create", body)).content.splitlines()]
    said = [step for step in steps if step["status"] == "quantizing F32 model to Q8_0"]
    assert said[0]["digest"] == "sha256:" + 64 * "0" and said[-1]["completed"] == said[-1]["total"]
    assert steps[-1] == {"status": "success"}
    shown = (await scripted.post("/api/show", {"model": "made"})).json()
    assert shown["details"]["quantization_level"] == "Q8_0"
    again = await scripted.post("/api/create", {"model": "x", "from": "made", "quantize": "q4_K_M", "stream": False})
    assert again.status_code == 400 and "Q8_0 already" in again.json()["error"]


async def test_create_with_a_draft(scripted: Scripted, tmp_path: Path) -> None:
    large = await upload(scripted, with_weights(tmp_path / "large.gguf"))
    small = await upload(scripted, with_weights(tmp_path / "small.gguf", **{"general.name": "small"}))
    body = {"model": "made", "files": {"a.gguf": large}, "draft_files": {"b.gguf": small}, "stream": False}
    assert (await scripted.post("/api/create", body)).json() == {"status": "success"}
    draft = scripted.store.get("made").draft
    assert draft and draft == scripted.store.blob(small)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"files": {"../x.gguf": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"files": {"/x.gguf": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"files": {"x\0y": "sha256:" + "0" * 64}}, 400, "not a file name"),
        ({"files": {"x.gguf": "../../etc/passwd"}}, 400, "invalid digest format"),
        ({"files": {"x.gguf": "sha256:" + "0" * 64}}, 404, "not found"),
        ({"from": "plain", "parameters": {"seed": "x"}}, 400, "seed must be a whole number"),
        ({"from": "plain", "parameters": {"num_ctx": int("9" * 300)}}, 400, "num_ctx must be between"),
        ({"from": "plain", "parameters": {"wat": 1}}, 400, "unknown parameter 'wat'"),
        ({"from": "plain", "quantize": "q5_K_M"}, 400, "unknown quantization type 'q5_K_M'"),
        ({"from": "plain", "remote_host": "https://ollama.com"}, 400, "remote_host is not supported"),
        ({"from": "plain", "draft_files": {"../d.gguf": "sha256:" + "0" * 64}}, 400, "file path must be relative"),
        ({"from": "plain", "draft_files": {"d.gguf": "sha256:" + "0" * 64}}, 404, "not found"),
        ({"from": "plain", "messages": [{"role": "x"}]}, 400, "invalid role"),
        ({"from": 7}, 400, "$.from"),
    ],
)
async def test_bad_recipes(scripted: Scripted, body: dict[str, Any], status: int, said: str) -> None:
    answer = await scripted.post("/api/create", {"model": "x", **body})
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert "x:latest" not in [str(name) for name in scripted.store.names()]


async def test_create_of_something_that_is_no_gguf(scripted: Scripted, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no model" * 100)
    digest = await upload(scripted, tmp_path / "a")
    answer = await scripted.post("/api/create", {"model": "x", "files": {"a.gguf": digest}, "stream": False})
    assert answer.status_code == 400
    streamed = await scripted.post("/api/create", {"model": "x", "files": {"a.gguf": digest}})
    last = json.loads(streamed.content.splitlines()[-1])
    assert "GGUF" in last["error"]


# ── pull ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pulling(monkeypatch: pytest.MonkeyPatch, *steps: Progress | Exception) -> list[tuple[Any, ...]]:
    """Puts a pull that says these steps in the place of the real one, which has tests of its own."""
    asked: list[tuple[Any, ...]] = []

    async def pull(name: str, home: Any, store: Any, egress: Any, *, insecure: bool = False) -> AsyncIterator[Progress]:
        asked.append((name, insecure))
        for step in steps:
            if isinstance(step, Exception):
                raise step
            yield step

    monkeypatch.setattr("allod.models.pull.pull", pull)
    return asked


async def test_pull_tells_how_far_it_is(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [Progress("pulling abc", "sha256:abc", 1000, done) for done in range(1001)]
    asked = pulling(monkeypatch, Progress("pulling manifest"), *counts, Progress("success"))
    answer = await scripted.post("/api/pull", {"model": "hf.co/a/b:Q4", "insecure": True})
    steps = [json.loads(line) for line in answer.content.splitlines()]
    assert asked == [("hf.co/a/b:Q4", True)]
    assert steps[0] == {"status": "pulling manifest"}
    assert steps[-2:] == [
        {"status": "pulling abc", "digest": "sha256:abc", "total": 1000, "completed": 1000},
        {"status": "success"},
    ]
    assert len(steps) < 50  # a line every 60 ms is enough
    answer = await scripted.post("/api/pull", {"name": "a", "stream": False})
    assert answer.json() == {"status": "success"}
    assert answer.headers["content-type"].startswith("application/json")


async def test_pull_that_fails(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    error = Network("no source has it: a, b", "Check the network.")
    pulling(monkeypatch, Progress("pulling manifest"), error)
    answer = await scripted.post("/api/pull", {"model": "a"})
    assert json.loads(answer.content.splitlines()[-1]) == {"error": "no source has it: a, b. Check the network."}
    answer = await scripted.post("/api/pull", {"model": "a", "stream": False})
    assert (answer.status_code, answer.json()["error"][:13]) == (502, "no source has")


async def test_pushing_what_is_not_here_or_has_no_name(scripted: Scripted) -> None:
    for body, status in (({"model": "nobody"}, 404), ({"model": "../../etc/passwd"}, 400), ({}, 400)):
        assert (await scripted.post("/api/push", body)).status_code == status
    lines = (await scripted.post("/api/push", {"model": "http://127.0.0.1:9/a/b"})).text
    assert "not found" in lines
