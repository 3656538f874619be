"""Words broken at the edge while they stream in, one character at a time as tokens may come."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.cli.wrap import MARGIN, Wrapper, width_of


def on_screen(written: str) -> list[str]:
    """What a terminal shows: the two sequences that Wrapper uses are carried out."""
    lines = [""]
    for part in re.findall(r"\x1b\[\d+D\x1b\[K|.|\n", written):
        if part == "\n":
            lines.append("")
        elif part.startswith("\x1b"):
            columns = int(part[2:].split("D")[0])
            while columns > 0:
                columns -= width_of(lines[-1][-1])
                lines[-1] = lines[-1][:-1]
        else:
            lines[-1] += part
    return lines


def feed(text: str, width: int) -> list[str]:
    wrapper = Wrapper(width)
    return on_screen("".join(wrapper.feed(char) for char in text))


def test_a_word_that_does_not_fit_goes_to_the_next_line():
    assert feed("the quick brown fox jumps", 20) == ["the quick brown", "fox jumps"]


def test_a_word_is_taken_back_when_it_grows_too_long():
    assert feed("the quick browning", 20) == ["the quick ", "browning"]


def test_a_word_longer_than_a_line_is_cut():
    lines = feed("x" * 40, 20)
    assert "".join(lines) == "x" * 40
    assert max(map(len, lines)) <= 15


def test_wide_letters_count_twice():
    assert feed("日本語日本語日本語", 20)[0] == "日本語日本語日"


def test_without_a_width_nothing_is_changed():
    assert Wrapper(0).feed("a " * 200) == "a " * 200
    assert Wrapper(10).feed("a " * 200) == "a " * 200


def test_line_breaks_of_the_text_stay():
    assert feed("a\n\nb", 40) == ["a", "", "b"]


@given(st.text(alphabet="ab日 \n", max_size=200), st.integers(20, 60))
def test_nothing_is_lost_and_no_line_is_too_long(text: str, width: int):
    lines = feed(text, width)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", text)
    assert all(sum(map(width_of, line)) <= width - MARGIN for line in lines)


@pytest.mark.parametrize(("char", "width"), [("a", 1), ("ß", 1), ("日", 2), ("🙂", 2), ("\u0301", 0), ("\u200d", 0)])
def test_width(char: str, width: int):
    assert width_of(char) == width
