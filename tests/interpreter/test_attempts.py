"""Which attempt is believed, and whether another is made: the sums by themselves, then through the loop."""

import asyncio
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from allod.errors import RunnerCrashed
from allod.home import Home
from allod.interpreter import profiles
from allod.interpreter.agent import Agent
from allod.interpreter.attempt import Decision
from allod.interpreter.attempts import Try, Work, alike, chosen, groups, more, numbers, same
from allod.interpreter.events import Answer, Changes, Code, Ended, Event, Notice, Tried, Usage
from allod.interpreter.profiles import Bounds, Profile
from allod.interpreter.workspace import Workspace, fonts
from scripted import ScriptedRunner

BOUNDS = Bounds(attempts=4, agree=2, patience=100)


def good(files: dict[str, str] | None = None, answer: str = "", printed: str = "") -> Try:
    return Try("done", "", False, True, Work(files or {}, answer, printed))


def failed(reason: str = "KeyError: 'x'", *, crashed: bool = True) -> Try:
    return Try("failed", reason, crashed, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("1,461 days, 3.20 m/s in 2012-01-05, 3, 4 and 4", ["1461", "3.20", "2012", "1", "5", "3", "4"]),
        ("12,34 and 1'234'567.5", ["12", "34", "1234567.5"]),
        ("x1 and v2.0b, K-17", ["17"]),
        ("9" * 400, ["9" * 400]),
    ],
)
def test_numbers(text: str, found: list[str]):
    assert numbers(text) == [Decimal(each) for each in found]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [("3.24", "3.2412", True), ("1461", "1461.0", True), ("1461", "1462", False), ("3", "3.24", False)],
)
def test_numbers_are_the_same_but_for_rounding(one: str, other: str, alike: bool):
    assert same(Decimal(one), Decimal(other)) is alike


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        (Work(answer="It is 42."), Work(answer="There are 42 of them."), True),
        (Work(answer="It is 42."), Work(answer="It is 43."), False),
        (Work(answer="Rain: 3.67, sun: 2.9"), Work(answer="Most wind was 3.67 for rain."), True),
        (Work(answer="Ulm", printed="Ulm\n"), Work(answer="The city is Ulm", printed=" ulm"), True),
        (Work(answer="Ulm", printed="Ulm\n"), Work(answer="Bonn", printed="Bonn"), False),
        (Work({"a": "1"}, "It is 42."), Work({"a": "2"}, "It is 42."), False),
        (Work({"a": "1"}, "It is 42."), Work({"b": "1"}, "It is 42."), False),
    ],
)
def test_what_is_the_same(one: Work, other: Work, result: bool):
    assert alike(one, other, asks=True) is result


def test_an_answer_that_nobody_asked_for_does_not_matter():
    assert alike(Work({"a": "1"}, "12 rows"), Work({"a": "1"}, "40 seconds"), asks=False)


def test_groups_the_largest_first_then_the_earliest():
    a, b = good({"f": "a"}), good({"f": "b"})
    assert groups([a, b], asks=False) == [[0], [1]]
    assert groups([a, b, b], asks=False) == [[1, 2], [0]]


def test_one_that_ran_through_is_not_believed_alone():
    assert "once more" in more([good({"f": "a"})], BOUNDS, 5, asks=False, agreeing=True)
    assert more([good({"f": "a"})] * 2, BOUNDS, 5, asks=False, agreeing=True) == ""
    assert "differ" in more([good({"f": "a"}), good({"f": "b"})], BOUNDS, 5, asks=False, agreeing=True)


def test_when_no_more_are_made():
    one = [good({"f": "a"})]
    assert more(one, BOUNDS, 101, asks=False, agreeing=True) == ""  # out of patience
    assert more(one, BOUNDS, 5, asks=False, agreeing=False) == ""  # a person looked at each block
    assert more(one, msgspec.structs.replace(BOUNDS, agree=1), 5, asks=False, agreeing=True) == ""
    assert more([Try("done", "", False, False)], BOUNDS, 5, asks=True, agreeing=True) == ""  # words alone
    assert more([Try("stopped", "stopped", True, True)], BOUNDS, 5, asks=True, agreeing=True) == ""
    assert more([failed()] * 4, BOUNDS, 5, asks=True, agreeing=True) == ""
    different = [good({"f": "a"}), good({"f": "b"}), failed()]
    assert more(different[:2], msgspec.structs.replace(BOUNDS, attempts=2), 5, asks=False, agreeing=True) == ""
    assert more(different, BOUNDS, 5, asks=False, agreeing=True) == ""  # the last one did not even run
    assert "differ" in more(different[:2], BOUNDS, 5, asks=False, agreeing=True)  # a third may agree with one


