"""Fully connected layer: every output is a weighted sum of all inputs, plus a bias."""

import math

import numpy as np

from ..arguments import size_text, whole_number
from ..kernels import linear as kernel
from ..threads import get_num_threads
from .affine import AffineLayer
from .base import FloatArray, Shape, ShapeError


class Linear(AffineLayer):
    """y = x Wᵀ + b.

    A feature map (N, C, H, W) is flattened in (C, H, W) order on the way in, and the gradient
    handed back has the feature map's shape. (PyTorch's Linear would act on the last axis
    only.) An explicit `Flatten` in front gives the same numbers.

    Parameters
    ----------
    in_features : int or None
        Values per sample; None infers it from the first input.
    out_features : int
    bias : bool
    init : str
        Starting values of the weight, a name from `minicnn.initializers.INITIALIZERS`.

    Attributes
    ----------
    weight : Parameter (out_features, in_features)
    bias : Parameter (out_features,) or None
    """

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        *,
        init: str = "default",
    ):
        super().__init__(bias, init)
        known = in_features is not None
        self.in_features = whole_number(in_features, "in_features") if known else None
        self.out_features = whole_number(out_features, "out_features")
        self.parameter_shapes()

    def weight_shape(self) -> Shape | None:
        return None if self.in_features is None else (self.out_features, self.in_features)

    def infer(self, input_shape: Shape) -> None:
        if self.in_features is None:
            self.in_features = math.prod(input_shape)

    def output_shape(self, input_shape: Shape) -> Shape:
        size = math.prod(input_shape)
        if self.in_features not in (None, size):
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)} = {size} values; "
                f"use Linear({size}, {self.out_features}) or Linear(None, {self.out_features})"
            )
        return (self.out_features,)

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, …) with in_features values a sample → (N, out_features)."""
        x = self.prepare(x)
        flat = x.reshape(len(x), -1)
        y = np.empty((len(x), self.out_features), np.float32)
        bias = self.bias.data if self.bias else None
        kernel.linear_forward(flat, self.weight.data, bias, y, get_num_threads())
        self.save_for_backward(x)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, out_features) → the gradient in the shape that forward's input had."""
        x: FloatArray = self.saved()
        dy = self.prepare_gradient(dy, (len(x), self.out_features))
        flat = x.reshape(len(x), -1)
        dx = np.empty_like(flat)
        dbias = self.bias.grad if self.bias else None
        kernel.linear_backward_weight(flat, dy, self.weight.grad, dbias, get_num_threads())
        kernel.linear_backward_input(dy, self.weight.data, dx, get_num_threads())
        return dx.reshape(x.shape)

    def multiply_adds(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.out_features
