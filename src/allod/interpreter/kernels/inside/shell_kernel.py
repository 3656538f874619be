# pyright: basic, reportMissingImports=false
"""A kernel for the shell: one bash that lives on from block to block. ``python shell_kernel.py CONNECTION_FILE``.

The directory, variables, functions, aliases, options and jobs live on. A block is read first (``bash -n``), so that one
without an end is an error and not a wait. bash reads what to do from a pipe of its own and tells how it went on
another, so nothing that a block prints is taken for its end. Where a block ends the bash (``exit``, ``exec``, ``kill``)
a new one takes over from what the old one wrote down last. Blocks read an empty stdin.
"""

import codecs
import os
import selectors
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from wire import Wire, remove

OUTPUT_LIMIT = int(os.environ.get("ALLOD_OUTPUT_LIMIT", 64 << 20))  # bytes of a block's output that leave the kernel
SIGNALS_HEEDED = 2  # interrupts after which what is left is killed
CHUNK = 1 << 16
LOOK_EVERY = 0.05  # seconds between looks at whether bash lives, while nothing is printed
# What a bash does first. Its lines of its own have no part in what blocks see: $0, errors, traps.
BEGIN = r"""
exec {number}<&-
BASH_ARGV0=bash
shopt -s expand_aliases
[ -e {place}/state ] && . {place}/state 2>/dev/null
unset ALLOD_OUTPUT_LIMIT IPYTHONDIR
__allod_keep() {{ { declare -p; declare -f; alias -p; shopt -p; printf 'umask %s\ncd -- %q\n' "$(umask)" "$PWD"; } \
  >{place}/state.new 2>/dev/null && command mv -f {place}/state.new {place}/state; }}
__allod_note() {{ [[ $3 == ". {place}/bash" ]] || __allod_failed=("$1" "$2" "$3"); }}
__allod_tell() {{ printf '%s\0' "$@" "${{__allod_failed[@]}}" end >&{control}; }}
""".replace("{ declare", "{{ declare").replace("; } \\", "; }} \\")
# And for each block. What a block set to fail by (set -e and its like) is its own.
BLOCK = r"""
{{ __allod_failed=("" "" ""); exec >&{out} 2>&{err} </dev/null; set -E; trap '__allod_keep; __allod_tell exit' EXIT
trap '__allod_note "$?" "$LINENO" "$BASH_COMMAND"' ERR; trap 'exit 130' INT; }} 2>/dev/null
. {place}/bash
{{ __allod_status=$?; set +eEuxvn +o pipefail; trap - ERR; }} 2>/dev/null
{{ __allod_keep; __allod_tell "$__allod_status"; }} 2>/dev/null
"""


class Bash:
    """One bash and its pipes."""

    def __init__(self, place):
        read, self.script = os.pipe()
        self.control, tell = os.pipe()
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        inside = (read, tell, out, err)
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", f"/dev/fd/{read}"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, pass_fds=inside, process_group=0,
        )  # fmt: skip
        for fd in inside:
            os.close(fd)
        for fd in (self.control, self.out, self.err):
            os.set_blocking(fd, False)
        self.words = {"number": read, "control": tell, "out": out, "err": err, "place": place}
        os.write(self.script, BEGIN.format(**self.words).encode())

    def run(self):
        """Begins the block."""
        try:
            os.write(self.script, BLOCK.format(**self.words).encode())
        except BrokenPipeError:
            pass

    def signal(self, number):
        """To it and what it started."""
        try:
            os.killpg(self.process.pid, number)
        except OSError:
            pass

    def close(self):
        """It has ended; what it left in the background goes on."""
        self.process.wait()
        for fd in (self.script, self.control, self.out, self.err):
            os.close(fd)


