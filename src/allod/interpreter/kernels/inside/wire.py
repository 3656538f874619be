# pyright: basic, reportMissingImports=false
"""Jupyter's messaging protocol from the kernel's side, as far as a small kernel needs it: no IPython, quick to start.

https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

import hashlib
import hmac
import json
import os
import uuid

import zmq

DELIMITER = b"<IDS|MSG>"


class Wire:
    """A kernel's sockets, bound as the connection file says. ``parent`` is the request that is being answered."""

    def __init__(self, path):
        with open(path) as file:
            self.info = json.load(file)
        self.key = self.info["key"].encode()
        self.context = zmq.Context()
        self.iopub = self.bind(zmq.XPUB, "iopub")  # where a slow reader is waited for; a plain PUB drops
        self.iopub.setsockopt(zmq.XPUB_NODROP, 1)
        self.stdin = self.bind(zmq.ROUTER, "stdin")
        self.shell = self.bind(zmq.ROUTER, "shell")
        self.parent = {}
        self.session = uuid.uuid4().hex

    def bind(self, kind, name):
        """One socket."""
        socket = self.context.socket(kind)
        socket.linger = 0
        socket.bind(f"ipc://{self.info['ip']}-{self.info[name + '_port']}")
        return socket

    def receive(self):
        """The next request of the shell socket: who asks, what."""
        parts = self.shell.recv_multipart()
        at = parts.index(DELIMITER)
        header, _, _, content = (json.loads(part) for part in parts[at + 2 : at + 6])
        self.parent = header
        return parts[:at], header["msg_type"], content

    def send(self, socket, kind, content, who=()):
        """One message."""
        header = {
            "msg_id": uuid.uuid4().hex, "msg_type": kind, "session": self.session, "username": "kernel",
            "date": "", "version": "5.3",
        }  # fmt: skip
        parts = [json.dumps(part).encode() for part in (header, self.parent, {}, content)]
        signature = hmac.new(self.key, digestmod=hashlib.sha256)
        for part in parts:
            signature.update(part)
        socket.send_multipart([*who, DELIMITER, signature.hexdigest().encode(), *parts])

    def publish(self, kind, **content):
        """One message to everybody; whoever began to listen meanwhile is taken in."""
        while self.iopub.poll(0):
            self.iopub.recv()
        self.send(self.iopub, kind, content, (kind.encode(),))


def remove(path):
    """A file that may be there or not."""
    try:
        os.unlink(path)
    except OSError:
        pass
