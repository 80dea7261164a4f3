"""Pooling: each output summarises one window of one channel."""

import math
from typing import Any

import numpy as np

from ..arguments import flag, pair, size_text
from ..kernels import pool2d as kernel
from ..threads import get_num_threads
from .base import FloatArray, Layer, Shape, ShapeError


class WindowPool2d(Layer):
    """What MaxPool2d and AvgPool2d share: windows, and how many of them fit."""

    def __init__(self, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool):
        super().__init__()
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = self.kernel_size if stride is None else pair(stride, "stride")
        self.padding = pair(padding, "padding", minimum=0)
        self.ceil_mode = flag(ceil_mode, "ceil_mode")
        for size, pad in zip(self.kernel_size, self.padding, strict=True):
            if 2 * pad > size:
                raise ValueError(
                    f"padding is {self.padding}; expected at most half of "
                    f"kernel_size {self.kernel_size}, so that no window lies in padding alone"
                )

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}; expected channels×height×width"
            )
        sizes = [self.windows_along(axis, input_shape) for axis in (0, 1)]
        return (input_shape[0], *sizes)

    def windows_along(self, axis: int, input_shape: Shape) -> int:
        """Number of windows along one spatial axis: ⌊room/stride⌋ + 1, or ⌈…⌉ in ceil_mode."""
        length, pad = input_shape[1 + axis], self.padding[axis]
        room = length + 2 * pad - self.kernel_size[axis]
        if room < 0:
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}, smaller with its padding than "
                f"the window {size_text(self.kernel_size)}; use a smaller kernel_size"
            )
        stride = self.stride[axis]
        count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        # The last window must start inside the image or the padding before it (as in PyTorch).
        return count - 1 if self.ceil_mode and (count - 1) * stride >= length + pad else count

    def windows(self) -> tuple[int, int, int, int, int, int]:
        return (*self.kernel_size, *self.stride, *self.padding)


class MaxPool2d(WindowPool2d):
    """The largest value of each window.

    The first of equal values wins and alone receives the gradient; NaN propagates; windows
    that overlap add their gradients.

    Parameters
    ----------
    kernel_size : int or pair (h, w)
    stride : int, pair or None
        None means kernel_size: windows side by side.
    padding : int or pair
        Counts as −∞; at most half the kernel size.
    ceil_mode : bool
        Also use a last window that is partly outside.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, C, H, W) → (N, C, OH, OW)."""
        x = self.prepare(x)
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), np.float32)
        winners = np.empty(y.shape, np.int32)
        kernel.max_pool2d_forward(x, y, winners, *self.windows(), get_num_threads())
        self.save_for_backward(winners, x.shape)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, C, OH, OW) → (N, C, H, W): each gradient goes to its window's winner."""
        winners, shape = self.saved()
        dy = self.prepare_gradient(dy, winners.shape)
        dx = np.empty(shape, np.float32)
        kernel.max_pool2d_backward(dy, winners, dx, get_num_threads())
        return dx


class AvgPool2d(WindowPool2d):
    """The mean of each window.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode
        As for MaxPool2d; padding counts as zero.
    count_include_pad : bool
        Whether padding counts in the divisor.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = flag(count_include_pad, "count_include_pad")

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, C, H, W) → (N, C, OH, OW)."""
        x = self.prepare(x)
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), np.float32)
        rest = (*self.windows(), self.count_include_pad, get_num_threads())
        kernel.avg_pool2d_forward(x, y, *rest)
        self.save_for_backward(x.shape, y.shape)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, C, OH, OW) → (N, C, H, W)."""
        shape, output_shape = self.saved()
        dy = self.prepare_gradient(dy, output_shape)
        dx = np.empty(shape, np.float32)
        rest = (*self.windows(), self.count_include_pad, get_num_threads())
        kernel.avg_pool2d_backward(dy, dx, *rest)
        return dx


class GlobalAvgPool2d(Layer):
    """The mean of each channel: (N, C, H, W) → (N, C, 1, 1), PyTorch's AdaptiveAvgPool2d(1)."""

    def __init__(self) -> None:
        super().__init__()

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or not math.prod(input_shape):
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}; expected channels×height×width"
            )
        return (input_shape[0], 1, 1)

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, C, H, W) → (N, C, 1, 1)."""
        x = self.prepare(x)
        y = np.empty((*x.shape[:2], 1, 1), np.float32)
        kernel.global_avg_pool_forward(x, y, get_num_threads())
        self.save_for_backward(x.shape)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, C, 1, 1) → (N, C, H, W)."""
        shape = self.saved()
        dy = self.prepare_gradient(dy, (*shape[:2], 1, 1))
        dx = np.empty(shape, np.float32)
        kernel.global_avg_pool_backward(dy, dx, get_num_threads())
        return dx
