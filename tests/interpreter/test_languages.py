"""Which languages there are, and what a fence's word comes to."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from allod.errors import Unsupported
from allod.home import Home
from allod.interpreter import languages
from allod.interpreter.blocks import Block
from allod.interpreter.kernels import Kernel, specs
from allod.interpreter.kernels.outputs import Failure, Notice, Result, Stream
from allod.interpreter.sandbox import Limits
from allod.interpreter.session import Session
from allod.interpreter.workspace import Workspace, fonts

pytestmark = pytest.mark.anyio


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of Jupyter's data of which nothing is known yet, and no Deno."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setattr(specs, "deno_binary", lambda: "")
    specs.available.cache_clear()
    yield tmp_path / "jupyter"
    specs.available.cache_clear()


def install(data: Path, name: str, spec: object) -> None:
    folder = data / "kernels" / name
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(spec if isinstance(spec, str) else json.dumps(spec))


@pytest.mark.parametrize(
    ("word", "name"),
    [("py", "python"), ("Bash", "shell"), ("console", "shell"), ("JS", "javascript"), ("node", "javascript"),
     ("ts", "typescript"), ("R", "r"), ("jl", "julia"), ("rb", "ruby"), ("c++", "c++"), ("cpp", "c++"), ("c", "c"),
     ("c#", "c#"), ("", ""), ("brainfuck", "brainfuck")],
)  # fmt: skip
def test_words_for_languages(word: str, name: str) -> None:
    assert languages.named(word) == name


@pytest.mark.parametrize(
    ("fence", "code", "name"),
    [("", "ls -la", "shell"), ("", "$ pip list", "shell"), ("", "import os\nprint(1)", "python"), ("", "x", "text"),
     ("c++", "int x;", "c++"), ("", "Total: 5", "text"), ("r", "print('x')", "r"), ("", "", "text")],
)  # fmt: skip
def test_a_block_without_a_name_is_judged_by_its_code(fence: str, code: str, name: str) -> None:
    assert languages.language_of(Block(fence, code)) == name


def test_installed_kernels_are_languages(data: Path) -> None:
    argv = [sys.executable, "-m", "kernel", "-f", "{connection_file}"]
    install(data, "ir", {"argv": argv, "language": "R", "display_name": "R"})
    install(data, "cling", {"argv": argv, "language": "c++17", "interrupt_mode": "message", "env": {"A": "b"}})
    install(data, "gone", {"argv": ["/nowhere/julia"], "language": "julia"})
    install(data, "empty", {"argv": [], "language": "ruby"})
    install(data, "broken", "{")
    install(data, "odd", {"argv": "text", "language": 3})
    install(data, "python4", {"argv": argv, "language": "python"})
    found = {each.name: each for each in languages.available()}
    assert list(found) == ["python", "shell", "c++", "r"]
    assert found["python"].argv == ()
    assert found["c++"].interrupt == "message" and found["c++"].env == {"A": "b"}
    assert data / "kernels" / "ir" in found["r"].folders
    assert languages.find("R") == found["r"] and languages.find("c") is None


def test_what_may_run_is_what_is_here_and_in_the_profile(data: Path) -> None:
    assert languages.refusal("python", []) == ""
    assert languages.refusal("shell", []) == ""
    assert languages.refusal("shell", ["python"]) == "shell is not run here, only python."
    assert languages.refusal("shell", ["python", "bash"]) == ""
    assert languages.refusal("javascript", []) == "javascript is not run here, only python and shell."
    assert languages.refusal("python", ["fortran"]) == "python is not run here, only nothing."


def test_a_home_is_never_shown_for_a_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "deno").touch()
    shown = specs.Language("javascript", argv=(str(tmp_path / "bin" / "deno"),)).folders
    assert shown == (tmp_path / "bin" / "deno",)


KERNEL = """
from ipykernel.kernelbase import Kernel
from ipykernel.kernelapp import IPKernelApp
import os
class Shout(Kernel):
    implementation = "shout"; implementation_version = "1"; banner = ""
    language_info = {"name": "shout", "mimetype": "text/plain", "file_extension": ".s"}
    count = 0
    def do_execute(self, code, silent, *args, **kwargs):
        Shout.count += 1
        if code == "die": os._exit(3)
        if code == "fail":
            error = {"ename": "Bad", "evalue": "no", "traceback": ["\\x1b[31mBad\\x1b[0m: no"]}
            self.send_response(self.iopub_socket, "error", error)
            return {"status": "error", "execution_count": self.execution_count, **error}
        if code == "svg":
            self.send_response(self.iopub_socket, "display_data", {"data": {"image/svg+xml": "<svg/>"}, "metadata": {}})
        if code == "html":
            data = {"data": {"text/html": "<table><tr><td>1</td><td>2</td></tr></table>"}, "metadata": {}}
            self.send_response(self.iopub_socket, "display_data", data)
        text = f"{code.upper()} {Shout.count} {os.environ['LOUD']}"
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": text})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}
IPKernelApp.launch_instance(kernel_class=Shout)
"""


async def test_any_jupyter_kernel_runs_beside_python(
    home: Home, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that somebody else wrote and that listens on TCP ports: found by its spec, its folder shown read-only."""

    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(fonts, "make", nothing)
    argv = [sys.executable, "-s", "{resource_dir}/shout.py", "-f", "{connection_file}"]
    install(
        data,
        "shout",
        {"argv": argv, "language": "Shout", "env": {"LOUD": "yes", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}},
    )
    (data / "kernels" / "shout" / "shout.py").write_text(KERNEL)
    folder = tmp_path / "work"
    folder.mkdir()
    workspace = Workspace.create(home, folder)
    async with Kernel.start(workspace, Limits(wall=30)) as kernel:
        session = Session(workspace, kernel)

        async def ran(code: str, language: str = "shout") -> list[object]:
            return [each async for each in session.run(code, language)]

        assert await ran("x = 2") == [Stream("stdout", "X = 2 1 yes")]
        assert await ran("again", "SHOUT") == [Stream("stdout", "AGAIN 2 yes")]
        assert (await ran("fail"))[0] == Failure("Bad", "no", "Bad: no")
        picture = (await ran("svg"))[0]
        assert (getattr(picture, "svg", ""), getattr(picture, "png", None)) == ("<svg/>", b"")
        table = (await ran("html"))[0]
        assert isinstance(table, Result) and table.text == "1 2" and "<table>" in table.data["text/html"]
        died = await ran("die")
        assert isinstance(died[-1], Failure) and "status 3" in died[-1].message
        assert [type(each) for each in await ran("on")] == [Notice, Stream]
        assert await ran("1 + 1", "py") == [Result("2", {"text/plain": "2"})]
        assert sorted(session.kernels) == ["python", "shout"]
        with pytest.raises(Unsupported, match="only python, shell, shout"):
            await ran("1", "cobol")
    workspace.discard()


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (
            "cv2 is not installed. Install it first: %pip install x",
            "cv2 is not installed. Install it first: %pip install x",
        ),
        (
            "cv2 is not installed: use PIL. (allod do --packages lets a job install x.)",
            "cv2 is not installed: use PIL.",
        ),
        ("", ""),  # the package is there, that part of it is not
    ],
)
def test_advice_for_a_missing_module_is_what_the_kernel_knows(hint: str, said: str) -> None:
    from allod.interpreter.languages import advice

    failure = Failure("ModuleNotFoundError", "No module named 'cv2'", hint=hint)
    assert advice(failure) == said
    assert not said or failure.text.count(said) == 1


def test_advice_for_a_column_that_groups_do_not_have() -> None:
    from allod.interpreter.kernels.outputs import Failure
    from allod.interpreter.languages import advice

    said = advice(Failure("KeyError", "\"Column(s) ['404'] do not exist\"", ""))
    assert said.startswith("There is no column '404'. Make it before the groupby") and "counts rows" in said
    assert advice(Failure("KeyError", "'x'", "")) == ""
