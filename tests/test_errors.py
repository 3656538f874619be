"""The tree of errors: every one has a status, an exit code, and stands in the picture at the top of errors.py."""

import inspect

import pytest

from allod import errors
from allod.errors import AllodError

CLASSES = [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, AllodError)]


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, tuple[str, int, int]] = {}
    path: list[str] = ["AllodError"]
    for line in (errors.__doc__ or "").splitlines():
        if "── " not in line:
            continue
        depth = line.index("──") // 4  # "    ├──" is a child of AllodError, "    │   ├──" one of its children
        name, status, code, *_ = line.split("── ")[1].split()
        drawn[name] = (path[depth - 1], int(status), int(code))
        path[depth:] = [name]
    real = {c.__name__: (c.__base__.__name__, c.status, c.exit_code) for c in CLASSES if c is not AllodError}
    assert drawn == real


@pytest.mark.parametrize("kind", CLASSES)
def test_message_and_remedy_are_kept(kind: type[AllodError]) -> None:
    error = kind("what happened", "what to do")
    assert (error.message, error.remedy, str(error)) == ("what happened", "what to do", "what happened")
    assert 400 <= error.status < 600
    assert error.exit_code > 0
