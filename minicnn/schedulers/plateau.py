"""A schedule that follows a metric."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ..arguments import real_number, whole_number
from ..optim import Optimizer
from .base import LARGEST_STEP, Schedule


class ReduceLROnPlateau(Schedule):
    """Multiply the learning rate by `factor` when a metric has stopped to improve.

    Parameters
    ----------
    optimizer : Optimizer
    mode : 'min' or 'max'
        Whether a smaller or a larger metric is better.
    factor : float in [0, 1)
    patience : int
        So many steps without improvement are let pass; the next one reduces the rate.
    threshold : float
        By how much a metric must beat the best one to count as better.
    threshold_mode : 'rel' or 'abs'
        Whether the threshold is a share of the best metric or a difference.
    cooldown : int
        Steps after a reduction in which nothing is counted.
    min_lr : float
        The rate does not fall below it.
    eps : float
        A reduction by no more than this is left out.
    interval : 'epoch' or 'batch'
    """

    needs_metric: ClassVar[bool] = True

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        *,
        interval: str = "epoch",
    ) -> None:
        super().__init__(optimizer, interval)
        if mode not in ("min", "max"):
            raise ValueError(f"mode is {mode!r}; expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold_mode is {threshold_mode!r}; expected 'rel' or 'abs'")
        self.mode, self.threshold_mode = mode, threshold_mode
        self.factor = real_number(factor, "factor", maximum=1.0, below=True)
        self.patience = whole_number(patience, "patience", minimum=0)
        self.threshold = real_number(threshold, "threshold")
        self.cooldown = whole_number(cooldown, "cooldown", minimum=0)
        self.min_lr = real_number(min_lr, "min_lr")
        self.eps = real_number(eps, "eps")
        self.best: float | None = None
        self.bad_steps = 0
        self.cooldown_left = 0

    def step(self, metric: float) -> None:
        """Look at a new value of the metric. One that is NaN or infinite is never better."""
        if not hasattr(metric, "__float__"):
            raise TypeError(f"metric is {metric!r}; expected a number")
        value = float(metric)
        self.t += 1
        if self._is_better(value):
            self.best, self.bad_steps = value, 0
        else:
            self.bad_steps += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_steps = 0
        if self.bad_steps > self.patience:
            self._reduce()
            self.cooldown_left, self.bad_steps = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * value > sign * (self.best * (1 + sign * self.threshold))
        return sign * value > sign * (self.best + sign * self.threshold)

    def _reduce(self) -> None:
        lr = max(self.optimizer.lr * self.factor, self.min_lr)
        if self.optimizer.lr - lr > self.eps:
            self.optimizer.lr = lr

    def state_dict(self) -> dict[str, Any]:
        progress = {"best": self.best, "bad_steps": self.bad_steps}
        return {**super().state_dict(), **progress, "cooldown_left": self.cooldown_left}

    def checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        best = state["best"]
        kept = super().checked_state(state)
        kept["best"] = None if best is None else real_number(best, "best", minimum=-math.inf)
        for name in ("bad_steps", "cooldown_left"):
            kept[name] = whole_number(state[name], name, minimum=0, maximum=LARGEST_STEP)
        return kept