def test_a_failed_attempt_is_made_afresh_until_two_meet_with_the_same_complaint():
    assert "KeyError" in more([failed()], BOUNDS, 5, asks=False, agreeing=True)
    assert more([failed()] * 3, BOUNDS, 5, asks=False, agreeing=True)
    complaint = failed("out.csv is not sorted.", crashed=False)
    assert more([complaint], BOUNDS, 5, asks=False, agreeing=True)
    assert more([complaint, complaint], BOUNDS, 5, asks=False, agreeing=True) == ""


def test_who_is_chosen():
    a, b = good({"f": "a"}), good({"f": "b"})
    assert chosen([a, b, b], asks=False) == 1
    assert chosen([a, b], asks=False) == 0
    brief, whole = good(answer="Rain: 3.67", printed="3.67"), good(answer="3.67 and 2.9", printed="rain 3.67\nsun 2.9")
    assert chosen([brief, whole], asks=True) == 1  # what one says is part of what the other one does
    assert chosen([whole, brief], asks=True) == 0
    assert chosen([failed(), a], asks=False) == 1
    assert chosen([failed(), failed("unsorted", crashed=False), failed()], asks=False) == 1
    assert chosen([failed(), failed()], asks=False) == 1
    assert chosen([a, Try("stopped", "stopped", True, True)], asks=False) == 1


# ── through the loop ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    path = tmp_path / "work"
    path.mkdir()
    (path / "sales.csv").write_text("city,units\nUlm,3\nBonn,5\nUlm,4\n")
    return path


def block(code: str) -> str:
    return f"```python\n{code}\n```\n"


def write(units: int, name: str = "out.csv") -> str:
    return block(f"pd.DataFrame({{'units': [{units}]}}).to_csv('{name}', index=False)")


def bounded(home: Home, **bounds: Any) -> Profile:
    profile = profiles.load(home)
    return msgspec.structs.replace(profile, bounds=msgspec.structs.replace(profile.bounds, **bounds))


async def job(home: Home, folder: Path, task: str, replies: list[Any], **bounds: Any) -> tuple[list[Event], Agent]:
    profile = bounded(home, **bounds)
    agent = Agent(ScriptedRunner(replies), Workspace.create(home, folder), profile)
    async with agent:
        seen = [event async for event in agent.run(task)]
    return seen, agent


def of(kind: Any, seen: list[Event]) -> list[Any]:
    return [event for event in seen if isinstance(event, kind)]


TASK = "Save the units of all sales as out.csv"


@pytest.mark.anyio
async def test_two_that_agree_outvote_the_first(home: Home, folder: Path):
    seen, agent = await job(home, folder, TASK, [write(1), write(12), block("x = 12") + "", write(12)], attempts=4)
    with agent.workspace:
        assert of(Ended, seen)[0].status == "done"
        assert (agent.workspace.upper / "out.csv").read_text() == "units\n12\n"
        agent.workspace.apply()
    assert (folder / "out.csv").read_text() == "units\n12\n"
    assert of(Usage, seen)[0].attempts == 3
    notices = [notice.text for notice in of(Notice, seen)]
    assert any("once more" in text for text in notices) and any("taken instead" in text for text in notices)
    assert [event.number for event in of(Tried, seen)] == [1, 3]
    # What was out of sight is shown once it is taken.
    assert [code.code for code in of(Code, seen) if code.author == "model"][-1] == write(12).split("\n")[1]


@pytest.mark.anyio
async def test_one_that_only_confirms_stays_out_of_sight(home: Home, folder: Path):
    seen, agent = await job(home, folder, TASK, [write(12), block("y = 1\n") + "", write(12)], attempts=4)
    agent.workspace.discard()
    assert len([code for code in of(Code, seen) if code.author == "model"]) == 1
    assert len(of(Answer, seen)) == 1
    assert [change.path for change in of(Changes, seen)[0].changes] == ["out.csv"]


@pytest.mark.anyio
async def test_one_that_prints_the_same_is_not_asked_for_an_answer(home: Home, folder: Path):
    task = "How many units were sold? Say it."
    seen, agent = await job(
        home, folder, task, [block("print(12)"), "They sold 12.", block("print(sales.units.sum())")]
    )
    agent.workspace.discard()
    assert [answer.text for answer in of(Answer, seen)] == ["They sold 12."]
    assert (of(Ended, seen)[0].status, of(Usage, seen)[0].attempts) == ("done", 2)


@pytest.mark.anyio
async def test_one_that_prints_something_else_says_what(home: Home, folder: Path):
    replies = [block("print(11)"), "They sold 11."] + [block("print(sales.units.sum())"), "They sold 12."] * 2
    seen, agent = await job(home, folder, "How many units were sold? Say it.", replies[:5])
    agent.workspace.discard()
    assert of(Answer, seen)[-1].text == "They sold 12."
    assert of(Usage, seen)[0].attempts == 3


