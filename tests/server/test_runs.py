"""Conversations and runs over HTTP: a scripted model, a real kernel in a real sandbox, a real database."""

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import Scripted

from allod.home import Home
from allod.interpreter.workspace import fonts
from allod.interpreter.workspace.undo import history
from allod.server import conversations
from allod.server.app import create_app

pytestmark = pytest.mark.anyio
V1 = "/allod/v1"
SLEEP = "```python\nimport time\nprint('begun', flush=True)\ntime.sleep(60)\n```\n"


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    (path / "note.txt").write_text("alpha\n")
    return path


def block(code: str) -> str:
    return f"```python\n{code}\n```\n"


def writes(name: str, text: str = "x") -> str:
    return block(f"open({name!r}, 'w').write({text!r})\nprint('written')")


class Client:
    """One client of one application. The profile `one` asks nothing and tries once."""

    def __init__(self, scripted: Scripted, http: httpx.AsyncClient) -> None:
        self.scripted = scripted
        self.http = http

    async def call(self, method: str, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        answer = await self.http.request(method, V1 + path, json=body, headers=headers)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.headers.get("content-type", "").startswith("application/json") else None

    async def conversation(self, folder: Path, **fields: Any) -> str:
        body = {"folder": str(folder), "model": "clever", "profile": "one", **fields}
        return (await self.call("POST", "/conversations", body, 201))["id"]

    async def begin(self, conversation: str, *replies: Any, **fields: Any) -> str:
        self.scripted.runner.replies += replies
        body = {"prompt": "Save a letter as a.txt", **fields}
        return (await self.call("POST", f"/conversations/{conversation}/runs", body, 201))["id"]

    async def events(self, run: str, after: int | None = None, **headers: str) -> list[tuple[int, dict[str, Any]]]:
        query = "" if after is None else f"?after={after}"
        answer = await self.http.get(f"{V1}/runs/{run}/events{query}", headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        return parsed(answer.text)

    async def until(self, run: str, *states: str) -> dict[str, Any]:
        async with asyncio.timeout(30):
            while (told := await self.call("GET", f"/runs/{run}"))["status"] not in states:
                await asyncio.sleep(0.02)
        return told


def parsed(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The events of a stream; the kind of each is said twice, alike."""
    found: list[tuple[int, dict[str, Any]]] = []
    for part in text.split("\n\n"):
        if match := re.fullmatch(r"id: (\d+)\nevent: (\w+)\ndata: (.*)", part):
            body = json.loads(match[3])
            assert body["type"] == match[2]
            found.append((int(match[1]), body))
    return found


def kinds(events: list[tuple[int, dict[str, Any]]]) -> list[str]:
    return [body["type"] for _, body in events]


@asynccontextmanager
async def serving(scripted: Scripted) -> AsyncIterator[Client]:
    """The application with its lifespan."""
    folder = scripted.home.folder("profiles", "config")
    (folder / "one.toml").write_text('extends = "default"\nask = "nothing"\n[bounds]\nattempts = 1\nagree = 1\n')
    async with scripted.app.router.lifespan_context(scripted.app), scripted.client() as http:
        yield Client(scripted, http)


def again(scripted: Scripted) -> Scripted:
    """The server after a restart."""
    scripted.app = create_app(scripted.home, engine=scripted.engine)  # type: ignore[arg-type]
    return scripted


# ── a run ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_run_its_events_and_its_changes(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), "Done.")
        events = await client.events(run)
        assert [number for number, _ in events] == list(range(1, len(events) + 1))
        assert kinds(events)[0] == "started"
        assert events[-1][1] == {"type": "ended", "status": "done", "reason": ""}
        assert not (folder / "a.txt").exists()
        told = await client.call("GET", f"/runs/{run}")
        assert (told["status"], told["events"], told["conversation"]) == ("done", len(events), id_)
        (change,) = (await client.call("GET", f"/runs/{run}/changes"))["changes"]
        assert (change["path"], change["kind"]) == ("a.txt", "created")
        done = await client.call("POST", f"/runs/{run}/apply", {"paths": ["a.txt"]})
        assert [change["path"] for change in done["changes"]] == ["a.txt"]
        assert (folder / "a.txt").read_text() == "x"
        await client.call("POST", f"/runs/{run}/undo")
        assert not (folder / "a.txt").exists()
        await client.call("POST", f"/runs/{run}/undo", status=404)
        await client.call("POST", f"/runs/{run}/discard")
        assert (await client.call("GET", f"/runs/{run}/changes"))["changes"] == []
        shown = await client.call("GET", f"/conversations/{id_}")
        assert [turn["status"] for turn in shown["turns"]] == ["done"]
        assert [each["id"] for each in shown["runs"]] == [run]
        (listed,) = (await client.call("GET", "/conversations"))["conversations"]
        assert (listed["id"], listed["running"]) == (id_, None)


async def test_a_conflict_is_said_and_may_be_overruled(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), writes("note.txt"), "Done.")
        await client.events(run)
        (folder / "note.txt").write_text("mine\n")
        await client.call("POST", f"/runs/{run}/apply", status=409)
        await client.call("POST", f"/runs/{run}/apply", {"overwrite": True})
        assert (folder / "note.txt").read_text() == "x"
        (folder / "note.txt").write_text("mine again\n")
        await client.call("POST", f"/runs/{run}/undo", status=409)


async def test_auto_apply(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), writes("a.txt"), "Done.", auto_apply=True)
        assert kinds(await client.events(run))[-2:] == ["applied", "ended"]
        assert (folder / "a.txt").exists()


async def test_variables_and_changes_stay_from_run_to_run(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        first = await client.begin(id_, block("number = 41\nopen('a.txt', 'w').write('a')"), "Done.")
        await client.events(first)
        second = await client.begin(
            id_, block("print(number + 1, open('a.txt').read())"), "42.", prompt="What is number plus one?"
        )
        events = await client.events(second)
        assert "42 a" in "".join(body["text"] for _, body in events if body["type"] == "output")
        await client.call("GET", f"/runs/{first}/changes", status=409)
        assert len((await client.call("GET", f"/runs/{second}/changes"))["changes"]) == 1


async def test_files_go_along(scripted: Scripted, folder: Path) -> None:
    files = [{"name": "note.txt", "data": base64.b64encode(b"beta").decode()}]
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(
            id_, block("print(open('note-2.txt').read())"), "beta.", prompt="What does the file say?", files=files
        )
        events = await client.events(run)
        assert "beta" in "".join(body["text"] for _, body in events if body["type"] == "output")
        assert (await client.call("GET", f"/runs/{run}/changes"))["changes"] == []
    assert (folder / "note.txt").read_text() == "alpha\n"


async def test_a_run_whose_model_breaks_ends_all_the_same(scripted: Scripted, folder: Path) -> None:
    from allod.errors import RunnerCrashed

    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), RunnerCrashed("it died", "Try again."))
        events = await client.events(run)
        assert kinds(events)[-2:] == ["notice", "ended"]
        assert events[-1][1]["reason"] == "it died"
        assert events[-1][1]["status"] == "gave_up"


# ── readers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_reading_goes_on_from_any_point(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), writes("a.txt"), "Done.")
        one, other = await asyncio.gather(client.events(run), client.events(run, 2))
        assert one[2:] == other
        assert await client.events(run, 3) == one[3:]
        assert await client.events(run, 0, **{"last-event-id": "5"}) == one[5:]
        assert await client.events(run, 10_000) == one[-1:]
        kept = one
    async with serving(again(scripted)) as client:
        assert await client.events(run) == kept
        assert await client.events(run, 7) == kept[7:]
        assert await client.events(run, len(kept)) == kept[-1:]
        assert (await client.call("GET", f"/runs/{run}"))["status"] == "done"
        assert len((await client.call("GET", f"/runs/{run}/changes"))["changes"]) == 1
        await client.call("POST", f"/runs/{run}/stop", status=409)


async def test_a_reader_that_leaves_stops_nothing(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), writes("a.txt"), "Done.", auto_approve=False)
        await client.until(run, "waiting")
        sent: list[bytes] = []
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message.get("body", b""))
            if b"waiting" in sent[-1]:
                left.set()

        scope = {
            "type": "http",
            "method": "GET",
            "path": f"{V1}/runs/{run}/events",
            "raw_path": b"",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
        }
        async with asyncio.timeout(10):
            await scripted.app(scope, receive, send)  # type: ignore[arg-type]
        assert (await client.call("GET", f"/runs/{run}"))["status"] == "waiting"
        await client.call("POST", f"/runs/{run}/approve")
        assert (await client.until(run, "done"))["status"] == "done"


# ── the person ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "body", "status", "content"),
    [
        ("approve", {}, "done", "x"),
        ("approve", {"code": "open('a.txt', 'w').write('mine')"}, "done", "mine"),
        ("reject", {}, "declined", None),
        ("stop", {}, "stopped", None),
    ],
)
async def test_a_block_waits_for_the_person(
    scripted: Scripted, folder: Path, path: str, body: Any, status: str, content: str | None
) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), writes("a.txt"), "Done.", auto_approve=False)
        told = await client.until(run, "waiting")
        assert told["waiting"]["kind"] == "approve"
        assert "a.txt" in told["waiting"]["code"]
        await client.call("POST", f"/runs/{run}/input", {"text": "yes"}, 409)
        if path != "stop":
            await client.call("POST", f"/runs/{run}/{path}", {**body, "event": told["waiting_event"] + 1}, 409)
            body = {**body, "event": told["waiting_event"]}
        await client.call("POST", f"/runs/{run}/{path}", body)
        events = await client.events(run)
        assert events[told["waiting_event"] - 1][1]["type"] == "waiting"
        assert events[-1][1]["status"] == status
        await client.call("POST", f"/runs/{run}/approve", status=409)
        if content:
            await client.call("POST", f"/runs/{run}/apply")
    assert ((folder / "a.txt").read_text() if (folder / "a.txt").exists() else None) == content


async def test_the_profile_says_whether_a_block_waits(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder, profile="careful")
        body = {"prompt": "Save it", "auto_approve": True}
        await client.call("POST", f"/conversations/{id_}/runs", body, 400)
        await client.call("POST", f"/conversations/{id_}/runs", {"prompt": "Save it", "auto_apply": True}, 400)
        run = await client.begin(id_, writes("a.txt"))
        await client.until(run, "waiting")
        await client.call("POST", f"/runs/{run}/reject")
        await client.until(run, "declined")


async def test_input_is_answered(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        run = await client.begin(await client.conversation(folder), block("print('Hi ' + input('Who? '))"), "Done.")
        told = await client.until(run, "waiting")
        assert told["waiting"] == {
            "type": "waiting",
            "kind": "input",
            "code": "",
            "language": "",
            "prompt": "Who? ",
            "password": False,
        }
        await client.call("POST", f"/runs/{run}/approve", status=409)
        await client.call("POST", f"/runs/{run}/input", {"text": "Ada"})
        assert "Hi Ada" in "".join(b["text"] for _, b in await client.events(run) if b["type"] == "output")


async def test_stop(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, SLEEP)
        async with asyncio.timeout(30):
            while (await client.call("GET", f"/runs/{run}"))["events"] < 5:
                await asyncio.sleep(0.05)
            await client.call("POST", f"/conversations/{id_}/runs", {"prompt": "Another"}, 409)
            await client.call("DELETE", f"/conversations/{id_}", status=409)
            await client.call("GET", f"/runs/{run}/changes", status=409)
            await client.call("POST", f"/runs/{run}/stop")
            assert (await client.events(run))[-1][1]["status"] == "stopped"
        await client.call("POST", f"/runs/{run}/stop")


# ── several, limits, the end ────────────────────────────────────────────────────────────────────────────────────────


async def test_several_at_once(scripted: Scripted, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with serving(scripted) as client:
        places = [folder, folder, tmp_path / "other"]
        scripted.runner.replies += [*(writes("a.txt", text) for text in ("x", "yy", "zzz")), *["Done."] * 3]
        runs = [await client.begin(await client.conversation(place), auto_approve=False) for place in places]
        for run in runs:
            await client.until(run, "waiting")
            await client.call("POST", f"/runs/{run}/approve")
        for run in runs:
            await client.until(run, "done")
        await client.call("POST", f"/runs/{runs[0]}/apply")
        await client.call("POST", f"/runs/{runs[1]}/apply", status=409)
        await client.call("POST", f"/runs/{runs[2]}/apply")
    assert (folder / "a.txt").exists()
    assert (tmp_path / "other" / "a.txt").exists()


async def test_too_many_runs_wait_or_are_sent_away(
    scripted: Scripted, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "AT_ONCE", 1)
    monkeypatch.setattr(conversations, "WAITING", 1)
    again(scripted)
    async with serving(scripted) as client:
        ids = [await client.conversation(folder) for _ in range(3)]
        first = await client.begin(ids[0], writes("a.txt"), "Done.", auto_approve=False)
        await client.until(first, "waiting")
        second = await client.begin(ids[1])
        assert (await client.call("GET", f"/runs/{second}"))["status"] == "queued"
        answer = await client.http.post(f"{V1}/conversations/{ids[2]}/runs", json={"prompt": "Save it"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        await client.call("POST", f"/runs/{second}/stop")
        await client.call("POST", f"/runs/{first}/approve")
        await client.until(first, "done")
        assert (await client.until(second, "stopped"))["status"] == "stopped"


async def test_the_server_ends_its_runs(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), auto_approve=False)
        await client.until(run, "waiting")
    async with serving(again(scripted)) as client:
        told = await client.call("GET", f"/runs/{run}")
        assert told["status"] == "stopped"
        assert (await client.events(run))[-1][1]["status"] == "stopped"
        assert [turn["status"] for turn in (await client.call("GET", f"/conversations/{id_}"))["turns"]] == ["stopped"]


async def test_changes_survive_a_restart(scripted: Scripted, folder: Path) -> None:
    sent = [{"name": "order.txt", "data": base64.b64encode(b"7").decode()}]
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, block("for n in 'ab':\n    open(n, 'w').write(n)\nprint(n)"), "Done.", files=sent)
        await client.until(run, "done")
        assert history(scripted.home) == []  # the server works in it
    (pending,) = history(scripted.home)
    assert (pending.state, pending.folder) == ("pending", str(folder))
    async with serving(again(scripted)) as client:
        found = (await client.call("GET", f"/runs/{run}/changes"))["changes"]
        assert [change["path"] for change in found] == ["a", "b"]
        await client.call("POST", f"/runs/{run}/apply", {"paths": ["a"]})
        assert sorted(path.name for path in folder.iterdir()) == ["a", "note.txt"]
    async with serving(again(scripted)) as client:
        found = (await client.call("GET", f"/runs/{run}/changes"))["changes"]
        assert [change["path"] for change in found] == ["b"]
        await client.call("POST", f"/runs/{run}/undo")
        assert [path.name for path in folder.iterdir()] == ["note.txt"]
        await client.call("POST", f"/runs/{run}/discard")
        assert (await client.call("GET", f"/runs/{run}/changes"))["changes"] == []
    assert [record.state for record in history(scripted.home)] == ["undone"]
    async with serving(again(scripted)) as client:
        assert (await client.call("GET", f"/runs/{run}/changes"))["changes"] == []


async def test_a_conversation_goes_on_after_a_restart_with_its_changes(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        first = await client.begin(id_, writes("a.txt", "1"), "Done.")
        await client.until(first, "done")
    async with serving(again(scripted)) as client:
        adds = block("open('a.txt', 'a').write('2')\nprint(open('a.txt').read())")
        second = await client.begin(id_, adds, "Done.", prompt="Add a 2 to a.txt")
        assert (await client.until(second, "done", "gave_up"))["status"] == "done"
        told = await client.call("GET", f"/runs/{first}/changes", status=409)
        assert "no longer held" in told["error"]
        assert await client.call("POST", f"/runs/{second}/apply")
    assert (folder / "a.txt").read_text() == "12"
    assert [record.state for record in history(scripted.home)] == ["applied"]


async def test_changes_survive_a_kill(scripted: Scripted, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def killed(self: conversations.Conversations) -> None:
        for room in self._rooms.values():
            await room.interpreter.rest()
            room.interpreter.agent.workspace.close()  # and nothing is written down

    monkeypatch.setattr(conversations.Conversations, "close", killed)
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), "Done.")
        await client.until(run, "done")
    monkeypatch.undo()
    async with serving(again(scripted)) as client:
        await client.call("POST", f"/runs/{run}/apply")
    assert (folder / "a.txt").read_text() == "x"


async def test_changes_that_are_gone_are_said_to_be(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), "Done.")
        await client.until(run, "done")
    jobs = scripted.home.data / "jobs"
    for path in jobs.glob("*-*"):
        shutil.rmtree(path)
    async with serving(again(scripted)) as client:
        for method, verb in (("GET", "changes"), ("POST", "apply"), ("POST", "discard")):
            told = await client.call(method, f"/runs/{run}/{verb}", status=409)
            assert "the changes of this run are gone" in told["error"]
        second = await client.begin(id_, writes("b.txt"), "Done.", prompt="Save a letter as b.txt")
        await client.until(second, "done")
        (change,) = (await client.call("GET", f"/runs/{second}/changes"))["changes"]
        assert change["path"] == "b.txt"


async def test_deleting_a_conversation_drops_what_was_kept(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        await client.until(await client.begin(id_, writes("a.txt"), "Done."), "done")
    assert [record.state for record in history(scripted.home)] == ["pending"]
    async with serving(again(scripted)) as client:
        await client.call("DELETE", f"/conversations/{id_}")
    assert history(scripted.home) == []


async def test_one_that_gives_room_keeps_its_changes(
    scripted: Scripted, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "OPEN", 1)
    async with serving(scripted) as client:
        runs: list[str] = []
        for name in ("a.txt", "b.txt"):
            id_ = await client.conversation(folder)
            runs.append(await client.begin(id_, writes(name), "Done.", prompt=f"Save a letter as {name}"))
            await client.until(runs[-1], "done")
        for run, name in zip(runs, ("a.txt", "b.txt"), strict=True):
            (change,) = (await client.call("GET", f"/runs/{run}/changes"))["changes"]
            assert change["path"] == name


async def test_a_killed_server_leaves_an_interrupted_run(scripted: Scripted, folder: Path) -> None:
    from allod.server import runs_log

    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        entry = runs_log.begin(scripted.home, id_, "Save it")
        runs_log.add(scripted.home, entry.id, 1, [b'{"type":"notice","text":"hm"}'])
        assert (await client.call("GET", f"/runs/{entry.id}"))["status"] == "interrupted"
        events = await client.events(entry.id, 1)
        assert [(number, body["type"]) for number, body in events] == [(2, "ended")]
        assert (await client.events(entry.id, 9))[-1][1]["status"] == "stopped"


async def test_deleting(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), "Done.")
        await client.events(run)
        await client.until(run, "done")
        await client.call("DELETE", f"/conversations/{id_}")
        await client.call("DELETE", f"/conversations/{id_}", status=404)
        for path in (f"/conversations/{id_}", f"/runs/{run}", f"/runs/{run}/events", f"/runs/{run}/changes"):
            await client.call("GET", path, status=404)
        assert (await client.call("GET", "/conversations"))["conversations"] == []
    assert not (folder / "a.txt").exists()


# ── who may ask, and what ───────────────────────────────────────────────────────────────────────────────────────────

FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:3000"},
    {"origin": "http://127.0.0.1:8080"},
    {"origin": "null"},
    {"origin": "chrome-extension://abcdef"},
    {"origin": "file://"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"host": "evil.example"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_no_page_of_another_origin_gets_in(scripted: Scripted, folder: Path, headers: dict[str, str]) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        for method, path, body in [
            ("POST", "/conversations", {"folder": str(folder)}),
            ("POST", f"/conversations/{id_}/runs", {"prompt": "Save it"}),
            ("GET", "/conversations", None),
            ("DELETE", f"/conversations/{id_}", None),
        ]:
            await client.call(method, path, body, 403, **headers)
        assert scripted.runner.requests == []


async def test_the_servers_own_page_gets_in(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        await client.call("GET", "/conversations", origin="http://localhost")
        await client.call("GET", "/conversations", **{"sec-fetch-site": "same-origin"})


async def test_pages_that_the_user_named_get_in(home: Home, small_models: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("ALLOD_ORIGINS", "https://my.site")
    async with serving(Scripted(Home.open())) as client:
        await client.call("GET", "/conversations", origin="https://my.site", **{"sec-fetch-site": "cross-site"})
        await client.call("GET", "/conversations", None, 403, origin="https://other.site")


async def test_clients_elsewhere_have_their_folders(scripted: Scripted, folder: Path, monkeypatch: Any) -> None:
    far = {"x-forwarded-for": "203.0.113.9"}
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        for method, path, body in [
            ("POST", "/conversations", {"folder": str(folder), "model": "clever"}),
            ("POST", f"/conversations/{id_}/runs", {"prompt": "Save it"}),
            ("GET", f"/conversations/{id_}", None),
        ]:
            await client.call(method, path, body, 403, **far)
        assert (await client.call("GET", "/conversations", **far))["conversations"] == []
    monkeypatch.setenv("ALLOD_FOLDERS", str(folder))
    scripted.home = Home.open()
    async with serving(again(scripted)) as client:
        await client.call("GET", f"/conversations/{id_}", **far)
        for path in (folder / "..", folder / ".." / "work2", Path("/root")):
            body = {"folder": str(path), "model": "clever"}
            await client.call("POST", "/conversations", body, 403, **far)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"folder": ""}, 400),
        ({"folder": 7}, 400),
        ({"folder": "work"}, 400),
        ({"folder": "/no/such"}, 404),
        ({"folder": "/etc"}, 400),
        ({"folder": "/proc/1"}, 400),
        ({"folder": "/tmp/a\0b"}, 404),
        ({"folder": "~nobodyhere/x"}, 400),
        ({"folder": "/tmp", "profile": "none"}, 404),
        ({"folder": "/tmp", "profile": "../default"}, 404),
        ({"folder": "/tmp", "model": "no-such-model"}, 404),
        ({"folder": "/tmp", "colour": "red"}, 400),
        ([], 400),
        ("x", 400),
    ],
)
async def test_wrong_conversations(scripted: Scripted, body: Any, status: int) -> None:
    async with serving(scripted) as client:
        answer = await client.http.post(f"{V1}/conversations", json=body)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"prompt": 1}', 400),
        (b'{"prompt": " "}', 400),
        (b'{"prompt": "a", "files": [{"name": "a", "data": "%%%"}]}', 400),
        (b'{"prompt": "a", "files": [{"name": "../a", "data": ""}]}', 400),
        (b'{"prompt": "a", "files": [{"name": "a\\u0000", "data": ""}]}', 400),
        (b'{"prompt": "a", "model": "no-such-model"}', 404),
        (b'{"prompt": "a", "profile": "no-such-profile"}', 404),
        (b'{"prompt": "a", "auto_approve": "yes"}', 400),
        (b'{"prompt": "' + b"a" * 600_000 + b'"}', 400),
    ],
)
async def test_wrong_runs(scripted: Scripted, folder: Path, body: bytes, status: int) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        answer = await client.http.post(f"{V1}/conversations/{id_}/runs", content=body)
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error"}
        assert (await client.call("GET", f"/conversations/{id_}"))["runs"] == []


async def test_a_body_may_be_too_large(scripted: Scripted) -> None:
    async with serving(scripted) as client:
        answer = await client.http.post(f"{V1}/conversations", content=b" " * (2**20 + 1))
        assert answer.status_code == 413


async def test_unknown_ids_and_methods(scripted: Scripted, folder: Path) -> None:
    async with serving(scripted) as client:
        id_ = await client.conversation(folder)
        run = await client.begin(id_, writes("a.txt"), "Done.")
        await client.events(run)
        for bad in ("0000", id_[:6], "..%2f..", "%00", "'--", "a" * 4000):
            await client.call("GET", f"/conversations/{bad}", status=404)
            await client.call("GET", f"/runs/{bad}", status=404)
            await client.call("GET", f"/runs/{bad}/events", status=404)
            await client.call("POST", f"/runs/{bad}/stop", status=404)
        for method, path in [("PUT", "/conversations"), ("GET", f"/runs/{run}/stop"), ("POST", f"/runs/{run}")]:
            assert (await client.http.request(method, V1 + path)).status_code == 405
        for wrong in ("x", "-1", "1.5", "9" * 40, "١"):
            answer = await client.http.get(f"{V1}/runs/{run}/events", params={"after": wrong})
            assert answer.status_code == 400
        for paths, status in [(["../note.txt"], 404), (["/etc/passwd"], 404), ("a.txt", 400), ([""], 400), ([1], 400)]:
            await client.call("POST", f"/runs/{run}/apply", {"paths": paths}, status)
    assert [path.name for path in folder.iterdir()] == ["note.txt"]
