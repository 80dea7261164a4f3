"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any

from ..arguments import flag, real_number
from ..kernels import optim as kernel
from ..layers.base import FloatArray, Parameter
from ..threads import get_num_threads
from .base import Optimizer
from .segments import Segment


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay.

        g ← g + weight_decay · p
        buf ← g in the first step, then momentum · buf + (1 − dampening) · g
        g ← g + momentum · buf  (nesterov)   or   buf  (else)
        p ← p − lr · g

    The learning rate stands outside the buffer, as in PyTorch and unlike in Sutskever et al.
    (2013), so that a change of it acts at once.

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Learning rate, not negative.
    momentum, dampening, weight_decay : float
        Not negative.
    nesterov : bool
        Needs a momentum, and no dampening.
    """

    hyper_parameter_names = ("lr", "momentum", "dampening", "weight_decay", "nesterov")
    slot_names = ("momentum_buffer",)

    momentum: float
    dampening: float
    weight_decay: float
    nesterov: bool

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        values = {"momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, lr=lr, nesterov=nesterov, **values)

    def checked(self, **values: Any) -> dict[str, Any]:
        numbers = ("lr", "momentum", "dampening", "weight_decay")
        kept: dict[str, Any] = {name: real_number(values[name], name) for name in numbers}
        kept["nesterov"] = flag(values["nesterov"], "nesterov")
        if kept["nesterov"] and (kept["momentum"] == 0 or kept["dampening"] != 0):
            raise ValueError(
                f"nesterov=True with momentum={kept['momentum']}, dampening={kept['dampening']}; "
                "expected momentum > 0 and dampening = 0"
            )
        return kept

    def used_slots(self) -> tuple[str, ...]:
        return self.slot_names if self.momentum else ()

    def set_momentum(self, value: float) -> None:
        self.momentum = value

    def update(self, segment: Segment, slots: dict[str, FloatArray], first: bool) -> None:
        buffer = slots["momentum_buffer"] if self.momentum else None
        rates = self.lr, self.momentum, self.dampening, self.weight_decay
        kernel.sgd_step(
            segment.data, segment.grad, buffer, *rates, self.nesterov, first, get_num_threads()
        )
