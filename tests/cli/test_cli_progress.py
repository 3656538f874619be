"""Bars on a terminal, lines elsewhere, JSON on demand; Ctrl-C says that nothing is lost."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import pytest

from allod.cli import progress
from allod.cli.progress import Bars, Row, bar, line, show_pull
from allod.models.progress import Progress, pulling

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class Screen(io.StringIO):
    """A terminal of 60 columns that keeps what would be seen."""

    def isatty(self) -> bool:
        return True

    def seen(self) -> list[str]:
        lines: list[str] = [""]
        at = 0
        text = self.getvalue()
        while text:
            if text.startswith("\x1b["):
                end = next(i for i, char in enumerate(text[2:]) if char.isalpha()) + 2
                if text[end] == "A":
                    at -= int(text[2:end])
                elif text[end] == "J":
                    lines = lines[: at + 1]
                    lines[at] = ""
                text = text[end + 1 :]
            elif text[0] == "\n":
                at += 1
                if at == len(lines):
                    lines.append("")
                text = text[1:]
            elif text[0] == "\r":
                lines[at] = ""
                text = text[1:]
            else:
                lines[at] += text[0]
                text = text[1:]
        return lines


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "terminal", lambda: (80, 8))


async def events(*given: Progress | Exception) -> AsyncIterator[Progress]:
    for event in given:
        if isinstance(event, Exception):
            raise event
        yield event


@pytest.mark.usefixtures("narrow")
def test_each_blob_has_one_line_that_is_drawn_over():
    screen = Screen()
    bars = Bars(screen)
    bars.update(Progress("pulling manifest"))
    for done in range(0, 101, 10):
        bars.update(pulling(A, 100_000_000, done * 1_000_000))
        bars.update(pulling(B, 1000, done * 10))
    bars.update(Progress("success"))
    bars.close()
    seen = screen.seen()
    assert [row.split()[:2] for row in seen if row] == [
        ["pulling", "manifest"],
        ["pulling", "aaaaaaaaaaaa"],
        ["pulling", "bbbbbbbbbbbb"],
        ["success"],
    ]
    assert "100%" in seen[1] and "100 MB" in seen[1]
    assert max(map(len, seen)) < 80


@pytest.mark.usefixtures("narrow")
def test_more_blobs_than_the_terminal_has_lines():
    screen = Screen()
    bars = Bars(screen)
    digests = [f"sha256:{i:064x}" for i in range(30)]
    for step in (1, 2):
        for digest in digests:
            bars.update(pulling(digest, 2, step))
    bars.close()
    assert all("100%" in row for row in screen.seen()[-8:-1])


def test_without_a_terminal_there_is_a_line_every_ten_per_cent(capsys: pytest.CaptureFixture[str]):
    given = [pulling(A, 1000, n) for n in range(0, 1001, 5)]
    asyncio.run(show_pull(events(Progress("pulling manifest"), *given, Progress("success")), "m"))
    out = capsys.readouterr()
    lines = out.err.splitlines()
    assert out.out == ""
    assert lines[0] == "pulling manifest" and lines[-1] == "success"
    assert [row.split()[2] for row in lines[1:-1]] == [f"{n}%" for n in range(0, 101, 10)]
    assert "\x1b" not in out.err


def test_json_lines_are_ollamas(capsys: pytest.CaptureFixture[str]):
    asyncio.run(show_pull(events(Progress("pulling manifest"), pulling(A, 10, 5)), "m", as_json=True))
    lines = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert lines == [
        {"status": "pulling manifest"},
        {"status": "pulling aaaaaaaaaaaa", "digest": A, "total": 10, "completed": 5},
    ]


def test_ctrl_c_says_how_to_go_on(capsys: pytest.CaptureFixture[str]):
    async def stopped() -> None:
        async def endless() -> AsyncIterator[Progress]:
            yield pulling(A, 10, 5)
            task.cancel()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(show_pull(endless(), "smollm2"))
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stopped())
    assert "`allod pull smollm2` goes on from here" in capsys.readouterr().err


def test_the_speed_leaves_out_what_was_here_before():
    row = Row("pulling", 1000)
    row.add(900, 10.0)
    row.add(950, 11.0)
    assert row.speed == 50
    assert "1s" in line(row, 100, 11.0)


def test_hashing_a_file_has_a_bar_though_no_digest_yet():
    screen = Screen()
    bars = Bars(screen)
    bars.update(Progress("hashing x.gguf", total=100, completed=50))
    bars.close()
    assert "50%" in screen.getvalue()


@pytest.mark.parametrize(("share", "text"), [(0, "    "), (1, "████"), (2, "████"), (0.5, "██  "), (0.53125, "██▏ ")])
def test_bar(share: float, text: str):
    assert bar(share, 4) == text
