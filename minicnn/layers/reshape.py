"""Layers that move no numbers."""

import math

from .base import FloatArray, Layer, Shape


class Flatten(Layer):
    """(N, C, H, W) → (N, C·H·W), in (C, H, W) order; the gradient gets the old shape back."""

    def __init__(self) -> None:
        super().__init__()

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(self, x: FloatArray) -> FloatArray:
        """(N, …) → (N, product); a view of `x`."""
        x = self.prepare(x)
        self.save_for_backward(x.shape)
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, dy: FloatArray) -> FloatArray:
        """(N, product) → (N, …); a view of `dy`."""
        shape = self.saved()
        return self.prepare_gradient(dy, (shape[0], math.prod(shape[1:]))).reshape(shape)


class Identity(Layer):
    """y = x; takes the place of a layer that is left out."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: FloatArray) -> FloatArray:
        """Any shape; returns `x` itself."""
        x = self.prepare(x)
        self.save_for_backward(x.shape)
        return x

    def backward(self, dy: FloatArray) -> FloatArray:
        """Returns `dy` itself."""
        return self.prepare_gradient(dy, self.saved())
