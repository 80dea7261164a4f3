"""Callbacks that watch one metric: early stopping and checkpoints of the best model."""

import errno
import math
import os
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ...arguments import flag, real_number, whole_number
from ...interrupts import signals_deferred
from ..history import is_lower_better
from ..plan import Run
from .base import Callback


class BestEpoch(Callback):
    """Keeps track of the best value of one metric."""

    def __init__(self, monitor: str, min_delta: float, mode: str):
        self.monitor = monitor
        self.min_delta = real_number(min_delta, "min_delta")
        self.mode = mode
        self._sign = 1.0 if is_lower_better(monitor, mode) else -1.0
        self.best: float | None = None
        self.best_epoch = 0

    def on_train_begin(self, run: Run) -> None:
        if run.epoch == 0:
            self.best, self.best_epoch = None, 0
        if self.monitor.startswith("val_") and run.plan.validation_data is None:
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}, but there is no validation "
                f"data; give validation_data, or monitor={self.monitor.removeprefix('val_')!r}"
            )

    def improved(self, run: Run) -> bool:
        """Whether the last epoch is the best one so far, which it becomes then."""
        row = run.history[-1]
        if self.monitor not in row:
            raise ValueError(
                f"{type(self).__name__} monitors {self.monitor!r}; expected one of "
                f"{', '.join(run.history.columns())}"
            )
        value = row[self.monitor]
        # Written so that a NaN is never better than a number.
        if self.best is not None and not self._sign * (self.best - value) > self.min_delta:
            return False
        if math.isnan(value):
            return False
        self.best, self.best_epoch = value, run.epoch
        return True

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.best, self.best_epoch = state["best"], state["best_epoch"]


class EarlyStopping(BestEpoch):
    """Ends the training when a metric has not improved for `patience` epochs in a row.

    Parameters
    ----------
    monitor : str
        A column of the history.
    patience : int
        At least 1.
    min_delta : float
        A smaller change does not count as an improvement.
    mode : "auto", "min" or "max"
        Whether low or high is good; "auto" goes by the name.
    restore_best_weights : bool
        At the end, put the model back to its best epoch, also when all epochs were trained.

    Attributes
    ----------
    best, best_epoch
        The best value, and the epoch it is from.

    Source: Prechelt, "Early stopping – but when?" (1998).
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best_weights: bool = True,
    ):
        super().__init__(monitor, min_delta, mode)
        self.patience = whole_number(patience, "patience")
        self.restore_best_weights = flag(restore_best_weights, "restore_best_weights")
        self.wait = 0
        self._weights: dict[str, NDArray[Any]] = {}

    def on_train_begin(self, run: Run) -> None:
        super().on_train_begin(run)
        if run.epoch == 0:
            self.wait, self._weights = 0, {}
        self._stop_if_patience_is_over(run)  # when resumed after the end

    def on_epoch_end(self, run: Run) -> None:
        if self.improved(run):
            self.wait = 0
            if self.restore_best_weights:
                self._weights = run.model.state_dict()
            return
        self.wait += 1
        self._stop_if_patience_is_over(run)

    def _stop_if_patience_is_over(self, run: Run) -> None:
        if self.wait >= self.patience:
            run.request_stop(
                f"{self.monitor} has not improved since epoch {self.best_epoch} "
                f"(patience {self.patience})"
            )

    def on_train_end(self, run: Run) -> None:
        if self._weights:
            with signals_deferred():
                run.model.load_state_dict(self._weights)

    def arguments(self) -> dict[str, Any]:
        names = ("monitor", "patience", "min_delta", "mode", "restore_best_weights")
        return {name: getattr(self, name) for name in names}

    def state(self) -> dict[str, Any]:
        return {**super().state(), "wait": self.wait, "weights": self._weights}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self.wait, self._weights = state["wait"], dict(state["weights"])


class Checkpoint(BestEpoch):
    """Saves the model (as `model.save` does) after epochs.

    Parameters
    ----------
    path : path
        Replaced durably each time. "{epoch}" in it becomes the epoch's number.
    monitor : str
        A column of the history.
    save_best_only : bool
        True: only when `monitor` has improved. False: after every epoch.
    mode : "auto", "min" or "max"
        Whether low or high is good; "auto" goes by the name.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best_only: bool = True,
        mode: str = "auto",
    ):
        super().__init__(monitor, 0.0, mode)
        self.path = os.fspath(path)
        self.save_best_only = flag(save_best_only, "save_best_only")

    def on_train_begin(self, run: Run) -> None:
        if self.save_best_only:
            super().on_train_begin(run)
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):  # better now than after an epoch
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)

    def on_epoch_end(self, run: Run) -> None:
        if not self.save_best_only or self.improved(run):
            run.model.save(self.path.replace("{epoch}", str(run.epoch)))

    def arguments(self) -> dict[str, Any]:
        names = ("monitor", "save_best_only", "mode")
        return {name: getattr(self, name) for name in names}
