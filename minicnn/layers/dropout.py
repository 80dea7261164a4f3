"""Dropout (Srivastava et al. 2014), inverted: the scaling happens in training."""

import numpy as np

from ..arguments import real_number, size_text
from ..kernels import dropout as kernel
from ..threads import get_num_threads
from .base import FloatArray, Layer, Shape, ShapeError


class Dropout(Layer):
    """In training, zeroes each value with probability p and multiplies the rest by 1/(1 − p).

    Which values fall is a function of (seed, stream, step): the model's seed, the layer's
    position in it, and how many training passes the layer has made. So a run can be repeated
    and resumed to the same bits, whatever the number of threads.

    Parameters
    ----------
    p : float
        0 to 1.
    """

    forward_kernel = staticmethod(kernel.dropout_forward)
    backward_kernel = staticmethod(kernel.dropout_backward)

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = real_number(p, "p", maximum=1.0)
        self.seed = 0
        self.stream = 0
        self.step = 0

    def reset_parameters(self, seed: int = 0, stream: int = 0) -> None:
        super().reset_parameters(seed, stream)
        self.seed, self.stream, self.step = seed, stream, 0

    def units(self, x: FloatArray) -> FloatArray:
        """`x` as a view whose first axes count the units that stay or fall together."""
        return x.reshape(-1)

    def forward(self, x: FloatArray) -> FloatArray:
        """Any shape → the same shape; in evaluation `x` itself."""
        x = self.prepare(x)
        if not self.training:
            self.save_for_backward(None, x.shape)
            return x
        y, units = np.empty_like(x), self.units(x)
        mask = np.empty(units.shape[:2], np.uint8)
        where = (self.seed, self.step, self.stream)
        self.forward_kernel(units, self.units(y), mask, self.p, *where, get_num_threads())
        self.step += 1
        self.save_for_backward(mask, x.shape)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """The same units fall, and the rest is scaled alike."""
        mask, shape = self.saved()
        dy = self.prepare_gradient(dy, shape)
        if mask is None:
            return dy
        dx = np.empty_like(dy)
        self.backward_kernel(self.units(dy), mask, self.units(dx), self.p, get_num_threads())
        return dx


class Dropout2d(Dropout):
    """Zeroes whole channels of (N, C, H, W): neighbouring pixels carry the same information.

    Source: Tompson et al., "Efficient object localization using convolutional networks" (2015).
    """

    forward_kernel = staticmethod(kernel.dropout2d_forward)
    backward_kernel = staticmethod(kernel.dropout2d_backward)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}; expected channels×height×width"
            )
        return input_shape

    def units(self, x: FloatArray) -> FloatArray:
        return x.reshape(*x.shape[:2], -1)
