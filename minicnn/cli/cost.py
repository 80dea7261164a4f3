"""What a training will take: counted from the model and the data, timed by `pace.py`."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from ..lowering import Passes
from .job import Job
from .pace import Pace
from .text import amount, bytes_text, duration

WIDE = 1.5  # times the lowest forecast from which on the highest is told as well
SHORT = 10  # seconds up to which a training is too short for that
BACKWARD = 2  # multiply-adds of a backward pass for each one of the forward pass
SLOTS = {"adamw": 2, "adam": 2, "sgd": 1}  # float32 numbers an optimizer keeps per parameter


@dataclass(frozen=True)
class Cost:
    """Figures for one training; times are in seconds, None where they could not be measured."""

    parameters: int
    multiply_adds_per_image: int
    steps_per_epoch: int
    epochs: int
    multiply_adds: int
    model_file_bytes: int
    training_bytes: int
    data_bytes: int
    seconds_per_step: float | None
    seconds_per_epoch: float | None  # with the validation
    seconds_per_epoch_low: float | None  # by the fastest and the slowest stretch of time
    seconds_per_epoch_high: float | None
    judging_seconds: float  # of the best weights, when the training is over

    def as_dict(self) -> dict[str, int | float | None]:
        """The figures by name."""
        return asdict(self)

    @property
    def time(self) -> str:
        """What the training will take, in words."""
        if self.seconds_per_epoch is None:
            return "time unknown"
        low, high = self.seconds_per_epoch_low, self.seconds_per_epoch_high
        if low and high and high > WIDE * low and high * self.epochs > SHORT:
            wholes = [duration(seconds * self.epochs) for seconds in (low, high)]
            return (
                f"{duration(low)} to {duration(high)} an epoch, {' to '.join(wholes)} in all "
                "(other programs use the processor)"
            )
        whole = duration(self.seconds_per_epoch * self.epochs)
        return f"about {duration(self.seconds_per_epoch)} an epoch, {whole} in all"

    def line(self) -> str:
        """The figures on one line."""
        work = f"{amount(self.multiply_adds_per_image)} multiply-adds an image"
        return f"{work}  {bytes_text(self.training_bytes + self.data_bytes)}  {self.time}"

    def lines(self) -> list[tuple[str, str]]:
        """The figures for people."""
        return [
            ("model file", bytes_text(self.model_file_bytes)),
            ("memory", f"{bytes_text(self.training_bytes)} for training, "
                       f"{bytes_text(self.data_bytes)} for the data"),
            ("steps", f"{self.steps_per_epoch:,} an epoch, {self.epochs:,} epochs"),
            ("multiply-adds", f"{self.multiply_adds / 1e9:,.1f} billion for the whole training"),
            ("time", self.time),
        ]  # fmt: skip


def cost_of(job: Job, pace: Pace | None) -> Cost:
    """The cost of a job.

    Parameters
    ----------
    pace : Pace or None
        What `pace.measure` found.
    """
    shape = job.train.images.shape[1:]
    parameters = sum(p.size for p in job.model.parameters())
    forward = 0
    for layer in job.model.leaves().values():
        forward += layer.multiply_adds(shape)
        shape = layer.output_shape(shape)
    train, validation = len(job.train.labels), len(job.validation.labels)
    epochs = job.settings["epochs"]
    parts = [part for part in (job.train, job.validation, job.test) if part is not None]
    epoch = low = high = None
    judging = 0.0
    if pace is not None:
        epoch = pace.step * train / min(job.settings["batch_size"], train) + pace.validation
        low, high = epoch * pace.fastest, epoch * pace.slowest
        judged = sum(len(part.labels) for part in parts[1:])
        judging = pace.validation * judged / validation
    return Cost(
        parameters=parameters,
        multiply_adds_per_image=forward,
        steps_per_epoch=job.steps_per_epoch,
        epochs=epochs,
        multiply_adds=epochs * forward * ((1 + BACKWARD) * train + validation),
        model_file_bytes=4 * parameters,
        training_bytes=training_bytes(job, parameters),
        data_bytes=sum(part.images.nbytes + part.labels.nbytes for part in parts),
        seconds_per_step=None if pace is None else pace.step,
        seconds_per_epoch=epoch,
        seconds_per_epoch_low=low,
        seconds_per_epoch_high=high,
        judging_seconds=judging,
    )


def training_bytes(job: Job, parameters: int) -> int:
    """Weights, gradients, what is kept for each weight, and the values of one batch.

    Layer by layer, every output is kept for the backward pass, and of their gradients two at a
    time; what kernels need besides is small beside them.
    """
    settings = job.settings
    copies = 2 + SLOTS[settings["optimizer"]] + int(settings["ema"] is not None)
    shape = job.train.images.shape[1:]
    batch = min(int(settings["batch_size"]), len(job.train.labels))
    passes = job.model.passes_for(np.zeros((batch, *shape), np.float32))
    if isinstance(passes, Passes):
        return 4 * parameters * copies + passes.memory(batch)
    outputs = [math.prod(shape)]
    for layer in job.model.leaves().values():
        shape = layer.output_shape(shape)
        outputs.append(math.prod(shape))
    largest = sum(sorted(outputs)[-2:])
    return 4 * (parameters * copies + batch * (sum(outputs) + largest))
