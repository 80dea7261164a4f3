"""How long the steps of a training take here, from a few real ones that leave no trace."""

import itertools
import time
from statistics import median
from typing import NamedTuple

from ..layers import ShapeError
from ..training import Run
from ..training.callbacks import Callback, DivergedError
from ..training.rehearsal import rehearsal
from .job import Job, make_optimizer

ENOUGH = 1.0  # seconds of steps
FEWEST, MOST = 4, 100  # steps; the first one also allocates, and is not counted
PROBES = 5  # into which they are shared out
EVALUATIONS = 3  # that are timed, after one that also allocates
IMAGES = 128  # that are evaluated


class Pace(NamedTuple):
    """Seconds.

    Attributes
    ----------
    step : float
        Of training on a full batch, with the gathering of its images.
    validation : float
        On the whole validation part.
    fastest, slowest : float
        Of the probes, as multiples of what is given.
    """

    step: float
    validation: float
    fastest: float = 1.0
    slowest: float = 1.0


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

    def probes(self) -> list[float]:
        """The mean step of each of some stretches of time, without the first step.

        Stretches, because where other programs want the processor as well, most of the time goes
        into the few steps that were interrupted, which a median of steps would leave out; and
        several, because one that something else held up altogether should not decide.
        """
        first = 1 if len(self.times) > 2 else 0
        steps = len(self.times) - 1 - first
        count = min(PROBES, steps)
        ends = [first + steps * k // count for k in range(count + 1)]
        return [
            (self.times[end] - self.times[start]) / (end - start)
            for start, end in itertools.pairwise(ends)
        ]


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
        probes = watch.probes()
        step = median(probes)
        return Pace(step, _validation_seconds(job), min(probes) / step, max(probes) / step)


def _validation_seconds(job: Job) -> float:
    images, labels = job.validation.images[:IMAGES], job.validation.labels[:IMAGES]
    times = []
    for _ in range(1 + EVALUATIONS):
        start = time.perf_counter()
        job.model.evaluate(images, labels)
        times.append(time.perf_counter() - start)
        if sum(times) > ENOUGH:
            break
    return median(times[1:] or times) * len(job.validation.labels) / len(labels)
