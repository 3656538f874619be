"""INI and TOML files as dicts. Runs in the job's Python."""

import configparser
import tomllib
from collections.abc import Mapping
from pathlib import Path

from allod.interpreter.probe.finding import Finding, quoted, variable
from allod.interpreter.probe.texts import read, tree

MOST = 24  # lines


def ini(path: Path, finding: Finding) -> None:
    """Sections and their values, which are all text; a file without sections is none of these."""
    text, encoding = read(path)
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    values = {name: dict(parser[name]) for name in parser.sections()}
    if not values:
        raise ValueError("no sections")
    name = told(finding, "INI", values, "a dict of its sections, each a dict of text")
    finding.load = [
        "parser = configparser.ConfigParser(interpolation=None)",
        "parser.optionxform = str",
        f"parser.read({quoted(finding.path)}, encoding={quoted(encoding)})",
        f"{name} = {{section: dict(parser[section]) for section in parser.sections()}}",
    ]


def toml(path: Path, finding: Finding) -> None:
    """Tables and values."""
    name = told(finding, "TOML", tomllib.loads(path.read_text(encoding="utf-8")), "the parsed TOML, a dict")
    finding.load = [f'{name} = tomllib.load(open({quoted(finding.path)}, "rb"))']


def told(finding: Finding, kind: str, values: Mapping[str, object], what: str) -> str:
    """Puts what is there into the finding; the variable's name."""
    name = finding.name = variable(finding.path)
    finding.kind, finding.about, finding.what = "settings", kind, what
    finding.lines = tree(values, name, 0)[:MOST]
    return name
