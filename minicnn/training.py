"""The epoch loop: drives anything that can make a training step and evaluate itself.

The loop decides the order of samples, counts, calls the callbacks and the schedule, and keeps
the state file; what a step is, the model decides. The order of an epoch's samples depends on
the plan's seed and the epoch's number only, so a run can be repeated and resumed.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .arguments import flag, real_number, whole_number
from .arrays import as_float32, as_labels
from .callbacks import Callback, StopOnNaN
from .data.batches import batches
from .history import COLUMNS, History
from .interrupts import signals_deferred
from .layers.base import FloatArray
from .optim import Optimizer
from .resume import StateFile
from .schedulers import Schedule

__all__ = ["Callback", "History", "Loss", "Model", "Plan", "Run", "fit"]


class Loss(Protocol):
    """A loss function, like CrossEntropyLoss."""

    def __call__(self, logits: FloatArray, labels: NDArray[np.int64]) -> float:
        """The loss of a batch, remembered for `backward`."""

    def backward(self) -> FloatArray:
        """The gradient of the last loss with respect to its logits."""

    def hyper_parameters(self) -> dict[str, Any]:
        """The constructor's arguments by name, as plain data."""


class Model(Protocol):
    """What the loop asks of a model; `Sequential` has it."""

    @property
    def training(self) -> bool: ...
    def train(self, mode: bool = True) -> Any: ...
    def build(self, input_shape: Sequence[int]) -> Any: ...
    def parameters(self) -> list[Any]: ...
    def buffers(self) -> dict[str, NDArray[Any]]: ...
    def train_and_count(
        self, x: Any, y: Any, loss_fn: Any, optimizer: Any, clip_norm: float | None = None
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


def fit(
    model: Model,
    plan: Plan,
    callbacks: Sequence[Callback] = (),
    *,
    state_file: str | os.PathLike[str] | None = None,
    resume: bool = False,
) -> History:
    """Train `model` as `plan` says; `Sequential.fit` explains the arguments.

    The model trains in training mode and is left in the mode it came in.
    """
    callbacks = _checked_callbacks(callbacks)
    if resume and state_file is None:
        raise ValueError("resume is True, but there is no state_file to resume from; give both")
    run = Run(model, plan)
    model.build(plan.x.shape[1:])
    _check_optimizer(model, plan.optimizer)
    state = None if state_file is None else StateFile(state_file, run, callbacks)
    with _training_mode(model):
        try:
            if state is not None and resume:
                state.restore()
            _tell(callbacks, "on_train_begin", run)
            if state is not None and not resume:
                state.save()
            while run.epoch < plan.epochs and run.stop_reason is None:
                _train_epoch(run, callbacks)
                if state is not None:
                    state.save()
            _tell(callbacks, "on_train_end", run)
        finally:
            _tell(callbacks[::-1], "close", run)
    return run.history


def _checked_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """The callbacks, with StopOnNaN in front: nothing of a spoilt epoch may reach a file."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(f"callbacks holds {callback!r}; expected Callback objects")
    if any(isinstance(callback, StopOnNaN) for callback in callbacks):
        return list(callbacks)
    return [StopOnNaN(), *callbacks]


def _check_optimizer(model: Model, optimizer: Optimizer) -> None:
    own = {id(p) for p in model.parameters()}
    foreign = [p for p in optimizer.parameters if id(p) not in own]
    if foreign:
        raise ValueError(
            f"the optimizer moves {foreign[0]!r}, which is not this model's; make it from "
            "model.parameters() of the model that you train"
        )


@contextmanager
def _training_mode(model: Model) -> Iterator[None]:
    before = model.training
    model.train()
    try:
        yield
    finally:
        model.train(before)


def _tell(callbacks: Sequence[Callback], event: str, run: Run) -> None:
    for callback in callbacks:
        getattr(callback, event)(run)


def _train_epoch(run: Run, callbacks: Sequence[Callback]) -> None:
    """One pass over the data, the validation, the schedule, the callbacks."""
    plan = run.plan
    start = time.perf_counter()
    run.epoch += 1
    run.batch = run.samples = run.correct = 0
    run.loss_sum = 0.0
    _tell(callbacks, "on_epoch_begin", run)
    step = _Step(run)
    for x, y in batches(
        plan.x, plan.y, plan.batch_size, shuffle=plan.shuffle, seed=plan.seed, epoch=run.epoch - 1
    ):
        if run.batch == run.batches:
            break  # drop_last
        step.make(x, y)
        _tell(callbacks, "on_batch_end", run)
    row = run.logs
    trained = time.perf_counter()
    if plan.validation_data is not None:
        found = run.model.evaluate(*plan.validation_data, loss=plan.loss)
        row |= {f"val_{name}": value for name, value in found.items()}
    row["seconds"] = time.perf_counter() - start
    row["images_per_second"] = run.samples / (trained - start)
    run.history.append(row)
    _advance(plan.schedule, "epoch", row)
    _tell(callbacks, "on_epoch_end", run)


class _Step:
    """One training step that happens as a whole or not at all.

    BatchNorm's statistics and Dropout's counters move in the forward pass already, the
    parameters at the end. When the step is not made, because of Ctrl-C or because the loss is
    NaN, the former are put back.
    """

    def __init__(self, run: Run):
        self.run = run
        self._live = list(run.model.buffers().values())
        self._before = [array.copy() for array in self._live]

    def make(self, x: FloatArray, y: NDArray[np.int64] | None) -> None:
        run, plan = self.run, self.run.plan
        run.lr = plan.optimizer.lr
        steps = plan.optimizer.steps
        for copy, array in zip(self._before, self._live, strict=True):
            copy[...] = array
        generators = run.model.generator_steps()
        try:
            loss, correct = run.model.train_and_count(
                x, y, plan.loss, plan.optimizer, plan.clip_norm
            )
        finally:
            if plan.optimizer.steps == steps:
                self._undo(generators)
        run.batch += 1
        run.batch_loss = loss
        run.samples += len(x)
        run.correct += correct
        run.loss_sum += loss * len(x)
        _advance(plan.schedule, "batch", {"loss": loss, "accuracy": correct / len(x)})

    def _undo(self, generators: dict[str, int]) -> None:
        with signals_deferred():
            for copy, array in zip(self._before, self._live, strict=True):
                array[...] = copy
            self.run.model.load_generator_steps(generators)


def _advance(schedule: Any, interval: str, row: Mapping[str, Any]) -> None:
    """Step the schedule if `interval` is its own.

    One that asks for a metric gets the loss, or when it looks for a maximum the accuracy; of
    the validation data, if there is any.
    """
    if schedule is None or schedule.interval != interval:
        return
    if not getattr(schedule, "needs_metric", False):
        schedule.step()
        return
    metric = "accuracy" if getattr(schedule, "mode", "min") == "max" else "loss"
    schedule.step(row.get(f"val_{metric}", row[metric]))
