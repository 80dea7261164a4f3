"""Elementwise activations: y = f(x), dx = f′ · dy.

Each class names its kernels and whether its derivative is written in terms of the input x or
of the output y (σ′ = y(1 − y)); the base class does the rest.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..arguments import real_number
from ..kernels import activations as kernels
from ..threads import get_num_threads
from .base import FloatArray, Layer

Kernel = Callable[..., None]


class Activation(Layer):
    """An elementwise function given by its two kernels."""

    forward_kernel: Kernel
    backward_kernel: Kernel
    derivative_uses_output: ClassVar[bool] = False

    def kernel_arguments(self) -> tuple[Any, ...]:
        """Hyper-parameters that the kernels take after the arrays."""
        return ()

    def forward(self, x: FloatArray) -> FloatArray:
        """Any shape → the same shape, a new array."""
        x = self.prepare(x)
        y = np.empty_like(x)
        rest = (*self.kernel_arguments(), get_num_threads())
        self.forward_kernel(x.reshape(-1), y.reshape(-1), *rest)
        self.save_for_backward(y if self.derivative_uses_output else x)
        return y

    def backward(self, dy: FloatArray) -> FloatArray:
        """Gradient of the output → gradient of the input, of the same shape."""
        remembered: FloatArray = self.saved()
        dy = self.prepare_gradient(dy, remembered.shape)
        dx = np.empty_like(dy)
        rest = (*self.kernel_arguments(), get_num_threads())
        self.backward_kernel(remembered.reshape(-1), dy.reshape(-1), dx.reshape(-1), *rest)
        return dx


class ReLU(Activation):
    """max(0, x); NaN stays NaN; the derivative at 0 is 0."""

    forward_kernel = staticmethod(kernels.relu_forward)
    backward_kernel = staticmethod(kernels.relu_backward)

    def __init__(self) -> None:
        super().__init__()


class LeakyReLU(Activation):
    """x where x > 0, else negative_slope · x."""

    forward_kernel = staticmethod(kernels.leaky_relu_forward)
    backward_kernel = staticmethod(kernels.leaky_relu_backward)

    def __init__(self, negative_slope: float = 0.01):
        super().__init__()
        self.negative_slope = real_number(negative_slope, "negative_slope", -1e30, 1e30)

    def kernel_arguments(self) -> tuple[Any, ...]:
        return (self.negative_slope,)


class Sigmoid(Activation):
    """1/(1 + e⁻ˣ)."""

    forward_kernel = staticmethod(kernels.sigmoid_forward)
    backward_kernel = staticmethod(kernels.sigmoid_backward)
    derivative_uses_output = True

    def __init__(self) -> None:
        super().__init__()


class Tanh(Activation):
    """tanh x."""

    forward_kernel = staticmethod(kernels.tanh_forward)
    backward_kernel = staticmethod(kernels.tanh_backward)
    derivative_uses_output = True

    def __init__(self) -> None:
        super().__init__()


class SiLU(Activation):
    """x · sigmoid(x) (Elfwing et al. 2017, eq. 5)."""

    forward_kernel = staticmethod(kernels.silu_forward)
    backward_kernel = staticmethod(kernels.silu_backward)

    def __init__(self) -> None:
        super().__init__()


class GELU(Activation):
    """x · Φ(x), Φ the normal distribution function (Hendrycks & Gimpel 2016, section 2).

    Parameters
    ----------
    approximate : 'none' or 'tanh'
        'tanh' uses the paper's approximation instead of the error function.
    """

    def __init__(self, approximate: str = "none"):
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ValueError(f"approximate is {approximate!r}; expected 'none' or 'tanh'")
        self.approximate = approximate
        if approximate == "tanh":
            self.forward_kernel = kernels.gelu_tanh_forward
            self.backward_kernel = kernels.gelu_tanh_backward
        else:
            self.forward_kernel = kernels.gelu_forward
            self.backward_kernel = kernels.gelu_backward
