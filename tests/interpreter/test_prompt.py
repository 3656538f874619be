"""The words of the prompt: examples in the words of the real turns, a size that small models can bear, cuts."""

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.chat import ChatRequest, Message
from allod.engine import Engine, LoadOptions, Runner
from allod.errors import BadSettings, NotFound, RunnerCrashed
from allod.home import Home
from allod.interpreter import profiles, prompt
from allod.interpreter.agent import Agent
from allod.interpreter.blocks import BlockParser, Closed
from allod.interpreter.profiles import Profile
from allod.interpreter.workspace import Workspace, fonts
from scripted import ScriptedRunner

LONGEST_PREFIX = 2400  # characters, some 650 tokens, so that prompt, listing and job stay below 900


@pytest.fixture
def profile(home: Home) -> Profile:
    return profiles.load(home)


def test_every_example_is_a_whole_conversation(profile: Profile) -> None:
    for example in profile.prompt.examples:
        messages = prompt.prefix(profile, example)
        roles = [message.role for message in messages]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]
        assert sum(len(message.text) for message in messages) < LONGEST_PREFIX, example.kind
        compile(example.code, example.kind, "exec")
        compile(example.read, example.kind, "exec")


def test_examples_have_the_words_of_the_real_turns(profile: Profile) -> None:
    example = profile.prompt.examples[0]
    job = prompt.asked(example.job, set(example.reads))
    real = prompt.first_turn(example.files, job, example.reads, example.read, [example.names], [])
    shown = prompt.prefix(profile, example)
    assert shown[1:4] == real
    assert shown[4].text == prompt.fenced(example.code)
    assert shown[5].text.endswith(prompt.go_on(example.job))


@pytest.mark.parametrize(
    ("task", "kinds", "kind"),
    [
        ("Add up the revenue of each product in totals.csv", ["table"], "table"),
        ("Put the table in report.pdf into an Excel file, newest first", ["document"], "table"),
        ("Drop the rows of a.csv without a name", ["table"], "rows"),
        ("Which client of clients.csv has most orders in orders.csv?", ["table", "table"], "join"),
        ("Which client in shop.db spent most?", ["database"], "join"),
        ("Find all dates in letter.txt", ["text"], "text"),
        ("Rename the songs in the folder music", [], "files"),
        ("Move the invoices into folders by year", [], "moving"),
        ("Make photo.png half as large", ["picture"], "pictures"),
        ("Draw sales.csv as a line chart and save it as sales.png", ["table"], "chart"),
        ("Simulate 1000 throws of two dice", [], "calculation"),
        ("Put a.csv and b.csv in one workbook, one sheet for each", ["table", "table"], "sheets"),
    ],
)
def test_the_example_fits_the_kind_of_job(profile: Profile, task: str, kinds: list[str], kind: str) -> None:
    example = prompt.fitting(profile, task, kinds, empty=not kinds)
    assert example is not None
    assert example.kind == kind


def test_a_profile_without_examples(profile: Profile) -> None:
    bare = msgspec.structs.replace(profile, prompt=msgspec.structs.replace(profile.prompt, examples=[]))
    assert prompt.fitting(bare, "anything", [], empty=True) is None
    assert [m.role for m in prompt.prefix(bare, None)] == ["system"]


def test_an_outcome_says_what_came_of_a_block(profile: Profile) -> None:
    said = prompt.outcome("12\n", "New file a.csv", "Go on.", profile.prompt)
    assert said == "Output:\n12\nNew file a.csv\n\nGo on."
    assert prompt.outcome(" \n", "", "Go on.", profile.prompt) == "There was no output.\n\nGo on."
    failed = prompt.outcome("", "", "Mend.", profile.prompt, error="line 1: x\nNameError: x")
    assert failed == "Error:\nline 1: x\nNameError: x\n\nMend."


def test_long_output_keeps_its_head_and_tail(profile: Profile) -> None:
    text = "\n".join(f"line {i}" for i in range(100_000))
    cut = prompt.clip(text, 1000)
    assert len(cut) < 1020
    assert cut.startswith("line 0\n")
    assert cut.endswith("\nline 99999")
    assert "\n[…]\n" in cut


@given(st.text(max_size=400), st.integers(10, 300))
def test_a_cut_is_never_longer_than_asked(text: str, limit: int) -> None:
    assert len(prompt.clip(text, limit)) <= max(len(text) if len(text) <= limit else 0, limit + 5)


