"""What a job's code reaches of the network, for as long as one program of it runs: nothing, or what was granted.

    async with Reach.opened(workspace) as reach:
        process = await sandbox.spawn(reach.view(view), reach.command(command), reach.environment(env), limits)

Without grants for it a reach changes nothing. With them a proxy (``egress.tunnel``) listens on a Unix socket in a
folder that is shown inside, and a relay there (``relay.py``) makes it a proxy on the loopback of the sandbox, which has
no other network. With packages granted the program's Python is one whose packages go into the job's own layer
(``packages``).
"""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from allod.interpreter.sandbox import View
from allod.interpreter.workspace import packages

if TYPE_CHECKING:
    from allod.egress.tunnel import Tunnel
    from allod.interpreter.workspace.workspace import Workspace

INSIDE = "/run/allod/reach"
RELAY = f"{INSIDE}/relay.py"
WAY = f"{INSIDE}/way"
SOCKET = f"{WAY}/proxy"
AUTHORITIES = f"{INSIDE}/authorities.pem"
PREFIX = "allod-reach-"


class Reach:
    """Made by ``Reach.opened``."""

    def __init__(self, workspace: "Workspace", folder: Path | None, tunnel: "Tunnel | None") -> None:
        self.grants = workspace.grants
        self._workspace = workspace
        self._folder = folder
        self._tunnel = tunnel

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, workspace: "Workspace") -> AsyncGenerator[Self]:
        """The way out for as long as the block runs; then every connection is cut.

        Raises:
            BadSettings: packages are granted, and there is no index to get them from.
        """
        grants = workspace.grants
        if not grants.net and not grants.packages:
            yield cls(workspace, None, None)
            return
        from allod.egress import Egress
        from allod.egress.hosts import Allowed
        from allod.egress.tunnel import Tunnel

        index = packages.index_hosts(workspace.home) if grants.packages else ()
        tunnel = Tunnel(Egress(workspace.home), "job", Allowed(grants.net, trusted=index))
        folder = socket_folder()
        try:
            async with tunnel.serving(folder / "proxy"):
                yield cls(workspace, folder, tunnel)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def refused(self) -> Sequence[str]:
        """The hosts that code asked for and that were not granted."""
        return self._tunnel.refused if self._tunnel else ()

    def view(self, view: View) -> View:
        """The same, with the socket and the relay."""
        if self._folder is None:
            return view
        shown = [(Path(__file__).with_name("relay.py"), RELAY), (self._folder, WAY)]
        if authorities := own_authorities():
            shown.append((authorities, AUTHORITIES))
        return msgspec.structs.replace(view, readable=(*view.readable, *shown))

    def command(self, command: Sequence[str]) -> list[str]:
        """The same, run by way of the relay; and allod's Python replaced by the job's where it has one."""
        if self._folder is None:
            return list(command)
        own = [packages.PYTHON if self.grants.packages and each == sys.executable else each for each in command]
        return [sys.executable, "-I", "-S", "-E", RELAY, SOCKET, *own]

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """The same, with what programs need to know. The proxy's own address is told by the relay."""
        env = dict(env)
        if self._tunnel is None:
            return env
        if own_authorities():
            env |= dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"), AUTHORITIES)
        # What listens outside on this machine's loopback is reached by the proxy as well, where it was granted.
        if not any(granted.loopback for granted in self._tunnel.allowed.hosts):
            env["NO_PROXY"] = env["no_proxy"] = "localhost,127.0.0.1,::1"
        env["ALLOD_NET"] = " ".join(self.grants.net)
        return env | packages.environment(self._workspace.home, env) if self.grants.packages else env


def own_authorities() -> Path | None:
    """The certificate authorities that the user set instead of the system's."""
    name = os.environ.get("SSL_CERT_FILE", "")
    return Path(name) if name and Path(name).is_file() else None


def socket_folder() -> Path:
    """A new folder for a proxy's socket, with a short path; those of processes that were killed are cleared away."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    base = Path(runtime if os.access(runtime, os.W_OK) and len(runtime) < 60 else tempfile.gettempdir())
    for old in base.glob(f"{PREFIX}*"):
        pid = old.name.removeprefix(PREFIX).split("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
