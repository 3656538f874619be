"""Where allod keeps its things, and what the user set.

    Home.open()                 the folders, created as needed; ``ALLOD_HOME`` puts all of them under one root
    home.settings               config.toml, overridden by ALLOD_* variables
    home.db()                   the SQLite database, with its migrations applied in order

Settings are flat, typed and checked: a misspelt key is an error that names the nearest one. A variable's name is the
key in capitals with dots as underscores: ``engine.binary`` is ``ALLOD_ENGINE_BINARY``.
"""

import difflib
import os
import sqlite3
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from allod.errors import BadSettings, ReadOnly

Action = Literal["allow", "ask", "deny"]


class EngineSettings(Struct, forbid_unknown_fields=True):
    """``[engine]``: how models are run."""

    binary: str = ""  # a native llama-server to use instead of the bundled worker
    context: Annotated[int, Meta(ge=0, le=1 << 24)] = (
        0  # tokens a slot; 0: 8192, or less where the model or the memory has less
    )
    slots: Annotated[int, Meta(ge=0, le=256)] = 0  # parallel requests a model; 0: chosen by memory, up to 4
    queue: Annotated[int, Meta(ge=0, le=1 << 20)] = 512  # requests waiting, over all models; one more is refused
    keep_alive: str = "5m"  # how long an idle model stays loaded; negative: for ever
    memory: str = ""  # most bytes for models, e.g. "6GB"; empty: what the machine has free
    snapshots: str = "2GB"  # most bytes on disk for what models computed of prompts' beginnings; 0: none are kept
    speculate: bool = True  # guess tokens that came after the same words before, and check several at once
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0  # 0: the physical cores


class EgressRule(Struct, forbid_unknown_fields=True):
    """One line of the policy; ``*`` matches anything."""

    action: Action
    purpose: str = "*"
    host: str = "*"


class EgressSettings(Struct, forbid_unknown_fields=True):
    """``[egress]``: which connections may be made. The first rule that matches decides."""

    rules: list[EgressRule] = field(default_factory=list[EgressRule])
    default: Action = "ask"


class Settings(Struct, forbid_unknown_fields=True):
    """config.toml."""

    offline: bool = False
    host: str = "127.0.0.1:11435"  # where ``allod serve`` listens and the other commands look for it
    api_key: str = ""  # what the commands say to the server at ``host``, where that wants a key
    cert: str = ""  # for ``allod serve`` to speak TLS: a PEM file with the certificate and those above it
    cert_key: str = ""  # …and one with its private key; empty: in the same file
    origins: str = ""  # web pages that may ask the server besides this machine's own: origins, * matches, by commas
    folders: str = ""  # where clients on other machines may have jobs done: folders, by commas; empty: nowhere
    models: str = ""  # the store's folder; empty: <data>/models. May be Ollama's
    package_index: str = ""  # a PEP 691 index; empty: PIP_INDEX_URL, else PyPI
    huggingface: str = "https://huggingface.co"
    sandbox: str = "auto"  # for the code of `allod do`: auto, bubblewrap, landlock, seatbelt, none
    registry_insecure: bool = False  # http:// for registries that are not on loopback
    engine: EngineSettings = field(default_factory=EngineSettings)
    egress: EgressSettings = field(default_factory=EgressSettings)


