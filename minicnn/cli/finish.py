"""The end of a training: the best weights judged, the pictures drawn, the figures written."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import report, runs
from ..data.dataset import Dataset
from ..metrics import confusion_matrix
from ..model_file import load
from ..sequential import Sequential
from ..training import History
from .console import Console
from .job import MONITOR, Job
from .text import percent, plural


def finish(
    job: Job, folder: runs.RunFolder, history: History, stopped: str | None, console: Console
) -> dict[str, Any]:
    """Evaluate the best weights, draw, and write summary.json, which marks the run complete.

    The test data are used here, once, and decide nothing.
    """
    model = load(folder.model)
    best = best_row(history)
    val_accuracy, matrix = judge(model, job.validation)
    summary = {
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "stopped": stopped,
        "val_loss": best["val_loss"],
        "val_accuracy": val_accuracy,
        "test_accuracy": None,
    }
    part, images = "validation", len(job.validation.labels)
    if job.test is not None:
        part, images = "test", len(job.test.labels)
        summary["test_accuracy"], matrix = judge(model, job.test)
    accuracy = float(np.trace(matrix) / matrix.sum())
    title = f"{Path(job.name).name}, {part}: {percent(accuracy)} of {plural(images, 'image')}"
    draw(job, folder, history, best["epoch"], matrix, title, console)
    runs.write_json(folder.summary, summary)
    return summary


def best_row(history: History) -> dict[str, Any]:
    """The row of the epoch whose weights were kept: of equals the first."""
    return history.best(MONITOR)


def timings(history: History) -> dict[str, float]:
    """Seconds in all; of a resumed run those of the epochs since. No clock is in summary.json,
    which equal runs write alike."""
    rows = [row for row in history.rows if row["seconds"] is not None]
    return {name: float(sum(row[name] for row in rows)) for name in ("seconds", "wait_seconds")}


def judge(model: Sequential, part: Dataset) -> tuple[float, NDArray[np.int64]]:
    """Accuracy and confusion matrix of a model on one part of the data."""
    predictions = model.predict(part.images)
    matrix = confusion_matrix(part.labels, predictions, len(part.classes))
    return float((predictions == part.labels).mean()), matrix


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
