"""Which connections may be made, and the two ways to make them.

Knows rules, purposes and hosts; opens nothing itself. httpx and http.client are imported where they are used, as the
commands that stay on this machine start without them.
"""

import fnmatch
import ipaddress
import ssl
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from allod.egress.ledger import Ledger
from allod.errors import Offline, Refused
from allod.home import Action, EgressRule, Home

if TYPE_CHECKING:
    import httpx

    from allod.egress.door import Door

# Who may be asked for what without a further question: the user typed the command that does it. ``job`` is what the
# code of a job does, with the hosts that were granted to it and no others.
BUILT_IN_RULES = tuple(EgressRule(action="allow", purpose=purpose) for purpose in ("pull", "push", "job"))

Asker = Callable[[str, str], bool]  # (purpose, host) → may it?


def is_loopback(host: str) -> bool:
    """Whether a host name or address cannot leave this machine. Names are not resolved."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def tls() -> ssl.SSLContext:
    """The system's certificate authorities (and SSL_CERT_FILE's); certifi's where the system has none."""
    context = ssl.create_default_context()
    if not context.get_ca_certs() and not ssl.get_default_verify_paths().capath:
        import certifi

        context.load_verify_locations(certifi.where())
    return context


class Egress:
    """Policy and ledger of one home. ``asker`` is called where the policy says ``ask``; without one, that is a no."""

    def __init__(self, home: Home, asker: Asker | None = None) -> None:
        self.home = home
        self.asker = asker
        self.rules = (*home.settings.egress.rules, *BUILT_IN_RULES)
        self.ledger = Ledger(home)
        self._answers: dict[tuple[str, str], bool] = {}

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """What certificates are checked against; read once."""
        return tls()

    def decide(self, purpose: str, host: str) -> Action:
        """What the rules say, first match first; offline mode is looked at elsewhere."""
        for rule in self.rules:
            if fnmatch.fnmatch(purpose, rule.purpose) and fnmatch.fnmatch(host.lower(), rule.host.lower()):
                return rule.action
        return self.home.settings.egress.default

    def check(self, purpose: str, host: str) -> None:
        """Returns where a connection may be made.

        Raises:
            Offline: offline mode, and ``host`` is not loopback.
            Refused: a rule, or the user, said no.
        """
        if is_loopback(host):
            return
        if self.home.settings.offline:
            raise Offline(
                f"offline mode: no connection to {host} ({purpose})",
                "Unset ALLOD_OFFLINE and remove `offline = true` from config.toml to allow it.",
            )
        action = self.decide(purpose, host)
        if action == "ask":
            key = (purpose, host)
            if key not in self._answers:
                self._answers[key] = self.asker is not None and self.asker(purpose, host)
            action = "allow" if self._answers[key] else "deny"
        if action == "deny":
            raise denied(purpose, host)

    def check_proxy(self, purpose: str, host: str) -> None:
        """Returns where a proxy may be used: its user set it up, so only a rule that denies it stands against it.

        Raises:
            Refused: a rule denies the proxy's host.
        """
        if not is_loopback(host) and self.decide(purpose, host) == "deny":
            raise denied(purpose, host)

    def client(self, purpose: str, timeout: "httpx.Timeout | None" = None) -> "httpx.AsyncClient":
        """An httpx client for one purpose. Follows redirects, each hop checked and recorded on its own.

        Proxies are those of the environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), never for loopback.
        """
        from allod.egress.client import make_client

        return make_client(self, purpose, timeout)

    def door(self, purpose: str, *, connect: float = 10.0, stall: float = 30.0) -> "Door":
        """Blocking requests for one purpose, to be used from several threads. Seconds: to connect; without a byte."""
        from allod.egress.door import Door

        return Door(self, purpose, connect=connect, stall=stall)


def denied(purpose: str, host: str) -> Refused:
    """The error for a host that the policy refuses, with the rule that would allow it."""
    return Refused(
        f"the egress policy refuses {host} for {purpose}",
        f'Allow it in config.toml: [[egress.rules]] action = "allow", purpose = "{purpose}", host = "{host}".',
    )
