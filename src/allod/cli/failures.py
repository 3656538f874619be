"""How a command ends when it does not end well: two lines on stderr and an exit code, never a traceback by itself.

    Error: model 'smolm' not found
    Did you mean smollm2:135m?

Exit codes: that of the AllodError's class; 130 after Ctrl-C; 141 when the reader of a pipe went away; 70 for a bug.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

from allod.errors import AllodError, Cancelled, Disk, DiskFull, ReadOnly

BUG = 70  # EX_SOFTWARE of sysexits.h
PIPE = 141  # what a shell reports for a program that SIGPIPE ended


class ReaderGone(Exception):
    """Nobody reads our stdout any more."""


def take_debug(args: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without ``--debug``, and whether tracebacks are wanted. What follows ``--`` is left alone."""
    end = list(args).index("--") if "--" in args else len(args)
    words = [word for i, word in enumerate(args) if word != "--debug" or i > end]
    wanted = len(words) < len(args) or os.environ.get("ALLOD_DEBUG", "") not in ("", "0", "false")
    return words, wanted


def report(error: BaseException, debug: bool) -> int:
    """Says on stderr what went wrong; returns the exit code."""
    cause = innermost(error)
    if isinstance(cause, ReaderGone | BrokenPipeError):
        return PIPE
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(cause, KeyboardInterrupt):
        return 130
    if isinstance(cause, OSError) and (mapped := of_the_disk(cause)):
        cause = mapped
    if isinstance(cause, Cancelled) and not cause.message:
        return cause.exit_code
    if isinstance(cause, AllodError):
        lines(cause.message, cause.remedy)
        return cause.exit_code
    what = f"{type(cause).__name__}: {cause}".strip().rstrip(":").splitlines()
    lines(
        f"this is a bug in allod: {what[0]}",
        "" if debug else "Type the same with --debug for the traceback, and please report it.",
    )
    return BUG


def lines(message: str, remedy: str = "") -> None:
    """``Error: …`` and, below it, what to do."""
    with contextlib.suppress(OSError):  # that stdout cannot be written is `flush`'s to tell
        sys.stdout.flush()
    print(f"Error: {message}", file=sys.stderr)
    if remedy:
        print(remedy, file=sys.stderr)


def innermost(error: BaseException) -> BaseException:
    """The error that a task group wrapped, where it wrapped just one; else the first that allod raised on purpose."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner = [innermost(e) for e in cast("BaseExceptionGroup[BaseException]", error).exceptions]
    return next((e for e in inner if isinstance(e, AllodError | KeyboardInterrupt)), inner[0])


def of_the_disk(error: OSError) -> Disk | None:
    """An operating system's error about files as an error of allod's; None where it is not the user's to mend."""
    import errno

    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left on the disk{where}", "Free some space and type the same again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnly(
            f"{(error.strerror or 'permission denied').lower()}{where}",
            "Check the permissions, or set ALLOD_HOME to a folder you can write.",
        )
    return None


def flush(code: int) -> int:
    """Flushes stdout, so that a reader that went away, or a full disk, is noticed here and not by Python at exit."""
    lost = code == PIPE
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code, lost = PIPE, True
    except OSError as error:
        lost = True
        if not code:
            mapped = of_the_disk(error)
            lines(mapped.message if mapped else f"cannot write the output: {error.strerror}")
            code = 1
    if lost:  # what is still in the buffer would be tried again at exit, with a message
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
