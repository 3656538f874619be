"""API keys: what is stored, what a key is good for, and files that are wrong."""

import os
import stat
from pathlib import Path

import pytest

from allod.errors import BadRequest, BadSettings, Conflict, NotFound, ReadOnly
from allod.home import Home
from allod.keys import OWN, Key, Keys, make_own, own_path, to_say


def test_a_key_is_known_by_its_secret_and_stored_without_it(home: Home) -> None:
    keys = Keys(home)
    assert keys.list() == []
    secret = keys.add("phone", models=("smollm2*",), rate=60)
    other = keys.add("laptop")
    assert secret.startswith("allod-") and len(secret) > 40 and secret != other
    found = Keys(home).of(secret)
    assert found and (found.name, found.routes, found.models, found.rate) == ("phone", ("*",), ("smollm2*",), 60)
    text = keys.path.read_text()
    assert secret not in text and secret.removeprefix("allod-") not in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    for wrong in ("", "allod-", secret[:-1], secret + "x", found.digest, "é" * 40, "\udcff"):
        assert keys.of(wrong) is None


def test_removing_one(home: Home) -> None:
    keys, server = Keys(home), Keys(home)
    secret, other = keys.add("phone"), keys.add("laptop")
    assert server.of(secret)
    keys.remove("phone")
    assert server.of(secret) is None, "a running server sees it at once"
    assert server.of(other)
    with pytest.raises(NotFound, match="no key 'phone'"):
        keys.remove("phone")


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "-x", "x" * 65, "é", "a\n"])
def test_a_name_that_is_none(home: Home, name: str) -> None:
    with pytest.raises(BadRequest, match="no name"):
        Keys(home).add(name)


def test_what_makes_no_sense(home: Home) -> None:
    keys = Keys(home)
    keys.add("phone")
    with pytest.raises(Conflict, match="already"):
        keys.add("phone")
    with pytest.raises(BadRequest, match="make no sense"):
        keys.add("laptop", rate=-1)


@pytest.mark.parametrize("data", [b"", b"[", b"{}", b'[{"name": 1}]', b"\xff", b'["x"]'])
def test_a_broken_file_lets_nobody_in(home: Home, data: bytes) -> None:
    keys = Keys(home)
    secret = keys.add("phone")
    keys.path.write_bytes(data)
    for use in (lambda: keys.of(secret), keys.list, lambda: keys.add("laptop"), lambda: keys.remove("phone")):
        with pytest.raises(BadSettings, match="cannot be read"):
            use()
    assert keys.path.read_bytes() == data, "and it is left for its owner to look at"


def test_what_a_key_is_good_for() -> None:
    key = Key("k", "", "", routes=("/v1/*", "/api/tags"), models=("smollm2*", "qwen2.5:0.5b"))
    assert key.opens("/v1/chat/completions") and key.opens("/api/tags")
    assert not key.opens("/api/chat") and not key.opens("/api/tags/x")
    assert key.may_use("SmolLM2:135m") and key.may_use("x", "qwen2.5:0.5B")
    assert not key.may_use("qwen2.5:1.5b")


def test_the_key_of_this_user_s_commands(home: Home) -> None:
    assert to_say(home, near=True) == ""
    make_own(home)
    own = to_say(home, near=True)
    make_own(home)
    assert own and to_say(home, near=True) == own and to_say(home, near=False) == ""
    assert stat.S_IMODE(own_path(home).stat().st_mode) == 0o600
    assert Keys(home).of(own) is OWN
    own_path(home).write_bytes(b"\xff")
    assert Keys(home).of("\udcff") is None
    home.settings.api_key = "mine"
    assert to_say(home, near=True) == to_say(home, near=False) == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(home: Home) -> None:
    home.folder("", "config").chmod(0o500)
    with pytest.raises(ReadOnly):
        Keys(home).add("phone")


def test_a_file_in_the_folder_s_place(home: Home, tmp_path: Path) -> None:
    home.config.parent.mkdir(parents=True, exist_ok=True)
    home.config.write_text("")
    with pytest.raises((ReadOnly, BadSettings)):
        Keys(home).add("phone")