class Home(Struct, frozen=True):
    """allod's folders on this machine and the user's settings."""

    config: Path
    data: Path
    cache: Path
    settings: Settings

    @classmethod
    def open(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Finds the folders and reads the settings. Writes nothing.

        Raises:
            BadSettings: config.toml or a variable cannot be understood.
        """
        if root := environ.get("ALLOD_HOME"):
            base = Path(root).expanduser().absolute()
            config, data, cache = base / "config", base / "data", base / "cache"
        else:
            import platformdirs  # here, as it is not needed where ALLOD_HOME is set

            dirs = platformdirs.PlatformDirs("allod", appauthor=False)
            config, data, cache = Path(dirs.user_config_dir), Path(dirs.user_data_dir), Path(dirs.user_cache_dir)
        return cls(config, data, cache, read_settings(config / "config.toml", environ))

    @property
    def models(self) -> Path:
        """The model store's folder (manifests/ and blobs/)."""
        return Path(self.settings.models).expanduser() if self.settings.models else self.data / "models"

    def folder(self, name: str, kind: Literal["config", "data", "cache"] = "data") -> Path:
        """A folder of that name, made if missing.

        Raises:
            ReadOnly: it cannot be made.
        """
        path: Path = getattr(self, kind) / name
        make_folder(path)
        return path

    def db(self) -> sqlite3.Connection:
        """Opens the database in autocommit mode, rows by name, migrations applied.

        Raises:
            ReadOnly: the file cannot be written.
        """
        make_folder(self.data)
        try:
            db = sqlite3.connect(self.data / "allod.db", timeout=30, isolation_level=None, check_same_thread=False)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA foreign_keys=ON")
            db.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
            migrate(db)
        except sqlite3.DatabaseError as error:
            raise ReadOnly(
                f"cannot open the database {self.data / 'allod.db'}: {error}",
                "Check the folder's permissions and the free space, or set ALLOD_HOME to another folder.",
            ) from error
        return db


def make_folder(path: Path) -> None:
    """Makes ``path`` and its parents; raises ReadOnly with what to do where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReadOnly(
            f"cannot make the folder {path}: {error.strerror}",
            "Check its permissions, or set ALLOD_HOME to a folder you can write.",
        ) from error


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """config.toml (if there is one) with ALLOD_* variables on top.

    Raises:
        BadSettings: broken TOML, an unknown key, or a value of the wrong type.
    """
    raw: dict[str, Any] = {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"{path} cannot be read: {error}", f"Mend or remove {path}.") from error
    for key, name in variables().items():
        if (text := environ.get(name)) is not None:
            *parents, leaf = key.split(".")
            table = raw
            for parent in parents:
                table = table.setdefault(parent, {})
            table[leaf] = text
    check_keys(raw, Settings, path)
    try:
        # strict=False: a variable's "1" is a number or a truth value where the setting is one.
        return msgspec.convert(raw, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise BadSettings(f"a setting is wrong: {error}", f"See {path} and the ALLOD_* variables.") from error


def variables() -> dict[str, str]:
    """Setting → environment variable, for every scalar setting."""
    names: dict[str, str] = {}
    for key, kind in get_type_hints(Settings).items():
        if isinstance(kind, type) and issubclass(kind, Struct):
            subkeys = [f"{key}.{sub}" for sub, t in get_type_hints(kind).items() if t in (str, int, bool, float)]
        else:
            subkeys = [key]
        names |= {sub: "ALLOD_" + sub.replace(".", "_").upper() for sub in subkeys}
    return names


def check_keys(table: Mapping[str, Any], kind: type[Struct], path: Path, prefix: str = "") -> None:
    """Raises BadSettings for a key that ``kind`` lacks, naming the nearest one it has."""
    known = get_type_hints(kind)
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise BadSettings(
                f"{path}: there is no setting '{prefix}{key}'",
                f"Did you mean '{prefix}{near[0]}'?" if near else f"Known settings: {', '.join(known)}.",
            )
        sub = known[key]
        if isinstance(value, Mapping) and isinstance(sub, type) and issubclass(sub, Struct):
            check_keys(value, sub, path, f"{key}.")  # pyright: ignore[reportUnknownArgumentType]


# ── the database ────────────────────────────────────────────────────────────────────────────────────────────────────

# Applied in order, each once; never edited after a release, only added to.
MIGRATIONS = (
    """
    CREATE TABLE ledger (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,                -- RFC 3339, UTC
        purpose TEXT NOT NULL,           -- pull, push, hosted-model, …
        scheme TEXT NOT NULL,
        host TEXT NOT NULL,
        port INTEGER NOT NULL,
        loopback INTEGER NOT NULL,       -- 1: did not leave the machine
        method TEXT NOT NULL,
        path TEXT NOT NULL,              -- without its query, which may hold a token
        sent INTEGER NOT NULL,           -- bytes of request line, headers and body
        received INTEGER NOT NULL,       -- bytes of status line, headers and body as they came
        status INTEGER,                  -- NULL: no answer
        outcome TEXT NOT NULL            -- open, done, cut, refused, failed
    );
    CREATE INDEX ledger_at ON ledger(at);
    """,
    """
    CREATE TABLE conversation (
        id TEXT PRIMARY KEY,
        title TEXT NOT NULL,
        folder TEXT NOT NULL,            -- where `allod do` was typed; empty for a chat
        model TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        blocks TEXT NOT NULL DEFAULT '[]'  -- JSON: code that ran without an error, to bring variables back from
    );
    CREATE TABLE message (
        id INTEGER PRIMARY KEY,
        conversation TEXT NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        parent INTEGER REFERENCES message(id),   -- a tree: edits and regenerations are branches
        role TEXT NOT NULL,              -- system, user, assistant
        content TEXT NOT NULL,
        at TEXT NOT NULL
    );
    CREATE INDEX message_conversation ON message(conversation);
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        conversation TEXT NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        message INTEGER REFERENCES message(id),
        at TEXT NOT NULL,
        body TEXT NOT NULL               -- one event as JSON, in the order the terminal showed them
    );
    CREATE INDEX event_conversation ON event(conversation);
    """,
    """
    -- via: host:port of the proxy, empty where there is none
    ALTER TABLE ledger ADD COLUMN via TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE turn (                  -- one job of a conversation
        id INTEGER PRIMARY KEY,
        conversation TEXT NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        parent INTEGER REFERENCES turn(id),      -- the turn it went on from: edits and regenerations are branches
        task TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT '',  -- how it ended; empty: it has not, or was cut off by a kill
        begun_at TEXT NOT NULL,
        ended_at TEXT,
        blocks TEXT NOT NULL DEFAULT '[]'  -- JSON: its code that ran without an error
    );
    CREATE INDEX turn_conversation ON turn(conversation);
    CREATE INDEX turn_parent ON turn(parent);
    ALTER TABLE message ADD COLUMN turn INTEGER REFERENCES turn(id);
    ALTER TABLE event ADD COLUMN turn INTEGER REFERENCES turn(id);
    CREATE INDEX message_parent ON message(parent);
    CREATE INDEX message_turn ON message(turn);
    CREATE INDEX event_turn ON event(turn);
    CREATE INDEX event_message ON event(message);
    -- head: the turn that is gone on from
    ALTER TABLE conversation ADD COLUMN head INTEGER REFERENCES turn(id);
    ALTER TABLE conversation ADD COLUMN profile TEXT NOT NULL DEFAULT '';
    -- conversations of before are one turn each
    INSERT INTO turn(conversation, task, status, begun_at, ended_at, blocks)
        SELECT id, title, 'done', created_at, updated_at, blocks FROM conversation;
    UPDATE message SET turn = (SELECT t.id FROM turn t WHERE t.conversation = message.conversation);
    UPDATE event SET turn = (SELECT t.id FROM turn t WHERE t.conversation = event.conversation);
    UPDATE conversation SET head = (SELECT t.id FROM turn t WHERE t.conversation = conversation.id);
    """,
    """
    CREATE TABLE run (                   -- a job that the server does, with every event as clients saw it
        id TEXT PRIMARY KEY,
        conversation TEXT NOT NULL REFERENCES conversation(id) ON DELETE CASCADE,
        task TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT '',  -- how it ended; empty: it has not, or its server was killed
        reason TEXT NOT NULL DEFAULT '',
        begun_at TEXT NOT NULL,
        ended_at TEXT
    );
    CREATE INDEX run_conversation ON run(conversation);
    CREATE TABLE run_event (
        run TEXT NOT NULL REFERENCES run(id) ON DELETE CASCADE,
        number INTEGER NOT NULL,         -- from 1 on, without a gap
        body TEXT NOT NULL,              -- JSON
        PRIMARY KEY (run, number)
    );
    """,
    """
    -- job: whose folder under jobs/ holds what was changed in the conversation and not applied; empty: none does
    ALTER TABLE conversation ADD COLUMN job TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE response (              -- of /v1/responses, as clients go on from them
        id TEXT PRIMARY KEY,
        previous TEXT NOT NULL,          -- the response it went on from; empty: none
        used_at TEXT NOT NULL,
        size INTEGER NOT NULL,           -- bytes of both that follow
        input TEXT NOT NULL,             -- JSON: the items of its request
        body TEXT NOT NULL               -- JSON: the answer
    );
    CREATE INDEX response_used ON response(used_at);
    """,
    """
    -- owner: the digest of the API key that it was asked with; empty: none was needed, or the machine's own
    ALTER TABLE response ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    """,
)


def migrate(db: sqlite3.Connection) -> None:
    """Brings the schema up to date; safe when several processes do it at once."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == len(MIGRATIONS):
        return
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(
            f"it was made by a newer allod (schema {version}, this one knows {len(MIGRATIONS)})"
        )
    db.execute("BEGIN IMMEDIATE")
    try:
        done = db.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[done:]:
            for statement in script.split(";\n"):
                if statement.strip():
                    db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
