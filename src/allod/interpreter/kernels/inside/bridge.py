# pyright: basic
"""Starts a kernel that somebody else wrote, and makes it reachable: ``python bridge.py CONNECTION_FILE COMMAND…``.

Kernels listen on TCP ports, and not all can do otherwise; the sandbox's loopback is not reached from outside. So the
kernel gets a connection file of its own, with free ports, and the bytes pass between these and the Unix sockets that
allod's file names: the protocol above is the same for both. Ends as the kernel does.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
TRIES = 600  # of 0.1 s each, to reach a kernel that has just been started


def begin(file, command):
    """Starts the kernel on free ports; allod's connection, those ports, the kernel."""
    with open(file) as given:
        info = json.load(given)
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in CHANNELS]
    ports = {f"{name}_port": each.getsockname()[1] for name, each in zip(CHANNELS, taken, strict=True)}
    for each in taken:
        each.close()
    own = file.removesuffix(".json") + "-tcp.json"
    with open(own, "w") as mine:
        json.dump(info | ports | {"transport": "tcp", "ip": "127.0.0.1"}, mine)
    return info, ports, subprocess.Popen([each.replace(file, own) for each in command])


async def main(info, ports, kernel):
    """Passes bytes until the kernel ends; its status."""
    for name in CHANNELS[:-1]:
        port = f"{name}_port"
        await asyncio.start_unix_server(passing(ports[port]), f"{info['ip']}-{info[port]}")
    return await asyncio.to_thread(kernel.wait)


def passing(port):
    """Joins each connection to one to the port."""

    async def join(reader, writer):
        for _ in range(TRIES):
            try:
                inner, outer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0.1)
        else:
            writer.close()
            return
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    return join


async def pump(reader, writer):
    """Passes bytes on until they end."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # it is meant for the kernel, which gets it too
    status = asyncio.run(main(*begin(sys.argv[1], sys.argv[2:])))
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)
