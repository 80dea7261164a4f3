"""The end of a training that has gone astray."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...interrupts import signals_deferred
from ..plan import Run
from .base import Callback


class DivergedError(ArithmeticError):
    """NaN or infinity in the loss or in the model.

    Attributes
    ----------
    epoch, step : int
        Where it showed: the epoch, and the step within it; both count from 1.
    """

    def __init__(self, message: str, epoch: int, step: int):
        super().__init__(message)
        self.epoch = epoch
        self.step = step


class StopOnNaN(Callback):
    """Raises DivergedError when a loss, or after an epoch the model, is NaN or infinite.

    It is part of every training. The model is left with good weights: a step whose loss is no
    number was not made (see `Sequential.train_step`); and when an earlier step has spoilt the
    weights already, they are put back to what they were after the last good epoch. Files
    written after good epochs stay as they are.
    """

    def __init__(self) -> None:
        self._good: dict[str, NDArray[Any]] = {}

    def on_train_begin(self, run: Run) -> None:
        self._good = run.model.state_dict()

    def on_batch_end(self, run: Run) -> None:
        if not math.isfinite(run.batch_loss):
            self._stop(run, f"the loss is {run.batch_loss}")

    def on_epoch_end(self, run: Run) -> None:
        state = run.model.state_dict()
        spoilt = _not_finite(state)
        if spoilt:
            self._stop(run, f"{spoilt[0]} is not finite")
        wrong = {k: v for k, v in run.logs.items() if v is not None and not math.isfinite(v)}
        for name, value in wrong.items():
            self._stop(run, f"{name} is {value}")
        self._good = state

    def close(self, run: Run) -> None:
        self._good = {}  # of no use any more

    def _stop(self, run: Run, what: str) -> None:
        weights = f"the weights are those before step {run.batch}"
        if _not_finite(run.model.state_dict()):
            with signals_deferred():
                run.model.load_state_dict(self._good)
            weights = f"the weights are those after epoch {run.epoch - 1}"
        raise DivergedError(
            f"training diverged in epoch {run.epoch}, step {run.batch} of {run.batches}: {what}; "
            f"{weights}. Try a lower learning rate (it was {run.lr:g}), clip_norm=1.0, or look "
            "for NaN in the data",
            run.epoch,
            run.batch,
        )


def _not_finite(state: dict[str, NDArray[Any]]) -> list[str]:
    """The names of the arrays that hold a NaN or an infinity."""
    return [name for name, array in state.items() if not np.isfinite(array).all()]
