"""Folders, settings and the database."""

import sqlite3
import threading
from pathlib import Path

import pytest

from allod.errors import BadSettings, ReadOnly
from allod.home import MIGRATIONS, Home, variables


def opened(tmp_path: Path, config: str = "", **environ: str) -> Home:
    (tmp_path / "config").mkdir(parents=True, exist_ok=True)
    (tmp_path / "config" / "config.toml").write_text(config, encoding="utf-8")
    return Home.open({"ALLOD_HOME": str(tmp_path), **environ})


def test_opening_writes_nothing(tmp_path: Path) -> None:
    Home.open({"ALLOD_HOME": str(tmp_path / "new")})
    assert not (tmp_path / "new").exists()


def test_defaults(tmp_path: Path) -> None:
    home = opened(tmp_path)
    assert home.settings.host == "127.0.0.1:11435"
    assert home.models == tmp_path / "data" / "models"
    assert not home.settings.offline


def test_a_variable_beats_the_file(tmp_path: Path) -> None:
    home = opened(
        tmp_path, "offline = false\n[engine]\nslots = 2\nqueue = 7", ALLOD_OFFLINE="1", ALLOD_ENGINE_SLOTS="3"
    )
    assert home.settings.offline
    assert (home.settings.engine.slots, home.settings.engine.queue) == (3, 7)


def test_every_scalar_setting_has_its_variable() -> None:
    names = variables()
    assert names["engine.binary"] == "ALLOD_ENGINE_BINARY"
    assert names["offline"] == "ALLOD_OFFLINE"
    assert "egress.rules" not in names


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("offlin = true", "Did you mean 'offline'"),
        ("[engine]\ncontxt = 5", "Did you mean 'engine.context'"),
        ("zzz = 1", "Known settings"),
        ("[engine]\ncontext = 'many'", "context"),
        ("offline = [1]", "offline"),
        ("[[egress.rules]]\naction = 'perhaps'", "action"),
        ("offline = ", "cannot be read"),
        ("engine = 3", "engine"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, config: str, says: str) -> None:
    with pytest.raises(BadSettings) as caught:
        opened(tmp_path, config)
    assert says in caught.value.message + caught.value.remedy


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_bytes("host = 'é'".encode("latin-1"))
    with pytest.raises(BadSettings, match="cannot be read"):
        Home.open({"ALLOD_HOME": str(tmp_path)})


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="slots"):
        opened(tmp_path, ALLOD_ENGINE_SLOTS="9" * 300)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in the way")
    home = opened(tmp_path)
    with pytest.raises(ReadOnly) as caught:
        home.folder("jobs")
    assert "ALLOD_HOME" in caught.value.remedy


def test_a_database_that_is_none(tmp_path: Path) -> None:
    home = opened(tmp_path)
    home.folder("", "data")
    (home.data / "allod.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(ReadOnly, match="not a database"):
        home.db()


def test_migrations_run_once_though_many_open_at_once(tmp_path: Path) -> None:
    home = opened(tmp_path)
    failures: list[BaseException] = []

    def open_it() -> None:
        try:
            home.db().close()
        except BaseException as error:  # noqa: BLE001 - whatever a thread meets is looked at below
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert home.db().execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    home = opened(tmp_path)
    home.db().close()
    with sqlite3.connect(home.data / "allod.db") as db:
        db.execute("PRAGMA user_version = 999")
    with pytest.raises(ReadOnly, match="newer"):
        home.db()
