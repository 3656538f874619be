"""The proxies that the user's environment names, for both ways through.

HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case, and the system's own settings on macOS, as curl and pip
read them. Loopback never goes through a proxy. A proxy of a kind that is not understood is an error: going straight out
where somebody asked for a detour would tell the network what they wanted hidden.
"""

import base64
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from allod.egress.policy import is_loopback
from allod.errors import Unsupported


class Proxy(Struct, frozen=True):
    """An HTTP proxy. ``authorization`` is the value of Proxy-Authorization, empty for none."""

    host: str
    port: int
    authorization: str = ""

    @property
    def address(self) -> str:
        """host:port, as the ledger shows it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def proxy_for(url: str) -> Proxy | None:
    """The proxy that a request to ``url`` takes, if any.

    Raises:
        Unsupported: the environment names a SOCKS proxy or something else that is not an ``http://`` one.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address or is_loopback(host) or proxy_bypass(f"{host}:{parts.port}" if parts.port else host):
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise Unsupported(
            f"the proxy {proxy.scheme}://{proxy.hostname} for {host} is of a kind that allod cannot use",
            "Set HTTPS_PROXY to an http:// proxy, or add the host to NO_PROXY.",
        )
    authorization = ""
    if proxy.username is not None:
        secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        authorization = "Basic " + base64.b64encode(secret.encode()).decode()
    return Proxy(proxy.hostname, proxy.port or 80, authorization)
