import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def batchnorm_forward_train(
    x: Floats, weight: Floats | None, bias: Floats | None, y: Floats,
    mean: Floats, inv_std: Floats, running_mean: Floats | None, running_var: Floats | None,
    momentum: float, eps: float, num_threads: int,
) -> None: ...  # fmt: skip
def batchnorm_backward(
    dy: Floats, x: Floats, weight: Floats | None, mean: Floats, inv_std: Floats,
    dx: Floats, dweight: Floats | None, dbias: Floats | None, num_threads: int,
) -> None: ...  # fmt: skip
def batchnorm_forward_eval(
    x: Floats, weight: Floats | None, bias: Floats | None,
    running_mean: Floats, running_var: Floats, y: Floats, eps: float, num_threads: int,
) -> None: ...  # fmt: skip
def batchnorm_backward_eval(
    dy: Floats, x: Floats, weight: Floats | None, running_mean: Floats, running_var: Floats,
    dx: Floats, dweight: Floats | None, dbias: Floats | None, eps: float, num_threads: int,
) -> None: ...  # fmt: skip
