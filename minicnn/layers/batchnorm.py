"""Batch normalisation (Ioffe & Szegedy 2015, algorithms 1 and 2)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number, size_text, whole_number
from ..kernels import batchnorm as kernel
from ..threads import get_num_threads
from .base import FloatArray, Layer, Parameter, Shape, ShapeError

# What a forward pass leaves for the backward: its kernel, mean, spread, further arguments.
Backward = tuple[Callable[..., None], FloatArray, FloatArray, tuple[float, ...]]


class BatchNorm(Layer):
    """y = weight · (x − mean)/√(var + eps) + bias, channel by channel.

    In training, mean and variance are those of the batch, and the running statistics move:
    running = (1 − momentum) · running + momentum · batch. (Some libraries weigh the old value
    with `momentum` instead.) The batch is normalised with the biased variance; the running one
    is unbiased. In evaluation the running statistics take the batch's place.

    Parameters
    ----------
    num_features : int or None
        Channels; None infers them from the first input.
    eps : float
    momentum : float
        Weight of the new value, 0 to 1.

    Attributes
    ----------
    weight, bias : Parameter (num_features,), starting at 1 and 0
    running_mean, running_var : float32 (num_features,), starting at 0 and 1
    num_batches_tracked : int64 scalar array
    """

    sample_ranks: tuple[int, ...]  # of one sample, set by the two classes below

    def __init__(self, num_features: int | None, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        known = num_features is not None
        self.num_features = whole_number(num_features, "num_features") if known else None
        self.eps = real_number(eps, "eps")
        self.momentum = real_number(momentum, "momentum", maximum=1.0)

    @property
    def weight(self) -> Parameter:
        return self.named_parameters()["weight"]

    @property
    def bias(self) -> Parameter:
        return self.named_parameters()["bias"]

    @property
    def running_mean(self) -> FloatArray:
        return self.buffers()["running_mean"]

    @property
    def running_var(self) -> FloatArray:
        return self.buffers()["running_var"]

    @property
    def num_batches_tracked(self) -> NDArray[np.int64]:
        return self.buffers()["num_batches_tracked"]

    def infer(self, input_shape: Shape) -> None:
        if self.num_features is None and len(input_shape) in self.sample_ranks:
            self.num_features = input_shape[0]

    def parameter_shapes(self) -> dict[str, Shape] | None:
        if self.num_features is None:
            return None
        return {"weight": (self.num_features,), "bias": (self.num_features,)}

    def initial_parameter(self, name: str, shape: Shape, seed: int, stream: int) -> FloatArray:
        return np.full(shape, 1 if name == "weight" else 0, np.float32)

    def initial_buffers(self) -> dict[str, NDArray[Any]]:
        assert self.num_features is not None
        return {
            "running_mean": np.zeros(self.num_features, np.float32),
            "running_var": np.ones(self.num_features, np.float32),
            "num_batches_tracked": np.zeros((), np.int64),
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in self.sample_ranks:
            expected = " or ".join(
                {1: "features", 2: "channels×length", 3: "channels×height×width"}[r]
                for r in self.sample_ranks
            )
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}; expected {expected}"
            )
        if self.num_features not in (None, input_shape[0]):
            name, got = type(self).__name__, input_shape[0]
            raise ShapeError(
                f"{self!r}: its input is {size_text(input_shape)}, that is {got} channels; "
                f"use {name}({got}) or {name}(None)"
            )
        return input_shape

    def forward(self, x: FloatArray) -> FloatArray:
        """Any batch of num_features channels → the same shape, a new array."""
        x = self.prepare(x)
        x3 = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
        y = np.empty_like(x3)
        if self.training:
            pass_back = self.normalise_by_batch(x3, y)
        else:
            pass_back = self.normalise_by_running(x3, y)
        self.save_for_backward(pass_back, x3, x.shape)
        return y.reshape(x.shape)

    def normalise_by_batch(self, x3: FloatArray, y: FloatArray) -> Backward:
        """(N, C, S) into `y`; moves the running statistics."""
        if x3.shape[0] * x3.shape[2] < 2:
            raise ShapeError(
                f"{self!r}: its input has one value per channel, so there is no variance to "
                "normalise with in training; use a larger batch, or eval()"
            )
        mean, inv_std = np.empty_like(self.running_mean), np.empty_like(self.running_var)
        kernel.batchnorm_forward_train(
            x3, self.weight.data, self.bias.data, y, mean, inv_std,
            self.running_mean, self.running_var, self.momentum, self.eps, get_num_threads(),
        )  # fmt: skip
        self.num_batches_tracked[...] += 1
        return kernel.batchnorm_backward, mean, inv_std, ()

    def normalise_by_running(self, x3: FloatArray, y: FloatArray) -> Backward:
        """(N, C, S) into `y`; mean and variance are constants."""
        mean, var = self.running_mean, self.running_var
        kernel.batchnorm_forward_eval(
            x3, self.weight.data, self.bias.data, mean, var, y, self.eps, get_num_threads()
        )
        return kernel.batchnorm_backward_eval, mean.copy(), var.copy(), (self.eps,)

    def backward(self, dy: FloatArray) -> FloatArray:
        """Gradient of the output → gradient of the input.

        After a training forward it goes through the batch's mean and variance; after an
        evaluation forward the statistics are constants.
        """
        (backward_kernel, mean, spread, rest), x3, shape = self.saved()
        dx: FloatArray = np.empty_like(x3)
        dy = self.prepare_gradient(dy, shape).reshape(x3.shape)
        backward_kernel(
            dy, x3, self.weight.data, mean, spread, dx,
            self.weight.grad, self.bias.grad, *rest, get_num_threads(),
        )  # fmt: skip
        return dx.reshape(shape)


class BatchNorm1d(BatchNorm):
    """BatchNorm of feature vectors (N, C) or sequences (N, C, L)."""

    sample_ranks = (1, 2)


class BatchNorm2d(BatchNorm):
    """BatchNorm of feature maps (N, C, H, W), over N, H and W."""

    sample_ranks = (3,)
