"""Hosts: how they are written, and what may be reached on the strength of them."""

import ipaddress

import pytest

from allod.egress.hosts import Allowed, host_of, is_public
from allod.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.org", "example.org"),
        (" Example.ORG. ", "example.org"),
        ("*.example.org", "*.example.org"),
        ("*.example.org:8443", "*.example.org:8443"),
        ("localhost:8000", "localhost:8000"),
        ("nas", "nas"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("::1", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
        ("_dmarc.example.org", "_dmarc.example.org"),
    ],
)
def test_hosts_are_written_one_way(text: str, host: str) -> None:
    assert host_of(text) == host
    assert host_of(host) == host


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "*", "*.", "*.org", "*.127.0.0.1", "https://example.org", "example.org/path", "user@example.org",
        "example.org:", "example.org:0", "example.org:65536", "example.org:http", "example.org:８０", "exa mple.org",
        "a..b", "-a.org", "a-.org", "127.1", "0x7f.1", "2130706433", "0x7f000001", "1.2.3.4.5", "[::1", "[::1]x",
        "*.*.example.org", "ex*mple.org", "a\n.org", "x" * 64 + ".org", ".".join(["abc"] * 80), "a\0.org", "[nas]:x",
        "[nas]",
    ],
)  # fmt: skip
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        host_of(text)
    assert caught.value.remedy
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("granted", "host", "port", "may"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "EXAMPLE.org.", 80, True),
        ("example.org", "example.org", 8080, False),
        ("example.org", "www.example.org", 443, False),
        ("example.org", "badexample.org", 443, False),
        ("example.org", "example.org.evil.net", 443, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 443, False),
        ("*.example.org", "www.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "badexample.org", 443, False),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "localhost", 8000, False),
        ("127.0.0.1:8000", "127.0.0.2", 8000, False),
        ("[::1]:8000", "[0:0:0:0:0:0:0:1]", 8000, True),
        ("10.0.0.1", "10.0.0.1.", 80, True),
    ],
)
def test_what_a_grant_stands_for(granted: str, host: str, port: int, may: bool) -> None:
    assert Allowed([granted]).permits(host, port) == may


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1",
        "fd12::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
        "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "fec0::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_not_reached_by_a_public_name(text: str) -> None:
    for granted in ("example.org", "*.example.org", "10.9.9.9"):
        assert not Allowed([granted]).reachable(ipaddress.ip_address(text), "example.org", 443)
        assert not Allowed([granted]).reachable(ipaddress.ip_address(text), "a.example.org", 443)


@pytest.mark.parametrize("text", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_public_addresses_are_reached(text: str) -> None:
    assert Allowed(["example.org"]).reachable(ipaddress.ip_address(text), "example.org", 443)


@pytest.mark.parametrize(
    ("granted", "host", "address", "may"),
    [
        (["10.0.0.1"], "10.0.0.1", "10.0.0.1", True),
        (["127.0.0.1"], "127.0.0.1", "127.0.0.1", True),
        (["::1"], "::1", "::1", True),
        (["169.254.169.254"], "169.254.169.254", "169.254.169.254", True),
        (["localhost"], "localhost", "127.0.0.1", True),
        (["localhost"], "localhost", "::1", True),
        (["localhost"], "localhost", "10.0.0.1", False),
        (["nas"], "nas", "192.168.1.5", True),
        (["nas.lan"], "nas.lan", "fd12::5", True),
        (["nas.lan"], "nas.lan", "127.0.0.1", False),
        (["nas.lan"], "nas.lan", "169.254.169.254", False),
        (["*.home.lan"], "a.home.lan", "192.168.1.5", False),
        (["wiki.example.org"], "wiki.example.org", "10.0.0.7", False),
        (["wiki.example.org", "10.0.0.7"], "wiki.example.org", "10.0.0.7", True),
        (["wiki.example.org:8080", "10.0.0.7"], "wiki.example.org", "10.0.0.8", False),
        (["metadata.google.internal"], "metadata.google.internal", "169.254.169.254", False),
    ],
)
def test_private_addresses_need_a_grant_of_their_own_or_a_local_name(
    granted: list[str], host: str, address: str, may: bool
) -> None:
    assert Allowed(granted).reachable(ipaddress.ip_address(address), host, 443) == may


def test_what_the_settings_name_may_be_anywhere() -> None:
    allowed = Allowed([], trusted=["pypi.example.org"])
    assert allowed.permits("pypi.example.org", 443)
    assert allowed.reachable(ipaddress.ip_address("10.0.0.7"), "pypi.example.org", 443)
    assert not is_public(ipaddress.ip_address("10.0.0.7"))
