"""JavaScript and TypeScript by Deno's own kernel, in the sandbox, without a network. Needs the extra ``js``."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from allod.home import Home
from allod.interpreter.kernels import Kernel, specs
from allod.interpreter.kernels.outputs import Failure, Output, Result, Stream
from allod.interpreter.sandbox import Limits
from allod.interpreter.workspace import Workspace, fonts

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not specs.deno_binary(), reason="Deno is not installed (pip install allod[js])"),
]


@pytest.fixture
async def kernel(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kernel]:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    (tmp_path / "work").mkdir()
    workspace = Workspace.create(home, tmp_path / "work")
    async with Kernel.start(workspace, Limits(wall=30), "js") as kernel:
        yield kernel
    workspace.discard()


async def outputs(kernel: Kernel, code: str) -> list[Output]:
    return [output async for output in kernel.run(code)]


async def test_state_files_types_and_errors(kernel: Kernel) -> None:
    assert await outputs(kernel, "const x = 6 * 7; console.log('hi', x); x") == [
        Stream("stdout", "hi 42\n"),
        Result("42", {"text/plain": "42"}),
    ]
    assert await outputs(kernel, "const y: number = x + 1; y") == [Result("43", {"text/plain": "43"})]
    write = "import fs from 'node:fs'; fs.writeFileSync('a.txt', 'from js'); await Deno.readTextFile('a.txt')"
    assert (await outputs(kernel, write))[0] == Result('"from js"', {"text/plain": '"from js"'})
    failed = (await outputs(kernel, "throw new Error('oops')"))[0]
    assert isinstance(failed, Failure) and (failed.name, failed.message) == ("Error", "oops")
    assert specs.find("typescript") == specs.find("javascript")


async def test_there_is_no_network(kernel: Kernel) -> None:
    failed = (await outputs(kernel, "await fetch('http://192.0.2.1')"))[-1]
    assert isinstance(failed, Failure)


async def test_a_loop_is_interrupted_and_the_state_lives(kernel: Kernel) -> None:
    await outputs(kernel, "let x = 5")
    found: list[Output] = []
    with anyio.fail_after(6):
        async for each in kernel.run("console.log('began'); while (true) {}"):
            found.append(each)
            if isinstance(each, Stream):
                await kernel.interrupt()
    assert isinstance(found[-1], Failure) and found[-1].name == "KeyboardInterrupt"
    assert await outputs(kernel, "x") == [Result("5", {"text/plain": "5"})]
