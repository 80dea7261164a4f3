"""The run folder of a new training, with all that is known before the first step."""

import argparse
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from .. import runs
from ..config import environment
from .failures import ExitCode, Failure
from .job import Job


def check_free(out: str | None) -> None:
    """Refuse an occupied --out before anything takes time."""
    with _naming_out():
        runs.check_free(out)


def new_folder(job: Job, arguments: argparse.Namespace) -> runs.RunFolder:
    """Make the folder and write settings, environment and classes into it."""
    with _naming_out():
        folder = runs.create(arguments.out)
    runs.write_json(folder.arguments, job.settings)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    facts = {**environment(), "started": started, "command": arguments.command}
    runs.write_json(folder.environment, facts)
    runs.write_json(folder.classes, job.model.classes)
    return folder


@contextlib.contextmanager
def _naming_out() -> Iterator[None]:
    """Within it, a RunError is about --out."""
    try:
        yield
    except runs.RunError as error:
        raise Failure(ExitCode.USAGE, f"error: {error}") from error
