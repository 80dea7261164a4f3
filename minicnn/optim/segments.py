"""Parameters that are neighbours in memory, joined into few flat arrays.

Parameters of a `Sequential` lie side by side in one flat block, their gradients in another, so
what concerns all of them (an optimizer's step, the norm of the gradient) is usually one kernel
call. Parameters that live elsewhere make segments of their own.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ..layers.base import FloatArray, Parameter


class Segment(NamedTuple):
    """Neighbouring parameters as one: flat views of their values and of their gradients."""

    data: FloatArray  # (size,)
    grad: FloatArray  # (size,)


def parameter_list(params: Iterable[Parameter]) -> list[Parameter]:
    """`params` as a list of different parameters with usable arrays.

    Raises
    ------
    TypeError
        When it holds anything but parameters.
    ValueError
        When it is empty, holds a parameter twice, or one whose arrays no kernel can take.
    """
    if isinstance(params, (Parameter, Mapping, str)) or not isinstance(params, Iterable):
        raise TypeError(f"params is {type(params).__name__}; expected model.parameters()")
    parameters = list(params)
    for position, p in enumerate(parameters):
        _check_parameter(p, position)
    if not parameters:
        raise ValueError("params is empty; expected at least one Parameter")
    if len({id(p) for p in parameters}) != len(parameters):
        raise ValueError("params holds the same Parameter twice; expected each once")
    return parameters


def _check_parameter(p: Parameter, position: int) -> None:
    if isinstance(p, Mapping):
        raise TypeError(
            f"params[{position}] is a dict; parameter groups are not supported, pass a flat list "
            "such as model.parameters()"
        )
    if not isinstance(p, Parameter):
        raise TypeError(f"params[{position}] is {type(p).__name__}; expected a Parameter")
    for name, array in (("data", p.data), ("grad", p.grad)):
        if array.dtype != np.float32 or not array.flags.carray or array.shape != p.shape:
            raise ValueError(
                f"the {name} of {p!r} is {array.dtype} of shape {array.shape}; expected a "
                f"writable C-contiguous float32 array of shape {p.shape}"
            )


def find_segments(parameters: list[Parameter]) -> list[Segment]:
    """Flat views that cover all parameters in their order, neighbours joined."""
    runs: list[list[Parameter]] = []
    for p in parameters:
        if runs and _follows(runs[-1][-1].data, p.data) and _follows(runs[-1][-1].grad, p.grad):
            runs[-1].append(p)
        else:
            runs.append([p])
    return [Segment(_flat([p.data for p in run]), _flat([p.grad for p in run])) for run in runs]


def _follows(a: FloatArray, b: FloatArray) -> bool:
    """Whether both are views of one array, and `b` begins where `a` ends."""
    block = a.base
    if not isinstance(block, np.ndarray) or block is not b.base or not block.flags.c_contiguous:
        return False
    return b.ctypes.data == a.ctypes.data + a.nbytes


def _flat(arrays: list[FloatArray]) -> FloatArray:
    """A flat view of arrays of which each follows the one before."""
    if len(arrays) == 1:
        return arrays[0].reshape(-1)
    block = arrays[0].base
    assert isinstance(block, np.ndarray)
    # In bytes, because the block may be of another dtype, such as bytes aligned by hand.
    start = arrays[0].ctypes.data - block.ctypes.data
    stop = start + sum(a.nbytes for a in arrays)
    return block.reshape(-1).view(np.uint8)[start:stop].view(np.float32)
