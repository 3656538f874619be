"""Starting is quick because little is imported; each command imports its own module and no other."""

import os
import subprocess
import sys

import pytest
from command_line import Allod, Run

import allod as package
from allod.cli import app, completion

HEAVY = {"rich", "httpx", "prompt_toolkit", "starlette", "uvicorn", "jupyter_client", "xllamacpp", "anyio", "psutil"}


def imported(*args: str) -> set[str]:
    """The modules that a command line imports, beyond those of ``python -c pass``."""
    code = (
        "import sys; before = set(sys.modules); sys.argv = ['allod', *sys.argv[1:]]\n"
        "from allod.__main__ import main\n"
        "main(); print(); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_version(allod: Allod):
    for flag in ("--version", "-v"):
        done = allod(flag)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"allod {package.__version__}\n", "")


def test_version_imports_nothing_but_the_package():
    assert imported("--version") == {"allod", "allod.__main__"}


@pytest.mark.usefixtures("home")
def test_a_command_imports_nothing_heavy_and_no_other_command():
    found = imported("list")
    assert not HEAVY & {name.split(".")[0] for name in found}
    assert "allod.cli.listing" in found
    assert not {"allod.cli.run", "allod.cli.do", "allod.cli.doctor"} & found


def test_help_lists_every_command_with_a_line(run: Run):
    code, out, _ = run("--help")
    assert code == 0
    rows = {
        row.split()[0]: row.split(maxsplit=1)[1:] for row in out.partition("Commands:")[2].splitlines() if row.strip()
    }
    assert set(app.MODULES) - {"ls", "start"} <= set(rows)
    assert all(rows[name] for name in app.MODULES if name not in ("ls", "start"))


def test_no_arguments_is_help(run: Run):
    assert run()[:2] == run("--help")[:2]


def test_help_of_a_command(run: Run):
    assert run("help", "pull")[:2] == run("pull", "--help")[:2]
    assert run("help")[1].startswith("Usage: allod")


@pytest.mark.parametrize(
    ("words", "modules"),
    [(["list"], ["listing"]), (["ls", "--json"], ["listing"]), (["do", "x"], ["do"])],
)
def test_only_the_module_of_the_command_is_loaded(words: list[str], modules: list[str]):
    assert app.modules_for(words) == modules


@pytest.mark.parametrize("words", [[], ["--help"], ["lst"], ["help", "run"]])
def test_all_modules_are_loaded_where_the_command_is_not_known(words: list[str]):
    assert set(app.modules_for(words)) == set(app.MODULES.values())


def test_a_bare_think_means_true():
    assert app.think_as_true(["run", "m", "--think", "hi"]) == ["run", "m", "--think=true", "hi"]
    assert app.think_as_true(["run", "m", "--", "--think"]) == ["run", "m", "--", "--think"]


# ── completion ──────────────────────────────────────────────────────────────────────────────────────────────────────


def completed(allod: Allod, shell: str, *words: str) -> list[str]:
    line = {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    if shell != "bash":
        line = {"_TYPER_COMPLETE_ARGS": " ".join(words)}
    done = allod(env=os.environ | line | {"_ALLOD_COMPLETE": f"complete_{shell}"})
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.usefixtures("smollm2_home")
def test_commands_and_models_are_completed(allod: Allod):
    assert completed(allod, "bash", "allod", "li") == ["list"]
    assert completed(allod, "bash", "allod", "show", "smo") == ["smollm2:135m"]
    assert completed(allod, "bash", "allod", "rm", "x") == []


@pytest.mark.usefixtures("smollm2_home")
def test_bash_gets_only_what_follows_the_colon(allod: Allod):
    assert completed(allod, "bash", "allod", "show", "smollm2", ":", "1") == ["135m"]
    assert completed(allod, "bash", "allod", "show", "smollm2", ":") == ["135m"]
    assert completed(allod, "bash", "allod", "cp", "smollm2", ":", "135m", "smo") == []


@pytest.mark.usefixtures("smollm2_home")
def test_zsh_gets_the_whole_name(allod: Allod):
    assert "135m" in "".join(completed(allod, "zsh", "allod", "show", "smollm2:1"))


@pytest.mark.usefixtures("home")
def test_completion_never_complains(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ALLOD_ENGINE_SLOTS", "many")
    assert completion.local_names("") == []
