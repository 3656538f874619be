"""Every error a person can meet, one class each.

    AllodError                     message, remedy, status, exit_code
    ├── BadRequest                 400  2   what was asked for makes no sense
    │   ├── BadName                400  2   not a model name, digest or host
    │   ├── BadModelfile           400  2   a Modelfile line that cannot be read
    │   ├── BadGGUF                400  1   not a GGUF file, or a truncated one
    │   ├── BadSettings            400  2   config.toml or ALLOD_* holds a wrong value
    │   ├── Unsupported            400  1   the model cannot do what was asked
    │   ├── BodyTooLarge           413  2   a request of more bytes than a door reads
    │   └── PromptTooLong          400  1   longer than the context
    ├── NotFound                   404  1
    │   └── ModelNotFound          404  1   carries the nearest names
    ├── Unauthorized               401  1   the server wants a key, or another one
    ├── Refused                    403  1   the egress policy, or a key's limits, said no
    │   └── Offline                403  1   offline mode
    ├── Network                    502  1   no source could be reached
    │   ├── Unreachable            502  1   one connection that could not be made, or broke
    │   └── DigestMismatch         502  1   bytes are not what they were said to be
    ├── Disk                       507  1   the disk or its permissions stand in the way
    │   ├── DiskFull               507  1
    │   └── ReadOnly               507  1
    ├── TooLarge                   500  1   a model does not fit in memory; carries the sum
    ├── Busy                       503  1   queue full; carries retry_after
    │   └── RateLimited            429  1   more requests than the key allows
    ├── TimedOut                   504  1   the time that the client gave the request is over
    ├── Stopping                   503  1   the server ends before the answer did
    ├── EngineFailed               500  1   a runner could not start
    │   └── RunnerCrashed          500  1   a runner died during a request
    ├── SandboxFailed              500  1   code cannot be run safely here
    ├── Conflict                   409  1   a file changed meanwhile
    └── Cancelled                  499  130 the user or client stopped it

A door maps these to its own shape: the CLI prints ``message`` and ``remedy`` and exits with ``exit_code``; the
HTTP doors answer ``status`` with their protocol's error body. Anything else that escapes is a bug.
"""


class AllodError(Exception):
    """What happened (``message``) and what to do about it (``remedy``), one line each."""

    status: int = 500
    exit_code: int = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class BadRequest(AllodError):
    """What was asked for makes no sense."""

    status = 400
    exit_code = 2


class BadName(BadRequest):
    """Not a model name, digest or host."""


class BadModelfile(BadRequest):
    """A Modelfile that cannot be read; the message carries the line number."""


class BadGGUF(BadRequest):
    """Not a GGUF file, or one that was cut short."""

    exit_code = 1


class BadSettings(BadRequest):
    """config.toml or an ALLOD_* variable holds a wrong value."""


class Unsupported(BadRequest):
    """The model cannot do what was asked (tools, images, embeddings…)."""

    exit_code = 1


class PromptTooLong(BadRequest):
    """The prompt is longer than the context."""

    exit_code = 1


class BodyTooLarge(BadRequest):
    """A request of more bytes than a door reads."""

    status = 413


class NotFound(AllodError):
    """Something named does not exist."""

    status = 404


class ModelNotFound(NotFound):
    """No such model here; ``nearest`` holds names that look like it, best first."""

    def __init__(self, message: str, remedy: str = "", nearest: tuple[str, ...] = ()) -> None:
        super().__init__(message, remedy)
        self.nearest = nearest


class Refused(AllodError):
    """The egress policy said no."""

    status = 403


class Unauthorized(AllodError):
    """The server wants a key, or another one."""

    status = 401


class Offline(Refused):
    """Offline mode: every connection but loopback is refused."""


class Network(AllodError):
    """No source could be reached, or one broke off for good."""

    status = 502


class Unreachable(Network):
    """One connection could not be made, or broke; trying again may help."""


class DigestMismatch(Network):
    """The bytes that came are not the bytes that were promised."""


class Disk(AllodError):
    """The disk or its permissions stand in the way."""

    status = 507


class DiskFull(Disk):
    """No space left; what was fetched so far is kept."""


class ReadOnly(Disk):
    """A folder that has to be written cannot be."""


class TooLarge(AllodError):
    """A model does not fit in memory; the message carries the sum term by term."""


class Busy(AllodError):
    """The queue is full. ``retry_after`` is in seconds."""

    status = 503

    def __init__(self, message: str, remedy: str = "", retry_after: int = 5) -> None:
        super().__init__(message, remedy)
        self.retry_after = retry_after


class RateLimited(Busy):
    """The client asks more often than its key allows."""

    status = 429


class Stopping(AllodError):
    """The server ends before the answer did."""

    status = 503


class TimedOut(AllodError):
    """The time that the client gave the request is over."""

    status = 504


class EngineFailed(AllodError):
    """A runner could not start; the message carries its last words."""


class RunnerCrashed(EngineFailed):
    """A runner died during a request; the next request starts it anew."""


class SandboxFailed(AllodError):
    """Code cannot be run safely here."""


class Conflict(AllodError):
    """Something changed meanwhile, so going on would lose it."""

    status = 409


class Cancelled(AllodError):
    """The user or the client stopped it."""

    status = 499
    exit_code = 130
