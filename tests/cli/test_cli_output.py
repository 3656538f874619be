"""Sizes, times and tables as Ollama prints them."""

from datetime import UTC, datetime, timedelta

import pytest

from allod.cli import output

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (98_362_432, "98 MB"),
        (1_117_320_768, "1.1 GB"),
        (9_960_000_000, "10.0 GB"),
        (12_345_678_901, "12 GB"),
        (3 * 10**15, "3000 TB"),
    ],
)
def test_size(count: int, text: str):
    assert output.size(count) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(0), "Less than a second ago"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(seconds=59), "59 seconds ago"),
        (timedelta(seconds=60), "About a minute ago"),
        (timedelta(minutes=4, seconds=5), "4 minutes ago"),
        (timedelta(minutes=61), "About an hour ago"),
        (timedelta(hours=47), "47 hours ago"),
        (timedelta(days=3), "3 days ago"),
        (timedelta(days=20), "2 weeks ago"),
        (timedelta(days=100), "3 months ago"),
        (timedelta(days=800), "2 years ago"),
        (-timedelta(minutes=4, seconds=59), "4 minutes from now"),
        (-timedelta(days=365 * 100), "Forever"),
    ],
)
def test_moment(ago: timedelta, text: str):
    assert output.moment(NOW - ago, NOW) == text


def test_a_table_has_four_blanks_between_columns_and_none_at_the_end(capsys: pytest.CaptureFixture[str]):
    output.print_table(("NAME", "ID"), [("smollm2:135m", "b179c9523d0e"), ("m", "x")])
    assert capsys.readouterr().out == "NAME            ID\nsmollm2:135m    b179c9523d0e\nm               x\n"


def test_json_keeps_letters(capsys: pytest.CaptureFixture[str]):
    output.print_json({"ö": [1]})
    assert capsys.readouterr().out == '{\n  "ö": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59.9, "59s"), (247, "4m07s"), (3780, "1h03m")])
def test_clock(seconds: float, text: str):
    assert output.clock(seconds) == text
