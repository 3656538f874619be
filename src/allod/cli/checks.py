"""What ``allod doctor`` looks at, one function each: a fact, how good it is, and the command that mends it.

Everything is really tried: the engine's child is started and loads a model, the sandbox runs a program over an overlay,
a file is written into the store. A check that fails keeps no other from running.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from allod import __version__
from allod.cli.output import size
from allod.errors import AllodError
from allod.home import Home

State = Literal["ok", "warn", "fail"]
LEAST_MEMORY = 4 * 10**9  # bytes; the default model of `allod do` needs about half of it
LEAST_DISK = 2 * 10**9
LARGEST_TRIAL = 2 * 10**9  # bytes of a model that is loaded for a trial
PATIENCE = 60.0  # seconds for one check

# What jobs of `allod do` import; the extra of the same name installs them.
DO_LIBRARIES = ("pandas", "openpyxl", "pdfplumber", "pypdf", "PIL", "matplotlib", "docx", "xlsxwriter")
WORKER_PROBE = """
import json, xllamacpp
devices = [d["description"] or d["name"] for d in xllamacpp.get_device_info()]
print(json.dumps({"version": xllamacpp.__version__, "info": xllamacpp.get_system_info(), "devices": devices}))
"""


class Check(Struct, frozen=True):
    """One line of the report. ``mend`` is what to type or do, empty where nothing is to be done."""

    name: str
    state: State
    says: str
    mend: str = ""


async def check_all() -> AsyncIterator[Check]:
    """Every check, in an order in which later ones rest on earlier ones."""
    yield machine()
    yield python()
    try:
        home = Home.open()
    except AllodError as error:
        yield failed("settings", error)
        return
    try:
        yield settings(home)
    except AllodError as error:
        yield failed("settings", error)
    looks: tuple[tuple[str, Callable[[Home], Awaitable[Check]]], ...] = (
        ("engine", engine),
        ("model", model),
        ("sandbox", sandbox),
        ("libraries", libraries),
        ("store", store),
        ("server", server),
        ("network", network),
    )
    for name, look in looks:
        try:
            async with asyncio.timeout(PATIENCE):
                yield await look(home)
        except AllodError as error:
            yield failed(name, error)
        except TimeoutError:
            yield Check(name, "fail", f"no answer within {PATIENCE:.0f} s", "Try again on an idle machine.")
        except (OSError, ValueError) as error:
            yield Check(name, "fail", f"{type(error).__name__}: {error}", "Please report this.")


def failed(name: str, error: AllodError) -> Check:
    """An error as a line."""
    return Check(name, "fail", error.message, error.remedy)


def machine() -> Check:
    """Cores and memory, as far as the machine lets us use them."""
    import psutil

    from allod.models.memory import available

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total, free = psutil.virtual_memory().total, available()
    says = f"{cores} cores, {size(total)} of memory, {size(free)} of it for models"
    if limit := cgroup_limit():
        says += f" (a container's limit: {size(limit)})"
    if free < LEAST_MEMORY:
        return Check("machine", "warn", says, "Close other programs, or use small models: `allod run smollm2`.")
    return Check("machine", "ok", says)


def cgroup_limit() -> int:
    """Bytes that the container may hold; 0 where there is no limit."""
    for path in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return 0


def python() -> Check:
    """The Python that allod runs with."""
    where = sys.prefix if sys.prefix != sys.base_prefix else f"{sys.prefix} (not a virtual environment)"
    return Check("allod", "ok", f"{__version__} on Python {sys.version.split()[0]} in {where}")


def settings(home: Home) -> Check:
    """Where things are."""
    from allod.models.overrides import Overrides

    path = home.config / "config.toml"
    own = Overrides(home)
    single = f"; {own.path} for {', '.join(own.names)}" if own.names else ""
    return Check("settings", "ok", (f"{path}" if path.exists() else f"defaults (there is no {path})") + single)


async def engine(home: Home) -> Check:
    """The engine's library, in a child of its own: does it start on this CPU, and what does it see."""
    if binary := home.settings.engine.binary:
        path = shutil.which(Path(binary).expanduser())
        if path is None:
            return Check("engine", "fail", f"{binary} is not a program", "Unset engine.binary, or ALLOD_ENGINE_BINARY.")
        return Check("engine", "ok", f"native llama-server {path}")
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WORKER_PROBE,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    if child.returncode:
        last = (err.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"])[-1]
        return Check("engine", "fail", f"the worker does not start: {last}", "pip install --force-reinstall xllamacpp")
    found = json.loads(out.splitlines()[-1])
    flags = [part.split("=")[0].strip() for part in found["info"].partition(":")[2].split("|") if "= 1" in part]
    return Check("engine", "ok", f"xllamacpp {found['version']} on {', '.join(found['devices'])} ({' '.join(flags)})")


async def model(home: Home) -> Check:
    """The smallest model that is here, loaded and asked for one token."""
    import time

    from allod.chat import CompletionRequest, Options
    from allod.engine import Engine
    from allod.models.store import Store

    shelf = Store(home.models)
    models = [m for m in shelf.list() if m.weights and m.size <= LARGEST_TRIAL]
    if not models:
        return Check("model", "warn", "there is no small model here to try the engine with", "allod pull smollm2")
    smallest = min(models, key=lambda m: m.size)
    began = time.monotonic()
    async with Engine(home, shelf) as running, running.lease(smallest) as runner:
        if runner.facts.embedding:
            await runner.embed(["Hello"])
        else:
            async for _ in runner.complete(CompletionRequest("Hello", Options(max_tokens=1))):
                pass
    return Check("model", "ok", f"{smallest.name} loads and answers within {time.monotonic() - began:.1f} s")


async def sandbox(home: Home) -> Check:
    """A program over a view of a folder: it sees the folder, changes it, and the folder stays as it was."""
    from allod.interpreter.sandbox import Limits, Sandbox, View, environment, ladder

    base = home.data if home.data.exists() else Path(tempfile.gettempdir())
    found = Sandbox.find()
    with tempfile.TemporaryDirectory(prefix="doctor-", dir=base) as root:
        folder, upper, work, inner_home, tmp = (Path(root, name) for name in ("folder", "upper", "work", "home", "tmp"))
        for path in (folder, upper, work, inner_home, tmp):
            path.mkdir()
        for seen in (folder, *(() if found.overlays else (upper,))):
            (seen / "seen").write_text("before")
        (Path(root) / "beside").write_text("secret")
        script = 'test "$(cat seen)" = before && echo after > seen && ! cat ../beside'
        if not found.confines:
            script = "echo after > seen"
        view = View(folder, upper, work, inner_home, tmp)
        process = await found.spawn(view, ["/bin/sh", "-c", script], environment(), Limits())
        status = await process.wait()
        kept = (folder / "seen").read_text() == "before"
        changed = (upper / "seen").exists() and (upper / "seen").read_text() == "after\n"
    if status or not changed or not kept:
        says = f"{found.name} runs, but what code does to a folder is not kept apart (status {status})"
        return Check("sandbox", "fail", says, "Set ALLOD_HOME to a folder on a local disk.")
    if found.name == "bubblewrap":
        return Check("sandbox", "ok", "; ".join((f"{found.bwrap}: namespaces and overlay work", *found.lacks)))
    if home.settings.sandbox == "auto":
        why = ladder.bubblewrap()[1]
        says, mend = f"bubblewrap does not work: {why}. ", ladder.mend(why) if sys.platform == "linux" else ""
    else:
        says, mend = "", 'Set `sandbox = "auto"`, or unset ALLOD_SANDBOX, for the best that works here.'
    name = f"{found.name} confines code" if found.confines else "NOTHING confines code"
    return Check("sandbox", "warn", f"{says}{name}, with less: {'; '.join(found.lacks)}", mend)


async def libraries(home: Home) -> Check:
    """What jobs of `allod do` import."""
    missing = [name for name in DO_LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        return Check("libraries", "warn", f"`allod do` lacks {', '.join(missing)}", f"{pip()} install 'allod[do]'")
    return Check("libraries", "ok", f"what `allod do` needs: {', '.join(DO_LIBRARIES)}")


def pip() -> str:
    """How to type pip so that it installs next to allod."""
    return "pip" if shutil.which("pip") == str(Path(sys.prefix, "bin", "pip")) else f"{sys.executable} -m pip"


async def store(home: Home) -> Check:
    """The folder of models: writable, with room, sound."""
    from allod.home import make_folder
    from allod.models.store import Store

    make_folder(home.models)
    with tempfile.TemporaryFile(dir=home.models) as file:
        file.write(b"x")
    shelf = Store(home.models)
    models = await asyncio.to_thread(shelf.list)
    free = shutil.disk_usage(home.models).free
    blobs = {layer.digest: layer.size for m in models for layer in m.manifest.blobs}
    says = f"{len(models)} models, {size(sum(blobs.values()))}, in {home.models}; {size(free)} free"
    if shelf.warnings:
        return Check(
            "store", "warn", f"{says}; unreadable: {'; '.join(shelf.warnings)}", "allod rm, then allod pull them again"
        )
    if free < LEAST_DISK:
        return Check("store", "warn", says, "Free some space, or set ALLOD_MODELS to a folder on another disk.")
    return Check("store", "ok", says)


async def server(home: Home) -> Check:
    """Who answers where `allod serve` would listen."""
    from allod.cli.library import is_here
    from allod.cli.running import answers
    from allod.engine.remote import base_url

    host = home.settings.host
    url = base_url(host)
    if not await asyncio.to_thread(answers, url):
        if not is_here(host):
            return Check("server", "fail", f"no server answers at {url}", "Start it there, or unset ALLOD_HOST.")
        return Check("server", "ok", f"none is running; {host} is free for `allod serve`")
    from allod.cli.remote import Server

    try:
        version = (await Server(home).ask("GET", "/api/version")).get("version", "")
    except AllodError as error:
        return Check(
            "server",
            "warn",
            f"something at {url} is not a server of ours: {error.message}",
            "Stop it, or set ALLOD_HOST to another port.",
        )
    return Check("server", "ok", f"{url} answers, version {version}")


async def network(home: Home) -> Check:
    """What may leave the machine."""
    if home.settings.offline:
        return Check("network", "ok", "offline mode: every connection but those on this machine is refused")
    rules = len(home.settings.egress.rules)
    more = f", and {rules} rules of yours" if rules else ""
    return Check(
        "network", "ok", f"pulls that you type are allowed{more}; else the policy is: {home.settings.egress.default}"
    )
