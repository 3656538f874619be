"""Types of the fixtures in conftest.py."""

import subprocess
from collections.abc import Callable

Allod = Callable[..., "subprocess.CompletedProcess[str]"]
Run = Callable[..., tuple[int, str, str]]