@given(st.text(st.sampled_from("`~ab\n'\""), max_size=60))
def test_code_survives_its_fence(code: str) -> None:
    parser = BlockParser()
    text = prompt.fenced(code, "ruby")
    found = [p.block.code for p in [*parser.feed(text), *parser.finish()] if isinstance(p, Closed)]
    assert found == [code.strip("\n")]


# ── profiles ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(home: Home, name: str, text: str) -> None:
    folder = home.config / "profiles"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.toml").write_text(text)


def test_a_profile_of_the_users_takes_the_rest_from_the_default(home: Home) -> None:
    write(home, "tall", 'model = "other:7b"\n[bounds]\nsteps = 9\n')
    tall, default = profiles.load(home, "tall"), profiles.load(home)
    assert (tall.model, tall.bounds.steps) == ("other:7b", 9)
    assert tall.prompt == default.prompt
    assert tall.bounds.attempts == default.bounds.attempts
    assert {"default", "tall"} <= set(profiles.names(home))


def test_a_default_of_the_users_lies_over_the_built_in(home: Home) -> None:
    write(home, "default", "[sampling]\ntemperature = 0.9\n")
    assert profiles.load(home).sampling.temperature == 0.9
    assert profiles.load(home).model


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("modell = 'x'", BadSettings, "modell"),
        ("[bounds]\nsteps = 'many'", BadSettings, "steps"),
        ("model = ", BadSettings, "cannot be read"),
        ("extends = 'mine'", BadSettings, "extends itself"),
        ("extends = 'nobody'", NotFound, "nobody"),
    ],
)
def test_a_broken_profile_is_an_error_that_says_where(
    home: Home, text: str, error: type[Exception], words: str
) -> None:
    write(home, "mine", text)
    with pytest.raises(error, match=words):
        profiles.load(home, "mine")


@pytest.mark.parametrize("name", ["nobody", "../default", "a/b", ""])
def test_a_profile_that_is_not_there(home: Home, name: str) -> None:
    with pytest.raises(NotFound):
        profiles.load(home, name)


def test_hosts_that_were_granted_are_named(home: Home) -> None:
    profile = profiles.load(home)
    assert prompt.NO_INTERNET in prompt.prefix(profile, None)[0].text
    system = prompt.prefix(profile, None, ["example.org", "*.example.com"])[0].text
    assert "only example.org, *.example.com can be reached" in system and prompt.NO_INTERNET not in system


class Ear(ScriptedRunner):
    """Is asked once, says nothing, and counts as the model does."""

    def __init__(self, model: Runner) -> None:
        super().__init__([RunnerCrashed("enough")])
        self.model = model

    async def count_tokens(self, messages: list[Message]) -> int:
        return await self.model.count_tokens(messages)


@pytest.mark.anyio
@pytest.mark.parametrize("columns", [4, 40])
async def test_the_first_prompt_has_at_most_as_many_tokens_as_the_profile_says(
    smollm2_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    folder = tmp_path / "work"
    folder.mkdir()
    head = ",".join(f"measured value {n}" for n in range(columns))
    rows = "\n".join(",".join(f"{n * row + 0.25:.2f}" for n in range(columns)) for row in range(60))
    (folder / "values.csv").write_text(f"{head}\n{rows}\n")
    for number in range(30):
        (folder / f"report {number} of the year.txt").write_text("nothing\n")
    profile = profiles.load(smollm2_home)
    assert profile.prompt.tokens == 900
    # SmolLM2 has up to a tenth more tokens for the same than qwen2.5-coder (bench/prompt.py).
    profile = msgspec.structs.replace(profile, prompt=msgspec.structs.replace(profile.prompt, tokens=990))
    workspace = Workspace.create(smollm2_home, folder)
    async with (
        Engine(smollm2_home) as engine,
        engine.lease("smollm2:135m", LoadOptions(context=2048, slots=1)) as model,
    ):
        ear = Ear(model)
        with contextlib.suppress(RunnerCrashed):
            async with Agent(ear, workspace, profile) as agent:
                async for _ in agent.run("What is the mean of each column in values.csv? Save it as means.csv"):
                    pass
        workspace.discard()
        [request] = ear.requests
        assert isinstance(request, ChatRequest)
        assert 600 < await model.count_tokens(request.messages) <= 990
    told = request.messages[-1].text
    assert "measured value 2 (0.25 to 118.25)" in told
    assert "measured value 39" not in told
