"""The tasks of bench/interpreter: their checks tell a right result from idle, echoing, dumping and wrong ones."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "interpreter"
sys.path.append(str(BENCH))

pytest.importorskip("pdfplumber", reason="the tasks need the extra do")
pytest.importorskip("docx", reason="the tasks need the extra do")

from suite import answers, tables  # noqa: E402
from suite.proof import prove  # noqa: E402
from suite.task import Wrong, everything, split  # noqa: E402

TASKS = everything()


@pytest.fixture(autouse=True)
def no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "Agg")


@pytest.mark.parametrize("name", TASKS)
def test_the_check_tells_right_from_wrong(name: str, tmp_path: Path) -> None:
    assert prove(TASKS[name], tmp_path) == []


def test_the_halves_hold_every_task_once_and_every_kind_alike() -> None:
    halves = split()
    assert Counter(name for names in halves.values() for name in names) == Counter(list(TASKS))
    kinds = [Counter(TASKS[name].kind for name in names) for names in halves.values()]
    assert kinds[0] == kinds[1]
    assert len(TASKS) >= 36


@pytest.mark.parametrize(
    "said",
    ["1234.5", "1,234.50", "1.234,5", "1 234,5", "1\u202f234.5", "1'234.5", "is 1234,5 kWh", "=1.2345e3", "€1,234.50."],
)
def test_a_number_may_be_written_in_many_ways(said: str) -> None:
    assert answers.has(said, 1234.5)


@pytest.mark.parametrize("said", ["11234.5", "v1234.5", "1234.51", "10.1234.5.1", "1234", "-1234.5", "", "2,1234.5"])
def test_other_numbers_are_other_numbers(said: str) -> None:
    assert not answers.has(said, 1234.5)


@pytest.mark.parametrize(
    "said",
    [
        "Ulm: 7, Bonn: 5",
        "  city  units\n0  Ulm  7\n1  Bonn  5",
        "7 in Ulm and 5 in Bonn",
        "{'Ulm': 7.0, 'Bonn': 5.0}",
        "city   Bonn  Ulm\nunits   5    7",
        "The units: 3 of 12 were lost. Ulm has 7 and Bonn has 5.",
    ],
)
def test_each_name_with_its_number(said: str) -> None:
    answers.each(said, {"Ulm": 7, "Bonn": 5})


@pytest.mark.parametrize(
    "said", ["Ulm: 5, Bonn: 7", "Bonn and Ulm: 5, 7, 5", "Ulm 7", "5 in Ulm and 7 in Bonn", "75", ""]
)
def test_names_with_each_others_numbers(said: str) -> None:
    with pytest.raises(Wrong):
        answers.each(said, {"Ulm": 7, "Bonn": 5})


def test_a_table_may_have_any_form(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("\ufeff;Units sold;CITY\n0;1,200;Ulm\n1;5.0; Bonn \n".encode())
    got = tables.columns(tmp_path / "a.csv", "city", "sold|units_sold")
    tables.rows(got, [("Bonn", 5), ("Ulm", 1200)])
    with pytest.raises(Wrong, match="row 1 is ulm"):
        tables.rows(got, [("Bonn", 5), ("Ulm", 1200)], ordered=True)
    with pytest.raises(Wrong, match="2 rows instead of 1"):
        tables.rows(got, [("Bonn", 5)])
    with pytest.raises(Wrong, match="no columns price"):
        tables.columns(tmp_path / "a.csv", "price")
    with pytest.raises(Wrong, match=r"no b\.csv"):
        tables.columns(tmp_path / "b.csv", "price")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "joinn"], "there is no task or kind joinn; did you mean join?"),
        (["--split", "half"], "invalid choice: 'half'"),
        (["--limit-s", "0"], "--limit-s has to be more than 0"),
        (["--seed", "x"], "invalid int value: 'x'"),
        (["--allod", "/none/allod"], "there is no program /none/allod"),
        (["--out", "/dev/null/x/y.json"], "cannot make /dev/null/x"),
    ],
)
def test_a_mistake_in_the_arguments_is_one_line(arguments: list[str], said: str) -> None:
    ran = subprocess.run([sys.executable, BENCH / "run.py", *arguments], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_what_was_said_is_that_of_the_attempt_that_was_taken() -> None:
    from run import ANSWERED, SAID, words

    def say(sort: str, text: str, **more: object) -> dict[str, object]:
        return {"type": sort, "text": text} | more

    first = [say("output", "1", kind="stdout"), say("output", "", kind="picture"), say("answer", "One.")]
    again = [say("notice", "that did not do (x), so it is tried afresh"), say("output", "2"), say("answer", "Two.")]
    assert words(first, SAID) == "1\nOne."
    assert words(first, ANSWERED) == "One."
    assert words([*first, *again], SAID) == "2\nTwo."
    assert words([*first, *again, {"type": "tried", "number": 1}], SAID) == "2\nTwo."
    assert words([*first, *again, {"type": "tried", "number": 2}], SAID) == "1\nOne."
    instead = [say("notice", "attempt 3 of 4 is taken instead: another came to the same"), say("answer", "Three.")]
    left = [{"type": "tried", "number": number} for number in (1, 2, 4)]
    assert words([*first, say("notice", "they differ: once more"), *instead, *left], SAID) == "Three."