class Kernel:
    """Answers requests until it is killed."""

    def __init__(self, connection):
        self.wire = Wire(connection)
        self.count = 0
        self.written = 0
        self.interrupts = 0
        self.running = False  # a block; else an interrupt has come too late
        self.place = self.wire.info["ip"] + "-files"  # the block, and what the last bash wrote down
        os.makedirs(self.place, mode=0o700)
        self.bash = Bash(self.place)
        self.decoders = {}
        signal.signal(signal.SIGINT, self.interrupted)

    def interrupted(self, *_):
        """Ctrl-C: for the block. What does not heed it is killed, and bash with it."""
        if not self.running:
            return
        self.interrupts += 1
        self.bash.signal(signal.SIGINT if self.interrupts <= SIGNALS_HEEDED else signal.SIGKILL)

    def serve(self):
        """Every request in turn."""
        while True:
            who, kind, content = self.wire.receive()
            self.wire.publish("status", execution_state="busy")
            if kind == "execute_request":
                reply = self.execute(content["code"])
            elif kind == "kernel_info_request":
                reply = {"status": "ok", "protocol_version": "5.3", "language_info": {"name": "bash"}}
            else:
                reply = {"status": "ok"}
            self.wire.send(self.wire.shell, kind.replace("_request", "_reply"), reply, who)
            self.wire.publish("status", execution_state="idle")

    def execute(self, code):
        """One block."""
        self.count += 1
        self.interrupts = self.written = 0
        self.decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        code = code.replace("\r\n", "\n")
        failure = self.unreadable(code)
        if failure is None:
            if self.bash.process.poll() is not None:  # by a late interrupt, or by a job in the background
                self.renew()
            self.running = True
            self.bash.run()
            told = self.watch()
            self.running = False
            failure = self.verdict(code, told)
        if self.written > OUTPUT_LIMIT:
            text = f"\n[{self.written - OUTPUT_LIMIT:,} more bytes were printed and dropped]\n"
            self.wire.publish("stream", name="stdout", text=text)
        if failure is None:
            return {"status": "ok", "execution_count": self.count, "user_expressions": {}, "payload": []}
        self.wire.publish("error", **failure)
        return {"status": "error", "execution_count": self.count, **failure}

    def renew(self):
        """A new bash in the place of one that ended."""
        self.bash.close()
        self.bash = Bash(self.place)

    def unreadable(self, code):
        """Why bash cannot read the block; None where it can. Leaves the block where bash finds it."""
        remove(f"{self.place}/bash")
        with open(f"{self.place}/bash", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(code + "\n")
        if "\0" in code:
            return failed("SyntaxError", "a shell block cannot hold a NUL character")
        read = subprocess.run(
            ["bash", "-O", "extglob", "-n", f"{self.place}/bash"], capture_output=True, text=True, errors="replace"
        )
        said = self.plain(read.stderr).strip()
        if not read.returncode and "here-document" not in said:
            return None
        lines = [line.removeprefix("bash: ") for line in said.splitlines() if "`" in line or "unexpected" in line
                 or "here-document" in line]  # fmt: skip
        number = next((int(word.rstrip(":")) for line in lines for word in line.split() if word[:-1].isdigit()), 0)
        return failed("SyntaxError", "; ".join(lines) or said, number, code)

    def watch(self):
        """Passes on what is printed until bash has told how the block went; what it told, None where it ended."""
        told = b""
        bash = self.bash
        with selectors.DefaultSelector() as ready:
            for fd in (bash.out, bash.err, bash.control):
                ready.register(fd, selectors.EVENT_READ)
            while True:
                came = {key.fd for key, _ in ready.select(LOOK_EVERY)}
                if bash.control in came:
                    more = take(bash.control)
                    told += more or b""
                    if more == b"":  # every end of it is closed
                        ready.unregister(bash.control)
                for fd in (bash.out, bash.err):
                    if fd in came and not self.pass_on(fd):
                        ready.unregister(fd)
                if told.endswith(b"\0end\0"):
                    self.drain()
                    return told.decode(errors="replace").split("\0")[:-2]
                if not came - {bash.out, bash.err} and bash.process.poll() is not None:
                    self.drain()
                    return told.decode(errors="replace").split("\0")[:-2] if told.endswith(b"\0end\0") else None

    def drain(self):
        """What was printed and not yet read; not what background jobs may print later."""
        until = time.monotonic() + 1
        for fd in (self.bash.out, self.bash.err):
            while time.monotonic() < until and self.pass_on(fd):
                pass

    def pass_on(self, fd):
        """One piece of output; false where there is none now."""
        data = take(fd)
        if not data:
            return False
        name = "stdout" if fd == self.bash.out else "stderr"
        room = OUTPUT_LIMIT - self.written
        self.written += len(data)
        if room > 0 and (text := self.decoders[name].decode(data[:room])):
            self.wire.publish("stream", name=name, text=self.plain(text))
        return True

    def verdict(self, code, told):
        """How the block failed; None where it did not."""
        status, *failure = told or ["", "", "", ""]
        gone = self.bash.process
        if told is None or status == "exit":
            code_of_exit = gone.wait()
            self.renew()
            if self.interrupts:
                return failed("KeyboardInterrupt", "")
            if told is None and code_of_exit >= 0:
                return failed("Exit", f"the block replaced or ended the shell (status {code_of_exit})")
            if code_of_exit < 0:
                return failed("Exit", f"the shell was ended by {signal.Signals(-code_of_exit).name}")
            if failure[0] != str(code_of_exit) or "exit" in failure[2].split()[:1]:
                return failed("Exit", f"exit with status {code_of_exit}; what came after it was not run")
            status = str(code_of_exit)  # set -e
        if self.interrupts:
            return failed("KeyboardInterrupt", "")
        if status == "0" or status != failure[0]:
            return None
        line = int(failure[1]) if failure[1].isdigit() else 0
        return failed("ExitStatus", f"{failure[2]}: exit status {status}", line, code)

    def plain(self, text):
        """bash's complaints by line, without the file that a block was put in."""
        return text.replace(f"{self.place}/bash: ", "bash: ") if self.place in text else text


def failed(name, message, line=0, code=""):
    """A failure as allod takes it."""
    lines = code.splitlines()
    source = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    where = [f"line {line}: {source}"] if source else []
    text = f"{name}: {message}" if message else name
    return {"ename": name, "evalue": message, "traceback": [*where, text], "line": line, "source": source, "values": []}


def take(fd):
    """What a pipe holds, None for nothing now, empty at its end."""
    try:
        return os.read(fd, CHUNK)
    except BlockingIOError:
        return None


if __name__ == "__main__":
    Kernel(sys.argv[1]).serve()
