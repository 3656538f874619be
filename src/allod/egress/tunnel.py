"""The way through for what is not allod's own: an HTTP proxy for the code of a job, to granted hosts and no others.

    async with Tunnel(egress, "job", Allowed(["example.org"])).serving(path):      # a Unix socket
        …                                    # the sandbox shows the socket to the code, which has no other network

It takes CONNECT, and plain ``http://`` requests, one a connection. A name is resolved here, once, and the connection
goes to the address that was looked at; one that is not public needs a grant of its own (``hosts``). The policy is
asked and the ledger written as for everything else, refusals included. What is inside TLS is not looked at.

What reads from here is code that nobody vouches for: heads and waits are bounded, and so are the connections, at once
and in all.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from msgspec import Struct

from allod.egress.hosts import Allowed, as_address, plain
from allod.egress.ledger import Entry, Outcome
from allod.egress.policy import Egress, is_loopback
from allod.egress.proxy import Proxy, proxy_for
from allod.egress.request import BadHead, Head, forward_body, parse
from allod.errors import AllodError, Refused, Unreachable

AT_ONCE = 64  # connections
NOTED = 100  # hosts that were refused
LOOKUPS = 4  # names looked up at once: each keeps a thread, which others need too
IN_ALL = 20_000  # and rows of the ledger that one job may fill
CONNECT = 15.0  # seconds
HEAD = 30.0  # seconds for a request to come
IDLE = 300.0  # seconds without a byte either way
CHUNK = 1 << 16

Count = Callable[[int], None]


class Turned(AllodError):
    """A request that is answered with an error of the proxy's own: ``code`` is HTTP's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Line(Struct, frozen=True):
    """An open connection to the host, or to the proxy on the way."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    proxy: Proxy | None


class Tunnel:
    """The proxy of one job's code."""

    def __init__(self, egress: Egress, purpose: str, allowed: Allowed) -> None:
        self.egress = egress
        self.purpose = purpose
        self.allowed = allowed
        self.refused: list[str] = []  # hosts that were asked for and not granted, each once
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._left = IN_ALL
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, path: Path) -> AsyncGenerator[None]:
        """Listens on a Unix socket at ``path`` for as long as the block runs; then all connections are cut."""
        server = await asyncio.start_unix_server(self._accept, path, limit=CHUNK)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self._at_once:
                await self._answer(reader, writer)
        except (OSError, EOFError, AllodError, asyncio.CancelledError):
            pass  # its side went away, or ours ends: the row says so, where it can be written
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, from its head to the end of the connection."""
        try:
            async with asyncio.timeout(HEAD):
                head = parse(await reader.readuntil(b"\r\n\r\n"))
        except (BadHead, asyncio.LimitOverrunError) as error:
            await say(writer, Turned(400, str(error) if isinstance(error, BadHead) else "a head that is too long"))
            return
        self._left -= 1
        if self._left < 0:
            await say(writer, Turned(429, f"more than {IN_ALL:,} connections in one job"))
            return
        try:
            entry = Entry(
                self.egress.ledger, self.purpose, head.method, head.recorded, is_loopback(head.host), self._via(head)
            )
        except AllodError as error:  # what cannot be written down is not done
            await say(writer, Turned(502, error.message))
            return
        outcome: Outcome = "cut"
        try:
            line = await self._connect(head)
            try:
                outcome = await self._carry(head, line, reader, writer, entry)
            finally:
                line.writer.close()
        except Turned as error:
            outcome = "refused" if error.code == 403 else "failed"
            entry.status = error.code
            await say(writer, error)
        finally:
            entry.close(outcome)  # at once: this may be the end of all, and the row must be right

    def _via(self, head: Head) -> str:
        """The proxy on the way, for the ledger."""
        try:
            proxy = proxy_for(head.url)
        except AllodError:
            return ""
        return proxy.address if proxy else ""

    # ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _connect(self, head: Head) -> Line:
        """A connection for a request. Raises Turned."""
        host, port = head.host, head.port
        if not self.allowed.permits(host, port):
            if plain(host) not in self.refused and len(self.refused) < NOTED:
                self.refused.append(plain(host)[:253])
            raise Turned(403, f"{host}:{port} is not granted to this job (allod do --net {host}:{port})")
        try:
            await asyncio.to_thread(self.egress.check, self.purpose, plain(host))
            proxy = proxy_for(head.url)
            if proxy:
                self.egress.check_proxy(self.purpose, proxy.host)
        except AllodError as error:
            raise Turned(403 if isinstance(error, Refused) else 502, error.message) from error
        try:
            async with asyncio.timeout(CONNECT):
                addresses = await self._addresses(host, port, proxy is not None)
                if proxy:
                    return await through(proxy, head)
                return Line(*await first(addresses, port), None)
        except (OSError, EOFError, Unreachable) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            raise Turned(502, f"{host}:{port} cannot be reached: {reason}") from error

    async def _addresses(self, host: str, port: int, proxied: bool) -> list[str]:
        """The addresses of a host that may be connected to, looked up once. Raises Turned, OSError.

        Behind a proxy names may have no meaning here; it looks them up itself.
        """
        try:
            async with self._lookups:
                found = await asyncio.get_running_loop().getaddrinfo(plain(host), port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            if proxied:
                return []
            raise Turned(502, f"the name {host} cannot be resolved") from error
        texts = list(dict.fromkeys(str(each[4][0]) for each in found))
        good = [t for t in texts if (a := as_address(t)) is not None and self.allowed.reachable(a, host, port)]
        if texts and not good:
            address = f"[{texts[0]}]" if ":" in texts[0] else texts[0]
            raise Turned(
                403, f"{host} is at {texts[0]}, not on the open internet: grant that too (--net {address}:{port})"
            )
        return good

    # ── carrying ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _carry(
        self, head: Head, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, entry: Entry
    ) -> Outcome:
        """Passes bytes both ways until the host's side ends; how it ended."""
        if head.method == "CONNECT":
            entry.status = 200
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            first_bytes = head.rewritten(line.proxy.authorization if line.proxy else "", whole=line.proxy is not None)
            line.writer.write(first_bytes)
            entry.add("sent", len(first_bytes))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(IDLE) as idle:

            def count(way: str, size: int) -> None:
                entry.add("sent" if way == "sent" else "received", size)
                idle.reschedule(loop.time() + IDLE)

            async def out() -> None:
                """From the code to the host: all of it, or a request's body and no second request."""
                with contextlib.suppress(OSError, EOFError, BadHead):
                    if head.method == "CONNECT":
                        await pump(reader, line.writer, lambda size: count("sent", size))
                    else:
                        await forward_body(head, reader, line.writer, lambda size: count("sent", size))

            sending = asyncio.ensure_future(out())
            try:
                await pump(line.reader, writer, lambda size: count("received", size))
            except OSError:
                return "cut"
            finally:
                sending.cancel()
        return "done"


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Count) -> None:
    """Passes bytes on until they end, then says so."""
    while data := await reader.read(CHUNK):
        count(len(data))
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError):  # gone as soon as it had all
        writer.write_eof()


