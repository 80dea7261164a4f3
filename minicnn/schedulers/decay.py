"""Schedules that fall from the optimizer's learning rate, here called base."""

import math
from bisect import bisect_right
from collections.abc import Iterable

from ..arguments import real_number, whole_number
from ..optim import Optimizer
from .base import LARGEST_STEP, TimedSchedule


class StepLR(TimedSchedule):
    """base · gamma^⌊t / step_size⌋: a drop every `step_size` steps."""

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, *, interval: str = "epoch"
    ) -> None:
        self.step_size = whole_number(step_size, "step_size")
        self.gamma = real_number(gamma, "gamma")
        super().__init__(optimizer, interval)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps."""
        return self.base_lr * self.gamma ** (t // self.step_size)


class MultiStepLR(TimedSchedule):
    """base · gamma^(number of milestones ≤ t).

    Parameters
    ----------
    optimizer : Optimizer
    milestones : iterable of int
        Steps at which the rate drops, in any order; one that appears twice counts twice.
    gamma : float
    interval : 'epoch' or 'batch'
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        *,
        interval: str = "epoch",
    ) -> None:
        self.milestones = sorted(
            whole_number(m, f"milestones[{i}]", minimum=0) for i, m in enumerate(milestones)
        )
        self.gamma = real_number(gamma, "gamma")
        super().__init__(optimizer, interval)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps."""
        return self.base_lr * self.gamma ** bisect_right(self.milestones, t)


class ExponentialLR(TimedSchedule):
    """base · gamma^t."""

    def __init__(self, optimizer: Optimizer, gamma: float, *, interval: str = "epoch") -> None:
        self.gamma = real_number(gamma, "gamma")
        super().__init__(optimizer, interval)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps."""
        return self.base_lr * self.gamma**t


class CosineAnnealingLR(TimedSchedule):
    """eta_min + (base − eta_min) · (1 + cos(π t / T_max)) / 2.

    Beyond T_max it rises again, back to base at 2 T_max, and so on.

    Source: Loshchilov & Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts" (2017),
    eq. 5, without the restarts.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, *, interval: str = "epoch"
    ) -> None:
        self.T_max = whole_number(T_max, "T_max", maximum=LARGEST_STEP)
        self.eta_min = real_number(eta_min, "eta_min")
        super().__init__(optimizer, interval)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps."""
        share = (1 + math.cos(math.pi * t / self.T_max)) / 2
        return self.eta_min + (self.base_lr - self.eta_min) * share
