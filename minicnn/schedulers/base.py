"""What schedules share: an optimizer, a count of steps, saving and loading."""

from collections.abc import Mapping
from typing import Any, ClassVar

from ..arguments import check_names, real_number, whole_number
from ..optim import Optimizer

LARGEST_STEP = 2**53


class Schedule:
    """Base class of all schedules.

    Attributes
    ----------
    t : int
        Steps made so far.
    interval : 'epoch' or 'batch'
        When `fit` calls `step`.
    needs_metric : bool
        Whether `step` takes the value of a metric.
    """

    needs_metric: ClassVar[bool] = False

    def __init__(self, optimizer: Optimizer, interval: str) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {type(optimizer).__name__}; expected an Optimizer")
        if interval not in ("epoch", "batch"):
            raise ValueError(f"interval is {interval!r}; expected 'epoch' or 'batch'")
        self.optimizer = optimizer
        self.interval = interval
        self.t = 0

    def state_dict(self) -> dict[str, Any]:
        """How far the schedule has come, as plain numbers; the rest is in the constructor.

        The learning rate itself is in the optimizer's state.
        """
        return {"type": type(self).__name__, "t": self.t}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, leaving the optimizer as it is.

        Raises
        ------
        TypeError, ValueError
            When the state is of another schedule, or an entry is missing, unexpected or
            malformed. Nothing is changed then.
        """
        self.continue_from(self.checked_state(state))

    def checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of `state` that become attributes, or an error naming what is wrong."""
        own_type = type(self).__name__
        if state.get("type") != own_type:
            raise ValueError(f"the state is of {state.get('type')!r}; expected {own_type!r}")
        check_names("the state", state, self.state_dict())
        return {"t": whole_number(state["t"], "t", minimum=0, maximum=LARGEST_STEP)}

    def continue_from(self, values: Mapping[str, Any]) -> None:
        """Take over what `checked_state` has passed."""
        for name, value in values.items():
            setattr(self, name, value)


class TimedSchedule(Schedule):
    """A schedule whose learning rate is a function of the number of steps.

    A subclass stores its hyper-parameters, then calls this constructor, which sets the first
    learning rate, and defines `lr_at`.

    Attributes
    ----------
    base_lr : float
        The optimizer's learning rate when the schedule was made.
    """

    def __init__(self, optimizer: Optimizer, interval: str) -> None:
        super().__init__(optimizer, interval)
        self.base_lr = optimizer.lr
        self.apply(0)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps."""
        raise NotImplementedError(f"{type(self).__name__} does not define lr_at(t)")

    def apply(self, t: int) -> None:
        """Set what the schedule governs to its value after `t` steps."""
        self.optimizer.lr = self.lr_at(t)

    def step(self) -> None:
        """Go on to the next learning rate. One set by hand in between is overwritten."""
        self.apply(self.t + 1)
        self.t += 1

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "base_lr": self.base_lr}

    def checked_state(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().checked_state(state), "base_lr": real_number(state["base_lr"], "base_lr")}
