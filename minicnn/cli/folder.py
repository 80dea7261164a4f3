"""The run folder of a new training, with all that is known before the first step."""

import argparse
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .. import runs
from ..config import environment
from .failures import ExitCode, Failure
from .job import Job

LISTED = 1000  # findings of one kind that the run folder keeps


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
    runs.write_json(folder.data, data_object(job))
    return folder


def data_object(job: Job) -> dict[str, Any]:
    """What `minicnn check --json` gives, as far as it is known; of each kind the first LISTED."""
    report = job.findings.as_dict()
    listed: dict[str, int] = {}
    findings = []
    for finding in report["findings"]:
        listed[finding["kind"]] = listed.get(finding["kind"], 0) + 1
        if listed[finding["kind"]] <= LISTED:
            findings.append(finding)
    return {**report, "findings": findings}


@contextlib.contextmanager
def _naming_out() -> Iterator[None]:
    """Within it, a RunError is about --out."""
    try:
        yield
    except runs.RunError as error:
        raise Failure(ExitCode.USAGE, f"error: {error}") from error
