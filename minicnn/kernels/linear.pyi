import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def linear_forward(
    x: Floats, weight: Floats, bias: Floats | None, y: Floats, num_threads: int
) -> None: ...
def linear_backward_input(dy: Floats, weight: Floats, dx: Floats, num_threads: int) -> None: ...
def linear_backward_weight(
    x: Floats, dy: Floats, dweight: Floats, dbias: Floats | None, num_threads: int
) -> None: ...
