"""Workspaces: what code does stays in the overlay until it is applied, and applying is all or nothing."""

import os
import random
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace_tools import shell, times_of, tree_of

from allod.errors import BadRequest, Conflict, DiskFull, NotFound, ReadOnly, SandboxFailed
from allod.home import Home
from allod.interpreter.sandbox import Sandbox
from allod.interpreter.workspace import Workspace, places, seen, transaction, tree
from allod.interpreter.workspace.undo import history, undo

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["overlay", "copy"], autouse=True)
def layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the code's changes land in: all holds for both, where a test says nothing else."""
    monkeypatch.setattr(Sandbox, "overlays", request.param == "overlay")
    return request.param


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some files of every kind."""
    path = tmp_path / "work"
    (path / "deep" / "er").mkdir(parents=True)
    (path / "empty").mkdir()
    (path / "a.txt").write_text("one\ntwo\nthree\n")
    (path / "b.bin").write_bytes(bytes(range(256)) * 10)
    (path / "deep" / "c.txt").write_text("c\n")
    (path / "deep" / "er" / "d.txt").write_text("d\n")
    (path / "link").symlink_to("a.txt")
    (path / "run.sh").write_text("#!/bin/sh\n")
    (path / "run.sh").chmod(0o755)
    for n, file in enumerate(sorted(p for p in path.rglob("*") if p.is_file())):
        os.utime(file, ns=(n * 10**9, n * 10**9 + 123456789), follow_symlinks=False)
    return path


@pytest.fixture
def workspace(home: Home, folder: Path) -> Iterator[Workspace]:
    made = Workspace.create(home, folder)
    yield made
    made.discard()


def kinds(workspace: Workspace) -> dict[str, str]:
    return {change.path: change.kind for change in workspace.changes()}


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_changes_of_every_kind_and_the_folder_untouched(workspace: Workspace, folder: Path) -> None:
    before, times = tree_of(folder), times_of(folder)
    await shell(
        workspace,
        "printf 'one\\n2\\nthree\\n' > a.txt; echo new > deep/new.txt; rm deep/er/d.txt; chmod 600 b.bin; mkdir hollow;"
        "rm link; ln -s deep/c.txt link; cp run.sh same.sh; cp -p run.sh x && mv x run.sh; touch deep/c.txt",
    )
    assert tree_of(folder) == before
    assert times_of(folder) == times
    found = {change.path: change for change in workspace.changes()}
    assert {path: (c.kind, c.before, c.after) for path, c in found.items()} == {
        "a.txt": ("changed", 14, 12),
        "b.bin": ("changed", 2560, 2560),
        "deep/er/d.txt": ("deleted", 2, None),
        "deep/new.txt": ("created", None, 4),
        "hollow/": ("created", None, 0),
        "link": ("changed", 5, 10),
        "same.sh": ("created", None, 10),
    }  # run.sh was replaced by the same bytes and deep/c.txt only touched: no changes
    assert found["a.txt"].diff == "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three"
    assert found["deep/er/d.txt"].diff.endswith("-d")
    assert found["b.bin"].note == "mode 644 → 600"
    assert found["b.bin"].diff == ""
    assert found["link"].note == "link to deep/c.txt"


async def test_deleting_the_whole_folder_leaves_the_users_files(workspace: Workspace, folder: Path) -> None:
    before = tree_of(folder)
    await shell(workspace, "rm -rf ./* ; ls -A")
    assert tree_of(folder) == before
    assert set(kinds(workspace).values()) == {"deleted"}
    assert set(kinds(workspace)) == {"a.txt", "b.bin", "deep/c.txt", "deep/er/d.txt", "empty/", "link", "run.sh"}


async def test_large_and_binary_files_have_no_diff_and_long_diffs_end(workspace: Workspace) -> None:
    await shell(
        workspace,
        "head -c 3000000 /dev/zero > zero; seq 200000 > many.txt; printf 'a\\377b' > latin.txt;"
        "seq -f 'the line %g' 3500 > a.txt",
    )
    found = {change.path: change.diff for change in workspace.changes()}
    assert found["zero"] == found["latin.txt"] == found["many.txt"] == ""
    assert found["a.txt"].endswith("(the diff goes on)")
    assert len(found["a.txt"]) < 21_000


# ── apply, and back ─────────────────────────────────────────────────────────────────────────────────────────────────

EDITS = (
    "printf 'one\\n2\\n' > a.txt; echo new > deep/new.txt; rm deep/er/d.txt; chmod 600 b.bin; mkdir -p hollow/er;"
    "rm link; ln -s deep/c.txt link; touch -d '2001-02-03 04:05:06' deep/new.txt; chmod 700 empty; mkdir -m 500 locked;"
    "rm run.sh; mkdir run.sh; echo in > run.sh/in; printf 'é\\n' > 'ü\nx'"
)


async def test_apply_and_undo_are_exact(workspace: Workspace, home: Home, folder: Path) -> None:
    before, times = tree_of(folder), times_of(folder)
    await shell(workspace, EDITS)
    applied = workspace.apply()
    assert not applied.refused
    assert applied.folder == str(folder)
    after = tree_of(folder)
    assert after[b"a.txt"] == ("file", 0o644, b"one\n2\n")
    assert after[b"b.bin"] == ("file", 0o600, bytes(range(256)) * 10)
    assert after[b"link"] == ("link", b"deep/c.txt")
    assert after[b"run.sh"][0] == "folder"
    assert after[b"run.sh/in"][2] == b"in\n"
    assert after[b"empty"] == ("folder", 0o700)
    assert after[b"locked"] == ("folder", 0o500)
    assert b"deep/er/d.txt" not in after
    assert after["ü\nx".encode()][2] == "é\n".encode()
    assert (folder / "deep" / "new.txt").stat().st_mtime == pytest.approx(981173106, abs=86400)
    assert not [name for name in after if name.startswith(b".allod")]
    assert workspace.changes() == []  # what was applied is no change any more
    undone = undo(home, folder)
    assert undone is not None
    assert {c.path for c in undone.changes} == {c.path for c in applied.changes}
    assert tree_of(folder) == before
    assert times_of(folder) == times
    assert undo(home, folder) is None


async def test_a_replaced_folder_hides_all_that_was_below(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "rm -r deep; mkdir -p deep/er; echo new > deep/er/new")
    assert kinds(workspace) == {"deep/c.txt": "deleted", "deep/er/d.txt": "deleted", "deep/er/new": "created"}
    workspace.apply()
    assert sorted(path.name for path in (folder / "deep").rglob("*")) == ["er", "new"]


async def test_apply_some(workspace: Workspace, home: Home, folder: Path) -> None:
    await shell(workspace, "mkdir -p out/sub; echo 1 > out/sub/1; echo 2 > out/2; echo 3 > 3; rm -r deep")
    with pytest.raises(NotFound, match="nope"):
        workspace.apply(["3", "nope"])
    for wrong in ("", "/", "..", "3/x", "ou", "\ud800", "out\0"):
        with pytest.raises(NotFound):
            workspace.apply([wrong])
    assert not (folder / "3").exists()
    applied = workspace.apply(["out/sub", "deep/er"])
    assert [c.path for c in applied.changes] == ["deep/er/d.txt", "out/sub/1"]
    assert (folder / "out" / "sub" / "1").read_text() == "1\n"
    assert not (folder / "out" / "2").exists()
    assert not (folder / "deep" / "er").exists()
    assert (folder / "deep" / "c.txt").exists()
    assert set(kinds(workspace)) == {"out/2", "3", "deep/c.txt"}
    workspace.apply()
    assert not (folder / "deep").exists()
    assert [record.state for record in history(home)] == ["applied", "applied"]
    undo(home)
    undo(home, folder)
    assert (folder / "deep" / "er" / "d.txt").read_text() == "d\n"
    assert not (folder / "out").exists()


async def test_work_goes_on_after_apply(workspace: Workspace, folder: Path) -> None:
    """A conversation applies at the end of each turn, with the same layers."""
    await shell(workspace, "echo 1 > n.txt; rm a.txt")
    workspace.apply()
    await shell(workspace, "cat n.txt; echo 2 > n.txt; test ! -e a.txt; echo again > a.txt")
    assert kinds(workspace) == {"a.txt": "created", "n.txt": "changed"}
    workspace.apply()
    assert (folder / "n.txt").read_text() == "2\n"
    assert (folder / "a.txt").read_text() == "again\n"


async def test_random_edits_round_trip(home: Home, folder: Path) -> None:
    """Whatever is done inside, the folder is that after applying, and what it was after undoing."""
    script = (Path(__file__).parent / "random_edits.py").read_text()
    for seed in range(12):
        before = tree_of(folder)
        workspace = Workspace.create(home, folder)
        seen = await shell(workspace, 'exec "$1" -c "$2" "$3"', sys.executable, script, str(seed))
        workspace.apply()
        listing = "".join(f"{line}\n" for line in listing_of(folder))
        assert listing == seen, seed
        undo(home, folder)
        assert tree_of(folder) == before, seed
        if random.Random(seed).random() < 0.5:
            workspace.apply(overwrite=True)  # builds on it for the next seed
        workspace.discard()


def listing_of(folder: Path) -> list[str]:
    """The same listing as random_edits.py prints at its end."""
    lines: list[str] = []
    for base, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(base) / name
            st = path.lstat()
            kind = stat.S_IFMT(st.st_mode)
            body = str(path.readlink()) if path.is_symlink() else path.read_text("latin-1") if path.is_file() else ""
            mode = 0 if path.is_symlink() else stat.S_IMODE(st.st_mode)
            lines.append(f"{path.relative_to(folder)} {kind} {mode:o} {body!r}")
    return sorted(lines)


# ── conflicts ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_changed_meanwhile_is_a_conflict_and_nothing_is_applied(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "echo job > a.txt; echo job > new.txt; rm deep/c.txt; rm -r deep/er; echo job > b.bin")
    (folder / "a.txt").write_text("user\n")
    (folder / "new.txt").write_text("user\n")
    (folder / "deep" / "er" / "more.txt").write_text("user\n")
    (folder / "b.bin").unlink()
    before = tree_of(folder)
    said = {change.path for change in workspace.changes() if change.conflict}
    assert said == {"a.txt", "b.bin", "deep/er/more.txt", "new.txt"}
    with pytest.raises(Conflict) as caught:
        workspace.apply()
    assert "a.txt, b.bin, deep/er/more.txt, new.txt" in caught.value.message
    assert tree_of(folder) == before
    workspace.apply(["deep/c.txt"])  # the others still can be
    assert not (folder / "deep" / "c.txt").exists()
    workspace.apply(["a.txt"], overwrite=True)
    assert (folder / "a.txt").read_text() == "job\n"


async def test_same_change_on_both_sides_is_none(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "echo same > a.txt; echo x > y")
    (folder / "a.txt").write_text("same\n")
    assert kinds(workspace) == {"y": "created"}
    workspace.apply()


async def test_conflicts_in_a_folder_too_large_to_note(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "MOST", 3)
    workspace = Workspace.create(home, folder)
    await shell(workspace, "echo job > deep/er/d.txt; echo job > deep/c.txt")
    (folder / "deep" / "c.txt").write_text("user\n")
    with pytest.raises(Conflict, match=r"deep/c\.txt"):
        workspace.apply()
    workspace.apply(["deep/er/d.txt"])
    assert (folder / "deep" / "er" / "d.txt").read_text() == "job\n"
    workspace.discard()


async def test_a_file_of_holes_takes_no_space(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "truncate -s 3G holes; printf x | dd of=holes bs=1 seek=100000000 conv=notrunc 2>/dev/null")
    fork = workspace.fork()
    assert (fork.upper / "holes").stat().st_blocks * 512 < 1 << 20
    assert (fork.upper / "holes").stat().st_size == 3 << 30
    with (fork.upper / "holes").open("rb") as file:
        file.seek(100_000_000 - 1)
        assert file.read(3) == b"\0x\0"
    fork.apply()
    assert (folder / "holes").stat().st_blocks * 512 < 1 << 20
    fork.discard()


# ── forks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_forks_begin_alike_and_go_their_own_ways(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "echo base > base; rm a.txt; rm -r deep; mkdir deep; echo in > deep/in; chmod 700 deep")
    other = workspace.fork()
    assert kinds(other) == kinds(workspace)
    await shell(other, "test ! -e a.txt; test ! -e deep/c.txt; cat base deep/in; echo other > base; echo o > o")
    await shell(workspace, "echo mine > base")
    assert "o" in kinds(other)
    assert "o" not in kinds(workspace)
    other.apply()
    assert (folder / "base").read_text() == "other\n"
    with pytest.raises(Conflict):
        workspace.apply()  # two attempts at one job: only one can win
    other.discard()


# ── hostile layers ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_links_pipes_and_modes_that_lead_astray_are_left_out(workspace: Workspace, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("secret\n")
    await shell(
        workspace,
        "ln -s /etc/passwd abs; ln -s ../secret up; ln -s a/../../secret sneaky; ln -s deep/../a.txt fine; mkfifo pipe;"
        "cp /bin/sh suid; chmod 6755 suid; rm -r deep; ln -s .. deep; echo ok > ok;"
        "mkdir d; echo 1 > d/1; mkfifo d/pipe",
    )
    refused = {change.path for change in workspace.changes() if change.refused}
    assert refused == {"abs", "up", "sneaky", "pipe", "deep", "d/pipe", "deep/c.txt", "deep/er/d.txt"}
    applied = workspace.apply()
    assert {change.path for change in applied.refused} == refused
    after = tree_of(folder)
    assert after[b"fine"] == ("link", b"deep/../a.txt")
    assert after[b"suid"][1] == 0o755
    assert after[b"d/1"][2] == b"1\n"
    assert not {b"abs", b"up", b"sneaky", b"pipe", b"d/pipe"} & after.keys()
    assert after[b"deep/c.txt"][2] == b"c\n"  # the folder that a link was to replace stays as it was
    assert secret.read_text() == "secret\n"


async def test_a_link_in_the_users_folder_is_never_written_through(workspace: Workspace, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    await shell(workspace, "mkdir new; echo job > new/file; echo job > deep/er/d.txt")
    (folder / "new").symlink_to(outside)  # meanwhile
    (folder / "deep" / "er").rename(outside / "er")
    (folder / "deep" / "er").symlink_to(outside / "er")
    with pytest.raises(Conflict):
        workspace.apply()
    with pytest.raises((Conflict, OSError)):
        workspace.apply(["new"], overwrite=True)
        raise Conflict("it replaced the link, which is as good")
    assert not (outside / "file").exists()
    assert (outside / "er" / "d.txt").read_text() == "d\n"


async def test_odd_names_are_shown_escaped_and_applied_as_they_are(workspace: Workspace, folder: Path) -> None:
    await shell(
        workspace, "printf x > \"$(printf 'a\\377\\033[2Jb')\"; printf y > 'new\nline'; printf z > ' sp ace,:\\'"
    )
    names = [change.path for change in workspace.changes()]
    assert names == [" sp ace,:\\", "a\\xff\\x1b[2Jb", "new\\nline"]
    workspace.apply(names)
    found = {os.fsencode(path.name) for path in folder.iterdir()}
    assert {b"a\xff\x1b[2Jb", b"new\nline", b" sp ace,:\\"} <= found


async def test_deep_trees_and_unreadable_folders(workspace: Workspace, folder: Path) -> None:
    deep = "import os\nfor i in range(3000):\n    os.mkdir('d' * 20); os.chdir('d' * 20)\n"
    await shell(workspace, 'exec "$1" -c "$2"', sys.executable, deep)
    await shell(workspace, "mkdir no; echo 1 > no/1; chmod 000 no; echo ok > ok")
    notes = [change.note for change in workspace.changes() if change.refused]
    assert any("deeper than" in note for note in notes)
    applied = workspace.apply(["ok"])
    assert [change.path for change in applied.changes] == ["ok"]
    workspace.fork().discard()
    (workspace.upper / "shut").mkdir(mode=0o000)
    (workspace.upper / "only-read").mkdir()
    (workspace.upper / "only-read" / "link").symlink_to(folder / "run.sh")
    (workspace.upper / "only-read").chmod(0o500)
    (folder / "run.sh").chmod(0o600)
    workspace.discard()
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o600
    assert not workspace.layers.exists()


async def test_names_that_allod_uses_while_it_applies_are_left_out(workspace: Workspace, folder: Path) -> None:
    """Code can find out the job's name, and so what the hidden folder will be called."""
    own = f".allod-{workspace.path.name}-1"
    await shell(workspace, 'mkdir "$1"; echo x > "$1/0"; echo x > "$1/1"; echo x > .allod-x; echo job > a.txt', own)
    applied = workspace.apply()
    assert [change.path for change in applied.changes] == ["a.txt"]
    assert {change.path for change in applied.refused} == {own + "/", ".allod-x"}
    assert (folder / "a.txt").read_text() == "job\n"
    assert not [path for path in folder.iterdir() if path.name.startswith(".allod")]


