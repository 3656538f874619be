# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false
"""The kernel's shell: IPython's, with plain failures, bounded output and an ``exit`` that ends the run only."""

import builtins
import codecs
import os
import subprocess
import sys
import time
from typing import Any

from ipykernel.iostream import OutStream
from ipykernel.zmqshell import ZMQInteractiveShell

OUTPUT_LIMIT = int(os.environ.get("ALLOD_OUTPUT_LIMIT", 64 << 20))  # characters of a run that leave the kernel
BURST = 4 << 20  # characters a second that leave without waiting, so that a loop that prints cannot fill the memory


class Shell(ZMQInteractiveShell):
    """Reports failures as allod shows them."""

    report: Any  # failure.report, once loaded

    def init_environment(self):
        """Leaves the environment alone; output is text, not a terminal."""
        os.environ["PAGER"] = os.environ["GIT_PAGER"] = "cat"

    def system(self, cmd):
        """``!command``: its output as it comes, without a terminal; IPython's own takes a pseudo-terminal's \\r\\n."""
        command = self.var_expand(cmd, depth=1)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        sys.stdout.flush()
        with subprocess.Popen(
            command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        ) as process:
            while data := process.stdout.read(1 << 16):
                sys.stdout.write(decoder.decode(data))
        self.user_ns["_exit_code"] = process.returncode

    def showtraceback(self, exc_tuple=None, *args, **kwargs):
        """An exception of the user's code."""
        try:
            etype, value, tb = self._get_exc_info(exc_tuple)
        except ValueError:
            return
        if isinstance(value, SystemExit) and value.code in (None, 0):
            self._last_traceback = []
            return
        self._send_failure(etype, value, tb)

    def showsyntaxerror(self, filename=None, running_compiled_code=False):
        """Code that cannot be parsed."""
        self._send_failure(*sys.exc_info())

    def showindentationerror(self):
        """Code that cannot be parsed."""
        self._send_failure(*sys.exc_info())

    def _format_exception_for_storage(self, exception, *_, **__):
        """Not for a history that nobody reads: IPython takes 0.2 s for it, in a library such as pandas."""
        return []

    def _send_failure(self, etype, value, tb):
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            content = self.report(self, etype, value, tb)
        except BaseException as error:  # noqa: BLE001  # a hostile __str__; the failure itself must be told
            content = {"ename": etype.__name__, "evalue": f"(no message: {type(error).__name__})", "traceback": []}
        hook = self.displayhook
        topic = hook.topic.replace(b"execute_result", b"error") if hook.topic else None
        hook.session.send(hook.pub_socket, "error", content, hook.parent_header, ident=topic)
        self._last_traceback = content["traceback"]


def prepare(shell, load):
    """Sets up a new shell."""
    load("modules")
    Shell.report = staticmethod(load("failure").report)
    shell.ask_exit = lambda: None
    kernel = os.getpid()
    # A fork that gets to the end of the code is no second kernel.
    shell.events.register("post_run_cell", lambda _: None if os.getpid() == kernel else os._exit(0))
    for name in ("exit", "quit"):
        setattr(builtins, name, leave)
        shell.user_ns[name] = leave
    sys.argv = ["script.py"]
    shell.user_ns["__file__"] = os.path.join(os.getcwd(), "script.py")
    bound_output(shell)
    load("dialect").install(shell, load)
    # What was set up is no variable of the user's.
    shell.user_ns_hidden.update(shell.user_ns)


def leave(code=None):
    """``exit()``: ends this run; the kernel and its variables stay."""
    raise SystemExit(code)


def bound_output(shell):
    """Lets a run print so much and no more, and not faster than it can be taken."""
    written = [0]
    taken = [0.0, 0]
    write = OutStream.write

    def bounded(self, string):
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        size = len(string)
        room = OUTPUT_LIMIT - written[0]
        written[0] += size
        if room <= 0:
            return size
        string = string[:room]
        now = time.monotonic()
        if now - taken[0] > 1:
            taken[:] = now, 0
        taken[1] += size
        if taken[1] > BURST:
            time.sleep(max(0.0, 1 - (now - taken[0])))
        write(self, string)
        return size

    def begin(*_):
        written[0] = 0

    def end(*_):
        if written[0] > OUTPUT_LIMIT:
            dropped = written[0] - OUTPUT_LIMIT
            written[0] = 0
            sys.stdout.write(f"\n[{dropped:,} more characters were printed and dropped]\n")

    OutStream.write = bounded
    shell.events.register("pre_run_cell", begin)
    shell.events.register("post_run_cell", end)
