"""The filter of system calls: what it refuses, and that programs do not miss it."""

import struct
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_tools import shell

from allod.home import Home
from allod.interpreter.sandbox import seccomp
from allod.interpreter.workspace import Workspace

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not seccomp.supported(), reason="no filter for this processor"),
]
EPERM, ENOSYS, PRETENDED = 0x50001, 0x50026, 0x50000


@pytest.fixture
def workspace(home: Home, tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "work").mkdir()
    made = Workspace.create(home, tmp_path / "work")
    yield made
    made.discard()


def verdict(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What a filter says, by the rules of classic BPF."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=iIQ6Q", number, architecture, 0, *values)
    steps = list(struct.iter_unpack("=HBBI", program))
    at, loaded = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x20:
            loaded = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            loaded &= value
        elif code == 0x06:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            at += yes if holds else no


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
@pytest.mark.parametrize("strict", [False, True])
def test_what_the_filter_says(machine: str, column: int, strict: bool) -> None:
    program = seccomp.program(strict=strict, machine=machine)
    architecture = seccomp.ARCHITECTURES[machine][0]

    def says(call: tuple[int | None, int | None], *arguments: int) -> int:
        number = call[column]
        assert number is not None
        return verdict(program, architecture, number, *arguments)

    for call in seccomp.CALLS.values():
        if call[column] is not None:
            assert says(call) == EPERM
    assert verdict(program, 0x40000003, 1) == 0x80000000  # another processor's call
    assert column or verdict(program, architecture, 0x40000001) == EPERM
    assert says((0, 63)) == seccomp.ALLOW  # read
    assert says((59, 221)) == seccomp.ALLOW  # execve
    assert says(seccomp.CLONE3) == ENOSYS
    assert says(seccomp.CLONE, 0x3D0F00) == seccomp.ALLOW  # a thread
    assert says(seccomp.CLONE, 0x10000011) == EPERM
    assert says(seccomp.IOCTL, 0, 0x5401) == seccomp.ALLOW
    assert says(seccomp.IOCTL, 0, 0x5412) == says(seccomp.IOCTL, 0, 0xFF00005412) == EPERM
    assert says(seccomp.PERSONALITY, 0xFFFFFFFF) == seccomp.ALLOW
    assert says(seccomp.PERSONALITY, 0x40000) == EPERM
    assert says(seccomp.SOCKET, 1, 1) == says(seccomp.SOCKET, 1, 1 | 0o2000000) == seccomp.ALLOW
    for family in (17, 40, 38, 31):  # packets, virtual machines, crypto, Bluetooth
        assert says(seccomp.SOCKET, family, 1) == EPERM
    assert says(seccomp.SOCKET, 16, 3, 9) == EPERM
    for family in (2, 10, 16):
        assert says(seccomp.SOCKET, family, 3, 0) == (EPERM if strict else seccomp.ALLOW)
    if strict:
        assert says(seccomp.STRICT["connect"]) == EPERM
        assert says(seccomp.PRETENDED["fchmod"]) == PRETENDED
        assert says(seccomp.SOCKET, 1, 2) == says(seccomp.SOCKETPAIR, 1, 2 | 0o4000) == EPERM
        assert says(seccomp.SENDTO, 3, 1, 1, 0, 0) == seccomp.ALLOW
        assert says(seccomp.SENDTO, 3, 1, 1, 0, 1 << 40) == says(seccomp.SENDTO, 3, 1, 1, 0, 64) == EPERM
        assert says(seccomp.PRLIMIT, 0) == seccomp.ALLOW
        assert says(seccomp.PRLIMIT, 77) == EPERM
        for call in seccomp.SCHEDULES.values():
            assert says(call, 0) == seccomp.ALLOW
            assert says(call, 77) == PRETENDED
        for call, own in ((seccomp.PRIORITY, 0), (seccomp.IO_PRIORITY, 1)):
            assert says(call, own, 0) == seccomp.ALLOW
            assert says(call, own, 77) == says(call, own + 1, 0) == EPERM
    assert says(seccomp.TRUNCATE) == seccomp.ALLOW
    older = seccomp.program(strict=True, truncate=False, machine=machine)
    assert verdict(older, architecture, seccomp.TRUNCATE[column]) == EPERM


async def test_refused_calls_are_refused_inside(workspace: Workspace) -> None:
    column = seccomp.ARCHITECTURES[seccomp.platform.machine()][1]
    numbers = {name: call[column] for name, call in seccomp.CALLS.items() if call[column] is not None}
    code = """
        import ctypes, socket, sys
        libc = ctypes.CDLL(None, use_errno=True)
        for name, number in eval(sys.argv[1]).items():
            result = libc.syscall(number, -1, 0, 0, 0, 0, 0)
            if (result, ctypes.get_errno()) != (-1, 1):
                print("DONE", name, result, ctypes.get_errno())
        for family in (17, 40, 38):
            try:
                socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_STREAM); print("MADE", family)
            except PermissionError:
                pass
        socket.socket(socket.AF_INET).close(); socket.socket(socket.AF_UNIX).close()
        print(open("/proc/self/status").read().split("Seccomp:")[1].split()[0])
    """
    said = await shell(workspace, '"$@" 2>&1', sys.executable, "-c", textwrap.dedent(code), repr(numbers))
    assert said == "2\n"


async def test_ordinary_programs_miss_nothing(workspace: Workspace) -> None:
    code = """
        import asyncio, concurrent.futures, multiprocessing, os, shutil, subprocess, threading
        import pandas
        pandas.DataFrame({"a": [1, 2]}).to_csv("t.csv")
        assert pandas.read_csv("t.csv")["a"].sum() == 3
        shutil.copy2("t.csv", "u.csv"); os.chmod("u.csv", 0o600)
        done = []
        thread = threading.Thread(target=done.append, args=(1,)); thread.start(); thread.join()
        with multiprocessing.Pool(2) as pool:
            done += pool.map(abs, [-2, -3])
        with concurrent.futures.ThreadPoolExecutor() as threads:
            done += threads.map(abs, [-4])
        done.append(int(subprocess.run(["bash", "-c", "cat <(echo 5) | sort"], capture_output=True).stdout))
        async def main():
            child = await asyncio.create_subprocess_exec("echo", "6", stdout=subprocess.PIPE)
            done.append(int((await child.communicate())[0]))
        asyncio.run(main())
        print(done)
    """
    said = await shell(workspace, '"$@" 2>&1', sys.executable, "-c", textwrap.dedent(code))
    assert said == "[1, 2, 3, 4, 5, 6]\n"
