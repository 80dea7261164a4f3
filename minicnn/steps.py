"""A training step call by call, for what the engine does not make in one."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .arrays import as_targets, class_numbers
from .interrupts import signals_deferred
from .kernels.softmax_cross_entropy import count_correct
from .losses import Loss
from .optim import Optimizer, check_owner, clip_grad_norm


class Stateful(Protocol):
    def buffers(self) -> dict[str, Any]: ...

    def generator_steps(self) -> dict[str, int]: ...

    def load_generator_steps(self, steps: dict[str, int]) -> None: ...


class Before:
    """BatchNorm's statistics and Dropout's counters, as they are now; `restore` puts them back.

    They move in the forward pass already, even when no step comes of it.
    """

    def __init__(self, model: Stateful):
        self.model = model
        self._live = list(model.buffers().values())
        self._copies = [array.copy() for array in self._live]
        self._generators = model.generator_steps()

    def restore(self) -> None:
        with signals_deferred():
            for copy, array in zip(self._copies, self._live, strict=True):
                array[...] = copy
            self.model.load_generator_steps(self._generators)


def step_by_calls(
    model: Any, x: Any, y: Any, loss_fn: Loss, optimizer: Optimizer, clip_norm: float | None
) -> tuple[float, int]:
    """What `Sequential.train_and_count` does; the step is made as a whole or not at all."""
    before, steps = Before(model), optimizer.steps
    try:
        x = model.prepare(x)
        check_owner(optimizer, model, model.flat_parameters)
        model.forget()  # of an earlier forward pass: layers remember this one from here on
        passes = model.passes_for(x)
        logits = passes.forward(x)
        labels = as_targets(y, len(logits))
        loss = loss_fn(logits, labels)
        if np.isfinite(loss):
            passes.backward(loss_fn.backward())
            if clip_norm is not None:
                clip_grad_norm(model.parameters(), clip_norm)
            with signals_deferred():  # Ctrl-C finds a step made as a whole, or not at all
                optimizer.step()
        return loss, count_correct(logits, class_numbers(labels))
    finally:
        if optimizer.steps == steps:
            before.restore()
