import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def sgd_step(
    param: Floats, grad: Floats, buffer: Floats | None,
    lr: float, momentum: float, dampening: float, weight_decay: float, nesterov: bool,
    first_step: bool, num_threads: int,
) -> None: ...  # fmt: skip
def adam_step(
    param: Floats, grad: Floats, exp_avg: Floats, exp_avg_sq: Floats,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float, decoupled: bool,
    step: int, num_threads: int,
) -> None: ...  # fmt: skip
def grad_norm(grad: Floats, num_threads: int = 1) -> float: ...
def scale(grad: Floats, factor: float, num_threads: int) -> None: ...
def average_step(average: Floats, value: Floats, rate: float, num_threads: int) -> None: ...
