"""The one-cycle policy."""

import math
from typing import NamedTuple

from ..arguments import flag, real_number, whole_number
from ..optim import Optimizer
from .base import TimedSchedule


class Phase(NamedTuple):
    """A stretch of the cycle: from where the one before ended to step `end`."""

    end: float
    lr: tuple[float, float]
    momentum: tuple[float, float]


class OneCycleLR(TimedSchedule):
    """Up from max_lr / div_factor to max_lr, then down to a small fraction of the start.

    The momentum (of Adam: β₁) runs the other way. As in PyTorch a phase may end between two
    steps: the peak is at step pct_start · total_steps − 1.

    Parameters
    ----------
    optimizer : Optimizer
        Its own learning rate is replaced.
    max_lr : float
        The peak.
    total_steps : int or None
        Length of the cycle; None means epochs · steps_per_epoch.
    epochs, steps_per_epoch : int or None
        Used only without total_steps.
    pct_start : float in [0, 1]
        Share of the cycle in which the rate rises.
    anneal_strategy : 'cos' or 'linear'
    cycle_momentum : bool
        Whether the momentum runs from max_momentum to base_momentum and back.
    base_momentum, max_momentum : float in [0, 1)
    div_factor : float
        The first rate is max_lr / div_factor.
    final_div_factor : float
        The last rate is the first one / final_div_factor.
    three_phase : bool
        Fall to the first rate as fast as it rose, and only then to the last one.
    interval : 'epoch' or 'batch'
        'batch' by default, unlike other schedules.

    Source: Smith & Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates" (2018), section 3.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        *,
        interval: str = "batch",
    ) -> None:
        self.total_steps = _cycle_length(total_steps, epochs, steps_per_epoch)
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy is {anneal_strategy!r}; expected 'cos' or 'linear'")
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = flag(cycle_momentum, "cycle_momentum")
        high = real_number(max_lr, "max_lr")
        low = high / real_number(div_factor, "div_factor", minimum=1e-300)
        last = low / real_number(final_div_factor, "final_div_factor", minimum=1e-300)
        rise = real_number(pct_start, "pct_start", maximum=1.0) * self.total_steps
        slow = real_number(base_momentum, "base_momentum", maximum=1.0, below=True)
        fast = real_number(max_momentum, "max_momentum", maximum=1.0, below=True)
        self.phases = [Phase(rise - 1, (low, high), (fast, slow))]
        if flag(three_phase, "three_phase"):
            self.phases.append(Phase(2 * rise - 2, (high, low), (slow, fast)))
            self.phases.append(Phase(self.total_steps - 1, (low, last), (fast, fast)))
        else:
            self.phases.append(Phase(self.total_steps - 1, (high, last), (slow, fast)))
        super().__init__(optimizer, interval)

    def lr_at(self, t: int) -> float:
        """The learning rate after `t` steps; the last one, of t = total_steps − 1, is held."""
        phase, share = self._position(t)
        return self._between(*phase.lr, share)

    def momentum_at(self, t: int) -> float:
        """The momentum after `t` steps."""
        phase, share = self._position(t)
        return self._between(*phase.momentum, share)

    def apply(self, t: int) -> None:
        super().apply(t)
        if self.cycle_momentum:
            self.optimizer.set_momentum(self.momentum_at(t))

    def _position(self, t: int) -> tuple[Phase, float]:
        """The phase at step `t`, and the share of it that is over."""
        if t > self.total_steps:
            raise ValueError(f"step {t} of a cycle of {self.total_steps}; expected no more steps")
        start = 0.0
        for phase in self.phases[:-1]:
            if t <= phase.end:
                break
            start = phase.end
        else:
            phase = self.phases[-1]
        length = phase.end - start
        return phase, min((t - start) / length, 1.0) if length > 0 else 1.0

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return start + (end - start) * share
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _cycle_length(total_steps: int | None, epochs: int | None, steps_per_epoch: int | None) -> int:
    if total_steps is not None:
        return whole_number(total_steps, "total_steps")
    if epochs is None or steps_per_epoch is None:
        raise ValueError(
            "the length of the cycle is missing; expected total_steps, or epochs and "
            "steps_per_epoch"
        )
    return whole_number(epochs, "epochs") * whole_number(steps_per_epoch, "steps_per_epoch")
