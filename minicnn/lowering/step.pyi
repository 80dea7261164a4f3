import threading
from collections.abc import Sequence
from typing import Any

from ..engine import Plan
from ..layers import Layer
from ..layers.base import Shape
from ..losses import Loss
from ..optim import Optimizer
from .passes import Passes

class TrainingStep:
    plan: Plan

    def __init__(
        self,
        chains: Sequence[Layer],
        layers: Sequence[Layer],
        passes: Passes,
        optimizer: Optimizer,
        shape: Shape,
        lock: threading.Lock,
    ) -> None: ...
    def serves(self, optimizer: Optimizer) -> bool: ...
    def run(
        self, x: Any, y: Any, loss_fn: Loss, clip_norm: float | None, indices: Any = None
    ) -> tuple[float, int] | None: ...

class PreparedSteps(dict[Any, TrainingStep]):
    def run(
        self, x: Any, y: Any, loss_fn: Loss, optimizer: Optimizer, clip_norm: float | None
    ) -> tuple[float, int] | None: ...

def is_overridden(optimizer: Optimizer) -> bool: ...
