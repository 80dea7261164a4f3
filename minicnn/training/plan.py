"""What a training is given, and where it stands: `Plan` and `Run`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arguments import flag, real_number, whole_number
from ..arrays import as_float32, as_labels
from ..augment import Compose, as_compose
from ..layers.base import FloatArray
from ..losses import Loss
from ..optim import Optimizer
from ..schedulers import Schedule
from .history import COLUMNS, History


class Model(Protocol):
    """What the loop asks of a model; `Sequential` has it."""

    @property
    def training(self) -> bool: ...
    def train(self, mode: bool = True) -> Any: ...
    def build(self, input_shape: Sequence[int]) -> Any: ...
    def parameters(self) -> list[Any]: ...
    def leaves(self) -> dict[str, Any]: ...
    def buffers(self) -> dict[str, NDArray[Any]]: ...
    def output_shape(self, input_shape: Any) -> Any: ...
    def forward(self, x: FloatArray) -> FloatArray: ...
    def train_and_count(
        self,
        x: Any,
        y: Any,
        loss_fn: Any,
        optimizer: Any,
        clip_norm: float | None = None,
        *,
        indices: Any = None,
    ) -> tuple[float, int]: ...
    def evaluate(self, x: Any, y: Any, *, loss: Any = None) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, NDArray[Any]]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
    def metadata(self) -> dict[str, Any]: ...
    def generator_steps(self) -> dict[str, int]: ...
    def load_generator_steps(self, steps: Mapping[str, int]) -> None: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...


@dataclass(eq=False)
class Plan:
    """What to train on and how, checked once; the arguments of `Sequential.fit`.

    Raises
    ------
    TypeError, ValueError
        For an argument of a wrong type or value, or data that does not fit together.
    """

    x: Any
    y: Any
    epochs: int
    batch_size: int
    optimizer: Optimizer
    loss: Loss
    validation_data: tuple[Any, Any] | None = None
    schedule: Schedule | None = None
    clip_norm: float | None = None
    shuffle: bool = True
    seed: int = 0
    drop_last: bool = False
    augment: Any = None  # a Compose once it is checked

    def __post_init__(self) -> None:
        self.x, self.y = _checked_data(self.x, self.y, "x")
        self.epochs = whole_number(self.epochs, "epochs")
        self.batch_size = whole_number(self.batch_size, "batch_size")
        self.shuffle = flag(self.shuffle, "shuffle")
        self.drop_last = flag(self.drop_last, "drop_last")
        self.seed = whole_number(self.seed, "seed", 0, 2**64 - 1)
        if self.clip_norm is not None:
            self.clip_norm = real_number(self.clip_norm, "clip_norm")
        if self.validation_data is not None:
            self._check_validation_data()
        self.augment: Compose | None = as_compose(self.augment, self.x)
        if not self.batches:
            raise ValueError(
                f"there are {len(self.x)} samples, less than one batch of {self.batch_size}, and "
                "drop_last leaves out the rest; use a smaller batch_size"
            )

    def _check_validation_data(self) -> None:
        given = self.validation_data
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"validation_data is a {type(given).__name__}; expected a pair (x, y)")
        x, y = _checked_data(*given, "the validation data's x")
        if x.shape[1:] != self.x.shape[1:]:
            raise ValueError(
                f"the validation samples have shape {x.shape[1:]}; expected {self.x.shape[1:]}, "
                "like the training samples"
            )
        self.validation_data = x, y

    @property
    def batches(self) -> int:
        """Number of steps of an epoch."""
        whole, rest = divmod(len(self.x), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


def _checked_data(x: Any, y: Any, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    x = np.asarray(x)
    if x.ndim < 2 or not x.size:
        raise ValueError(f"{name} has shape {x.shape}; expected (N, …), one sample a row")
    as_float32(x[:1])  # the rule for types, tried on one sample
    return x, as_labels(y, len(x))


@dataclass(eq=False)
class Run:
    """A training in progress, as callbacks see it."""

    model: Model
    plan: Plan
    history: History = field(default_factory=History)
    epoch: int = 0  # the present one, from 1; between epochs, how many are done
    batch: int = 0  # the present step of the epoch, from 1
    batch_loss: float = 0.0  # of the present step
    samples: int = 0  # the epoch's so far
    correct: int = 0  # of them
    loss_sum: float = 0.0  # over them
    lr: float = 0.0  # of the present step
    stop_reason: str | None = None

    @property
    def batches(self) -> int:
        """Number of steps of an epoch."""
        return self.plan.batches

    @property
    def classes(self) -> int:
        """Number of the model's outputs."""
        return int(self.model.output_shape(self.plan.x.shape[1:])[-1])

    @property
    def logs(self) -> dict[str, Any]:
        """After an epoch its row of the history; within it, the means so far."""
        if self.history and self.history[-1]["epoch"] == self.epoch:
            return dict(self.history[-1])
        samples = max(self.samples, 1)
        loss, accuracy = self.loss_sum / samples, self.correct / samples
        return {"epoch": self.epoch, "loss": loss, "accuracy": accuracy, "lr": self.lr}

    def columns(self) -> list[str]:
        """The names in a row of this run's history."""
        validated = self.plan.validation_data is not None
        return [name for name in COLUMNS if validated or not name.startswith("val_")]

    def request_stop(self, reason: str) -> None:
        """Let the training end with the present epoch."""
        self.stop_reason = reason
