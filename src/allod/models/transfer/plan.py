"""What a source says about a blob: which bytes of which files make it."""

from typing import Protocol

from msgspec import Struct

from allod.egress.answer import Answer

PIECE = 4 << 20  # bytes noted in the journal at once: the most a stream loses to a kill


class Tuning(Struct, frozen=True):
    """How a transfer behaves; seconds and counts. Tests make it hasty."""

    streams: int = 4  # at the start
    most_streams: int = 8
    measure: float = 0.5  # between two looks at the speed, when one more stream may be tried
    window: int = 8  # pieces kept in memory for the check; what does not fit is read back
    stall: float = 30.0  # without a byte, until a request is given up
    tries: int = 6  # in a row, for one piece, without headway
    backoff: float = 1.0  # before the first retry; doubled each time, with jitter
    longest_wait: float = 60.0  # for backoff and Retry-After; a server that asks for more is given up
    tick: float = 0.05  # between two reports


class Segment(Struct, frozen=True):
    """A stretch of a remote file, and what it becomes in the blob.

    ``sha256`` (hex) is the whole remote file's, where the source told it; ``before`` is what stands in the file since
    its last segment (or its start), ``after`` what follows its last one, so that the whole can be checked.
    """

    url: str
    start: int  # its first byte in the remote file
    length: int  # its bytes there
    size: int  # its bytes in the blob: ``length``, unless it is deflated
    total: int = 0  # bytes of the remote file; 0: not known
    deflated: bool = False  # raw DEFLATE (RFC 1951), as zip members are
    crc32: int | None = None  # of its bytes in the blob
    sha256: str = ""
    before: bytes = b""
    after: bytes | None = None  # None: not the file's last segment


class Auth(Protocol):
    """What a source sends along to prove who asks."""

    def headers(self, url: str) -> dict[str, str]:
        """Headers for a request to ``url``; empty for hosts that must not see them."""
        ...

    def renew(self, answer: Answer) -> bool:
        """Answers a 401; whether there are new headers, so that trying again makes sense."""
        ...


class Plan(Struct, frozen=True):
    """How to get one blob from one source. ``size`` is the sum of the segments' sizes."""

    source: str  # as errors name it
    digest: str  # sha256:<hex>
    size: int
    segments: tuple[Segment, ...]
    auth: Auth | None = None
