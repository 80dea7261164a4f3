"""A slow start, and what comes after it."""

from collections.abc import Mapping
from typing import Any

from ..arguments import real_number, whole_number
from ..optim import Optimizer
from .base import Schedule, TimedSchedule


class LinearWarmup(TimedSchedule):
    """base · (start_factor + (1 − start_factor) · t / total_iters), then base, or `after`.

    The warm-up alone is PyTorch's LinearLR with end_factor=1; with `after` it is a SequentialLR
    of the two.

    Parameters
    ----------
    optimizer : Optimizer
    total_iters : int
        Steps until the learning rate is at its full value.
    start_factor : float in (0, 1]
    after : Schedule or None
        A schedule of the same optimizer and interval, made before this one. Its step 0 is the
        end of the warm-up. Only this warm-up is stepped and saved; it takes `after` along. One
        that follows a metric sees none of the warm-up's.
    interval : 'epoch' or 'batch'
        'batch' by default, unlike other schedules.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int,
        start_factor: float = 1 / 3,
        after: Schedule | None = None,
        *,
        interval: str = "batch",
    ) -> None:
        self.total_iters = whole_number(total_iters, "total_iters")
        self.start_factor = real_number(start_factor, "start_factor", minimum=1e-300, maximum=1.0)
        self.after = after
        if after is not None:
            _check_after(after, optimizer, interval)
        super().__init__(optimizer, interval)

    @property
    def needs_metric(self) -> bool:  # type: ignore[override]  # it depends on what comes after
        """Whether `step` takes the value of a metric."""
        return self.after is not None and self.after.needs_metric

    @property
    def mode(self) -> str:
        """Of a schedule afterwards that follows a metric: whether it should be low or high."""
        return str(getattr(self.after, "mode", "min"))

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps; what follows a metric is not counted in."""
        if t < self.total_iters:
            share = t / self.total_iters
            return self.base_lr * (self.start_factor + (1 - self.start_factor) * share)
        if isinstance(self.after, TimedSchedule):
            return self.after.lr_at(t - self.total_iters)
        return self.base_lr

    def apply(self, t: int) -> None:
        if isinstance(self.after, TimedSchedule) and t >= self.total_iters:
            self.after.apply(t - self.total_iters)
            self.after.t = t - self.total_iters
        else:
            super().apply(t)

    def step(self, metric: float | None = None) -> None:
        """Go on to the next learning rate. One set by hand in between is overwritten."""
        if self.needs_metric and metric is None:
            raise TypeError("step() got no metric; the schedule after the warm-up follows one")
        if self.needs_metric and self.t >= self.total_iters:
            self.after.step(metric)  # type: ignore[union-attr]
            self.t += 1
        else:
            super().step()

    def state_dict(self) -> dict[str, Any]:
        after = None if self.after is None else self.after.state_dict()
        return {**super().state_dict(), "after": after}

    def checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        kept = super().checked_state(state)
        if (state["after"] is None) != (self.after is None):
            has = {True: "none", False: "one"}
            raise ValueError(
                f"the state has {has[state['after'] is None]} schedule after the warm-up, this "
                f"warm-up has {has[self.after is None]}; expected the same"
            )
        if self.after is not None:
            kept["after"] = self.after.checked_state(state["after"])
        return kept

    def continue_from(self, values: Mapping[str, Any]) -> None:
        own = {name: value for name, value in values.items() if name != "after"}
        super().continue_from(own)
        if self.after is not None:
            self.after.continue_from(values["after"])


def _check_after(after: Schedule, optimizer: Optimizer, interval: str) -> None:
    if not isinstance(after, Schedule):
        raise TypeError(f"after is {type(after).__name__}; expected a schedule")
    if after.optimizer is not optimizer:
        raise ValueError("after belongs to another optimizer; expected the same one")
    if after.interval != interval:
        raise ValueError(
            f"after has interval {after.interval!r}; expected {interval!r} as the warm-up, "
            f"pass interval={interval!r} to it"
        )
