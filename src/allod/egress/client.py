"""The way through for httpx: asks, counts and records around its transport."""

from collections.abc import AsyncIterator

import httpx

from allod.egress.ledger import Entry, Way, answer_head, request_head
from allod.egress.policy import Egress, is_loopback
from allod.egress.proxy import Proxy, proxy_for
from allod.errors import Refused


def make_client(egress: Egress, purpose: str, timeout: httpx.Timeout | None) -> httpx.AsyncClient:
    """See ``Egress.client``."""
    return httpx.AsyncClient(
        transport=EgressTransport(egress, purpose),
        timeout=timeout or httpx.Timeout(30, connect=10),
        follow_redirects=True,
        trust_env=False,  # .netrc would send secrets to hosts that the policy never saw; proxies are chosen below
        headers={"user-agent": "allod"},
    )


class EgressTransport(httpx.AsyncBaseTransport):
    """One pool straight out and one a proxy, each request asked and recorded."""

    def __init__(self, egress: Egress, purpose: str) -> None:
        self.egress = egress
        self.purpose = purpose
        self.pools: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One hop: refused, or sent and counted to the last byte."""
        host = request.url.host
        proxy = proxy_for(str(request.url))
        via = proxy.address if proxy else ""
        entry = Entry(self.egress.ledger, self.purpose, request.method, str(request.url), is_loopback(host), via)
        try:
            self.egress.check(self.purpose, host)
            if proxy:
                self.egress.check_proxy(self.purpose, proxy.host)
        except Refused:
            entry.close("refused")
            raise
        entry.sent = request_head(request.method, request.url.raw_path.decode("ascii", "replace"), request.headers.raw)
        if isinstance(request.stream, httpx.AsyncByteStream):
            request.stream = CountedStream(request.stream, entry, "sent")
        try:
            response = await self.pool(proxy).handle_async_request(request)
        except BaseException:
            entry.close("failed")
            raise
        entry.status = response.status_code
        entry.received += answer_head(response.headers.raw)
        if isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = CountedStream(response.stream, entry, "received")
        return response

    def pool(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        """The connections straight out, or by one proxy."""
        if proxy not in self.pools:
            limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
            way = None
            if proxy:
                headers = {"proxy-authorization": proxy.authorization} if proxy.authorization else {}
                way = httpx.Proxy(f"http://{proxy.address}", headers=headers)
            self.pools[proxy] = httpx.AsyncHTTPTransport(verify=self.egress.tls, limits=limits, retries=1, proxy=way)
        return self.pools[proxy]

    async def aclose(self) -> None:
        """Closes the connections."""
        for pool in self.pools.values():
            await pool.aclose()


class CountedStream(httpx.AsyncByteStream):
    """Passes bytes on and adds them up; a response's row is closed with its stream."""

    def __init__(self, inner: httpx.AsyncByteStream, entry: Entry, way: Way) -> None:
        self.inner = inner
        self.entry = entry
        self.way: Way = way
        self.whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self.inner:
            self.entry.add(self.way, len(data))
            yield data
        self.whole = True

    async def aclose(self) -> None:
        """Closes the stream, and the row where this was the answer."""
        try:
            await self.inner.aclose()
        finally:
            if self.way == "received":
                self.entry.close("done" if self.whole else "cut")
