"""API keys of the server: made by a person, stored as hashes, each good for some routes, some models, so many requests.

    keys = Keys(home)
    secret = keys.add("phone", models=("smollm2*",), rate=60)    # said once; the file has its SHA-256 only
    keys.of(secret)                                              # the Key, or None

As long as there is no key, the server listens on loopback and asks nobody for one. Once there is one, everybody needs
one; the commands of the user who runs the server have one of their own, in a file that nobody else can read
(``own_key``). A key is 256 random bits, so a plain hash of it cannot be searched.
"""

import fnmatch
import hashlib
import hmac
import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from allod.errors import BadRequest, BadSettings, Conflict, NotFound, ReadOnly
from allod.home import Home, make_folder

PREFIX = "allod-"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
EVERYTHING = ("*",)


class Key(Struct, frozen=True):
    """What a key is good for. ``routes`` and ``models`` are patterns with ``*``; ``rate`` is requests a minute."""

    name: str
    digest: str  # SHA-256 of the secret, in hex
    created: str  # RFC 3339, UTC
    routes: tuple[str, ...] = EVERYTHING
    models: tuple[str, ...] = EVERYTHING
    rate: int = 0  # 0: as many as come

    def opens(self, path: str) -> bool:
        """Whether it is good for a route."""
        return any(fnmatch.fnmatchcase(path, pattern) for pattern in self.routes)

    def may_use(self, *names: str) -> bool:
        """Whether it is good for a model of one of these names, short or full."""
        lower = [name.lower() for name in names]
        return any(fnmatch.fnmatchcase(name, pattern.lower()) for name in lower for pattern in self.models)


OWN = Key("this machine's own", "", "")


class Keys:
    """The file ``keys.json`` beside ``config.toml``; read again when it has changed."""

    def __init__(self, home: Home) -> None:
        self.path = home.config / "keys.json"
        self._own = own_path(home)
        self._seen: tuple[int, int] | None = None
        self._keys: list[Key] = []

    def list(self) -> list[Key]:
        """All of them, the oldest first.

        Raises:
            BadSettings: the file is broken.
        """
        try:
            state = self.path.stat()
            seen = (state.st_mtime_ns, state.st_size)
            if seen != self._seen:
                self._keys = msgspec.json.decode(self.path.read_bytes(), type=list[Key])
                self._seen = seen
        except FileNotFoundError:
            self._keys, self._seen = [], None
        except (OSError, msgspec.DecodeError) as error:
            raise BadSettings(
                f"{self.path} cannot be read: {error}", "Put it back, or remove it and make new keys."
            ) from error
        return self._keys

    def of(self, secret: str) -> Key | None:
        """The key that a client says, compared in constant time; None where it is none. Raises BadSettings."""
        digest = hash_of(secret)
        found = None
        for key in self.list():
            if hmac.compare_digest(digest.encode(), key.digest.encode()):
                found = key
        own = read_secret(self._own)
        return OWN if own and hmac.compare_digest(digest, hash_of(own)) else found

    def add(
        self, name: str, routes: tuple[str, ...] = EVERYTHING, models: tuple[str, ...] = EVERYTHING, rate: int = 0
    ) -> str:
        """Makes a key and returns its secret, which is nowhere else.

        Raises:
            BadRequest: no name, or a rate below 0.
            Conflict: there is one of that name.
            ReadOnly: it cannot be written.
        """
        if not NAME.fullmatch(name):
            raise BadRequest(f"'{name[:80]}' is no name for a key", "Letters, digits, dots, dashes; 64 at most.")
        if rate < 0:
            raise BadRequest(f"{rate} requests a minute make no sense", "Leave --rate out for no limit.")
        if any(key.name == name for key in self.list()):
            raise Conflict(f"there is a key '{name}' already", f"`allod keys rm {name}` removes it.")
        secret = PREFIX + secrets.token_urlsafe(32)
        made = datetime.now(UTC).isoformat(timespec="seconds")
        self._write([*self.list(), Key(name, hash_of(secret), made, routes or EVERYTHING, models or EVERYTHING, rate)])
        return secret

    def remove(self, name: str) -> None:
        """Whoever has it is refused from now on.

        Raises:
            NotFound: there is none of that name.
            ReadOnly: it cannot be written.
        """
        rest = [key for key in self.list() if key.name != name]
        if len(rest) == len(self.list()):
            raise NotFound(f"there is no key '{name[:80]}'", "`allod keys list` shows those that there are.")
        self._write(rest)

    def _write(self, keys: "list[Key]") -> None:
        write_secret(self.path, msgspec.json.format(msgspec.json.encode(keys)))


def hash_of(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


# ── the commands' own ───────────────────────────────────────────────────────────────────────────────────────────────


def own_path(home: Home) -> Path:
    """Where the key lies that the commands of this user say to the server of this user."""
    return home.data / "server.key"


def make_own(home: Home) -> None:
    """Makes that key, if there is none yet. Raises ReadOnly."""
    if not read_secret(own_path(home)):
        write_secret(own_path(home), (PREFIX + secrets.token_urlsafe(32)).encode())


def to_say(home: Home, near: bool) -> str:
    """What commands say to the server: the setting ``api_key``, else, where it is ``near``, the own key; or nothing."""
    return home.settings.api_key or (read_secret(own_path(home)) if near else "")


def read_secret(path: Path) -> str:
    """A secret's file; empty where there is none that can be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write_secret(path: Path, data: bytes) -> None:
    """A file that only its owner can read, whole or not at all. Raises ReadOnly."""
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ReadOnly(f"cannot write {path}: {error.strerror}", "Check the folder's permissions.") from error
