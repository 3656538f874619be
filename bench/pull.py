"""How fast a pull is, side by side in one run with fetching and checking the same bytes by hand.

python bench/pull.py [--size MB] [--rounds N] [--folder DIR]

    allod pull <model>   over   curl -o file <blob> && sha256sum file        at least 0.8 of its speed

A registry (Debian's docker-registry) on loopback holds a model of one blob of random bytes. Rounds alternate, medians
are compared; each side is a whole process, start-up included, and writes into the same folder (memory, /dev/shm, where
that has the room: a disk would be measured instead). Not every sha256sum uses the CPU's SHA instructions, which allod's
hashlib does, so curl with ``openssl dgst -sha256`` is shown as well, without a target.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ALLOD = Path(sys.executable).with_name("allod")
LEAST = 0.8
MEDIA = "application/vnd.docker.distribution.manifest.v2+json"


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A docker-registry over ``folder`` on a free port; yields host:port."""
    program = shutil.which("docker-registry")
    if program is None:
        sys.exit("docker-registry is not installed (Debian: apt-get install docker-registry)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "registry.yml"
    storage = f"{{filesystem: {{rootdirectory: {folder / 'registry'}}}}}"
    config.write_text(f"version: 0.1\nlog: {{level: error}}\nstorage: {storage}\nhttp: {{addr: {host}}}\n")
    child = subprocess.Popen([program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while socket.socket().connect_ex(("127.0.0.1", int(host.rpartition(":")[2]))):
            time.sleep(0.02)
        yield host
    finally:
        child.terminate()
        child.wait()


def push(host: str, size: int) -> str:
    """Puts a model with one blob of ``size`` random bytes into the registry; returns the blob's digest."""
    block = os.urandom(1 << 20)
    data = b"".join(i.to_bytes(4) + block[4:] for i in range(size >> 20))

    def upload(content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        place = http.post(f"http://{host}/v2/bench/model/blobs/uploads/").headers["location"]
        http.put(f"{place}&digest={digest}", content=content).raise_for_status()
        return {"digest": digest, "size": len(content)}

    with httpx.Client(trust_env=False, timeout=120) as http:
        weights = {"mediaType": "application/vnd.ollama.image.model", **upload(data)}
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", **upload(b"{}")}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MEDIA, "config": config, "layers": [weights]})
        url = f"http://{host}/v2/bench/model/manifests/1"
        http.put(url, content=manifest, headers={"content-type": MEDIA}).raise_for_status()
    return str(weights["digest"])


def timed(*commands: list[str | Path], env: dict[str, str] | None = None) -> float:
    """Seconds of the commands, one after the other."""
    began = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{command[0]} failed: {done.stderr}")
    return time.perf_counter() - began


def pulled(folder: Path, host: str) -> float:
    """Seconds of `allod pull` into an empty home."""
    home = folder / "home"
    env = {key: value for key, value in os.environ.items() if not key.startswith("ALLOD_")}
    env |= {"ALLOD_HOME": str(home), "ALLOD_HOST": "127.0.0.1:9", "HOME": str(home)}
    taken = timed([ALLOD, "pull", f"{host}/bench/model:1"], env=env)
    shutil.rmtree(home)
    return taken


def by_hand(folder: Path, url: str, check: list[str | Path]) -> float:
    """Seconds of curl and a program that hashes what it wrote."""
    file = folder / "file"
    taken = timed(["curl", "-sS", "--fail", "-o", file, url], [*check, file])
    file.unlink()
    return taken


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=1000, help="MB (default 1000)")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", type=Path, help="where to write (default /dev/shm where it has room)")
    given = options.parse_args()
    size = given.size * 1_000_000 >> 20 << 20
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 3 * size
    with tempfile.TemporaryDirectory(dir=given.folder or (memory if roomy else None)) as name:
        folder = Path(name)
        with registry(folder) as host:
            url = f"http://{host}/v2/bench/model/blobs/{push(host, size)}"
            ways = {"allod pull": lambda: pulled(folder, host)}
            ways["curl + sha256sum"] = lambda: by_hand(folder, url, ["sha256sum"])
            if shutil.which("openssl"):
                ways["curl + openssl"] = lambda: by_hand(folder, url, ["openssl", "dgst", "-sha256"])
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(given.rounds):
                for way, go in ways.items():
                    seconds[way].append(go())
    middle = {way: statistics.median(times) for way, times in seconds.items()}
    print(f"{size / 1e6:.0f} MB in {folder.parent}, {given.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for way, taken in middle.items():
        print(f"{way:<18} {taken:6.2f} s  {size / 1e6 / taken:6.0f} MB/s")
    ratio = middle["curl + sha256sum"] / middle["allod pull"]
    print(f"allod over curl + sha256sum: {ratio:.2f} (at least {LEAST}) {'ok' if ratio >= LEAST else 'TOO SLOW'}")
    if "curl + openssl" in middle:
        print(f"allod over curl + openssl:   {middle['curl + openssl'] / middle['allod pull']:.2f} (no target)")
    sys.exit(ratio < LEAST)


if __name__ == "__main__":
    main()
