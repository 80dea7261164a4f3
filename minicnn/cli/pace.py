"""How long the steps of a training take here, from a few real ones that leave no trace."""

import time
from typing import NamedTuple

from ..layers import ShapeError
from ..training import Run
from ..training.callbacks import Callback, DivergedError
from ..training.rehearsal import rehearsal
from .job import Job, make_optimizer

ENOUGH = 0.5  # seconds of steps, in which noise evens out
FEWEST, MOST = 4, 100  # steps; the first one also allocates, and is not counted
IMAGES = 128  # that are evaluated


class Pace(NamedTuple):
    """Seconds."""

    step: float  # of training on a full batch, with the gathering of its images
    validation: float  # on the whole validation part


class Enough(Exception):
    """Ends the rehearsal."""


class Stopwatch(Callback):
    """Takes the time of each step, and ends the training after enough of them."""

    def on_train_begin(self, run: Run) -> None:
        self.times = [time.perf_counter()]

    def on_batch_end(self, run: Run) -> None:
        self.times.append(time.perf_counter())
        steps, seconds = len(self.times) - 1, self.times[-1] - self.times[0]
        if steps >= MOST or (steps >= FEWEST and seconds > ENOUGH):
            raise Enough

    def step_seconds(self) -> float:
        """The mean of the steps, but for the first.

        Not the median, because where other programs want the processor as well, most of the time
        goes into the few steps that were interrupted.
        """
        first = 1 if len(self.times) > 2 else 0
        return (self.times[-1] - self.times[first]) / (len(self.times) - 1 - first)


def measure(job: Job) -> Pace | None:
    """Train for some steps as the settings say, evaluate, and undo all of it.

    None when the steps fail: the training will meet the same and say so.
    """
    optimizer = make_optimizer(job.settings, job.model)
    watch = Stopwatch()
    with rehearsal(job.model, optimizer):
        try:
            job.fit_model(optimizer, [watch])
        except Enough:
            pass
        except (DivergedError, ShapeError):
            return None
        return Pace(watch.step_seconds(), _validation_seconds(job))


def _validation_seconds(job: Job) -> float:
    images, labels = job.validation.images[:IMAGES], job.validation.labels[:IMAGES]
    seconds = 0.0
    for _ in range(2):  # the first time also allocates
        start = time.perf_counter()
        job.model.evaluate(images, labels)
        seconds = time.perf_counter() - start
    return seconds * len(job.validation.labels) / len(labels)
