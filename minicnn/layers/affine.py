"""What Linear and Conv2d share: a weight, perhaps a bias, and how both start out."""

from typing import Any

from ..arguments import LARGEST, flag
from ..initializers import INITIALIZERS, check_name, fans, uniform_within
from .base import FloatArray, Layer, Parameter, Shape


class AffineLayer(Layer):
    """A layer with `weight` (out, in, …) and, unless bias=False, `bias` (out,)."""

    def __init__(self, bias: bool, init: str):
        super().__init__()
        self.has_bias = flag(bias, "bias")
        self.init = check_name(init)

    @property
    def weight(self) -> Parameter:
        return self.named_parameters()["weight"]

    @property
    def bias(self) -> Parameter | None:
        return self.named_parameters().get("bias")

    def weight_shape(self) -> Shape | None:
        """Shape of the weight; None while the input size is not known."""
        raise NotImplementedError

    def parameter_shapes(self) -> dict[str, Shape] | None:
        shape = self.weight_shape()
        if shape is None:
            return None
        size = 1
        for axis in shape:
            size *= axis
        if size > LARGEST:
            raise ValueError(f"{self!r}: its weight would have {size} values; at most {LARGEST}")
        return {"weight": shape, "bias": shape[:1]} if self.has_bias else {"weight": shape}

    def initial_parameter(self, name: str, shape: Shape, seed: int, stream: int) -> FloatArray:
        """The weight by `init`; the bias from U(−1/√fan_in, +1/√fan_in), as in PyTorch."""
        if name == "weight":
            return INITIALIZERS[self.init](shape, seed, 2 * stream)
        weight_shape = self.weight_shape()
        assert weight_shape is not None
        return uniform_within(fans(weight_shape)[0] ** -0.5, shape, seed, 2 * stream + 1)

    def hyper_parameter(self, name: str) -> Any:
        return self.has_bias if name == "bias" else super().hyper_parameter(name)
