"""doctor and privacy: what they say of this machine, and that it is true."""

import json
import sqlite3
from pathlib import Path

import pytest
from command_line import Allod, Run

from allod.cli import checks
from allod.egress import Egress
from allod.egress.ledger import Ledger
from allod.errors import Refused
from allod.home import Home


def rows(out: str) -> dict[str, str]:
    """Check → its state."""
    return {line.split()[1]: line.split()[0] for line in out.splitlines() if not line.startswith(" ")}


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_HOST", "127.0.0.1:9")
    monkeypatch.setenv("ALLOD_ENGINE_THREADS", "2")
    monkeypatch.setenv("ALLOD_ENGINE_CONTEXT", "1024")


@pytest.mark.usefixtures("smollm2_home")
def test_a_machine_in_order(allod: Allod):
    done = allod("doctor", "--json")
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert list(found) == [
        *("machine", "allod", "settings", "engine", "model", "sandbox", "libraries", "store", "server", "network")
    ]
    for name in ("allod", "engine", "model", "store", "server", "network"):
        assert found[name]["state"] == "ok", found[name]
    assert "xllamacpp" in found["engine"]["says"]
    assert "smollm2:135m loads and answers" in found["model"]["says"]
    assert found["store"]["says"].startswith("1 models, 98 MB")
    assert done.returncode == int(any(row["state"] == "fail" for row in found.values()))
    assert all(row["mend"] for row in found.values() if row["state"] != "ok")


@pytest.mark.usefixtures("home")
def test_what_is_wrong_is_named_with_its_remedy(allod: Allod, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ALLOD_MODELS", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("ALLOD_ENGINE_BINARY", "/no/such/llama-server")
    done = allod("doctor")
    states = rows(done.stdout)
    assert done.returncode == 1
    assert (states["engine"], states["store"]) == ("fail", "fail")
    assert states["network"] == "ok", "the checks after a failure still run"
    assert "ALLOD_ENGINE_BINARY" in done.stdout and "→" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_settings_that_cannot_be_read(run: Run, home: Home):
    home.config.mkdir(parents=True)
    (home.config / "config.toml").write_bytes(b"\xff\xfe broken")
    code, out, err = run("doctor")
    assert code == 1 and rows(out)["settings"] == "fail" and err == ""


async def test_missing_libraries(monkeypatch: pytest.MonkeyPatch, home: Home):
    monkeypatch.setattr(checks, "DO_LIBRARIES", ("json", "no_such_library"))
    check = await checks.libraries(home)
    assert check.state == "warn" and "no_such_library" in check.says and "allod[do]" in check.mend


async def test_no_model_to_try(home: Home):
    check = await checks.model(home)
    assert (check.state, check.mend) == ("warn", "allod pull smollm2")


async def test_something_else_on_our_port(home: Home, monkeypatch: pytest.MonkeyPatch):
    import asyncio

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        monkeypatch.setenv("ALLOD_HOST", f"127.0.0.1:{port}")
        check = await checks.server(Home.open())
    assert check.state == "warn" and "not a server" in check.says


# ── privacy ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(home: Home) -> None:
    ledger = Ledger(home)
    for host, loopback in (("registry.ollama.ai", False), ("registry.ollama.ai", False), ("127.0.0.1", True)):
        row = ledger.begin("pull", "GET", f"https://{host}/v2/x?token=secret", loopback)
        ledger.update(row, 100, 5_000_000, 200, "done")


def test_the_ledger(run: Run, home: Home):
    fill(home)
    code, out, _ = run("privacy")
    assert code == 0
    assert "Offline mode is off" in out and "no telemetry" in out
    row = next(line for line in out.splitlines() if line.startswith("registry.ollama.ai"))
    assert row.split()[1:7] == ["pull", "2", "200", "B", "10", "MB"]
    assert "On this machine only: 1 requests" in out
    assert "secret" not in out
    assert out.count("registry.ollama.ai/v2/x") == 2
    assert run("privacy", "-n", "1")[1].count("/v2/x") == 1


def test_the_ledger_as_json(run: Run, home: Home):
    fill(home)
    found = json.loads(run("privacy", "--json", "--last", "2")[1])
    assert found["offline"] is False and len(found["last"]) == 2
    away = [total for total in found["totals"] if not total["loopback"]]
    assert [(t["host"], t["purpose"], t["requests"], t["received"]) for t in away] == [
        ("registry.ollama.ai", "pull", 2, 10_000_000)
    ]


def test_what_was_refused_is_there(run: Run, home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_OFFLINE", "1")
    with pytest.raises(Refused), Egress(Home.open()).door("pull") as door:
        door.open("https://example.org/x")
    out = run("privacy")[1]
    assert "Offline mode is on" in out
    assert "example.org" in out and "refused" in out


def test_nothing_ever_left(run: Run, home: Home):
    out = run("privacy")[1]
    assert "No request was ever made." in out
    assert not (home.data / "allod.db").exists(), "looking makes no database"
    assert json.loads(run("privacy", "--json")[1]) == {"offline": False, "totals": [], "last": []}


def test_a_database_that_is_none(run: Run, home: Home):
    home.data.mkdir(parents=True)
    (home.data / "allod.db").write_bytes(b"this is not a database" * 100)
    code, _, err = run("privacy")
    assert code == 1 and "cannot open the database" in err
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(home.data / "allod.db").execute("SELECT 1 FROM ledger")
