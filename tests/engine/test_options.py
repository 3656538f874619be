"""How long a model stays, in the spellings that Ollama's clients use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allod.engine.options import FOREVER, keep_alive_seconds
from allod.errors import BadRequest


@pytest.mark.parametrize(
    "value,seconds",
    [
        ("5m", 300),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("250ms", 0.25),
        (".5m", 30),
        ("0", 0),
        ("0s", 0),
        ("10", 10),
        (" 24h ", 86400),
        (7, 7),
        (0.5, 0.5),
        (0, 0),
        (-1, FOREVER),
        ("-1", FOREVER),
        ("-5m", FOREVER),
        (float("inf"), FOREVER),
    ],
)
def test_durations(value: str | float, seconds: float) -> None:
    assert keep_alive_seconds(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "m", "--5", "5x", "5 m", "٥m", "five", "1h30", "5m-3s", "1e3", "∞", "5m" * 3 + "!", "nan"]
)
def test_what_is_no_duration(value: str) -> None:
    with pytest.raises(BadRequest) as caught:
        keep_alive_seconds(value)
    assert "5m" in caught.value.remedy


def test_not_a_number() -> None:
    with pytest.raises(BadRequest):
        keep_alive_seconds(float("nan"))


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    try:
        assert keep_alive_seconds(text) >= 0
    except BadRequest:
        pass
