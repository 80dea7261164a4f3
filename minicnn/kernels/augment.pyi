from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

def warp(images: NDArray[Any], maps: NDArray[np.float64], y: Floats) -> None: ...
def map_colors(x: Floats, matrices: Floats, grey_shares: Floats) -> None: ...
