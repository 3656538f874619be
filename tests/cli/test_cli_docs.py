"""docs/cli.md says what the program says. ``python tests/cli/test_cli_docs.py`` writes its tables anew."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main

from allod.cli import app

DOCS = Path(__file__).parent.parent.parent / "docs" / "cli.md"
HIDDEN = {"ls", "start"}


def commands() -> dict[str, Any]:
    """Every command of the whole app by its name, those of a group by both names."""
    group: Any = typer.main.get_command(app.build(dict.fromkeys(app.MODULES.values())))
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        found |= {f"{name} {sub}": each for sub, each in getattr(command, "commands", {}).items()} or {name: command}
    return found


NAMES = sorted(set(commands()) - HIDDEN)


def table(command: Any) -> str:
    """A command's help and its arguments and options, as they stand in the docs."""
    lines = [command.help.strip(), ""]
    params = [p for p in command.params if p.name != "help"]
    if params:
        lines += ["| | |", "|---|---|"]
    for param in params:
        option = param.param_type_name == "option"
        name = ", ".join(param.opts) if option else (param.metavar or param.name.upper())
        help_text = re.sub(r"\s+", " ", param.help or "").replace("|", "\\|")
        lines.append(f"| `{name}` | {help_text} |")
    return "\n".join(lines).rstrip()


def sections(text: str) -> dict[str, str]:
    """What stands below each heading ``## allod NAME``."""
    parts = re.split(r"^## allod (.+)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_has_a_section_and_every_section_a_command():
    assert set(sections(DOCS.read_text())) == set(commands()) - HIDDEN
    assert {name.split()[0] for name in commands()} == set(app.MODULES)


@pytest.mark.parametrize("name", NAMES)
def test_help_and_options_are_quoted_as_they_are(name: str):
    said = sections(DOCS.read_text()).get(name, "")
    assert table(commands()[name]) in said, "run: python tests/cli/test_cli_docs.py"
    assert "\n    allod " in said, "there is an example"


@pytest.mark.parametrize("name", sorted(commands()))
def test_help_is_one_plain_sentence(name: str):
    command = commands()[name]
    first = command.help.strip().splitlines()[0]
    assert first[0].isupper() and first.endswith(".") and len(first) <= 110


def rewrite() -> None:
    """Puts the tables of today below their headings, in place of those that were there."""
    text = DOCS.read_text()
    for name, command in commands().items():
        if name in HIDDEN:
            continue
        block = f"## allod {name}\n\n{table(command)}\n\n"
        old = re.compile(rf"^## allod {name}\n.*?(?=^    allod )", flags=re.M | re.S)
        text = old.sub(lambda _, block=block: block, text, count=1)
    DOCS.write_text(text)


if __name__ == "__main__":
    rewrite()