@pytest.mark.anyio
async def test_a_file_that_a_loser_wrote_is_gone(home: Home, folder: Path):
    replies = [block("open('junk', 'w').write('x'); 1/0")] * 2 + [write(3), write(3)]
    seen, agent = await job(home, folder, TASK, replies, attempts=4)
    agent.workspace.discard()
    assert [change.path for change in of(Changes, seen)[0].changes] == ["out.csv"]
    assert [(tried.number, tried.status) for tried in of(Tried, seen)] == [(1, "failed"), (3, "done")]


@pytest.mark.anyio
async def test_the_workspaces_of_the_losers_are_dropped(home: Home, folder: Path):
    _, agent = await job(home, folder, TASK, [write(1), write(2), write(3), write(4)], attempts=4)
    kept = [path.name for path in agent.workspace.path.parent.iterdir() if (path / "seen").exists()]
    assert kept == [agent.workspace.path.name]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_where_code_reaches_the_network_there_is_one_attempt(home: Home, folder: Path):
    from allod.interpreter.workspace import grants

    profile = profiles.load(home)
    workspace = Workspace.create(home, folder, grants.parse(net=["example.org"]))
    async with Agent(ScriptedRunner([block("1/0"), block("1/0 ")]), workspace, profile) as agent:
        seen = [event async for event in agent.run(TASK)]
    workspace.discard()
    assert of(Ended, seen)[0].status == "gave_up"
    assert of(Usage, seen)[0].attempts == 1


@pytest.mark.anyio
async def test_an_attempt_that_changes_what_nobody_spoke_of_is_left(home: Home, folder: Path):
    spoilt = block("sales.to_csv('sales.csv', index=False, sep=';'); print(sales.units.sum())")
    replies = [spoilt, block("print(sales.units.sum())"), "They sold 12.", block("print(sales.units.sum())")]
    seen, agent = await job(home, folder, "How many units were sold?", replies, attempts=4)
    assert of(Ended, seen)[0].status == "done"
    assert not of(Changes, seen) and not agent.workspace.changes()
    assert of(Tried, seen)[0].status == "failed"
    agent.workspace.discard()


@pytest.mark.anyio
async def test_where_every_attempt_does_so_the_user_is_told(home: Home, folder: Path):
    spoilt = block("sales.to_csv('sales.csv', index=False, sep=';'); print(sales.units.sum())")
    seen, agent = await job(home, folder, "How many units were sold?", [spoilt], attempts=1)
    agent.workspace.discard()
    assert "sales.csv was changed or removed" in of(Notice, seen)[-1].text


@pytest.mark.anyio
async def test_a_question_to_the_user_ends_the_job_as_one(home: Home, folder: Path):
    replies = ["There are two. Which of them do you mean?", "print(undefined)\n```", "I cannot."]
    seen, agent = await job(home, folder, "Save it", replies, attempts=4)
    agent.workspace.discard()
    end = of(Ended, seen)[0]
    assert (end.status, end.reason) == ("question", "Which of them do you mean?")


@pytest.mark.anyio
async def test_when_patience_is_at_an_end_nothing_is_mended(home: Home, folder: Path):
    slow = block("import time; time.sleep(0.3); 1/0")
    seen, agent = await job(home, folder, TASK, [slow], attempts=4, steps=9, patience=0.2)
    agent.workspace.discard()
    assert of(Ended, seen)[0].status == "gave_up"
    assert (of(Usage, seen)[0].blocks, of(Usage, seen)[0].attempts) == (1, 1)


# ── side by side ────────────────────────────────────────────────────────────────────────────────────────────────────


def by_seed(**scripts: list[Any]) -> list[Any]:
    """Replies by the attempt that asks, s1 the first, whatever the order in which they ask."""
    left = {int(name[1:]): list(replies) for name, replies in scripts.items()}
    count = sum(map(len, left.values()))
    return [lambda request: left[request.options.seed].pop(0) for _ in range(count)]


async def beside(home: Home, folder: Path, replies: list[Any], task: str = TASK, **bounds: Any) -> tuple[Any, Agent]:
    return await job(home, folder, task, replies, **{"attempts": 4, "together": 2} | bounds)


def kept(agent: Agent) -> list[str]:
    """The workspaces that are left."""
    return [path.name for path in agent.workspace.path.parent.iterdir() if (path / "seen").exists()]


