"""What is sent to and from the routes of conversations and runs."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request

from allod.errors import AllodError, BadRequest
from allod.server.door import decode, read_body
from allod.server.ollama_wire import NATIVE
from allod.server.runs import Waiting

SMALL = 2**20  # bytes of a body without files
LARGE = 128 * 2**20  # with files, in base64

T = TypeVar("T")
Text = Annotated[str, Meta(max_length=500_000)]
Name = Annotated[str, Meta(max_length=300)]


class NewConversation(Struct, forbid_unknown_fields=True):
    """A folder of the server's machine, and what does the jobs there."""

    folder: Annotated[str, Meta(min_length=1, max_length=4096)]
    model: Name = ""
    profile: Name = ""
    title: Text = ""


class Attachment(Struct, forbid_unknown_fields=True):
    """A file that goes with a job. ``data`` is base64."""

    name: str
    data: bytes


class NewRun(Struct, forbid_unknown_fields=True):
    """A job."""

    prompt: Text
    files: Annotated[list[Attachment], Meta(max_length=50)] = []
    model: Name = ""
    profile: Name = ""
    auto_approve: bool | None = None
    auto_apply: bool = False


class Approval(Struct, forbid_unknown_fields=True):
    """Yes to a block, or to the block as it was edited. ``event``: the number of the event that asked."""

    code: Text = ""
    event: int | None = None


class Rejection(Struct, forbid_unknown_fields=True):
    """No to a block."""

    event: int | None = None


class Input(Struct, forbid_unknown_fields=True):
    """A line for code that waits for one."""

    text: Text
    event: int | None = None


class Nothing(Struct, forbid_unknown_fields=True):
    """No field at all."""


class Choice(Struct, forbid_unknown_fields=True):
    """Which changes to apply; none named: all."""

    paths: Annotated[list[Annotated[str, Meta(min_length=1, max_length=8192)]], Meta(max_length=100_000)] | None = None
    overwrite: bool = False


class Overwrite(Struct, forbid_unknown_fields=True):
    """Whether files that were changed since are taken back, too."""

    overwrite: bool = False


class Told(Struct):
    """A run as it is now. ``events`` is the number of the last event."""

    id: str
    conversation: str
    prompt: str
    status: str
    reason: str
    begun_at: str
    ended_at: str | None
    events: int
    waiting: Waiting | None = None
    waiting_event: int | None = None


class Events:
    """The shape of a stream of events; errors that come before it are as everywhere."""

    stream_type = "text/event-stream"

    def whole(self, error: AllodError) -> bytes:
        """The error as a body."""
        return NATIVE.whole(error)

    def late(self, error: AllodError) -> bytes:
        """The error as an event, without a number: reading again goes on before it."""
        return b"event: failure\ndata: " + NATIVE.whole(error) + b"\n\n"


def sent(number: int, body: bytes) -> bytes:
    """One event. Its kind is the ``type`` of its JSON, too."""
    kind = re.match(rb'\{"type":"([a-z_]+)"', body)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind[1] if kind else b"message", body)


def after(request: Request) -> int:
    """The number of the event that the client has seen last; what a browser says of itself goes.

    Raises:
        BadRequest: not a number.
    """
    text = request.headers.get("last-event-id") or request.query_params.get("after") or "0"
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        raise BadRequest(f"after is no number of an event: {text[:40]!r}", "Give that of the last one you have seen.")
    return int(text)


async def body_of(request: Request, kind: type[T], limit: int = SMALL) -> T:
    """The JSON body; none is an empty object. Raises BadRequest, BodyTooLarge."""
    data = await read_body(request, limit)
    return decode(data if data.strip() else b"{}", kind)


def plain(value: Any) -> Any:
    """What msgspec can encode as it stands."""
    return msgspec.to_builtins(value)
