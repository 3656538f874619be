"""New profiles: a file in which everything that can be set stands, said by what it is and commented out.

    path = make(home, "mine", "careful")      # <config>/profiles/mine.toml

Whoever edits it takes the ``# `` away from what should be otherwise; the rest stays that of the profile it extends.
"""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from allod.errors import BadRequest, Conflict, ReadOnly
from allod.home import Home
from allod.interpreter.profiles.files import NAME, load, places, printable
from allod.interpreter.profiles.profile import Profile

# What each key is, in the order of the file.
WORDS = {
    "about": "what it is for, in one line",
    "model": "a name that `allod pull` knows",
    "ask": '"each": before each block and the changes; "changes": before the changes; "nothing"',
    "strict": "what this profile forbids, no flag of the command line allows",
    "languages": 'that may be run, such as ["python", "bash"]; none: all that are here',
    "bounds.steps": "blocks of code that an attempt may run",
    "bounds.attempts": "tries from the beginning",
    "bounds.agree": "attempts that must come to the same before it is believed; 1: the first one is",
    "bounds.together": "attempts at the same time, once the first was not enough; more than 1 pays on a GPU",
    "bounds.rest": "seconds without a job after which the kernels are let go until the next one",
    "bounds.patience": "seconds after which no new attempt is begun, and nothing mended",
    "bounds.context": "tokens",
    "bounds.brief": "a job for files alone ends when the checks find nothing wrong with them",
    "limits.wall": "seconds that one block may run",
    "limits.idle": "seconds without output and without using the processor",
    "limits.memory": 'bytes, also as "4GB"; 0: three quarters of what is free, at most 8 GB',
    "limits.processes": "threads count",
    "limits.file": "bytes of a single file",
    "limits.disk": "bytes that may be written in all",
    "limits.shown": "characters of one block's output that are shown: its head and tail",
    "limits.kept": "bytes of one block's output that are kept on disk",
    "grants.read": 'folders that code may read, such as ["~/prices"]',
    "grants.folders": "further folders that code may change, as it may the job's own",
    "grants.net": 'hosts that code may reach, such as ["example.org"]',
    "grants.packages": "whether code may install Python packages for the time of the job",
    "sampling.temperature": "0: always the likeliest word",
    "sampling.repair": "the same after an error",
    "sampling.afresh": "the same for every attempt but the first",
    "sampling.max_tokens": "of one answer",
    "sampling.seed": "another number, another answer where the temperature is not 0",
    "prompt.listing": "characters that tell of the folder",
    "prompt.tokens": "of a first prompt: the folder is told in fewer words where there are more; 0: any",
    "prompt.output": "characters of a block's output that the model is shown",
    "prompt.system": "what the model is told first",
}


def make(home: Home, name: str, base: str = "default") -> Path:
    """Writes a new profile into the user's folder; the path.

    Raises:
        BadRequest: that is no name.
        NotFound, BadSettings: the base cannot be taken.
        Conflict: there is one already.
        ReadOnly: the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise BadRequest(f"'{printable(name)}' is no name for a profile", "Letters, digits and - _ . make one.")
    text = commented(load(home, base), base)
    path = places(home, name)[0]
    home.folder("profiles", "config")
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Conflict(f"there is a profile '{name}' already", f"Change it: `allod profiles edit {name}`.") from error
    except OSError as error:
        raise ReadOnly(f"cannot write {path}: {error.strerror}", "Check the folder's permissions.") from error
    return path


def commented(profile: Profile, base: str) -> str:
    """The file's text: everything that the base has, commented out."""
    tables = plain(profile)
    lines = [
        f"# A profile for `allod do --profile`. What is not said here is as in '{base}': take the # away from what you",
        f"# want otherwise. So are the worked jobs (prompt.examples), which `allod profiles show {base}` prints.",
        "",
        f"extends = {tomli_w.dumps({'x': base})[4:].strip()}",
    ]
    section = ""
    for key, words in WORDS.items():
        table, _, leaf = key.rpartition(".")
        value = (tables[table] if table else tables)[leaf]
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        first, *more = written(leaf, value if key != "about" else "").splitlines()
        lines += [f"# {first}  # {words}"] if not more else [f"# # {words}", *(f"# {line}" for line in [first, *more])]
    return "\n".join(lines).rstrip() + "\n"


def written(key: str, value: Any) -> str:
    """A key and its value as a file has them; a list of words on one line."""
    if isinstance(value, list):
        return f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return tomli_w.dumps({key: value}, multiline_strings=True).strip()


def plain(profile: Profile) -> dict[str, Any]:
    """A profile as the tables of a file."""
    tables: dict[str, Any] = msgspec.to_builtins(profile)
    return tables


def shown(profile: Profile) -> str:
    """A whole profile as the text of a file."""
    return tomli_w.dumps(plain(profile), multiline_strings=True)
