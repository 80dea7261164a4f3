"""What a training will take, counted from the model and the data without running either."""

import math
from dataclasses import asdict, dataclass

from .job import Job
from .text import bytes_text

BACKWARD = 2  # multiply-adds of a backward pass for each one of the forward pass
SLOTS = {"adamw": 2, "adam": 2, "sgd": 1}  # float32 numbers an optimizer keeps per parameter


@dataclass(frozen=True)
class Cost:
    """Figures for one training; bytes and multiply-adds."""

    parameters: int
    multiply_adds_per_image: int
    steps_per_epoch: int
    epochs: int
    multiply_adds: int
    model_file_bytes: int
    training_bytes: int
    data_bytes: int

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """The figures for people."""
        return [
            ("model file", bytes_text(self.model_file_bytes)),
            ("memory", f"{bytes_text(self.training_bytes)} for training, "
                       f"{bytes_text(self.data_bytes)} for the data"),
            ("steps", f"{self.steps_per_epoch:,} an epoch, {self.epochs:,} epochs"),
            ("multiply-adds", f"{self.multiply_adds / 1e9:,.1f} billion for the whole training"),
        ]  # fmt: skip


def cost_of(job: Job) -> Cost:
    """The cost of a job.

    Counted are weights, gradients, optimizer slots and every layer's output with its gradient
    for one batch; what kernels need besides is small beside them.
    """
    shape = job.train.images.shape[1:]
    parameters = sum(p.size for p in job.model.parameters())
    outputs = forward = 0
    for layer in job.model.leaves().values():
        forward += layer.multiply_adds(shape)
        shape = layer.output_shape(shape)
        outputs += math.prod(shape)
    batch = min(job.settings["batch_size"], len(job.train.labels))
    epochs = job.settings["epochs"]
    training = (1 + BACKWARD) * forward * len(job.train.labels) + forward * len(
        job.validation.labels
    )
    parts = [part for part in (job.train, job.validation, job.test) if part is not None]
    return Cost(
        parameters=parameters,
        multiply_adds_per_image=forward,
        steps_per_epoch=job.steps_per_epoch,
        epochs=epochs,
        multiply_adds=training * epochs,
        model_file_bytes=4 * parameters,
        training_bytes=4 * (parameters * (2 + SLOTS[job.settings["optimizer"]])
                            + 2 * outputs * batch),
        data_bytes=sum(part.images.nbytes + part.labels.nbytes for part in parts),
    )  # fmt: skip
