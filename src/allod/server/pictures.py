"""Pictures that a request names by URL: fetched where the egress policy has a rule for it, and put into the request.

    body = await with_pictures(state.egress, await read_body(request))

    [[egress.rules]]                # config.toml; without such a rule nothing is fetched
    action = "allow"
    purpose = "picture"
    host = "*.example.org"

A server that fetches what its clients name can be sent to places that only it may reach. So the rule has to name the
host, this machine's own too, a redirect is looked at like the first URL, only https is spoken, and what comes back has
to be a picture.
"""

import asyncio
import base64
import re
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from allod.egress import Egress
from allod.errors import AllodError, BadRequest, Network, Refused
from allod.server.door import decode, encode
from allod.server.ollama_requests import picture_kind

NAMED = re.compile(rb'"(?:url|image_url)"\s*:\s*"\s*[hH][tT][tT][pP]')  # with a prefix to look for: bodies are large
LARGEST = 20 * 2**20  # bytes of one picture
MOST = 16  # pictures in a request
HOPS = 3  # redirects
SECONDS = 30.0  # for all of a request's pictures
DEPTH = 12  # of lists and objects that are looked into


async def with_pictures(egress: Egress, body: bytes) -> bytes:
    """The request's body with every picture in it; as it came where none is named by URL.

    Raises:
        Refused: no rule allows the host, or it is not https.
        BadRequest: what came is no picture, or too many or too large ones; or the body is no JSON.
        Network: it cannot be fetched.
    """
    if not NAMED.search(body):
        return body
    raw = decode(body, dict[str, Any])
    places = [place for key in ("messages", "input") for place in named(raw.get(key))]
    if len(places) > MOST:
        raise BadRequest(f"more than {MOST} pictures are named by URL", "Send fewer at a time.")
    try:
        async with asyncio.timeout(SECONDS):
            for place, key in places:
                put(place, key, *await fetched(egress, str(place[key]).strip()))
    except TimeoutError as error:
        raise Network("the pictures did not come in time", "Send them within the request (data: URLs).") from error
    return encode(raw)


def named(value: Any, depth: int = 0) -> Iterator[tuple[dict[str, Any], str]]:
    """Each object that names a picture by URL, with the key that does."""
    if depth > DEPTH:
        return
    if isinstance(value, list):
        for entry in cast("list[Any]", value):
            yield from named(entry, depth + 1)
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        match fields:
            case {"type": "image_url", "image_url": {"url": str(url)}} if remote(url):
                yield fields["image_url"], "url"
            case {"type": "image_url" | "input_image", "image_url": str(url)} if remote(url):
                yield fields, "image_url"
            case {"type": "image", "source": {"type": "url", "url": str(url)}} if remote(url):
                yield fields["source"], "url"
            case {"content": content}:
                yield from named(content, depth + 1)
            case _:
                pass


def remote(url: str) -> bool:
    """Whether it has to be fetched."""
    return url.strip().lower().startswith(("http:", "https:"))


def put(place: dict[str, Any], key: str, kind: str, data: bytes) -> None:
    """Writes a picture where its URL was."""
    text = base64.b64encode(data).decode()
    if place.get("type") == "url":  # Anthropic's
        del place[key]
        place |= {"type": "base64", "media_type": kind, "data": text}
    else:
        place[key] = f"data:{kind};base64,{text}"


async def fetched(egress: Egress, url: str) -> tuple[str, bytes]:
    """A picture's media type and bytes."""
    import httpx

    async with egress.client("picture", httpx.Timeout(10)) as http:
        for _ in range(HOPS + 1):
            check(egress, url)
            try:
                async with http.stream("GET", url, headers={"accept": "image/*"}, follow_redirects=False) as answer:
                    if answer.is_redirect:
                        url = urljoin(url, answer.headers.get("location", ""))
                        continue
                    if answer.status_code != 200:
                        raise Network(f"{short(url)} answered {answer.status_code}", "Send the picture itself.")
                    return await received(answer, url)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Network(
                    f"{short(url)} cannot be fetched: {str(error)[:200] or type(error).__name__}",
                    "Send the picture itself.",
                ) from error
    raise Network(f"{short(url)} redirects too often", "Send the picture itself.")


async def received(answer: Any, url: str) -> tuple[str, bytes]:
    """The body, if it is a picture of a bearable size."""
    data = bytearray()
    async for piece in answer.aiter_bytes():
        data += piece
        if len(data) > LARGEST:
            raise BadRequest(f"{short(url)} is larger than {LARGEST >> 20} MB", "Send a smaller picture.")
    if not (kind := picture_kind(bytes(data[:16]))):
        raise BadRequest(f"{short(url)} is not a PNG, JPEG, WebP, GIF or BMP file")
    return kind, bytes(data)


def check(egress: Egress, url: str) -> None:
    """Returns where a URL may be fetched. Raises Refused, BadRequest."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError as error:
        raise BadRequest(f"not a URL: {short(url)}") from error
    if parts.scheme.lower() != "https" or not host:
        raise Refused(f"pictures are fetched by https only, not from {short(url)}", "Send the picture itself.")
    if egress.decide("picture", host) != "allow":
        rule = f'[[egress.rules]] action = "allow", purpose = "picture", host = "{host[:200]}"'
        raise Refused(
            f"pictures are not fetched from {host[:200]}",
            f"Send the picture itself (a data: URL), or allow it in config.toml: {rule}.",
        )
    try:
        egress.check("picture", host)
    except AllodError as error:
        raise Refused(error.message, error.remedy) from error


def short(url: str) -> str:
    """A URL as far as an error repeats it."""
    return url if len(url) <= 100 else f"{url[:100]}…"
