"""What the server costs: tokens a second streamed through /v1/chat/completions over those straight from the worker.

    .venv/bin/python bench/gateway.py [--rounds N] [--tokens N]

    1 stream      at least 0.97
    8 streams     at least 0.95
    added time to the first token (median)      at most 5 ms

With one stream the worker's threads have every core, and whatever wakes for a token takes one of them away. What the
least possible go-between costs by that is shown beside: a relay in a process of its own that only copies bytes.

One server, one worker, SmolLM2 (as `make test` pulled it). Rounds go straight and through the server by turns, in an
order that changes sides; the ratio is the median of those of neighbours, as the machine's speed drifts. A single
stream's rounds differ by a tenth, as whatever else runs holds up one of the worker's threads and so all of them: hence
so many. The client is the same for
both: sockets and a count of the lines that begin with ``data:``, every answer of the same number of tokens.
"""

import argparse
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
SMOLLM2 = "sha256-b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MODEL = "smollm2:135m"
SLOTS = 8
FRAME = 3  # data lines of an answer that are not tokens: the role, the finish, [DONE]


class Way(NamedTuple):
    """Where to send requests, and with which key."""

    name: str
    port: int
    key: str

    def request(self, tokens: int, number: int) -> bytes:
        """The bytes of a request whose answer has exactly so many tokens."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Tell story number {number}."}],
            "stream": True,
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
        }
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost:{self.port}\r\nconnection: close\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\nauthorization: Bearer {self.key}\r\n"
        return head.encode() + b"\r\n" + data


class Round(NamedTuple):
    """What a round measured."""

    rate: float  # tokens a second, all streams together
    first: float  # seconds to the first data line, median of the streams


def play(way: Way, streams: int, tokens: int) -> Round:
    """One round: so many streams at once, from the first connection to the last byte."""
    waiting = selectors.DefaultSelector()
    firsts: dict[socket.socket, float] = {}
    lines = 0
    began = time.perf_counter()
    for number in range(streams):
        connection = socket.create_connection(("127.0.0.1", way.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(way.request(tokens, number))
        waiting.register(connection, selectors.EVENT_READ)
    while waiting.get_map():
        for key, _ in waiting.select():
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(65536)
            if not data:
                waiting.unregister(connection)
                connection.close()
            elif count := data.count(b"data: "):
                firsts.setdefault(connection, time.perf_counter() - began)
                lines += count
    took = time.perf_counter() - began
    # A token that ends within a character comes with the next one, so there may be a few lines fewer.
    assert streams * (tokens * 0.9 + FRAME) <= lines <= streams * (tokens + FRAME), f"{lines} lines from {way.name}"
    return Round(streams * tokens / took, statistics.median(firsts.values()))


def compare(straight: Way, through: Way, streams: int, tokens: int, rounds: int) -> tuple[list[Round], list[Round]]:
    """Rounds by turns; the first of each is not counted."""
    found: dict[str, list[Round]] = {straight.name: [], through.name: []}
    for number in range(rounds + 1):
        for way in (straight, through) if number % 2 else (through, straight):
            measured = play(way, streams, tokens)
            if number:
                found[way.name].append(measured)
    return found[straight.name], found[through.name]


def least(straight: Way, tokens: int, rounds: int) -> float:
    """Tokens a second through a relay over those straight from the worker, 1 stream."""
    child = subprocess.Popen(
        [sys.executable, __file__, "--relay", str(straight.port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout
        relay = Way("relay", int(child.stdout.readline()), straight.key)
        there, here = compare(straight, relay, 1, tokens, rounds)
        return ratio_of(here, there)
    finally:
        child.kill()
        child.wait()


def rate(rounds: list[Round]) -> float:
    """Median tokens a second."""
    return statistics.median(r.rate for r in rounds)


def ratio_of(here: list[Round], there: list[Round]) -> float:
    """Median of how many times as fast a round was as its neighbour."""
    return statistics.median(one.rate / other.rate for one, other in zip(here, there, strict=True))


def first(rounds: list[Round]) -> float:
    """Median milliseconds to the first token."""
    return 1000 * statistics.median(r.first for r in rounds)


# ── the relay ───────────────────────────────────────────────────────────────────────────────────────────────────────


def relay(port: int) -> None:
    """The child: copies bytes from and to the worker, one connection at a time; says its port on stdout."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", port)) as worker:
            worker.sendall(client.recv(65536))
            while data := worker.recv(65536):
                client.sendall(data)


