"""kill -9 amid the work, again and again: every request ends, nothing is left corrupt, no process is left over.

A few times in every run of the tests; ``make kills`` does it 50 times.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from served import Live

from allod.home import Home
from allod.models.create import create
from allod.models.modelfile import parse
from allod.models.store import Store

sys.path.append(str(Path(__file__).parents[1] / "models"))

from servers import docker_registry, push

TIMES = int(os.environ.get("KILLS", "2"))
MODEL = "smollm2:135m"
LONG = {"model": MODEL, "messages": [{"role": "user", "content": "Write a very long story."}]}


def home_of(folder: Path, smollm2_path: Path) -> dict[str, str]:
    """An environment with a home that has the model."""
    environ = {**os.environ, "ALLOD_HOME": str(folder), "ALLOD_ENGINE_THREADS": "2", "ALLOD_ENGINE_CONTEXT": "1024"}
    for _ in create(Store(Home.open(environ).models), MODEL, parse(f"FROM {smollm2_path}"), folder):
        pass
    return environ


@contextmanager
def server(environ: dict[str, str]) -> Iterator[Live]:
    """A server that may be killed."""
    command = [sys.executable, "-m", "allod", "serve", "--host", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"http://[\d.:]+", line)
        assert found, line + process.stderr.read()
        try:
            yield Live(found[0], Home.open(environ), psutil.Process(process.pid))
        finally:
            process.kill()


async def told(http: httpx.AsyncClient, started: asyncio.Event) -> str:
    """How one long answer ended; ``started`` is set when its first words come."""
    try:
        async with http.stream("POST", "/api/chat", json=LONG) as answer:
            last = ""
            async for line in answer.aiter_lines():
                started.set()
                last = line
            return last
    except httpx.HTTPError as error:
        return type(error).__name__
    finally:
        started.set()


async def answered(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        answer = await http.post("/api/chat", json=LONG | {"stream": False, "options": {"num_predict": 3}})
    return answer.status_code == 200


async def gone(processes: list[psutil.Process]) -> None:
    """Returns when none of them lives any more."""
    async with asyncio.timeout(5):
        while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
            await asyncio.sleep(0.02)


async def test_the_worker_is_killed(tmp_path: Path, smollm2_path: Path) -> None:
    for _ in range(TIMES):
        with server(home_of(tmp_path / "home", smollm2_path)) as live:
            async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
                started = asyncio.Event()
                asked = [asyncio.create_task(told(http, started)) for _ in range(6)]
                await started.wait()
                workers = live.workers
                live.kill_workers()
                ends = await asyncio.wait_for(asyncio.gather(*asked), 60)
            assert all("error" in end or '"done":true' in end for end in ends), ends
            assert any("was killed" in end for end in ends)
            await gone(workers)
            assert await answered(live.url)


async def test_the_server_is_killed(tmp_path: Path, smollm2_path: Path) -> None:
    environ = home_of(tmp_path / "home", smollm2_path)
    for _ in range(TIMES):
        with server(environ) as live:
            async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
                started = asyncio.Event()
                asked = [asyncio.create_task(told(http, started)) for _ in range(6)]
                await started.wait()
                family = [live.process, *live.process.children(recursive=True)]
                assert len(family) > 1
                live.process.send_signal(signal.SIGKILL)
                ends = await asyncio.wait_for(asyncio.gather(*asked), 30)
            assert all(ends), "nobody waits for ever"
            await gone(family)
    with server(environ) as live:
        assert await answered(live.url)
        with contextlib.closing(sqlite3.connect(live.home.data / "allod.db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@contextmanager
def registry(config: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The registry that `docker_registry` has set up, again."""
    command = ["docker-registry", "serve", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None
            yield process
        finally:
            process.kill()


async def test_the_registry_is_killed(tmp_path: Path, smollm2_path: Path) -> None:
    weights = smollm2_path.read_bytes()
    with docker_registry(tmp_path) as host:
        layers = [("application/vnd.ollama.image.model", weights)]
        push(host, "me/mine", "1b", layers, b'{"model_format":"gguf"}')
    config, port, asked = tmp_path / "registry.yml", int(host.rpartition(":")[2]), {"model": f"{host}/me/mine:1b"}
    environ = {**os.environ, "ALLOD_HOME": str(tmp_path / "home")}
    with server(environ) as live:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as http:
            for _ in range(TIMES):
                with registry(config, port) as process:
                    async with http.stream("POST", "/api/pull", json=asked) as answer:
                        async for line in answer.aiter_lines():
                            if '"completed"' in line:
                                process.kill()
                                break
                        # left amid its answer, as the registry is: what came is kept
            refused = (await http.post("/api/pull", json=asked)).text.splitlines()[-1]
            assert "cannot be reached" in refused or "connect" in refused.lower(), refused
            with registry(config, port):
                assert (await http.post("/api/pull", json=asked)).text.splitlines()[-1] == '{"status":"success"}'
        assert Store(live.home.models).get(asked["model"]).weights[0].read_bytes() == weights
