"""Red team, when changes are listed and applied: what code left in its layer is followed nowhere, and runs nowhere."""

import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_tools import shell, tree_of

from allod.errors import AllodError
from allod.home import Home
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.workspace import Workspace, overlay, transaction

pytestmark = pytest.mark.anyio
SECRET = "SECRET-beside\n"


@pytest.fixture(params=["overlay", "copy"], autouse=True)
def layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the code's changes land in: all holds for both."""
    monkeypatch.setattr(Sandbox, "overlays", request.param == "overlay")
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "user" / "work"
    (path / "deep").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "deep/c.txt"):
        (path / name).write_text(f"{name}\n")
    (path.parent / "secret").mkdir()
    (path.parent / "secret" / "key").write_text(SECRET)
    (path.parent / "key").write_text(SECRET)
    return path


@pytest.fixture
def workspace(home: Home, folder: Path) -> Iterator[Workspace]:
    made = Workspace.create(home, folder)
    yield made
    made.discard()


def holds_secret(folder: Path) -> bool:
    return any(SECRET.strip().encode() in repr(value).encode() for value in tree_of(folder).values())


# ── swapped while it is listed or applied ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["nothing", "file", "folder", "hard"])
async def test_what_is_swapped_for_a_link_meanwhile_is_not_followed(
    what: str, workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As code would that still ran, or had got at its layer."""
    await shell(workspace, "mkdir new; echo job > new/key; echo job > a.txt")
    shown = workspace.changes()
    assert {c.path for c in shown} == {"a.txt", "new/key"}
    upper = workspace.upper
    secret = folder.parent / "secret"

    def swap(name: str) -> None:
        if name != "stage made":
            return
        if what == "file":
            (upper / "new" / "key").unlink()
            (upper / "new" / "key").symlink_to(secret / "key")
        elif what == "folder":
            shutil.rmtree(upper / "new")
            (upper / "new").symlink_to(secret)
        elif what == "hard":
            (folder / "new").symlink_to(secret)  # where it is to be written

    monkeypatch.setattr(transaction, "checkpoint", swap)
    before = tree_of(folder.parent / "secret")
    if what == "nothing":
        workspace.apply()
        assert (folder / "new" / "key").read_text() == "job\n"
        return
    try:
        workspace.apply()
    except (AllodError, OSError):
        assert (folder / "a.txt").read_text() == "a.txt\n"  # all or nothing
    assert tree_of(secret) == before
    if what != "hard":
        assert not holds_secret(folder)
        assert not (folder / "new").is_symlink()


async def test_previews_and_listings_read_nothing_outside(workspace: Workspace, folder: Path) -> None:
    secret = folder.parent / "key"
    await shell(workspace, "for n in csv json png xlsx parquet txt; do ln -s \"$1\" x.$n; ln -s ../key y.$n; done; "
                "ln -s \"$1\" z; rm -r deep;"
                "ln -s ../secret deep; rm a.txt; ln -s ../key a.txt", str(secret))  # fmt: skip
    for path in ("one.csv", "two.txt"):  # and as if code had got at its layer
        (workspace.upper / path).symlink_to(secret)
    found = workspace.changes()
    assert SECRET.strip() not in repr(found)
    workspace.apply()
    assert not holds_secret(folder)
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


async def test_a_fork_copies_nothing_from_outside(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, 'ln -s "$1" l; ln -s ../secret d; mkfifo p', str(folder.parent / "key"))
    (workspace.upper / "forged").symlink_to(folder.parent / "secret")
    other = workspace.fork()
    assert not holds_secret(other.upper)
    assert (other.upper / "l").is_symlink()
    other.discard()


# ── marks of the overlay, made by hand ──────────────────────────────────────────────────────────────────────────────

MARKS = """
    import os
    for name in ("a.txt", "new", "deep/c.txt"):
        try:
            if os.path.exists(name): os.remove(name)
            os.mknod(name, 0o20666, 0)
        except OSError as error: print(error)
    os.makedirs("opaque", exist_ok=True)
    os.makedirs("deep", exist_ok=True)
    for path in ("deep", "opaque", ".", "b.txt"):
        for space in ("user", "trusted", "security"):
            for mark, value in (("opaque", b"y"), ("redirect", b"/../secret"), ("redirect", b"../../secret"),
                                ("metacopy", b""), ("origin", b"\\0\\xfb"), ("whiteouts", b"y"),
                                ("overlay.opaque", b"y")):
                try: os.setxattr(path, f"{space}.overlay.{mark}", value)
                except OSError as error: pass
"""


async def test_forged_marks_read_nothing_and_delete_nothing_unseen(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, '"$@"', sys.executable, "-c", textwrap.dedent(MARKS))
    said = await shell(workspace, "cat deep/* opaque/* ./* */key 2>/dev/null || true")  # mounted anew
    assert "SECRET" not in said
    listed = {c.path.rstrip("/") for c in workspace.changes() if not c.refused}
    before = tree_of(folder)
    outside = tree_of(folder.parent / "secret")
    workspace.apply()
    after = tree_of(folder)
    different = {os.fsdecode(k) for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert {path for path in different if not any(each.startswith(path + "/") for each in listed)} <= listed
    assert tree_of(folder.parent / "secret") == outside
    assert not [path for path in folder.rglob("*") if not (path.is_file() or path.is_dir() or path.is_symlink())]
    assert not [path for path in folder.rglob("*") if any("overlay" in name for name in os.listxattr(path))]


async def test_no_privileges_are_applied(workspace: Workspace, folder: Path) -> None:
    """Neither modes that run as another, nor capabilities, nor attributes; also not as if set in the layer itself."""
    await shell(workspace, "cp /bin/true suid; chmod 6755 suid; mkdir sticky; chmod 3777 sticky; echo > sticky/x;"
                "echo 1 > a.txt; chmod 4777 a.txt; setfattr -n user.x -v y suid 2>/dev/null || true")  # fmt: skip
    forged = workspace.upper / "forged"
    shutil.copy("/bin/true", forged)
    forged.chmod(0o6755)
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    if os.geteuid() == 0:
        os.setxattr(forged, "security.capability", capability)
        assert os.getxattr(forged, "security.capability")
    workspace.apply()
    for name in ("suid", "sticky", "a.txt", "forged"):
        assert not (folder / name).stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX), name
        assert os.listxattr(folder / name) == [], name
    assert (folder / "forged").stat().st_mode & 0o777 == 0o755  # it was applied


# ── what would be run later ─────────────────────────────────────────────────────────────────────────────────────────

CONFIG = "[core]\\n\\trepositoryformatversion = 0\\n\\tfsmonitor = touch ../ran; false\\n"
HOOK = "#!/bin/sh\\ntouch ../ran\\n"
WAYS = {
    "hook": f"cd repo; printf '{HOOK}' > .git/hooks/pre-commit; chmod 755 .git/hooks/pre-commit",
    "config": f"cd repo; printf '{CONFIG}' >> .git/config",
    "commondir": f"cd repo; cp -r .git evil; printf '{CONFIG}' >> evil/config; echo ../evil > .git/commondir",
    "gitdir": f"cd repo; mkdir sub; cp -r .git evil; printf '{CONFIG}' >> evil/config;"
    "echo 'gitdir: ../evil' > sub/.git",
    "link": f"cd repo; cp -r .git evil; printf '{CONFIG}' >> evil/config; rm -rf .git; ln -s evil .git",
    "include": f"cd repo; printf '{CONFIG}' > inc; printf '[include]\\n\\tpath = ../inc\\n' >> .git/config",
    "worktree": f"cd repo; printf '[extensions]\\n\\tworktreeConfig = true\\n' >> .git/config;"
    f"printf '{CONFIG}' > .git/config.worktree",
}


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kept", [True, False])
async def test_git_runs_nothing_of_what_was_applied(
    way: str, kept: bool, home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what allod leaves out of it taken over (not ``kept``), git does."""
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    subprocess.run(["git", "init", "-q", str(folder / "repo")], check=True)
    if not kept:
        monkeypatch.setattr(overlay, "refusal", lambda path, after: "")
    with Workspace.create(home, folder) as workspace:
        await shell(workspace, WAYS[way])
        workspace.apply()
        workspace.discard()
    inner = "sub" if way == "gitdir" else "."
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["status"], [*who, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], cwd=folder / "repo" / inner, capture_output=True, check=False)
    assert bool(list(folder.rglob("ran"))) != kept


