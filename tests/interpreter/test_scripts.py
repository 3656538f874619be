"""Scripts of every shape behave in the kernel as in plain Python; what they show keeps every form it has."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allod.home import Home
from allod.interpreter.kernels import Kernel
from allod.interpreter.kernels.outputs import Failure, Output, Picture, Result, Stream
from allod.interpreter.sandbox import Limits
from allod.interpreter.workspace import Workspace, fonts

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)


@contextlib.asynccontextmanager
async def started(home: Home, tmp_path: Path) -> AsyncIterator[Kernel]:
    (tmp_path / "work").mkdir()
    workspace = Workspace.create(home, tmp_path / "work")
    async with Kernel.start(workspace, Limits(wall=60)) as kernel:
        yield kernel
    workspace.discard()


async def outputs(kernel: Kernel, code: str) -> list[Output]:
    return [output async for output in kernel.run(code)]


SCRIPTS = {
    "future": ("from __future__ import annotations\ndef f(x: Nowhere): return 1\nprint(f(2))", "1\n"),
    "docstring, then future": ('"""A script."""\nfrom __future__ import annotations\nprint(1)', "1\n"),
    "docstring of a function": ('def f():\n    """Doc."""\nprint(f.__doc__)', "Doc.\n"),
    "lambda": ("f = lambda x, *a, k=2: x + k\nprint(sorted([3, 1], key=lambda v: -v), f(1))", "[3, 1] 3\n"),
    "blank lines in strings": ("t = '''a\n\n\n  b\n'''\nprint(repr(t))", "'a\\n\\n\\n  b\\n'\n"),
    "blank lines and a magic": (
        "import os\n\n%cd -q /tmp\nt = '''x\n\n%no\n!no'''\nprint(t)\nprint(os.getcwd())",
        "x\n\n%no\n!no\n/tmp\n",
    ),
    "shell lines": ("x = 'a b'\n!echo one {x}\nout = !echo two\nprint(out[0])", "one a b\ntwo\n"),
    "await": ("import asyncio\nprint(await asyncio.sleep(0, 'slept'))", "slept\n"),
    "async for": ("async def g():\n    yield 1\nasync for v in g():\n    print(v)", "1\n"),
    "match": ("match [1, 2]:\n    case [a, *_]:\n        print(a)", "1\n"),
    "comprehension": ("n = 3\nprint([i * n for i in range(n)], {k: n for k in 'a'})", "[0, 3, 6] {'a': 3}\n"),
    "main": ("if __name__ == '__main__':\n    print('main')", "main\n"),
    "tabs and continuation": ("if True:\n\tx = 1 + \\\n\t\t2\n\tprint(x)", "3\n"),
    "if, elif, pass": ("x = 2\nif x == 1:\n    pass\nelif x == 2:\n\n    print('two')\nelse:\n    pass", "two\n"),
    "a comment and a magic": ("# time it\n%time y = 5\nprint(y)", None),
    "global": ("c = 0\ndef up():\n    global c\n    c += 1\nup()\nprint(c)", "1\n"),
    "percent and exclamation": ("print('%d%%' % 5, '!ls', f'{3!r}')", "5% !ls 3\n"),
    "carriage returns": ("x = 1\r\nif x:\r\n    print(x)\r\n", "1\n"),
    "three backticks": ("t = '''```md\nx\n```'''\nprint(t)", "```md\nx\n```\n"),
    "nested classes and decorators": (
        "import functools\n@functools.cache\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nprint(f(30))",
        "832040\n",
    ),
}


async def test_scripts_behave_as_in_plain_python(home: Home, tmp_path: Path) -> None:
    async with started(home, tmp_path) as kernel:
        for name, (code, expected) in SCRIPTS.items():
            found = await outputs(kernel, code)
            assert not [each for each in found if isinstance(each, Failure)], (name, found)
            printed = "".join(each.text for each in found if isinstance(each, Stream))
            assert (name, printed if expected is not None else None) == (name, expected)


async def test_what_is_shown_keeps_every_form(home: Home, tmp_path: Path) -> None:
    async with started(home, tmp_path) as kernel:
        await outputs(kernel, "from IPython.display import SVG, HTML, display")
        svg = "<svg xmlns='http://www.w3.org/2000/svg'><path d='M0 0'/></svg>"
        found = await outputs(kernel, f'display(SVG("{svg}"))')
        assert len(found) == 1 and isinstance(found[0], Picture)
        assert found[0].svg.startswith("<svg") and found[0].png == b""
        table = (await outputs(kernel, "import pandas as pd\npd.DataFrame({'city': ['Bonn'], 'n': [3]})"))[0]
        assert isinstance(table, Result)
        assert "Bonn" in table.text and "<table" in table.data["text/html"]
        both = (await outputs(kernel, "class Both:\n    def _repr_html_(self): return '<b>both</b>'\nBoth()"))[0]
        assert isinstance(both, Result) and both.data["text/html"] == "<b>both</b>"
        code = "display({'text/html': '<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>'}, raw=True)"
        rich = (await outputs(kernel, code))[0]
        assert isinstance(rich, Result) and rich.text == "1 2\n3"
