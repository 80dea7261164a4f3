import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]

def max_pool2d_forward(
    x: Floats, y: Floats, indices: Indices,
    k_h: int, k_w: int, s_h: int, s_w: int, pad_h: int, pad_w: int, num_threads: int,
) -> None: ...  # fmt: skip
def max_pool2d_backward(dy: Floats, indices: Indices, dx: Floats, num_threads: int) -> None: ...
def avg_pool2d_forward(
    x: Floats, y: Floats,
    k_h: int, k_w: int, s_h: int, s_w: int, pad_h: int, pad_w: int,
    count_include_pad: bool, num_threads: int,
) -> None: ...  # fmt: skip
def avg_pool2d_backward(
    dy: Floats, dx: Floats,
    k_h: int, k_w: int, s_h: int, s_w: int, pad_h: int, pad_w: int,
    count_include_pad: bool, num_threads: int,
) -> None: ...  # fmt: skip
def global_avg_pool_forward(x: Floats, y: Floats, num_threads: int) -> None: ...
def global_avg_pool_backward(dy: Floats, dx: Floats, num_threads: int) -> None: ...
