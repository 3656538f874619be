"""Loopback servers for the pull tests: files with ranges, and every way a server can misbehave.

with FileServer({"/blob": data}) as server:
    server.faults.append(Fault(status=503, times=2))
    …
    assert server.body_bytes("/blob") == len(data)
"""

import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Fault:
    """Something that goes wrong with the next ``times`` requests whose path and range match."""

    status: int = 0  # answer this instead
    headers: dict[str, str] = field(default_factory=dict)  # put these in the answer
    cut: int | None = None  # close the connection after so many bytes of body
    stall: int | None = None  # send nothing more after so many bytes of body, until the client goes
    flip: int | None = None  # change the byte at this offset of the file
    short: int = 0  # say and send so many bytes less than asked
    no_ranges: bool = False  # answer 200 with the whole file
    lie: int = 0  # add this to the size of the file that the answer tells
    path: str = ""  # a substring; empty: any
    method: str = "GET"
    times: int = 1 << 30
    when: Callable[["Seen"], bool] = lambda seen: True


@dataclass
class Seen:
    """A request, and what was sent for it."""

    method: str
    path: str
    headers: dict[str, str]
    first: int = 0  # of the range asked for
    last: int | None = None
    status: int = 0
    body: int = 0  # bytes of body sent


class FileServer:
    """Serves ``files`` (path → bytes, or a function of the request that gives bytes or a (status, headers, bytes))."""

    def __init__(self, files: dict[str, Any] | None = None) -> None:
        self.files: dict[str, Any] = files or {}
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.gate_at: int | None = None  # hold every body once so many bytes were sent in all
        self.gate = threading.Event()  # set: let go
        self.held = threading.Event()  # set by the first body that is held
        self.sent = 0
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that are killed

        self.httpd = Server(("127.0.0.1", 0), Handler)
        self.port = self.httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.host = f"127.0.0.1:{self.port}"

    def __enter__(self) -> "FileServer":
        threading.Thread(target=self.httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def requests(self, path: str = "", method: str = "GET") -> list[Seen]:
        return [seen for seen in self.seen if path in seen.path and seen.method == method]

    def body_bytes(self, path: str = "") -> int:
        return sum(seen.body for seen in self.requests(path))

    # ── answering ───────────────────────────────────────────────────────────────────────────────────────────────────

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        headers = {key.lower(): value for key, value in handler.headers.items()}
        seen = Seen(handler.command, handler.path, headers)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if asked:
            seen.first, seen.last = int(asked[1]), int(asked[2]) if asked[2] else None
        with self.lock:
            self.seen.append(seen)
            fault = next((f for f in self.faults if self.fits(f, seen)), None) or Fault()
            fault.times -= 1
        content = self.files.get(handler.path.partition("?")[0])
        status, extra = 200, {}
        if callable(content):
            content = content(seen)
        if isinstance(content, tuple):
            status, extra, content = content
        if fault.status or content is None:
            status = fault.status or (404 if status == 200 else status)
            self.send(handler, seen, status, {**extra, **fault.headers}, b"no", Fault(), 0)
            return
        ranged = asked is not None and not fault.no_ranges and status == 200
        if ranged and seen.first >= len(content):
            self.send(handler, seen, 416, {"Content-Range": f"bytes */{len(content)}"}, b"", Fault(), 0)
            return
        body, offset = content, 0
        if ranged:
            offset = seen.first
            last = min(seen.last if seen.last is not None else len(content) - 1, len(content) - 1) - fault.short
            body = memoryview(content)[offset : last + 1]
            extra = {**extra, "Content-Range": f"bytes {offset}-{last}/{len(content) + fault.lie}"}
            status = 206
        self.send(handler, seen, status, {**extra, **fault.headers}, body, fault, offset)

    @staticmethod
    def fits(fault: Fault, seen: Seen) -> bool:
        return fault.times > 0 and fault.path in seen.path and fault.method == seen.method and fault.when(seen)

    def send(
        self,
        handler: BaseHTTPRequestHandler,
        seen: Seen,
        status: int,
        headers: dict[str, str],
        body: Any,
        fault: Fault,
        offset: int,
    ) -> None:
        seen.status = status
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body) + (fault.lie if status == 200 else 0)))
        handler.end_headers()
        if seen.method == "HEAD":
            return
        if fault.flip is not None and offset <= fault.flip < offset + len(body):
            body = bytearray(body)
            body[fault.flip - offset] ^= 0xFF
        for start in range(0, len(body), 1 << 16):
            block = body[start : start + (1 << 16)]
            for limit, stays in ((fault.cut, False), (fault.stall, True)):
                if limit is not None and start + len(block) > limit:
                    handler.wfile.write(block[: limit - start])
                    self.count(seen, max(0, limit - start))
                    if stays:
                        handler.connection.settimeout(60)
                        handler.connection.recv(1)  # until the client gives up
                    handler.close_connection = True
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
            with self.lock:
                hold = self.gate_at is not None and self.sent + len(block) > self.gate_at
            if hold and not self.gate.is_set():
                self.held.set()
                self.gate.wait(60)
            handler.wfile.write(block)
            self.count(seen, len(block))

    def count(self, seen: Seen, count: int) -> None:
        with self.lock:
            seen.body += count
            self.sent += count


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def wheel(name: str, version: str, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> tuple[str, bytes]:
    """A wheel's file name and bytes."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(f"{name}/__init__.py", "x = 1\n")
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
    return f"{name}-{version}-py3-none-any.whl", out.getvalue()


class IndexServer(FileServer):
    """A PEP 691 index below /simple, with its files on the same host below /files."""

    def __init__(self) -> None:
        super().__init__()
        self.projects: dict[str, list[dict[str, Any]]] = {}

    @property
    def index(self) -> str:
        return f"{self.url}/simple"

    def add(self, project: str, filename: str, data: bytes, **overrides: Any) -> None:
        path = f"/files/{filename}"
        self.files[path] = data
        entry = {
            "filename": filename,
            "url": f"{self.url}{path}",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
            "size": len(data),
            "yanked": False,
            **overrides,
        }
        self.projects.setdefault(project, []).append(entry)
        body = {"meta": {"api-version": "1.1"}, "name": project, "files": self.projects[project]}
        headers = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
        self.files[f"/simple/{project}/"] = lambda seen: (200, headers, json.dumps(body).encode())


class HubServer(FileServer):
    """Hugging Face's file API; files in LFS redirect to /cdn, as the real one does to another host."""

    def __init__(self) -> None:
        super().__init__()
        self.cdn = self.url

    def add(self, repo: str, path: str, data: bytes, revision: str = "main") -> None:
        sha = hashlib.sha256(data).hexdigest()
        listing = f"/api/models/{repo}/tree/{revision}"
        entries = getattr(self, "_" + repo, [])
        entries.append(
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40, "lfs": {"oid": sha, "size": len(data)}}
        )
        setattr(self, "_" + repo, entries)
        self.files[listing] = lambda seen: (200, {"Content-Type": "application/json"}, json.dumps(entries).encode())
        target = f"{self.cdn}/cdn/{sha}"
        headers = {"Location": target, "X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(data))}
        self.files[f"/{repo}/resolve/{revision}/{path}"] = lambda seen: (302, headers, b"")
        self.files[f"/cdn/{sha}"] = data


# ── a real registry ─────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def docker_registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry (distribution 2.x) on a free port; yields host:port. Skips where it is missing."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian: apt-get install docker-registry)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def push(host: str, repository: str, tag: str, layers: list[tuple[str, bytes]], config: bytes) -> bytes:
    """Puts a model into a registry by the distribution protocol; returns the manifest's bytes."""
    import httpx

    def upload(data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with httpx.Client(trust_env=False) as http:
            place = http.post(f"http://{host}/v2/{repository}/blobs/uploads/").headers["location"]
            answer = http.put(f"{place}&digest={digest}", content=data, timeout=60)
            answer.raise_for_status()
        return digest

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": upload(config),
            "size": len(config),
        },
        "layers": [{"mediaType": kind, "digest": upload(data), "size": len(data)} for kind, data in layers],
    }
    body = json.dumps(manifest, separators=(",", ":")).encode()
    with httpx.Client(trust_env=False) as http:
        answer = http.put(
            f"http://{host}/v2/{repository}/manifests/{tag}",
            content=body,
            headers={"content-type": str(manifest["mediaType"])},
        )
        answer.raise_for_status()
    return body
