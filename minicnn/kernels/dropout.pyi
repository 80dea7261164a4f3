import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.uint8]
Words = NDArray[np.uint32]

MAX_ELEMENTS: int

def dropout_forward(
    x: Floats, y: Floats, mask: Mask, p: float, seed: int, step: int, layer: int, num_threads: int
) -> None: ...
def dropout_backward(dy: Floats, mask: Mask, dx: Floats, p: float, num_threads: int) -> None: ...
def dropout2d_forward(
    x: Floats, y: Floats, mask: Mask, p: float, seed: int, step: int, layer: int, num_threads: int
) -> None: ...
def dropout2d_backward(dy: Floats, mask: Mask, dx: Floats, p: float, num_threads: int) -> None: ...
def philox4x32(counter: Words, key: Words, out: Words) -> None: ...
