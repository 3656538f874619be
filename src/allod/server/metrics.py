"""``GET /metrics`` for Prometheus: what this server did, what is loaded, and llama.cpp's own figures of each model.

allod's names begin with ``allod_``. Those of llama.cpp's server (``llamacpp:prompt_tokens_total`` and so on) are passed
on with the label ``model``, so that dashboards made for it work; they begin anew when a model is loaded anew. No
prompt, no answer and no client is in any of it.

Format: Prometheus text exposition 0.0.4. ``Meter`` is the middleware that counts requests.
"""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod import __version__
from allod.engine.engine import Engine
from allod.engine.llama import LlamaRunner
from allod.errors import AllodError
from allod.server.state import State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0)  # seconds
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PATIENCE = 1.0  # seconds that a model has to tell its figures
SAMPLE = re.compile(r"^(llamacpp:[a-z0-9_]+)(?:\{[^}]*\})? (\S+)$")

Labels = tuple[tuple[str, str], ...]


class Meter:
    """Middleware: counts requests by route, method and status, and how long they took."""

    def __init__(self, app: ASGIApp, counts: "Counts") -> None:
        self.app = app
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and looks at what becomes of it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 499  # until an answer begins: the client went
        began = time.monotonic()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.counts.running += 1
        try:
            await self.app(scope, receive, watched)
        finally:
            self.counts.running -= 1
            route = getattr(scope.get("route"), "path", "")  # as it was matched; nothing for one that does not exist
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.counts.add(route, method, status, time.monotonic() - began)


class Counts:
    """What has been asked so far."""

    def __init__(self) -> None:
        self.running = 0
        self.requests: dict[Labels, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)
        self.within: dict[str, list[int]] = {}  # by route: how many took so long at most, by BUCKETS, and all

    def add(self, route: str, method: str, status: int, seconds: float) -> None:
        """One more."""
        self.requests[("route", route), ("method", method), ("status", str(status))] += 1
        self.seconds[route] += seconds
        within = self.within.setdefault(route, [0] * (len(BUCKETS) + 1))
        for number, most in enumerate((*BUCKETS, float("inf"))):
            within[number] += seconds <= most


class Page:
    """The text, metric by metric."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, name: str, kind: str, help_: str, samples: Iterable[tuple[Labels, float]]) -> None:
        """One metric with all its samples."""
        self.lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}"]
        self.lines += [sample(name, labels, value) for labels, value in samples]

    def text(self) -> str:
        """All of it."""
        return "\n".join(self.lines) + "\n"


def sample(name: str, labels: Labels, value: float) -> str:
    """One line."""
    inner = ",".join(f'{key}="{escaped(text)}"' for key, text in labels)
    return f"{name}{{{inner}}} {value:.10g}" if inner else f"{name} {value:.10g}"


def escaped(text: str) -> str:
    """A label's value."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Door:
    """The handler; ``routes`` is what the application takes."""

    def __init__(self, state: State, counts: Counts) -> None:
        self.state = state
        self.counts = counts

    def routes(self) -> list[Route]:
        """The one route."""
        return [Route("/metrics", self.metrics, methods=["GET"])]

    async def metrics(self, request: Request) -> Response:
        """The page."""
        page = Page()
        add_requests(page, self.counts)
        add_engine(page, self.state.engine)
        for name, kind, help_, samples in await of_models(self.state.engine):
            page.add(name, kind, help_, samples)
        return Response(page.text(), media_type=CONTENT_TYPE)


def add_requests(page: Page, counts: Counts) -> None:
    """What was asked."""
    page.add("allod_info", "gauge", "Which allod this is.", [((("version", __version__),), 1)])
    page.add("allod_requests_total", "counter", "Requests answered, by route and status.", counts.requests.items())
    page.add("allod_requests_running", "gauge", "Requests being answered, this one too.", [((), counts.running)])
    buckets: list[tuple[Labels, float]] = []
    for route, within in counts.within.items():
        edges = [*(f"{most:g}" for most in BUCKETS), "+Inf"]
        buckets += [((("route", route), ("le", edge)), count) for edge, count in zip(edges, within, strict=True)]
    name = "allod_request_seconds"
    page.add(name, "histogram", "How long requests took, to the end of the answer.", [])
    page.lines += [sample(f"{name}_bucket", labels, count) for labels, count in buckets]
    page.lines += [sample(f"{name}_sum", (("route", route),), total) for route, total in counts.seconds.items()]
    page.lines += [sample(f"{name}_count", (("route", route),), each[-1]) for route, each in counts.within.items()]


def add_engine(page: Page, engine: Engine) -> None:
    """What is loaded, and what happened to it."""
    running = engine.running()
    page.add("allod_queue_waiting", "gauge", "Requests waiting for a model or a slot.", [((), engine.queue.waiting)])
    page.add("allod_queue_limit", "gauge", "How many may wait.", [((), engine.queue.limit)])
    for name, help_, values in (
        ("memory_bytes", "What a loaded model takes, as it was reckoned.", [each.size for each in running]),
        ("slots", "Requests that a loaded model answers at once.", [each.slots for each in running]),
        ("requests", "Requests that hold a loaded model.", [each.in_use for each in running]),
        ("context_tokens", "Tokens of context of each slot.", [each.context for each in running]),
    ):
        labels = [(("model", each.name),) for each in running]
        page.add(f"allod_model_{name}", "gauge", help_, zip(labels, values, strict=True))
    events = [((("event", event),), count) for event, count in sorted(engine.counts.items())]
    page.add("allod_engine_events_total", "counter", "Loads, unloads, crashes and refusals.", events)


Metric = tuple[str, str, str, list[tuple[Labels, float]]]


async def of_models(engine: Engine) -> list[Metric]:
    """llama.cpp's own figures of every loaded model, one that does not answer in time left out."""
    found: dict[str, Metric] = {}
    runners = engine.runners()
    texts = await asyncio.gather(*(told(runner) for _, runner in runners))
    for (model, _), text in zip(runners, texts, strict=True):
        helps: dict[str, str] = {}
        kinds: dict[str, str] = {}
        for line in text.splitlines():
            if line.startswith("# "):
                _, what, name, rest = (*line.split(" ", 3), "", "", "")[:4]
                (helps if what == "HELP" else kinds)[name] = rest
            elif match := SAMPLE.fullmatch(line):
                name = match[1]
                entry = found.setdefault(name, (name, kinds.get(name, "untyped"), helps.get(name, ""), []))
                entry[3].append(((("model", model),), number(match[2])))
    return list(found.values())


async def told(runner: LlamaRunner) -> str:
    """What a child's own /metrics says; nothing where it does not answer."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await runner.metrics()
    except (AllodError, TimeoutError):
        return ""


def number(text: str) -> float:
    """A sample's value."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