@pytest.mark.parametrize(
    "path",
    [".envrc", ".vscode/tasks.json", ".bashrc", ".github/workflows/x.yml", "Makefile", "x.desktop", "conftest.py",
     "bare/HEAD", "sub/package.json", "sitecustomize.py", ".husky/pre-commit", "run"],
)  # fmt: skip
async def test_what_something_will_run_is_marked(path: str, workspace: Workspace) -> None:
    await shell(
        workspace,
        'mkdir -p "$(dirname "$1")"; echo x > "$1"; [ "$1" != run ] || chmod 755 "$1"; echo y > plain.txt',
        path,
    )
    marked = {c.path: bool(c.note) for c in workspace.changes()}
    assert marked == {path: True, "plain.txt": False}


async def test_names_do_not_steer_the_terminal(workspace: Workspace) -> None:
    names = [
        "a\x1b]0;x\x07",
        "b\nApplied: c",
        "c\r  created  good",
        "d\u202egnp.exe",
        "e\x9b2J",
        "f\u2066x",
        "g\x08\x08",
    ]
    code = (
        "import sys\nfor name in sys.argv[1:]:\n"
        "    open(name, 'w').write('x'); open(name + '.csv', 'w').write('a,b\\n1,2\\n')"
    )
    await shell(workspace, '"$@"', sys.executable, "-c", code, *names)
    found = workspace.changes()
    assert len(found) == 2 * len(names)
    for c in found:
        assert c.place.isprintable() and c.note.replace("\n", "").isprintable(), c
    assert {c.place for c in workspace.apply([c.place for c in found]).changes} == {c.place for c in found}