async def test_where_git_looks_for_its_settings_is_left_out(workspace: Workspace, folder: Path) -> None:
    await shell(
        workspace,
        "mkdir -p sub bare .GIT/HOOKS deep/.git; echo 'gitdir: ../bare' > sub/.git; ln -s bare empty/.git;"
        "echo x > .GIT/HOOKS/pre-commit; echo x > .GIT/Config; echo x > deep/.git/HEAD",
    )
    applied = workspace.apply()
    refused = {change.path for change in applied.refused}
    assert refused == {"sub/.git", "empty/.git", ".GIT/HOOKS/pre-commit", ".GIT/Config"}
    assert (folder / "deep" / ".git" / "HEAD").exists()


async def test_what_git_would_run_is_left_out(workspace: Workspace, folder: Path) -> None:
    (folder / ".git").mkdir()
    await shell(
        workspace, "mkdir -p .git/hooks sub/.git/hooks hooks; echo evil | tee .git/hooks/pre-commit .git/config"
    )
    await shell(workspace, "echo evil > sub/.git/hooks/x; echo fine | tee .git/HEAD hooks/config config")
    refused = {change.path for change in workspace.changes() if change.refused and not change.path.endswith("/")}
    assert refused == {".git/hooks/pre-commit", ".git/config", "sub/.git/hooks/x"}
    workspace.apply()
    assert (folder / "hooks" / "config").exists()
    assert [path.name for path in (folder / ".git").rglob("*") if path.is_file()] == ["HEAD"]


