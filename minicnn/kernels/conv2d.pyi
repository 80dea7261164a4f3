import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def conv2d_forward(
    x: Floats, weight: Floats, bias: Floats | None, y: Floats,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int,
    dilation_h: int, dilation_w: int, groups: int, num_threads: int,
) -> None: ...  # fmt: skip
def conv2d_backward_input(
    dy: Floats, weight: Floats, dx: Floats,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int,
    dilation_h: int, dilation_w: int, groups: int, num_threads: int,
) -> None: ...  # fmt: skip
def conv2d_backward_weight(
    x: Floats, dy: Floats, dweight: Floats, dbias: Floats | None,
    stride_h: int, stride_w: int, pad_top: int, pad_left: int,
    dilation_h: int, dilation_w: int, groups: int, num_threads: int,
) -> None: ...  # fmt: skip
