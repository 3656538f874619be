"""Real kernels in real sandboxes: output, failures, interrupts, limits, and the Python that models speak."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.kernels.kernel import Kernel, socket_folder
from allod.interpreter.kernels.outputs import Failure, InputRequest, Notice, Output, Picture, Result, Stream
from allod.interpreter.sandbox import Limits
from allod.interpreter.sandbox.cgroup import Cgroup
from allod.interpreter.sandbox.limits import usage
from allod.interpreter.workspace import Workspace, fonts

pytestmark = pytest.mark.anyio
make_fonts = fonts.make


@pytest.fixture(autouse=True)
def no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has a new home, in which each kernel would make the list of fonts beside what is tested."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "work"
    path.mkdir()
    return path


@contextlib.asynccontextmanager
async def started(home: Home, folder: Path, limits: Limits | None = None) -> AsyncIterator[Kernel]:
    workspace = Workspace.create(home, folder)
    try:
        async with Kernel.start(workspace, limits or Limits(wall=60)) as kernel:
            yield kernel
    finally:
        workspace.discard()


async def outputs(kernel: Kernel, code: str, **options: bool) -> list[Output]:
    return [output async for output in kernel.run(code, **options)]


async def printed(kernel: Kernel, code: str) -> str:
    """What code prints and shows, failures included, as one text."""
    return "".join(getattr(output, "text", "") for output in await outputs(kernel, code))


async def failure(kernel: Kernel, code: str) -> Failure:
    found = await outputs(kernel, code, stdin=False)
    assert isinstance(found[-1], Failure), found
    return found[-1]


def after(seconds: float, call) -> None:
    """Calls an async function a little later, beside what runs."""
    import asyncio

    async def later() -> None:
        await asyncio.sleep(seconds)
        await call()

    after.task = asyncio.ensure_future(later())


# ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_output_comes_in_kinds_and_state_stays(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        assert await outputs(kernel, "x = 6 * 7; print('hi'); x") == [
            Stream("stdout", "hi\n"),
            Result("42", {"text/plain": "42"}),
        ]
        assert await outputs(kernel, "import sys; print('oh', file=sys.stderr)") == [Stream("stderr", "oh\n")]
        assert await printed(kernel, "def f(a): return a + x") == ""
        assert await printed(kernel, "f(1)") == "43"
        assert await printed(kernel, "import subprocess; r = subprocess.run(['echo', 'child'])") == "child\n"
        assert await outputs(kernel, "") == []


async def test_output_streams_while_the_code_runs(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        run = kernel.run("import time\nprint('first', flush=True)\ntime.sleep(30)")
        first = await anext(run)
        assert first == Stream("stdout", "first\n")
        begun = time.monotonic()
        await run.aclose()  # leaving the loop interrupts the code
        assert time.monotonic() - begun < 2
        assert await printed(kernel, "'alive'") == "'alive'"


async def test_a_million_lines_keep_head_and_tail_and_the_whole_on_disk(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(shown=2000, kept=3_000_000)) as kernel:
        text = await printed(kernel, "for i in range(1_000_000): print(i)")
        assert text.startswith("0\n1\n2\n")
        assert text.endswith("999998\n999999\n") or "dropped" in text
        assert "characters left out" in text
        assert len(text) < 3000
        whole = (kernel.workspace.output / "0001.txt").read_text()
        assert whole.startswith("0\n1\n2\n")
        assert 2_900_000 < len(whole) <= 3_000_100
        assert await printed(kernel, "1 + 1") == "2"


async def test_table_is_text_and_picture_is_png(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        table = await outputs(kernel, "import pandas as pd; pd.DataFrame({'a': [1, 2]})")
        assert isinstance(table[0], Result)
        assert table[0].text == "   a\n0  1\n1  2"
        assert "text/html" in table[0].data
        shown = await outputs(kernel, "plt.plot([1, 2]); plt.show(); plt.savefig('p.png')")
        assert isinstance(shown[0], Picture)
        assert shown[0].png.startswith(b"\x89PNG")
        # plt.show() did not empty the figure that was saved after it.
        assert await printed(kernel, "Image.open('p.png').convert('L').getextrema()[0] < 128") == "True"
        forgotten = await outputs(kernel, "fig, ax = plt.subplots(); line = ax.plot([1, 2])")
        assert [type(each) for each in forgotten] == [Picture]
        assert await outputs(kernel, "1 + 1") == [Result("2", {"text/plain": "2"})]  # shown once only


async def test_input_reaches_the_user_and_the_answer_the_code(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        seen: list[Output] = []
        async for output in kernel.run("name = input('name? '); print('hello', name)"):
            seen.append(output)
            if isinstance(output, InputRequest):
                await kernel.answer("Ada")
        assert seen == [InputRequest("name? "), Stream("stdout", "hello Ada\n")]
        assert "Nobody can answer" in (await failure(kernel, "input()")).hint


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_failure_shows_own_frames_the_line_and_what_its_names_hold(home: Home, folder: Path) -> None:
    (folder / "helper.py").write_text("def third(row):\n    return row['c']\n")
    async with started(home, folder) as kernel:
        found = await failure(kernel, "import pandas as pd\ndf = pd.DataFrame({'a': [1], 'b': [2]})\ndf['c'].sum()")
        assert (found.name, found.message, found.line, found.source) == ("KeyError", "'c'", 3, "df['c'].sum()")
        assert found.values == ("df = DataFrame, 1 rows, columns ['a', 'b']",)
        assert "site-packages" not in found.text
        nested = await failure(kernel, "import helper\nrows = [{'a': 1}]\nfor row in rows:\n    helper.third(row)")
        assert "line 4: helper.third(row)\nline 2 of helper.py in third: return row['c']" in nested.traceback
        assert nested.values == ("row = dict, 1 keys ['a']",)
        assert (nested.line, nested.source) == (4, "helper.third(row)")
        syntax = await failure(kernel, "x = 1\nif True print(1)")
        assert (syntax.name, syntax.line) == ("SyntaxError", 2)


ODD = [
    ("class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E", "no message"),
    ("raise RuntimeError('x' * 1_000_000)", "RuntimeError", "…"),
    ("def f(): return f()\nf()", "RecursionError", "recursion"),
    ("raise RuntimeError('\\udcff\\x00')", "RuntimeError", ""),
    ("class B:\n  def __repr__(self): 1/0\nb = B(); b.x", "AttributeError", "no attribute"),
    ("sys.exit(3)", "SystemExit", "3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("x = '", "SyntaxError", ""),
    ("\x00", "SyntaxError|ValueError", ""),  # Python before 3.11.4: ValueError
]


async def test_odd_failures_are_told_and_the_kernel_lives(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        for code, name, words in ODD:
            found = await failure(kernel, code)
            assert found.name in name.split("|"), code
            assert words in found.text, code
            assert len(found.text) < 5000, code
            assert await printed(kernel, "1 + 1") == "2", code


async def test_failures_say_what_was_probably_meant(home: Home, folder: Path) -> None:
    (folder / "Films 2024.csv").write_text("a\n")
    async with started(home, folder) as kernel:
        await printed(kernel, "import pandas as pd\nfilms = pd.DataFrame({'a': [1]})")
        for code, words in (
            ("open('films 2024.cvs')", "Did you mean 'Films 2024.csv'?"),
            ("open('budget.xlsx')", "there is: 'Films 2024.csv'"),
            ("open('/home/user/x.csv')", f"Only files in {folder}"),
            ("film.head()", "Did you mean 'films'?"),
            ("films.heads()", "Did you mean 'head'?"),
            ("films['A']", "Did you mean 'a'?"),
            ("row = {'title': 1}; row['titel']", "Did you mean 'title'?"),
        ):
            assert words in (await failure(kernel, code)).hint, code
        other = "others = pd.DataFrame({'items': [1]}); films['items']"  # it is meant, but of another table
        assert "'items'" not in (await failure(kernel, other)).hint
        caused = "try:\n    int('x')\nexcept ValueError as e:\n    raise RuntimeError('no') from e"
        assert "caused by ValueError: invalid literal" in (await failure(kernel, caused)).traceback


async def test_exit_ends_the_run_only(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        assert await outputs(kernel, "x = 5; print('before'); exit()\nprint('after')") == [Stream("stdout", "before\n")]
        assert await printed(kernel, "quit()") == ""
        assert await printed(kernel, "sys.exit(0)") == ""
        await anyio.sleep(0.3)
        assert await printed(kernel, "x") == "5"


# ── stopping ────────────────────────────────────────────────────────────────────────────────────────────────────────


ENDLESS = [
    "while True: pass",
    "import time; time.sleep(600)",
    "import subprocess; subprocess.run(['sleep', '600'])",
    "import threading; threading.Event().wait()",
    "import asyncio; asyncio.run(asyncio.sleep(600))",
    "await __import__('asyncio').sleep(600)",
    "while True: print('x' * 1000)",
    "input('never answered')",
]


async def test_interrupt_is_back_within_two_seconds_with_state(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await printed(kernel, "x = 5")
        for code in ENDLESS:
            began: list[float] = []

            async def stop(began: list[float] = began) -> None:
                began.append(time.monotonic())
                await kernel.interrupt()

            after(0.3, stop)
            found = await outputs(kernel, code)
            assert time.monotonic() - began[0] < 2, code
            assert any(isinstance(each, Failure) for each in found), code
            assert await printed(kernel, "x + 1") == "6", code


async def test_code_that_does_not_heed_an_interrupt_is_killed_within_two_seconds(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await kernel.ready()
        after(0.5, kernel.interrupt)
        began = time.monotonic()
        stubborn = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(1)"
        found = await failure(kernel, stubborn)
        assert time.monotonic() - began < 4
        assert found.name == "KeyboardInterrupt"
        assert "lost" in found.hint
        again = await outputs(kernel, "1 + 1")
        assert isinstance(again[0], Notice)
        assert again[1] == Result("2", {"text/plain": "2"})


STUBBORN = "trap '' INT; echo begun; sleep 1000.{number} & wait; wait"  # ignores Ctrl-C, and so does its child


def sleeping(kernel: Kernel, number: int) -> list[int]:
    """Processes of the sandbox that sleep for as long as that number says."""
    found: list[int] = []
    for pid in kernel.machine.pids:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found += [pid] if words[:2] == ["sleep", f"1000.{number}"] else []
    return found


@pytest.mark.parametrize("how", ["subprocess.run({args}, check=True)", "subprocess.Popen({args}); time.sleep(60)"])
async def test_programs_that_ignore_an_interrupt_end_with_the_block(home: Home, folder: Path, how: str) -> None:
    async with started(home, folder) as kernel:
        keeps = STUBBORN.format(number=7)
        await printed(kernel, f"import subprocess, time\nx = 5\nearlier = subprocess.Popen(['sh', '-c', {keeps!r}])")
        while not sleeping(kernel, 7):
            await anyio.sleep(0.02)
        code = how.format(args=["sh", "-c", STUBBORN.format(number=8)])

        async def stop() -> None:
            while not sleeping(kernel, 8):
                await anyio.sleep(0.02)
            await kernel.interrupt()

        after(0, stop)
        assert (await failure(kernel, code)).name == "KeyboardInterrupt"
        assert not sleeping(kernel, 8)
        assert sleeping(kernel, 7)  # another block's
        assert await printed(kernel, "print(x, earlier.poll())") == "5 None\n"


async def test_what_ends_by_itself_after_an_interrupt_may_do_so(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        tidy = "trap 'sleep 0.1; echo tidied > tidied.txt; exit' INT; touch ready; while :; do sleep 0.01; done"

        async def stop() -> None:
            while not (kernel.workspace.upper / "ready").exists():
                await anyio.sleep(0.02)
            await kernel.interrupt()

        after(0, stop)
        await failure(kernel, f"import subprocess, time\nsubprocess.Popen(['sh', '-c', {tidy!r}])\ntime.sleep(60)")
        assert await printed(kernel, "open('tidied.txt').read()") == "'tidied\\n'"


async def test_cancelling_the_task_interrupts_the_code(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await printed(kernel, "x = 5")
        with anyio.move_on_after(0.5):
            await printed(kernel, "while True: pass")
        assert await printed(kernel, "x") == "5"


async def test_wall_and_idle_limits_keep_the_state(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(wall=1, idle=0)) as kernel:
        assert await printed(kernel, "x = 5") == ""
        found = await failure(kernel, "while True: pass")
        assert found.name == "TimeLimit"
        assert "more than 1 s" in found.message
        assert await printed(kernel, "x") == "5"
    async with started(home, folder, Limits(wall=60, idle=1)) as kernel:
        assert "waited" in (await failure(kernel, "import time; time.sleep(600)")).message
        busy = "import time\nend = time.time() + 2\nwhile time.time() < end: pass\nprint('done')"
        assert await printed(kernel, busy) == "done\n"


# ── limits and death ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os._exit(3)", "status 3"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    ],
)
async def test_death_is_named_and_the_next_run_starts_anew(home: Home, folder: Path, code: str, words: str) -> None:
    async with started(home, folder) as kernel:
        await printed(kernel, "x = 5; open('kept.txt', 'w').write('kept')")
        found = await failure(kernel, code)
        assert found.name == "KernelDied"
        assert words in found.message
        again = await outputs(kernel, "'x' in globals(), open('kept.txt').read()")
        assert isinstance(again[0], Notice)
        assert "variables are gone" in again[0].text
        assert again[1:] == [Result("(False, 'kept')", {"text/plain": "(False, 'kept')"})]


async def test_memory_of_one_process_is_a_memory_error_and_of_many_the_end(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(memory=600 << 20)) as kernel:
        found = await failure(kernel, "x = 5\ndata = bytearray(1 << 30)")
        assert found.name == "MemoryError"
        assert "memory limit" in found.hint
        assert await printed(kernel, "import numpy as np; np.ones(1000).sum() + x") == "np.float64(1005.0)"
        # Shared memory is in no rlimit, so it takes the cgroup or the watch.
        shared = (
            "import mmap\nm = mmap.mmap(-1, 1 << 30)\nfor i in range(1024): m.write(bytes(1 << 20))\nwhile True: pass"
        )
        found = await failure(kernel, shared)
        assert found.name == "MemoryLimit"
        assert "MB" in found.message


async def test_forked_workers_do_not_count_what_they_share(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(memory=800 << 20)) as kernel:
        code = (
            "import multiprocessing, time\ndata = bytearray(b'x' * (300 << 20))\n"
            "def f(i): time.sleep(0.8); return len(data)\n"
            "with multiprocessing.get_context('fork').Pool(4) as pool: print(len(pool.map(f, range(4))))"
        )
        assert await printed(kernel, code) == "4\n"


async def test_fork_bomb_and_full_disk_end_the_kernel(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(processes=60, disk=50 << 20, file=20 << 20, memory=4 << 30)) as kernel:
        # A process that may start no more gets an error; where root may, the kernel is ended.
        bomb = await outputs(kernel, "import os\nwhile True: os.fork()", stdin=False)
        assert any(isinstance(each, Failure) for each in bomb)
        assert kernel._process is None or len(kernel._process.pids) <= 62
        code = "for i in range(40):\n    open(f'{i}.bin', 'wb').write(bytes(5 << 20))\nimport time; time.sleep(20)"
        assert (await failure(kernel, code)).name == "DiskLimit"
        found = await failure(kernel, "f = open('big.bin', 'wb'); f.truncate(30 << 20)")
        assert "File too large" in found.message


async def test_everything_dies_with_the_kernel(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await printed(
            kernel, "import subprocess\nfor _ in range(3): subprocess.Popen(['sleep', '321'], start_new_session=True)"
        )
        assert kernel._process is not None
        pids = kernel._process.pids
        assert len(pids) >= 4
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            assert "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_kernels_run_side_by_side_and_leave_nothing_behind(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    fork = workspace.fork()
    async with Kernel.start(workspace) as one, Kernel.start(fork) as other:
        found: dict[str, str] = {}

        async def run(kernel: Kernel, text: str) -> None:
            found[text] = await printed(kernel, f"open('f', 'w').write('{text}'); print(open('f').read())")

        async with anyio.create_task_group() as group:
            group.start_soon(run, one, "one")
            group.start_soon(run, other, "other")
        assert found == {"one": "one\n1", "other": "other\n1"} or found == {"one": "one\n", "other": "other\n"}
        folders = [one._folder, other._folder]
    assert not any(path is not None and path.exists() for path in folders)
    assert not (folder / "f").exists()


async def test_a_kernel_that_cannot_start_says_why(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from allod.interpreter.sandbox import bubblewrap as sandbox

    workspace = Workspace.create(home, folder)
    monkeypatch.setattr(sandbox, "environment", dict)
    monkeypatch.setattr("allod.interpreter.kernels.machine.environment", lambda: {"PYTHONHOME": "/nowhere"})
    with pytest.raises(SandboxFailed, match="did not start"):
        async with Kernel.start(workspace) as kernel:
            await kernel.ready()


async def test_a_killed_allod_takes_its_kernel_along(home: Home, folder: Path) -> None:
    import sys

    child = f"""
