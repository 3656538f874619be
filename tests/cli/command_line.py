"""Types of the fixtures in conftest.py, and `allod do` in a terminal."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
from scripted_server import ScriptedServer

Allod = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., tuple[int, str, str]]
Script = Callable[..., ScriptedServer]


def terminal(*args: str) -> pexpect.spawn:
    """`allod do` in a terminal that does not say where its cursor is, so that it is not waited for."""
    script = Path(sys.executable).with_name("allod")
    env = os.environ | {"PROMPT_TOOLKIT_NO_CPR": "1"}
    return pexpect.spawn(str(script), ["do", "--model", "scripted", *args], timeout=60, encoding="utf-8", env=env)
