# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false
"""Starts the kernel: ``python start.py CONNECTION_FILE``.

An IPython kernel without what a job has no use for (history database, debugger, completion), with allod's own report of
failures and the dialect that models learned.
"""

import os
import sys

sys.modules["debugpy"] = None  # type: ignore[assignment]  # half a second for nothing
del sys.path[0]  # this folder. The user's comes in its place, but not before the kernel has what it needs

from ipykernel.ipkernel import IPythonKernel  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from traitlets import Type  # noqa: E402
from traitlets.config import Config  # noqa: E402


def load(name):
    """A module of this folder, by its file, as the folder is not on the path."""
    import importlib.util

    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".py")
    spec = importlib.util.spec_from_file_location("_allod_" + name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def config(connection):
    """The kernel's settings."""
    c = Config()
    c.IPKernelApp.connection_file = connection
    c.IPKernelApp.log_level = 50
    c.IPKernelApp.exec_files = []
    c.HistoryManager.enabled = False
    c.HistoryManager.hist_file = ":memory:"
    c.InteractiveShell.cache_size = 0  # Out[…] would hold every result in memory
    c.InteractiveShell.colors = "nocolor"
    c.InteractiveShell.xmode = "Context"
    c.Completer.use_jedi = False
    return c


def main(connection):
    """Runs the kernel until it is killed."""
    shell_module = load("shell")

    class Kernel(IPythonKernel):
        shell_class = Type(shell_module.Shell)

    without_network()
    app = IPKernelApp.instance(config=config(connection), kernel_class=Kernel)
    app.init_path = lambda: None
    app.initialize([])
    shell_module.prepare(app.shell, load)
    sys.path.insert(0, "")
    # ipykernel echoes the output of child processes there, which nobody looks at.
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(null, stream._original_stdstream_copy)
    wake_on_signal()
    app.start()


def without_network():
    """Where not even the loopback is there, ipykernel's way for what forked children print cannot be: they are mute."""
    import socket

    from ipykernel import iostream, kernelapp

    try:
        socket.socket(socket.AF_INET).close()
    except PermissionError:

        class Thread(iostream.IOPubThread):
            def __init__(self, socket, pipe=False, **more):
                super().__init__(socket, pipe=False, **more)
                self._process = os.getpid()

            def schedule(self, f):
                if os.getpid() == self._process:
                    super().schedule(f)

            def send_multipart(self, *args, **kwargs):
                if os.getpid() == self._process:
                    super().send_multipart(*args, **kwargs)

        kernelapp.IOPubThread = Thread  # pyright: ignore[reportPrivateImportUsage]


WAKING = []  # its sockets. Were they collected, the loop would see an end to read for ever


def wake_on_signal():
    """Has a signal end the event loop's wait, so that an interrupt reaches code that awaits."""
    import asyncio
    import signal
    import socket

    mine, theirs = WAKING[:] = socket.socketpair()
    mine.setblocking(False)
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    asyncio.get_event_loop().add_reader(mine, lambda: mine.recv(4096))


if __name__ == "__main__":
    main(sys.argv[1])