async def test_too_many_files_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("allod.interpreter.workspace.overlay.MOST", 100)
    await shell(workspace, "for i in $(seq 200); do echo > f$i; done")
    with pytest.raises(Conflict, match="more than 100"):
        workspace.changes()


@pytest.mark.parametrize("layers", ["overlay"], indirect=True)
async def test_a_forged_layer_reaches_nothing_outside(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if code had got at the layer itself: whiteouts, opaque marks and links where folders are expected."""
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("key\n")
    upper = workspace.upper
    (upper / "deep").symlink_to(secret)
    (upper / "l").symlink_to(secret / "key")
    os.mkfifo(upper / "a.txt")
    os.link(secret / "key", upper / "hard")
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(upper)
    listener.bind("sock")
    before = (secret / "key").read_text()
    assert {c.path for c in workspace.changes() if not c.refused} <= {"hard", "deep/c.txt", "deep/er/d.txt"}
    applied = workspace.apply()
    assert {c.path for c in applied.changes} == {"hard"}
    assert (folder / "hard").stat().st_ino != (secret / "key").stat().st_ino  # a copy, no link
    assert (secret / "key").read_text() == before
    assert (folder / "deep" / "c.txt").exists()
    assert (folder / "a.txt").read_text() == "one\ntwo\nthree\n"
    listener.close()


# ── killed at any moment ────────────────────────────────────────────────────────────────────────────────────────────


def killed_at(step: int | str, act) -> bool:
    """Runs ``act`` in a fork that is killed at its n-th checkpoint, or at one whose name begins so; False where it got
    to the end."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def die(name: str) -> None:
            nonlocal count
            count += 1
            if count == step or (isinstance(step, str) and name.startswith(step)):
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            transaction.checkpoint = die
            act()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


async def test_killed_at_every_step_of_apply_and_undo(workspace: Workspace, home: Home, folder: Path) -> None:
    before, times = tree_of(folder), times_of(folder)
    await shell(workspace, EDITS)
    workspace.apply()
    after = tree_of(folder)
    undo(home, folder)
    assert tree_of(folder) == before
    seen = set()
    step = 0
    while True:
        step += 1
        workspace.parts[0]._seen = None
        if not killed_at(step, lambda: workspace.apply(overwrite=True)):
            break
        states = {record.state for record in history(home)}  # finishes it
        now = tree_of(folder)
        assert now in (before, after), step
        seen.add(now == after)
        if now == after:
            assert "applied" in states
            undo(home, folder)
            assert tree_of(folder) == before, step
            assert times_of(folder) == times, step
    assert step > 20
    assert seen == {True, False}
    assert tree_of(folder) == after
    step = 0
    seen = set()
    while True:
        step += 1
        if not killed_at(step, lambda: undo(home, folder)):
            break
        history(home)
        now = tree_of(folder)
        assert now in (before, after), step
        seen.add(now == after)
        if now == before:
            assert undo(home, folder) is None, step
            workspace.apply(overwrite=True)
            assert tree_of(folder) == after
    assert seen == {True, False}
    assert tree_of(folder) == before


async def test_many_files_are_synced_at_once(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "SYNC_EACH", 3)
    synced: list[int] = []
    real = tree.sync_disk
    monkeypatch.setattr(tree, "sync_disk", lambda fd: (synced.append(os.fstat(fd).st_dev), real(fd)))
    before = tree_of(folder)
    await shell(workspace, EDITS)
    workspace.apply()
    assert synced == [folder.stat().st_dev]
    undo(workspace.home, folder)
    assert tree_of(folder) == before


async def test_killed_while_recovering(workspace: Workspace, home: Home, folder: Path) -> None:
    before = tree_of(folder)
    await shell(workspace, EDITS)
    workspace.apply()
    after = tree_of(folder)
    undo(home)
    steps = 0
    while killed_at(steps + 1, lambda: workspace.apply(overwrite=True)):
        steps += 1
        history(home)
        if tree_of(folder) == after:
            undo(home)
    undo(home)
    for first in range(steps // 2, steps, 4):
        assert killed_at(first, lambda: workspace.apply(overwrite=True))
        for second in (1, 3, 6):
            killed_at(second, lambda: history(home))
        history(home)
        assert tree_of(folder) in (before, after)
        if tree_of(folder) == after:
            undo(home)


async def test_a_user_who_edits_after_the_kill_keeps_their_edit(workspace: Workspace, home: Home, folder: Path) -> None:
    before = tree_of(folder)
    await shell(workspace, "echo job > a.txt; echo job > deep/c.txt; echo new > new.txt; rm run.sh")
    assert killed_at("removed", workspace.apply)
    assert not (folder / "run.sh").exists()
    (folder / "a.txt").write_text("user\n")
    assert history(home) == [] or history(home)[0].state != "applied"
    now = tree_of(folder)
    assert now.pop(b"a.txt")[2] == b"user\n"
    before.pop(b"a.txt")
    assert now == before  # all the rest is as before


async def test_a_folder_that_went_away_after_a_kill_stops_nothing_else(
    workspace: Workspace, home: Home, folder: Path, tmp_path: Path
) -> None:
    before = tree_of(folder)
    await shell(workspace, "echo job > a.txt; rm run.sh")
    assert killed_at("removed", workspace.apply)
    assert not (folder / "run.sh").exists()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    (folder / "x").write_text("x")
    folder.rename(tmp_path / "other")
    Workspace.create(home, tmp_path / "other").discard()
    assert history(home) == []
    (tmp_path / "away").rename(folder)
    assert [record.state for record in history(home)] == ["applied"]
    undo(home, folder)
    assert tree_of(folder) == before


# ── bad folders and disks ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layers", ["overlay"], indirect=True)
@pytest.mark.parametrize("path", ["/", "/usr", "/etc", "/proc", "/proc/self", "/dev", "/dev/shm", "/sys", "/home"])
def test_folders_of_the_system_are_refused(home: Home, path: str) -> None:
    with pytest.raises((BadRequest, NotFound)) as caught:
        Workspace.create(home, Path(path))
    assert caught.value.remedy


def test_missing_folders_and_files_are_refused(home: Home, folder: Path) -> None:
    with pytest.raises(NotFound):
        Workspace.create(home, folder / "nope")
    with pytest.raises(BadRequest, match="not a folder"):
        Workspace.create(home, folder / "a.txt")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(NotFound):
        Workspace.create(home, folder / "loop")


async def test_failing_half_way_changes_nothing(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, times = tree_of(folder), times_of(folder)
    await shell(workspace, EDITS)
    for failing in range(1, 40):
        count = 0

        def fail(_: str, failing: int = failing) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(transaction, "checkpoint", fail)
        try:
            workspace.apply()
        except DiskFull:
            monkeypatch.setattr(transaction, "checkpoint", lambda _: None)
            assert tree_of(folder) == before, failing
            assert times_of(folder) == times, failing
        else:
            break
    assert failing > 20


async def test_a_disk_that_is_too_small_is_told_before_anything(
    workspace: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    before = tree_of(folder)
    await shell(workspace, "head -c 100000 /dev/zero > big")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 50_000))
    with pytest.raises(DiskFull, match="100,000"):
        workspace.apply()
    assert tree_of(folder) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written(workspace: Workspace, folder: Path) -> None:
    await shell(workspace, "echo x > deep/x")
    (folder / "deep").chmod(0o500)
    folder.chmod(0o500)
    try:
        with pytest.raises(ReadOnly):
            workspace.apply()
    finally:
        folder.chmod(0o700)
        (folder / "deep").chmod(0o700)


# ── the end of a job ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_discard_keeps_only_what_undo_needs(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    await shell(workspace, "echo x > x")
    workspace.discard()
    assert not workspace.path.exists()
    assert history(home) == []
    workspace = Workspace.create(home, folder)
    await shell(workspace, "echo x > x")
    workspace.apply()
    workspace.discard()
    assert not workspace.layers.exists()
    assert undo(home, folder) is not None
    assert not (folder / "x").exists()


async def test_a_job_that_was_killed_is_pending_and_cleared_after_days(home: Home, folder: Path) -> None:
    workspace = Workspace.create(home, folder)
    await shell(workspace, "echo x > x")
    assert history(home) == []  # it is being worked in
    workspace.close()
    assert [record.state for record in history(home)] == ["pending"]
    old = 10 * 24 * 3600
    st = workspace.path.stat()
    os.utime(workspace.path, (st.st_atime - old, st.st_mtime - old))
    Workspace.create(home, folder).discard()
    assert not workspace.path.exists()
    assert history(home) == []


@pytest.mark.parametrize("layers", ["overlay"], indirect=True)
async def test_a_folder_that_holds_allods_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = tmp_path / "user"
    (user / ".ssh").mkdir(parents=True)
    (user / ".ssh" / "id").write_text("key")
    (user / ".netrc").write_text("password")
    (user / "notes.txt").write_text("notes")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.setenv("ALLOD_HOME", str(user / "allod"))
    home = Home.open()
    home.db().close()
    workspace = Workspace.create(home, user)
    assert not workspace.layers.is_relative_to(user)
    said = await shell(
        workspace,
        "ls -A .ssh allod/data; ! cat .netrc; cat notes.txt; ! touch .ssh/x; ! touch allod/data/x; echo new > new.txt",
    )
    assert "key" not in said
    assert "password" not in said
    assert "allod.db" not in said
    assert "notes" in said
    assert kinds(workspace) == {"new.txt": "created"}
    workspace.apply()
    assert (user / "new.txt").exists()
    assert (user / ".ssh" / "id").read_text() == "key"
    workspace.discard()
    assert not workspace.layers.exists()


async def test_two_writers_wait_for_each_other(home: Home, folder: Path) -> None:
    workspaces = [Workspace.create(home, folder) for _ in range(3)]
    for n, workspace in enumerate(workspaces):
        await shell(workspace, f"echo {n} > f{n}; echo {n} > shared")
    import anyio
    from anyio import to_thread

    async def apply(workspace: Workspace) -> None:
        try:
            await to_thread.run_sync(workspace.apply)
            outcomes.append("applied")
        except Conflict:
            outcomes.append("conflict")

    outcomes: list[str] = []
    async with anyio.create_task_group() as group:
        for workspace in workspaces:
            group.start_soon(apply, workspace)
    assert sorted(outcomes) == ["applied", "conflict", "conflict"]
    assert len(list(folder.glob("f*"))) == 1
    for workspace in workspaces:
        workspace.discard()


@pytest.mark.parametrize("layers", ["overlay"], indirect=True)
async def test_layers_go_where_an_overlay_works(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs_folder = home.folder("jobs")
    real = places.complaint
    monkeypatch.setattr(places, "complaint", lambda home, at: "no overlay" if at == jobs_folder else real(home, at))
    workspace = Workspace.create(home, folder)
    assert not workspace.layers.is_relative_to(jobs_folder)
    assert workspace.layers.parent.stat().st_mode & 0o077 == 0
    await shell(workspace, "echo x > x; rm -r deep; mkdir deep")
    workspace.apply()
    assert (folder / "x").exists()
    layers = workspace.layers
    workspace.discard()
    assert not layers.exists()
    assert undo(home, folder) is not None
    monkeypatch.setattr(places, "complaint", lambda home, at: "bwrap: Can't mount overlay")
    with pytest.raises(SandboxFailed, match="Can't mount overlay") as caught:
        Workspace.create(home, folder)
    assert "local disk" in caught.value.remedy


@pytest.mark.parametrize("layers", ["overlay"], indirect=True)
def test_a_place_is_tried_for_real(home: Home, tmp_path: Path) -> None:
    assert places.complaint(home, tmp_path) == ""
    assert list(home.folder("overlay", "cache").iterdir())
    assert not list(tmp_path.glob(".trial-*"))
