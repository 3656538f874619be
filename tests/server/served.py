"""What the tests of the server share: a scripted application, models without weights, a handle on a live server."""

import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from allod.engine.runner import Facts
from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store
from allod.server.app import create_app
from scripted import ScriptedEngine, ScriptedRunner

QWEN_LIKE = "{% if tools %}{{ tools }}{% endif %}{% if enable_thinking %}<think>{% endif %}{{ messages }}"
FIM = {"tokenizer.ggml.fim_pre_token_id": 1}


def gguf(path: Path, **metadata: str | int) -> Path:
    """A GGUF file that has a header and no weights."""
    pairs = {"general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 2048, **metadata}
    data = struct.pack("<4sIQQ", b"GGUF", 3, 0, len(pairs))
    for key, value in pairs.items():
        data += struct.pack("<Q", len(key)) + key.encode()
        if isinstance(value, str):
            data += struct.pack("<IQ", 8, len(value.encode())) + value.encode()
        else:
            data += struct.pack("<II", 4, value)
    path.write_bytes(data.ljust(-(-len(data) // 32) * 32, b"\0"))
    return path


def add(home: Home, name: str, modelfile: str = "", **metadata: str | int) -> None:
    """Puts a model without weights into the store. Equal metadata is an equal file."""
    path = gguf(home.folder("ggufs") / f"{name.replace(':', '-').replace('/', '-')}.gguf", **metadata)
    for _ in create(Store(home.models), name, parse(f"FROM {path}\n{modelfile}"), path.parent):
        pass


def add_all(home: Home) -> None:
    """The models that `Scripted` has."""
    add(home, "clever:latest", **{"tokenizer.chat_template": QWEN_LIKE, **FIM})
    add(home, "plain:latest", **{"tokenizer.chat_template": "{{ messages }}"})
    add(home, "bare:latest", **{"general.name": "bare"})
    add(home, "vectors:latest", **{"llama.pooling_type": 1})


class Scripted:
    """An application over a scripted runner, over the models of `add_all`."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.store = Store(home.models)
        self.runner = ScriptedRunner(facts=Facts(model="clever:latest", context=2048, slots=4, tools=True))
        self.engine = ScriptedEngine(self.runner)
        self.app = create_app(home, engine=self.engine)  # type: ignore[arg-type]

    @asynccontextmanager
    async def client(self, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client of the application."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
            yield http

    async def post(
        self, path: str, body: Any = None, *, replies: list[Any] | None = None, **more: Any
    ) -> httpx.Response:
        """One POST; ``replies`` are what the runner plays."""
        self.runner.replies = list(replies or [])
        async with self.client() as http:
            content = {"content": body} if isinstance(body, bytes) else {"json": body}
            return await http.post(path, **content, **more)


@dataclass
class Live:
    """A server in a process of its own."""

    url: str
    home: Home
    process: psutil.Process

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that hold models."""
        return [p for p in self.process.children(recursive=True) if "llama_worker" in " ".join(p.cmdline())]

    def kill_workers(self) -> None:
        for worker in self.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