@pytest.mark.anyio
async def test_two_beside_one_another_outvote_the_first(home: Home, folder: Path):
    seen, agent = await beside(home, folder, by_seed(s1=[write(1)], s2=[write(12)], s3=[write(12)]))
    assert kept(agent) == [agent.workspace.path.name]
    with agent.workspace:
        agent.workspace.apply()
    assert (folder / "out.csv").read_text() == "units\n12\n"
    notices = [notice.text for notice in of(Notice, seen)]
    assert any("2 times side by side" in text for text in notices)
    assert any("is taken instead: another came to the same" in text for text in notices)
    assert of(Usage, seen)[0].attempts == 3
    assert len(of(Tried, seen)) == 2
    assert [code.code for code in of(Code, seen) if code.author == "model"][-1] == write(12).split("\n")[1]


@pytest.mark.anyio
async def test_one_that_is_not_needed_any_more_is_stopped(home: Home, folder: Path):
    endless = block("import time\nwhile True: time.sleep(0.1)")
    began = time.monotonic()
    seen, agent = await beside(home, folder, by_seed(s1=[write(12)], s2=[write(12)], s3=[endless]))
    assert time.monotonic() - began < 30  # a block may take much longer
    assert of(Ended, seen)[0].status == "done"
    assert of(Usage, seen)[0].attempts == 2
    assert kept(agent) == [agent.workspace.path.name]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_what_one_does_does_not_reach_the_other(home: Home, folder: Path):
    spoils = block("import os\nos.remove('sales.csv')\nopen('junk', 'w').write('x')\n1/0")
    good = block("pd.DataFrame({'units': [sales.units.sum()]}).to_csv('out.csv', index=False)")
    replies = by_seed(s1=[block("1/0")] * 2, s2=[spoils, spoils], s3=[good], s4=[good])
    seen, agent = await beside(home, folder, replies, together=3, steps=2)
    assert of(Ended, seen)[0].status == "done"
    assert [change.path for change in of(Changes, seen)[0].changes] == ["out.csv"]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_a_runner_that_dies_beside_leaves_nothing(home: Home, folder: Path):
    replies = by_seed(s1=[block("1/0")] * 2, s2=[RunnerCrashed("gone")], s3=[write(12)])
    agent = Agent(ScriptedRunner(replies), Workspace.create(home, folder), bounded(home, together=2, steps=2))
    async with agent:
        with pytest.raises(RunnerCrashed):
            async for _ in agent.run(TASK):
                pass
    assert kept(agent) == [agent.workspace.path.name]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_stopping_stops_all_of_them(home: Home, folder: Path):
    endless = block("import time\nwhile True: time.sleep(0.1)")
    replies = by_seed(s1=[block("1/0")] * 2, s2=[endless], s3=[endless])
    agent = Agent(ScriptedRunner(replies), Workspace.create(home, folder), bounded(home, together=2, steps=2))
    seen: list[Event] = []

    async def stop() -> None:
        while sum(lane.session is not None and lane.session.running for lane in agent._beside) < 2:  # pyright: ignore
            await asyncio.sleep(0.01)
        await agent.stop()

    async with agent, asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(stop())
        async for event in agent.run(TASK):
            seen.append(event)
    assert of(Ended, seen)[0].status == "stopped"
    assert kept(agent) == [agent.workspace.path.name]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_leaving_the_loop_while_two_are_at_it_leaves_nothing(home: Home, folder: Path):
    endless = block("import time\nwhile True: time.sleep(0.1)")
    replies = by_seed(s1=[block("1/0")] * 2, s2=[endless], s3=[endless])
    agent = Agent(ScriptedRunner(replies), Workspace.create(home, folder), bounded(home, together=2, steps=2))

    async def run() -> None:
        async for _ in agent.run(TASK):
            pass

    async with agent, asyncio.timeout(60):
        task = asyncio.create_task(run())
        while not agent._beside:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert kept(agent) == [agent.workspace.path.name]
    agent.workspace.discard()


@pytest.mark.anyio
async def test_where_a_person_is_asked_it_is_one_at_a_time(home: Home, folder: Path):
    most = asked = 0

    async def approve(_: Code) -> Decision:
        nonlocal most, asked
        asked += 1
        most = max(most, asked)
        await asyncio.sleep(0)
        asked -= 1
        return Decision(True)

    replies = [block("1/0"), block("2/0"), block("3/0"), block("4/0"), write(12)]
    profile = bounded(home, together=3, steps=2)
    agent = Agent(ScriptedRunner(replies), Workspace.create(home, folder), profile, approve=approve)
    async with agent:
        seen = [event async for event in agent.run(TASK)]
    agent.workspace.discard()
    assert of(Ended, seen)[0].status == "done" and most == 1
    assert not any("side by side" in notice.text for notice in of(Notice, seen))
