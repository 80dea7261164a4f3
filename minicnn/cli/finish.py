"""The end of a training: the best weights calibrated and judged, and everything written."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import report, runs
from ..calibration import expected_calibration_error
from ..training import History
from .console import Console
from .job import MONITOR, Job
from .judging import calibrate, judge
from .reporting import write_report
from .text import percent, plural


def finish(
    job: Job, folder: runs.RunFolder, history: History, stopped: str | None, console: Console
) -> dict[str, Any]:
    """Calibrate, evaluate, draw, and write summary.json, which marks the run complete.

    The test data are used here, once, and decide nothing.
    """
    model, validation = calibrate(folder, job.validation)
    best = best_row(history)
    judged = [validation]
    if job.test is not None:
        judged.insert(0, judge(model, "test", job.test))
    first = judged[0]
    summary = {
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "stopped": stopped,
        "val_loss": best["val_loss"],
        "val_accuracy": validation.accuracy,
        "test_accuracy": None if job.test is None else first.accuracy,
        "temperature": model.temperature,
        "calibration_error": expected_calibration_error(first.labels, first.probabilities),
        "calibration_error_before": expected_calibration_error(first.labels, first.before),
    }
    images = plural(len(first.labels), "image")
    title = f"{Path(job.name).name}, {first.part}: {percent(first.accuracy)} of {images}"
    draw(job, folder, history, best["epoch"], first.matrix, title, console)
    write_report(job, folder, model, judged, complete=True, ended=stopped)
    runs.write_json(folder.summary, summary)
    return summary


def report_stopped(job: Job, folder: runs.RunFolder) -> None:
    """What a stopped training has so far: its best weights calibrated, and a report on them.

    The test data stay unseen.
    """
    if folder.model.exists():
        model, validation = calibrate(folder, job.validation)
        write_report(job, folder, model, [validation], complete=False)


def best_row(history: History) -> dict[str, Any]:
    """The row of the epoch whose weights were kept: of equals the first."""
    return history.best(MONITOR)


def timings(history: History) -> dict[str, float]:
    """Seconds in all; of a resumed run those of the epochs since. No clock is in summary.json,
    which equal runs write alike."""
    rows = [row for row in history.rows if row["seconds"] is not None]
    return {name: float(sum(row[name] for row in rows)) for name in ("seconds", "wait_seconds")}


def draw(
    job: Job,
    folder: runs.RunFolder,
    history: History,
    best_epoch: int,
    matrix: NDArray[np.int64],
    title: str,
    console: Console,
) -> None:
    """The two pictures; without matplotlib the run still succeeds and says what is missing."""
    name = f"{folder.folder.name}: {job.settings['arch']} on {Path(job.name).name}"
    try:
        curves = report.draw_curves(history.rows, best_epoch, name)
        confusion = report.draw_confusion_matrix(matrix, job.train.classes, title)
    except report.MissingExtra as error:
        console.warn(f"no pictures: {error}")
        return
    runs.write_bytes(folder.curves, curves)
    runs.write_bytes(folder.confusion_matrix, confusion)
