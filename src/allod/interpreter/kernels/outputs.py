"""What a kernel's run gives: one small value for each thing that came out."""

from msgspec import Struct


class Stream(Struct, frozen=True, tag="stream"):
    """A piece of what the code printed."""

    name: str  # stdout or stderr
    text: str


class Result(Struct, frozen=True, tag="result"):
    """The value of the last expression, or something displayed; ``data`` by MIME type, as text."""

    text: str
    data: dict[str, str] = {}


class Picture(Struct, frozen=True, tag="picture"):
    """A figure or image that was shown, in one of the two forms or in both."""

    png: bytes = b""
    svg: str = ""


class Failure(Struct, frozen=True, tag="failure"):
    """How the run ended badly: an exception of the code, a limit, or the end of the kernel itself."""

    name: str  # the exception's class; TimeLimit, MemoryLimit, DiskLimit or KernelDied where allod ended it
    message: str
    traceback: str = ""  # the user's own frames and the message
    line: int = 0  # of the code that was run, from 1; 0: unknown
    source: str = ""  # that line
    values: tuple[str, ...] = ()  # what the names in it hold, "name = …" each
    hint: str = ""  # what the sandbox has to do with it

    @property
    def text(self) -> str:
        """All of it, as shown to a person or a model."""
        parts = [self.traceback or f"{self.name}: {self.message}"]
        if self.values:
            parts.append("where " + "\n      ".join(self.values))
        if self.hint:
            parts.append(self.hint)
        return "\n".join(parts)


class InputRequest(Struct, frozen=True, tag="input"):
    """The code called ``input()``; it waits for ``Kernel.answer``."""

    prompt: str
    password: bool = False


class Notice(Struct, frozen=True, tag="notice"):
    """Something to know that the code did not print."""

    text: str


Output = Stream | Result | Picture | Failure | InputRequest | Notice
