"""Ollama's and OCI registries: manifests and blobs of ``/v2/`` (the distribution specification), with bearer tokens.

    registry = Registry(web, base_url("registry.ollama.ai"), credentials(home))
    raw = registry.manifest(Name.parse("smollm2:135m"))
    plan = registry.plan(name, layer)

``hf.co/user/repo:QUANT`` needs nothing of its own: Hugging Face answers the same protocol. The manifest's bytes are
kept as they came, as their digest is the model's.
"""

import base64
import binascii
import hashlib
import json
import re
import threading
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from allod.egress import is_loopback
from allod.egress.answer import Answer, origin
from allod.errors import BadName, BadSettings, DigestMismatch, ModelNotFound, Network
from allod.models.manifest import MANIFEST, Layer
from allod.models.name import Name
from allod.models.sources.web import Page, Web
from allod.models.transfer.plan import Plan, Segment

LARGEST_MANIFEST = 4 << 20  # bytes
LARGEST_TOKEN = 64 << 10
ACCEPT = f"{MANIFEST}, application/vnd.oci.image.manifest.v1+json"
PARAMETER = re.compile(r'([a-zA-Z]+)="([^"]*)"')
AUTH_FILE = "auth.json"


def base_url(host: str, scheme: str = "", insecure: bool = False) -> str:
    """The registry's address: TLS, unless it is on loopback, or ``http://`` was typed and insecure ones are allowed.

    Raises:
        BadName: ``http://`` where that is not allowed.
    """
    name = urlsplit(f"//{host}").hostname or host
    if scheme == "http" and not insecure and not is_loopback(name):
        raise BadName(
            f"{host} without TLS is refused",
            "Say --insecure, or set registry_insecure = true in config.toml, if the network up to it can be trusted.",
        )
    return f"{scheme or ('http' if is_loopback(name) else 'https')}://{host}"


def credentials(path: Path, host: str) -> str:
    """The value of a Basic Authorization header for a registry, empty where none is set.

    ``auth.json`` in the config folder has the form of Docker's own file: ``{"auths": {"host": {"auth": "<base64>"}}}``.

    Raises:
        BadSettings: it cannot be read.
    """
    try:
        raw: Any = json.loads(path.read_bytes())
        entry: object = raw.get("auths", {}).get(host)
        secret = str(cast("dict[str, object]", entry)["auth"]) if isinstance(entry, dict) else ""
        if ":" not in base64.b64decode(secret, validate=True).decode() and secret:
            raise ValueError(f"the entry of {host} is not base64 of user:password")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        raise BadSettings(f"{path} cannot be read: {error}", 'It holds {"auths": {"host": {"auth": "…"}}}.') from error
    return f"Basic {secret}" if secret else ""


class RegistryAuth:
    """Bearer tokens of one registry, asked for when it answers 401. Implements `transfer.Auth`; safe in threads.

    The token service has to be on the registry's own host (or a port of it), so that no registry can have credentials
    or requests sent elsewhere.
    """

    def __init__(self, web: Web, base: str, basic: str = "") -> None:
        self.web = web
        self.base = base
        self.basic = basic
        self._bearer = ""
        self._lock = threading.Lock()

    def headers(self, url: str) -> dict[str, str]:
        """The token, for the registry itself alone."""
        value = self._bearer or self.basic
        return {"Authorization": value} if value and origin(url) == origin(self.base) else {}

    def renew(self, answer: Answer) -> bool:
        """Gets the token that a 401 asks for. Raises Network for a challenge that must not be followed."""
        return self.challenged(answer.header("www-authenticate"))

    def challenged(self, challenge: str) -> bool:
        """Answers a ``WWW-Authenticate: Bearer realm=…,service=…,scope=…``; whether there is a new token."""
        if not challenge.lower().startswith("bearer "):
            return False
        asked = {key.lower(): value for key, value in PARAMETER.findall(challenge)}
        realm = asked.get("realm", "")
        scheme, host, _ = origin(realm)
        here = origin(self.base)
        if host != here[1] or (scheme == "http" and here[0] == "https"):
            raise Network(f"{here[1]} wants its token fetched from {realm[:200]}, which is not its own host")
        query = urlencode([(key, asked[key]) for key in ("service", "scope") if key in asked])
        with self._lock:
            page = self.web.get(
                f"{realm}{'&' if '?' in realm else '?'}{query}",
                {"Authorization": self.basic} if self.basic else {},
                limit=LARGEST_TOKEN,
            )
            body: object = page.json()
            fields = cast("dict[str, object]", body) if isinstance(body, dict) else {}
            token = fields.get("token") or fields.get("access_token")
            if not isinstance(token, str) or not token or not token.isprintable():
                raise Network(f"{host} gave no token")
            self._bearer = f"Bearer {token}"
        return True


class Registry:
    """One registry. ``base`` is its address without a path."""

    def __init__(self, web: Web, base: str, basic: str = "") -> None:
        self.web = web
        self.base = base
        self.name = urlsplit(base).netloc
        self.auth = RegistryAuth(web, base, basic)

    def manifest(self, name: Name) -> bytes:
        """A model's manifest, byte for byte.

        Raises:
            ModelNotFound: the registry has no such model.
            DigestMismatch: its bytes are not those of the digest in the answer.
            Network, Unreachable, Offline, Refused, Cancelled.
        """
        url = f"{self.base}/v2/{quote(name.namespace)}/{quote(name.model)}/manifests/{quote(name.tag)}"
        page = self.ask(url)
        if page.status == 401 and self.auth.challenged(page.headers.get("www-authenticate", "")):
            page = self.ask(url)
        if page.status == 404:
            raise ModelNotFound(f"{self.name} has no model {name}")
        if page.status == 401:
            raise Network(
                f"{self.name} wants to know who asks for {name}",
                f"Put a user and password for it into {AUTH_FILE} in the config folder.",
            )
        said = page.headers.get("docker-content-digest", "")
        found = f"sha256:{hashlib.sha256(page.body).hexdigest()}"
        if said.startswith("sha256:") and said.lower() != found:
            raise DigestMismatch(f"{self.name} sent a manifest of the digest {found} and says that it is {said}")
        return page.body

    def ask(self, url: str) -> Page:
        """Asks for a manifest. Raises Network, Unreachable, Offline, Refused, Cancelled."""
        headers = {**self.auth.headers(url), "Accept": ACCEPT}
        return self.web.get(url, headers, limit=LARGEST_MANIFEST, accept=(200, 401, 404))

    def plan(self, name: Name, layer: Layer) -> Plan:
        """How to get a blob of a model."""
        url = f"{self.base}/v2/{quote(name.namespace)}/{quote(name.model)}/blobs/{layer.digest}"
        segments = (Segment(url, 0, layer.size, layer.size, layer.size),) if layer.size else ()
        return Plan(self.name, layer.digest, layer.size, segments, self.auth)
