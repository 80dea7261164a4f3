"""Exit codes, and what is said for each way of failing."""

import contextlib
import os
import traceback
from collections.abc import Iterator
from enum import IntEnum

from .signals import Terminated


class ExitCode(IntEnum):
    """What the shell sees."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    DATA = 3
    MODEL = 4
    DIVERGED = 5
    DISK = 6
    INTERRUPTED = 130
    PIPE = 141
    TERMINATED = 143


class Failure(Exception):
    """An end of the command that has a message of its own.

    Parameters
    ----------
    code : ExitCode
    *lines : str
        What happened, and as the last one what to type.
    """

    def __init__(self, code: ExitCode, *lines: str):
        super().__init__(*lines)
        self.code = code
        self.lines = lines


@contextlib.contextmanager
def blaming(code: ExitCode) -> Iterator[None]:
    """Within it, a ValueError, TypeError or OSError means `code`: bad data, a bad model, …"""
    try:
        yield
    except OSError as error:
        raise Failure(code, f"error: {os_error_text(error)}") from error
    except (TypeError, ValueError) as error:
        raise Failure(code, f"error: {error}") from error


def failure_of(error: BaseException) -> Failure:
    """The exit code and the lines for whatever came out of a sub-command."""
    if os.environ.get("MINICNN_DEBUG") == "1":
        traceback.print_exception(error)
    if isinstance(error, Failure):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Failure(ExitCode.INTERRUPTED, "stopped by Ctrl-C")
    if isinstance(error, Terminated):
        return Failure(ExitCode.TERMINATED, "stopped by SIGTERM")
    if isinstance(error, BrokenPipeError):
        return Failure(ExitCode.PIPE)
    if isinstance(error, OSError):
        return Failure(ExitCode.DISK, f"error: {os_error_text(error)}")
    if isinstance(error, MemoryError):
        return Failure(
            ExitCode.INTERNAL,
            "error: the memory is used up; take a smaller --batch-size, a smaller model or less "
            "data",
        )
    return Failure(
        ExitCode.INTERNAL,
        f"internal error: {type(error).__name__}: {error}",
        "this is a defect of minicnn; run it again with MINICNN_DEBUG=1 and report what it prints",
    )


def os_error_text(error: OSError) -> str:
    """`path: reason`, with the way out where there is one."""
    from ..checkpoint.durable import is_disk_full

    reason = error.strerror or str(error)
    text = f"{error.filename}: {reason}" if error.filename else reason
    return f"{text}; make room and try again" if is_disk_full(error) else text