# ── the server ──────────────────────────────────────────────────────────────────────────────────────────────────────


def serve() -> None:
    """The child: the server as `allod serve` runs it; says on stdout where it and its worker are."""
    from allod.engine.engine import Engine
    from allod.home import Home
    from allod.server.app import create_app, listen, run, run_loop
    from allod.server.security import Address

    class Open(Engine):
        """An engine that loads at once and gives away its worker's port and key, which nothing else may know."""

        async def __aenter__(self) -> "Open":
            async with self.lease(MODEL, keep_alive=-1) as runner:
                pool = runner._pool  # type: ignore[attr-defined]
            key = pool._headers.split("Bearer ")[1].split("\r\n")[0]
            print(json.dumps({"server": listener.getsockname()[1], "worker": pool.port, "key": key}), flush=True)
            return self

    home = Home.open()
    listener = listen(Address("127.0.0.1", 0))
    run_loop(run(create_app(home, engine=Open(home)), listener, "for a benchmark"))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=60)
    arguments.add_argument("--tokens", type=int, default=200)
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--relay", type=int, help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.relay:
        relay(asked.relay)
    if asked.serve:
        serve()
        return
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "ALLOD_HOME": folder, "ALLOD_ENGINE_SLOTS": str(SLOTS), "ALLOD_ENGINE_CONTEXT": "2048"}
        environ["ALLOD_ENGINE_SPECULATE"] = "false"  # rounds repeat each other word for word
        link_model(environ)
        child = subprocess.Popen([sys.executable, __file__, "--serve"], env=environ, stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout
            ports = json.loads(child.stdout.readline())
            measure(Way("straight", ports["worker"], ports["key"]), Way("through", ports["server"], ""), asked)
        finally:
            child.terminate()
            child.wait(20)


def link_model(environ: dict[str, str]) -> None:
    """Puts SmolLM2 into the store of a new home."""
    from allod.home import Home
    from allod.models.create import create
    from allod.models.modelfile import parse
    from allod.models.store import Store

    blob = ROOT / ".cache" / "home" / "data" / "models" / "blobs" / SMOLLM2
    for _ in create(Store(Home.open(environ).models), MODEL, parse(f"FROM {blob}"), ROOT):
        pass


def measure(straight: Way, through: Way, asked: argparse.Namespace) -> None:
    """Runs it all and prints the ratios."""
    for streams, wanted in ((1, 0.97), (SLOTS, 0.95)):
        there, here = compare(straight, through, streams, asked.tokens, max(2, asked.rounds // streams))
        ratio = ratio_of(here, there)
        said = "" if ratio >= wanted else "  BELOW"
        print(
            f"{streams} stream(s): {rate(here):.1f} / {rate(there):.1f} tokens/s, by pairs {ratio:.3f}"
            f" (at least {wanted}){said}",
            flush=True,
        )
    print(f"1 stream through a relay: {least(straight, asked.tokens, asked.rounds):.3f}", flush=True)
    there, here = compare(straight, through, 1, 1, asked.rounds)
    added = first(here) - first(there)
    said = "" if added <= 5 else "  ABOVE"
    print(f"first token: {first(here):.1f} - {first(there):.1f} ms = {added:.1f} ms (at most 5){said}")
    print(f"load: {' '.join(f'{x:.1f}' for x in os.getloadavg())}, cores: {os.cpu_count()}")


if __name__ == "__main__":
    main()
