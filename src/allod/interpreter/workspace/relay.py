"""Inside the sandbox: ``python relay.py SOCKET COMMAND…`` runs a command that finds an HTTP proxy on this loopback.

The proxy listens outside, on a Unix socket that is shown inside; programs know proxies by host and port only. So a
child listens on a free port of 127.0.0.1 and passes bytes between the two, and the command is told by HTTP_PROXY and
its kin. Nothing is filtered here: code may do what it likes with this process and gets no further than the socket.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def main(path: str, command: Sequence[str]) -> None:
    """Starts the relay, then becomes the command."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    if os.fork() == 0:
        os.setsid()  # what interrupts the command must not end the relay
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        asyncio.run(relay(listener, path))
        os._exit(0)
    listener.close()
    for name in NAMES:
        os.environ[name] = os.environ[name.lower()] = address
    os.execvp(command[0], list(command))


async def relay(listener: socket.socket, path: str) -> None:
    """Passes bytes both ways, for ever."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            outer_reader, outer_writer = await asyncio.open_unix_connection(path)
            await asyncio.gather(pump(reader, outer_writer), pump(outer_reader, writer, last=True))
            outer_writer.close()
        except OSError:
            pass
        writer.close()

    async with await asyncio.start_server(answer, sock=listener) as server:
        await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, last: bool = False) -> None:
    """Passes bytes on until they end, then says so. ``last``: with it all is over."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        pass
    if last:
        writer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