async def first(addresses: list[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that answers. Raises OSError."""
    failed: OSError = OSError("it has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT / len(addresses)):
                return await asyncio.open_connection(address, port, limit=CHUNK)
        except OSError as error:
            failed = error
    raise failed


async def through(proxy: Proxy, head: Head) -> Line:
    """A connection by way of the user's proxy. Raises OSError, EOFError, Unreachable."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, limit=CHUNK)
    try:
        if head.method == "CONNECT":
            secret = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
            writer.write(f"CONNECT {head.place} HTTP/1.1\r\nHost: {head.place}\r\n{secret}\r\n".encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            status = answer.split(b"\r\n", 1)[0].decode("latin-1")
            if len(status.split()) < 2 or not status.split()[1].startswith("2"):
                raise Unreachable(f"the proxy {proxy.address} says {status[:200]}")
        return Line(reader, writer, proxy)
    except BaseException:
        writer.close()
        raise


async def say(writer: asyncio.StreamWriter, error: Turned) -> None:
    """Answers with an error, the reason in the status line too: many clients show nothing else."""
    text = "".join(c if c.isprintable() and c.isascii() else "?" for c in error.message)[:500]
    head = f"HTTP/1.1 {error.code} {text}\r\nContent-Type: text/plain\r\nContent-Length: {len(text) + 1}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n{text}\n".encode())
    with contextlib.suppress(OSError):
        await writer.drain()
