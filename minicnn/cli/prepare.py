"""Between the settings and the first step: the learning rate, the cost, the time there is."""

import csv
import os
import shlex
import time

from ..inspection.findings import KINDS
from ..runs import RunFolder
from ..training.callbacks import Callback, TimeBudget
from ..training.lr_finder import lr_find
from .console import Console
from .cost import Cost, cost_of
from .failures import ExitCode, Failure
from .job import Job, make_loss, make_optimizer
from .pace import measure
from .progress import Correction
from .text import duration, plural

LONG = 5000  # photos from which on comparing them takes so long that it is said
PICTURES = 5.0  # seconds for what is imported before, and drawn and written afterwards


def prepare(
    job: Job, console: Console, began: float, run: RunFolder | None = None
) -> list[Callback]:
    """Find the learning rate if that was asked for, show the cost, keep the time budget.

    Parameters
    ----------
    began : float
        When the command did, as `time.perf_counter` gives it.
    run : RunFolder or None
        The run that is resumed.

    Returns
    -------
    list of Callback
        What keeps the budget, if there is one, and corrects the forecast.
    """
    if run is None:
        note_findings(job, console)
    settle_lr(job, console)
    minutes = job.settings["time_budget"]
    if console.quiet and minutes is None:
        return []  # nobody would see the cost
    cost = cost_of(job, measure(job))
    console.say(f"  cost    {cost.line()}")
    callbacks: list[Callback] = []
    if cost.seconds_per_epoch_low and cost.seconds_per_epoch_high and not console.shows_bars:
        low, high = cost.seconds_per_epoch_low, cost.seconds_per_epoch_high
        callbacks.append(Correction(console, low, high))  # where no bar tells the time left
    if minutes is None:
        return callbacks
    gone = time.perf_counter() - began + (0.0 if run is None else seconds_of(run))
    gone += cost.judging_seconds + PICTURES
    if run is None:
        check_budget(job, cost, 60 * minutes - gone, console)
    return [*callbacks, TimeBudget(minutes, gone, cost.seconds_per_epoch or 0.0)]


def note_findings(job: Job, console: Console) -> None:
    """Say before the training what would make its figures untrue; the report has the rest."""
    images = sum(map(len, job.names.values()))
    if job.photos is not None and images >= LONG:
        console.say(f"  check   looking for copies among {images:,} photos")
    told = []
    for kind in ("two_classes", "two_parts"):
        if found := job.findings.of(kind):
            items = [os.path.relpath(item, job.name) if job.photos else item
                     for item in found[0].items[:2]]  # fmt: skip
            count = plural(len(found), KINDS[kind].one, KINDS[kind].many)
            told.append(f"{count} ({' = '.join(items)}{', …' if len(found) > 1 else ''})")
    if told:
        data = job.settings["data"]
        check = "minicnn check" + (f" {shlex.quote(data)}" if data else "")
        console.warn(f"note: {' and '.join(told)}; {check} shows what to look at")


def settle_lr(job: Job, console: Console) -> None:
    """Turn --lr auto into a number, which args.json will keep."""
    settings = job.settings
    if settings["lr"] != "auto":
        return
    console.say("  lr      auto: trying rates from 1e-06 to 10")
    try:
        curve = lr_find(
            job.model,
            job.train.images,
            job.train.labels,
            optimizer=make_optimizer({**settings, "lr": 0.0}, job.model),
            loss=make_loss(settings, job.train),
            batch_size=settings["batch_size"],
            clip_norm=settings["clip_norm"],
            seed=settings["seed"],
        )
    except ValueError as error:
        raise Failure(
            ExitCode.USAGE, f"error: --lr auto: {error}", "give a rate, such as --lr 0.005"
        ) from error
    settings["lr"] = float(f"{curve.suggestion:.2g}")
    steps = plural(len(curve.lrs), "step")
    console.say(f"  lr      {settings['lr']:g}, from the curve of the loss over {steps}")


def check_budget(job: Job, cost: Cost, left: float, console: Console) -> None:
    """Refuse a budget in which no epoch fits; note one that cuts the schedule off."""
    seconds, epochs = cost.seconds_per_epoch, job.settings["epochs"]
    if seconds is None:
        return
    budget = f"--time-budget {job.settings['time_budget']:g}"
    fitting = int(left / seconds)
    if fitting < 1:
        raise Failure(
            ExitCode.USAGE,
            f"error: {budget} leaves {duration(max(left, 0.0))} for training, and an epoch takes "
            f"about {duration(seconds)}",
            "give more minutes, or what is faster: another --arch, a smaller --image-size",
        )
    if fitting < epochs:
        console.warn(
            f"note: {budget} is over after about {fitting} of {epochs} epochs; "
            f"--epochs {fitting} would let the schedule come to its end"
        )


def seconds_of(run: RunFolder) -> float:
    """What the finished epochs of a run took, according to results.csv; 0 where it is broken."""
    try:
        with open(run.results, encoding="utf-8", newline="") as file:
            return sum(float(row["seconds"] or 0) for row in csv.DictReader(file))
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
