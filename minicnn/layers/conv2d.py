"""Two-dimensional convolution (cross-correlation, as in every deep-learning library)."""

import math
from typing import Any

import numpy as np

from ..arguments import pair, size_text, whole_number
from ..kernels import conv2d as kernel
from ..threads import get_num_threads
from .affine import AffineLayer
from .base import FloatArray, Shape, ShapeError


class Conv2d(AffineLayer):
    """y[n,k] = bias[k] + Σ_c weight[k,c] ⋆ x[n,c], ⋆ being cross-correlation.

    Parameters
    ----------
    in_channels : int or None
        None infers it from the first input.
    out_channels : int
    kernel_size, stride, dilation : int or pair (h, w)
    padding : int, pair, 'valid' (none) or 'same' (output as large as the input; stride 1 only)
        Zeros on each side. Where 'same' needs an odd number, the extra one goes to the bottom
        and to the right.
    groups : int
        Divides both channel counts; output channels of a group see that group's inputs only.
    bias : bool
    init : str
        Starting values of the weight, a name from `minicnn.initializers.INITIALIZERS`.

    Notes
    -----
    Input (N, C, H, W) → output (N, K, OH, OW) with OH = ⌊(H + 2p − d(k−1) − 1)/s⌋ + 1.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        init: str = "default",
    ):
        super().__init__(bias, init)
        known = in_channels is not None
        self.in_channels = whole_number(in_channels, "in_channels") if known else None
        self.out_channels = whole_number(out_channels, "out_channels")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride = pair(stride, "stride")
        self.dilation = pair(dilation, "dilation")
        self.groups = whole_number(groups, "groups")
        self.padding = self.checked_padding(padding)
        for name in ("in_channels", "out_channels"):
            channels = getattr(self, name)
            if channels is not None and channels % self.groups:
                raise ValueError(
                    f"{name} is {channels}, which groups={self.groups} does not divide"
                )
        self.parameter_shapes()

    def checked_padding(self, padding: Any) -> str | tuple[int, int]:
        if not isinstance(padding, str):
            return pair(padding, "padding", minimum=0)
        if padding not in ("same", "valid"):
            raise ValueError(
                f"padding is {padding!r}; expected a number, a pair, 'same' or 'valid'"
            )
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride {self.stride}")
        return padding

    def weight_shape(self) -> Shape | None:
        if self.in_channels is None:
            return None
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def infer(self, input_shape: Shape) -> None:
        if self.in_channels is None and len(input_shape) == 3:
            if input_shape[0] % self.groups:
                raise ShapeError(
                    f"{self!r}: its input is {size_text(input_shape)}, that is "
                    f"{input_shape[0]} channels, which groups={self.groups} does not divide"
                )
            self.in_channels = input_shape[0]

    def total_padding(self, axis: int) -> int:
        """Zeros added along one spatial axis (0 vertical, 1 horizontal), both sides together."""
        if isinstance(self.padding, str):
            return self.dilation[axis] * (self.kernel_size[axis] - 1) * (self.padding == "same")
        return 2 * self.padding[axis]

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3:
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}; expected channels×height×width"
            )
        if self.in_channels not in (None, input_shape[0]):
            k = self.out_channels
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}, that is {input_shape[0]} "
                f"channels; use Conv2d({input_shape[0]}, {k}, …) or Conv2d(None, {k}, …)"
            )
        sizes = []
        for axis in (0, 1):
            window = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            room = input_shape[1 + axis] + self.total_padding(axis) - window
            if room < 0:
                raise ShapeError(
                    f"{self!r}: its input is {size_text(input_shape)}; with padding, "
                    f"{'height' if axis == 0 else 'width'} is {room + window}, less than the "
                    f"kernel's extent {window}; use a smaller kernel or dilation, or more padding"
                )
            sizes.append(room // self.stride[axis] + 1)
        return (self.out_channels, *sizes)

    def geometry(self) -> tuple[int, int, int, int, int, int, int]:
        """Stride, padding at the top and left, dilation, groups: the kernels' arguments."""
        top, left = self.total_padding(0) // 2, self.total_padding(1) // 2
        return (*self.stride, top, left, *self.dilation, self.groups)

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, C, H, W) → (N, K, OH, OW)."""
        x = self.prepare(x)
        y = np.empty((len(x), *self.output_shape(x.shape[1:])), np.float32)
        bias = self.bias.data if self.bias else None
        kernel.conv2d_forward(x, self.weight.data, bias, y, *self.geometry(), get_num_threads())
        self.save_for_backward(x)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, K, OH, OW) → (N, C, H, W)."""
        x: FloatArray = self.saved()
        dy = self.prepare_gradient(dy, (len(x), *self.output_shape(x.shape[1:])))
        dx = np.empty_like(x)
        dbias = self.bias.grad if self.bias else None
        rest = (*self.geometry(), get_num_threads())
        kernel.conv2d_backward_weight(x, dy, self.weight.grad, dbias, *rest)
        kernel.conv2d_backward_input(dy, self.weight.data, dx, *rest)
        return dx

    def multiply_adds(self, input_shape: Shape) -> int:
        _, height, width = self.output_shape(input_shape)
        shape = self.weight_shape()
        return 0 if shape is None else math.prod(shape) * height * width