import asyncio, sys
from pathlib import Path
from allod.home import Home
from allod.interpreter.workspace import fonts
from allod.interpreter.kernels.kernel import Kernel, socket_folder
from allod.interpreter.workspace import Workspace
async def main():
    async with Kernel.start(Workspace.create(Home.open(), Path({str(folder)!r}))) as kernel:
        await kernel.ready()
        print(kernel._process.init, *kernel._process.pids, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    async with await anyio.open_process([sys.executable, "-c", child], stderr=None) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in (await process.stdout.receive()).split()]
        process.send_signal(signal.SIGKILL)
        await process.wait()
    with anyio.fail_after(5):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await anyio.sleep(0.05)


async def test_a_kernel_that_has_nothing_to_do_uses_no_processor(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await printed(kernel, "1")
        assert kernel._process is not None
        before = usage(kernel._process.pids).cpu
        await anyio.sleep(0.6)
        assert usage(kernel._process.pids).cpu - before < 0.3  # it waits, rather than look again and again


# ── the dialect ─────────────────────────────────────────────────────────────────────────────────────────────────────


DIALECT = [
    ("len(pd.DataFrame({'a': [1]}).append({'a': 2}, ignore_index=True))", "2"),
    ("df = pd.DataFrame({'a': [1, None]})\ndf['a'].fillna(0, inplace=True)\ndf['a'].sum()", "np.float64(1.0)"),
    ("list(pd.DataFrame({'a': [1]}).iteritems())[0][0]", "'a'"),
    ("np.float, np.bool is not None, np.NaN != np.NaN", "(float, True, True)"),
    ("Image.new('L', (4, 4)).resize((2, 2), Image.ANTIALIAS).size", "(2, 2)"),
    ("datetime.strptime('2024-01-02', '%Y-%m-%d').year", "2024"),
    ("datetime.date(2024, 1, 2).year", "2024"),
    ("Path('x').suffix, Counter('aa')['a'], json.dumps([]), re.sub('a', 'b', 'a')", "('', 2, '[]', 'b')"),
    ("time.time() > 0, sorted(glob.glob('*'))", "(True, ['d'])"),
    ("os.rename('d', 'e'); os.listdir('e')", "['x']"),
    ("Path('e').rename('f'); shutil.move('f', 'g'); os.listdir('g')", "['x']"),
    ("import asyncio\nasync def f(): return 5\nasyncio.run(f())", "5"),
    ("import PyPDF2\nPyPDF2.PdfFileReader.__name__", "'Reader'"),
    ("os.path.dirname(__file__) == os.getcwd(), __name__, sys.argv", "(True, '__main__', ['script.py'])"),
    ("import collections\ncollections.Mapping.__name__", "'Mapping'"),
    ("def f():\n    np = 5\n    return np\nf()", "5"),
    ("import pandas as pd\npart = pd.DataFrame({'a': [1, 2]})[lambda d: d.a > 1]\npart['b'] = 3\nlen(part)", "1"),
    ("plt.style.use('seaborn')\nplt.cm.get_cmap('viridis').name", "'viridis'"),
    ("f = lambda: 1\ndef g():\n    '''doc'''\ng.__doc__", "'doc'"),
    ("from __future__ import annotations\n1", "1"),
    ("s = '''a\n\n\nb'''\nlen(s)", "5"),
    ("import warnings\nwarnings.warn('x', DeprecationWarning)\n1", "1"),
]


async def test_dialect(home: Home, folder: Path) -> None:
    (folder / "d").mkdir()
    (folder / "d" / "x").write_text("x")
    async with started(home, folder) as kernel:
        for code, shown in DIALECT:
            forget = "for name in set(globals()) - before: del globals()[name]"
            await printed(kernel, "before = set(globals()) | {'before'}")
            assert await printed(kernel, code) == shown, code
            assert await printed(kernel, forget) == ""


async def test_an_assignment_without_effect_is_an_error(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        found = await failure(kernel, "df = pd.DataFrame({'a': [1, 2]})\ndf[df['a'] > 1]['b'] = 0")
        assert "has no effect" in found.message


async def test_nothing_heavy_is_imported_for_a_small_job(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        heavy = ["pandas", "numpy", "matplotlib", "PIL", "sqlite3", "debugpy"]
        assert await printed(kernel, f"import sys; [m for m in {heavy} if sys.modules.get(m)]") == "[]"


async def test_a_module_of_the_users_named_like_a_library_does_not_break_the_kernel(home: Home, folder: Path) -> None:
    (folder / "random.py").write_text("raise RuntimeError('mine')\n")
    (folder / "mine.py").write_text("x = 5\n")
    async with started(home, folder) as kernel:
        assert await printed(kernel, "import mine; mine.x") == "5"


async def test_a_huge_value_is_shown_short_and_a_huge_line_too(home: Home, folder: Path) -> None:
    async with started(home, folder, Limits(shown=1000, kept=100_000)) as kernel:
        found = await outputs(kernel, "'x' * 50_000_000")
        assert sum(len(getattr(each, "text", "")) for each in found) < 1200
        assert isinstance(found[0], Result)
        assert len(found[0].data["text/plain"]) <= 500
        assert len(await printed(kernel, "print('y' * 50_000_000)")) < 1300
        assert await printed(kernel, "1 + 1") == "2"


async def test_a_kernel_that_dies_between_runs_is_started_anew(home: Home, folder: Path) -> None:
    async with started(home, folder) as kernel:
        await printed(kernel, "x = 1")
        assert kernel._program is not None
        os.kill(kernel._program.pid, signal.SIGKILL)  # as a machine without memory does
        with anyio.fail_after(5):
            while not kernel._program.vanished:
                await anyio.sleep(0.05)
        again = await outputs(kernel, "1 + 1")
        assert isinstance(again[0], Notice)
        assert again[1] == Result("2", {"text/plain": "2"})


async def test_the_list_of_fonts_is_made_once(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "make", make_fonts)
    async with started(home, folder) as kernel:
        assert await printed(kernel, "os.listdir('/run/home')") == "[]"
        with anyio.fail_after(30):
            while not (made := fonts.cache(home)) or not made.exists():
                await anyio.sleep(0.05)
    async with started(home, folder) as kernel:
        code = "import matplotlib, os; [f.partition('-')[0] for f in os.listdir(matplotlib.get_configdir())]"
        assert await printed(kernel, code) == "['fontlist']"


async def test_sockets_of_killed_processes_are_cleared_away(
    home: Home, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, alive = tmp_path / "allod-kernel-999999999-x", tmp_path / f"allod-kernel-{os.getpid()}-x"
    dead.mkdir()
    alive.mkdir()
    socket_folder()
    assert not dead.exists()
    assert alive.exists()


async def test_a_cgroup_holds_the_job_where_one_may_be_made(home: Home, folder: Path) -> None:
    probe = Cgroup.make("allod-999999998", 1 << 30, 100)
    if probe is None:
        pytest.skip("this user may not make a cgroup here")
    assert probe.close()
    async with started(home, folder, Limits(memory=400 << 20, processes=50)) as kernel:
        await kernel.ready()
        group = kernel._process.cgroup
        assert group is not None
        held = {int(pid) for place in group.folders for pid in (place / "cgroup.procs").read_text().split()}
        assert set(kernel._process.pids) <= held
        shared = "import mmap\nm = mmap.mmap(-1, 1 << 30)\nfor i in range(1024): m.write(bytes(1 << 20))"
        found = await failure(kernel, f"{shared}\nwhile True: pass")
        assert found.name == "MemoryLimit"
    assert not any(place.exists() for place in group.folders)


async def test_closing_at_any_moment_of_the_start_leaves_nothing(home: Home, folder: Path) -> None:
    for delay in (0, 0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2):
        begun = time.monotonic()
        async with started(home, folder):
            await anyio.sleep(delay)
        assert time.monotonic() - begun < 5
    ours = os.fsencode(folder)
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if ours in read_bytes(path)]
    assert not left
    assert not list(Path(tempfile.gettempdir()).glob(f"allod-kernel-{os.getpid()}-*"))


def read_bytes(path: Path) -> bytes:
    """A file's bytes; none where its process has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
