"""Elementwise activations. Every backward takes the *input* x, whatever a kernel remembers.

NaN stays NaN in every forward. Everything is written so that it does not overflow where the
result is finite.
"""

import math

import numpy as np

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def relu_forward(x):
    """max(x, 0); NaN stays NaN."""
    x = np.asarray(x, np.float64)
    return np.where(x <= 0, 0.0, x)


def relu_backward(x, dy):
    """dy where x is above 0 or NaN, else 0; the gradient at 0 is 0."""
    return np.where(np.asarray(x) <= 0, 0.0, np.asarray(dy, np.float64))


def leaky_relu_forward(x, slope):
    """x where x > 0, else slope · x."""
    x = np.asarray(x, np.float64)
    return np.where(x > 0, x, slope * x)


def leaky_relu_backward(x, dy, slope):
    """dy where x > 0, else slope · dy."""
    dy = np.asarray(dy, np.float64)
    return np.where(np.asarray(x) > 0, dy, slope * dy)


def sigmoid_forward(x):
    """1 / (1 + e^-x), with the exponential of a number that is never positive."""
    x = np.asarray(x, np.float64)
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def sigmoid_backward(x, dy):
    """dy · σ(x) · σ(-x)."""
    return np.asarray(dy, np.float64) * sigmoid_forward(x) * sigmoid_forward(-np.asarray(x))


def tanh_forward(x):
    """tanh x."""
    return np.tanh(np.asarray(x, np.float64))


def tanh_backward(x, dy):
    """dy · (1 - tanh² x)."""
    return np.asarray(dy, np.float64) * (1.0 - tanh_forward(x) ** 2)


def gelu_forward(x):
    """x · Φ(x) with the normal distribution function Φ(x) = (1 + erf(x / √2)) / 2."""
    x = np.asarray(x, np.float64)
    return x * _normal_cdf(x)


def gelu_backward(x, dy):
    """dy · (Φ(x) + x · φ(x)) with the normal density φ."""
    x = _bounded(x)
    density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return np.asarray(dy, np.float64) * (_normal_cdf(x) + x * density)


def gelu_tanh_forward(x):
    """x / 2 · (1 + tanh u), u = √(2/π) · (x + 0.044715 x³).

    (1 + tanh u) / 2 = σ(2u), which keeps the digits of the left tail.
    """
    x = np.asarray(x, np.float64)
    return x * sigmoid_forward(2.0 * _gelu_tanh_inner(_bounded(x)))


def gelu_tanh_backward(x, dy):
    """dy · (σ(2u) + x · σ(2u) · σ(-2u) · 2u')."""
    x = _bounded(x)
    u = _gelu_tanh_inner(x)
    slope = 2.0 * _SQRT_2_OVER_PI * (1.0 + 3 * 0.044715 * x * x)
    left, right = sigmoid_forward(2.0 * u), sigmoid_forward(-2.0 * u)
    return np.asarray(dy, np.float64) * (left + x * left * right * slope)


def silu_forward(x):
    """x · σ(x)."""
    return np.asarray(x, np.float64) * sigmoid_forward(x)


def silu_backward(x, dy):
    """dy · σ(x) · (1 + x · σ(-x))."""
    x = np.asarray(x, np.float64)
    slope = sigmoid_forward(x) * (1.0 + x * sigmoid_forward(-x))
    return np.asarray(dy, np.float64) * slope


def _normal_cdf(x):
    """Φ(x); erfc keeps the digits of the left tail, which 1 + erf loses."""
    return 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-np.asarray(x) / math.sqrt(2.0))


def _gelu_tanh_inner(x):
    return _SQRT_2_OVER_PI * (x + 0.044715 * x**3)


def _bounded(x):
    """x cut to ±1e6, where both GELUs have long been 0 or x: keeps x³ finite. NaN stays."""
    return np.clip(np.asarray(x, np.float64), -1e6, 1e6)
