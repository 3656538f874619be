"""Runs the clients' tests against a server of this checkout; see ``make clients``.

    .venv/bin/python tests/clients/against.py .venv-clients/bin/python

The server runs on a free port, in the tests' own home. Where node and npm are here, their clients are tried too.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MODEL = "smollm2:135m"


def main() -> int:
    """The exit code: 0 where everything passed."""
    environ = {**os.environ, "ALLOD_HOME": str(ROOT / ".cache" / "home"), "ALLOD_OFFLINE": "1"}
    environ |= {"ALLOD_ENGINE_CONTEXT": "2048", "ALLOD_ENGINE_THREADS": "2"}
    command = [sys.executable, "-m", "allod", "serve", "--host", "127.0.0.1:0"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        line = server.stderr.readline()
        found = re.search(r"http://[\d.:]+", line)
        if not found:
            sys.exit(line + server.stderr.read())
        log = threading.Thread(target=server.stderr.read)  # or it fills up, and the server stands still
        log.start()
        try:
            return python_clients(sys.argv[1], found[0]) or npm_clients(found[0])
        finally:
            server.terminate()
            server.wait(30)
            log.join()


def python_clients(python: str, url: str) -> int:
    """Those of PyPI, in a virtual environment of their own."""
    options = ["-q", "-c", os.devnull, "--rootdir", str(HERE), "--confcutdir", str(HERE), "-o", "asyncio_mode=auto"]
    command = [python, "-m", "pytest", *options, "-p", "no:cacheprovider", str(HERE)]
    return subprocess.run(command, env={**os.environ, "ALLOD_CLIENTS_URL": url}, check=False).returncode


def npm_clients(url: str) -> int:
    """Those of npm, installed into a folder that is thrown away."""
    if not (shutil.which("node") and shutil.which("npm")):
        print("npm clients: skipped, as node is not installed (Debian: apt-get install nodejs npm)")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE / "node", folder, dirs_exist_ok=True)
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
        if code := subprocess.run(install, cwd=folder, check=False).returncode:
            return code
        return subprocess.run(["node", "clients.js", url, MODEL], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
