"""Starting values of weights: functions of a shape and a (seed, stream), nothing else.

`fan_in` is the number of inputs that one output sums over, the product of all axes of the
weight but the first; `fan_out` is the same seen from the input's side.

Sources: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
networks" (2010), eq. 16 (xavier); He et al., "Delving Deep into Rectifiers" (2015), eq. 10
(kaiming).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import random

FloatArray = NDArray[np.float32]
Initializer = Callable[[tuple[int, ...], int, int], FloatArray]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of shape (out, in, …kernel)."""
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def uniform_within(bound: float, shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """U(−bound, +bound)."""
    return random.uniform(shape, seed, random.INIT, stream, low=-bound, high=bound)


def default(shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """PyTorch's default for Linear and Conv2d: U(−1/√fan_in, +1/√fan_in).

    It is kaiming_uniform with a = √5, whose gain is √(1/3): bound = √3 · √(1/3) / √fan_in.
    """
    return uniform_within(1 / math.sqrt(fans(shape)[0]), shape, seed, stream)


def kaiming_uniform(shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """U(−√(6/fan_in), +√(6/fan_in)): keeps the variance through ReLU layers."""
    return uniform_within(math.sqrt(6 / fans(shape)[0]), shape, seed, stream)


def kaiming_normal(shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """N(0, 2/fan_in): keeps the variance through ReLU layers."""
    scale = np.float32(math.sqrt(2 / fans(shape)[0]))
    return random.normal(shape, seed, random.INIT, stream) * scale


def xavier_uniform(shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """U(±√(6/(fan_in + fan_out))): for tanh and sigmoid layers."""
    return uniform_within(math.sqrt(6 / sum(fans(shape))), shape, seed, stream)


def xavier_normal(shape: tuple[int, ...], seed: int, stream: int) -> FloatArray:
    """N(0, 2/(fan_in + fan_out)): for tanh and sigmoid layers."""
    scale = np.float32(math.sqrt(2 / sum(fans(shape))))
    return random.normal(shape, seed, random.INIT, stream) * scale


INITIALIZERS: dict[str, Initializer] = {
    f.__name__: f for f in (default, kaiming_uniform, kaiming_normal, xavier_uniform, xavier_normal)
}


def check_name(name: str) -> str:
    """`name` if it is one of INITIALIZERS, else TypeError or ValueError listing them."""
    if isinstance(name, str) and name in INITIALIZERS:
        return name
    error = ValueError if isinstance(name, str) else TypeError
    raise error(f"init is {name!r}; expected one of {', '.join(INITIALIZERS)}")
