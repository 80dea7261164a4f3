"""What is measured: a network at a batch size, trained or asked for its answers."""

from typing import Any, NamedTuple

import numpy as np
from nets import NETS, ROWS, class_count, conv_sizes
from numpy.typing import NDArray

LR, MOMENTUM = 0.01, 0.9


class Task(NamedTuple):
    """One line of a table."""

    net: str
    batch: int
    training: bool = True

    @property
    def name(self) -> str:
        return f"{self.net}-{self.batch}"


TRAINING = [Task(row.net, row.batch) for row in ROWS]
BATCH_ONE = [Task(net, 1, False) for net in dict.fromkeys(row.net for row in ROWS)]
INFERENCE = sorted(
    {Task(row.net, row.batch, False) for row in ROWS} | set(BATCH_ONE),
    key=lambda task: ([row.net for row in ROWS].index(task.net), task.batch),
)


def random_batch(task: Task) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Random images and labels (never zeros: they are faster than real data)."""
    generator = np.random.default_rng(0)
    shape = (task.batch, *NETS[task.net][0])
    images = generator.standard_normal(shape, dtype=np.float32)
    return images, generator.integers(0, class_count(task.net), task.batch)


def forward_multiply_adds(net: str) -> list[int]:
    """Multiply-adds of one sample's forward pass, for each layer that has weights."""
    counts = []
    shape, layers = NETS[net]
    _, height, width = shape
    for kind, *arguments in layers:
        if kind == "conv":
            inputs, outputs, kernel, stride, padding = arguments
            height, width = conv_sizes((height, width), kernel, stride, padding)
            counts.append(inputs * outputs * kernel * kernel * height * width)
        elif kind == "maxpool":
            height, width = conv_sizes((height, width), arguments[0], arguments[0], 0)
        elif kind == "linear":
            counts.append(arguments[0] * arguments[1])
    return counts


def multiply_adds(task: Task) -> int:
    """Of one step: forward, and in training the gradients of every weight and input.

    The input of the first layer with weights needs no gradient. Winograd's saving is not
    subtracted, so a share of the peak above 100 % is possible.
    """
    counts = forward_multiply_adds(task.net)
    passes = 3 * sum(counts) - counts[0] if task.training else sum(counts)
    return passes * task.batch


def named(names: list[str], tasks: list[Task]) -> list[Task]:
    """The tasks whose name, or whose net, is among `names`; all of them if that is empty."""
    return [task for task in tasks if not names or {task.name, task.net} & set(names)]


def as_message(task: Task) -> dict[str, Any]:
    return task._asdict()
