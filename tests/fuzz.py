"""Asks a server whatever its OpenAPI document allows, and what it does not: no 500, no hang, no traceback.

    python tests/fuzz.py SCHEMATHESIS [SECONDS]        # see `make fuzz`

The server has SmolLM2 in a home that is thrown away, and is offline. Jobs, which run code, are left out, and so is what
leaves this machine.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEFT_OUT = "^/(allod/v1/(conversations|runs|profiles)|api/(pull|push))"


def main() -> int:
    """Schemathesis' exit code, or 1 where the server logged a traceback or ended."""
    seconds = sys.argv[2] if len(sys.argv) > 2 else "120"
    with tempfile.TemporaryDirectory() as folder:
        environ = {**os.environ, "ALLOD_HOME": folder, "ALLOD_OFFLINE": "1", "ALLOD_ENGINE_CONTEXT": "512"}
        allod = [sys.executable, "-m", "allod"]
        weights = next((ROOT / ".cache/home/data/models/blobs").glob("sha256-b179c9523d0e*"))
        subprocess.run([*allod, "create", "smollm2:135m", "--from", str(weights)], env=environ, check=True)
        serve = [*allod, "serve", "--host", "127.0.0.1:0"]
        with subprocess.Popen(serve, env=environ, stderr=subprocess.PIPE, text=True) as server:
            assert server.stderr
            found = re.search(r"http://[\d.:]+", server.stderr.readline())
            assert found
            log: list[str] = []
            reader = threading.Thread(target=lambda: log.extend(server.stderr or []), daemon=True)
            reader.start()
            command = [sys.argv[1], "run", f"{found[0]}/openapi.json", "--max-time", seconds, "--request-timeout", "60"]
            command += ["--checks", "not_a_server_error", "--exclude-path-regex", LEFT_OUT, "--continue-on-failure"]
            hooked = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(Path(__file__).parent)}
            code = subprocess.run([*command, "--warnings", "off"], env=hooked, check=False).returncode
            ended = server.poll()
            server.terminate()
            server.wait(30)
            reader.join(5)
    bad = [line for line in log if "Traceback" in line or "a request failed" in line]
    print("".join(log[-40:]) if bad else "no traceback in the server's log")
    return code or int(bool(bad) or ended is not None)


if __name__ == "__main__":
    sys.exit(main())
