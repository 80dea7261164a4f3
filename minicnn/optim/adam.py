"""Adam and AdamW."""

from collections.abc import Iterable
from typing import Any, ClassVar

from ..arguments import real_number
from ..kernels import optim as kernel
from ..layers.base import FloatArray, Parameter
from ..threads import get_num_threads
from .base import Optimizer
from .segments import Segment


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square, both corrected for
    their start at zero.

        g ← g + weight_decay · p
        m ← β₁ m + (1 − β₁) g,   v ← β₂ v + (1 − β₂) g²
        p ← p − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps)

    Parameters
    ----------
    params : iterable of Parameter
    lr : float
        Learning rate, not negative.
    betas : pair of floats in [0, 1)
        β₁ and β₂.
    eps, weight_decay : float
        Not negative.

    Source: Kingma & Ba, "Adam: A Method for Stochastic Optimization" (2015), algorithm 1.
    """

    hyper_parameter_names = ("lr", "betas", "eps", "weight_decay")
    slot_names = ("exp_avg", "exp_avg_sq")
    decoupled: ClassVar[bool] = False

    betas: tuple[float, float]
    eps: float
    weight_decay: float

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def checked(self, **values: Any) -> dict[str, Any]:
        betas = values["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"betas is {betas!r}; expected a pair of numbers")
        kept: dict[str, Any] = {
            name: real_number(values[name], name) for name in ("lr", "eps", "weight_decay")
        }
        numbers = (real_number(b, f"betas[{i}]", 0, 1, below=True) for i, b in enumerate(betas))
        return {**kept, "betas": tuple(numbers)}

    def set_momentum(self, value: float) -> None:
        self.betas = (value, self.betas[1])

    def update(self, segment: Segment, slots: dict[str, FloatArray], first: bool) -> None:
        arrays = segment.data, segment.grad, slots["exp_avg"], slots["exp_avg_sq"]
        rates = self.lr, *self.betas, self.eps, self.weight_decay
        kernel.adam_step(*arrays, *rates, self.decoupled, self.steps, get_num_threads())


class AdamW(Adam):
    """Adam with the weight decay outside of the running means: p ← p − lr · weight_decay · p.

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2,
    with its schedule multiplier η equal to lr.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay)
