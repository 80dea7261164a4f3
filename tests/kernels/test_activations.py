"""Activation kernels against the oracle: 100 lengths each, blocks of 8192, and the far ends."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close, assert_same_bits

from kernels.harness import Out, float32, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels import activations

SMOOTH = ("sigmoid", "tanh", "gelu", "gelu_tanh", "silu")
FROM_OUTPUT = ("sigmoid", "tanh")  # their backward remembers y, the others x
LENGTHS = [*range(1, 98), 8191, 8192, 8193, 24581]
# Rounded once from double: half a unit, doubled for the last digit of libm and of the oracle.
TOLERANCE = 2 * UNIT_ROUNDOFF
SMALLEST = float(np.finfo(np.float32).tiny)  # below it a float has fewer digits
SPECIAL = float32([0.0, -0.0, 1e-45, -1e-45, 1e-30, 17.3, -17.3, 88.8, -88.8, -104.0, 1e4, -1e4,
                   1e19, -1e19, 1e38, -1e38, 3.4e38, -3.4e38])  # fmt: skip


def kernel(name, which):
    return getattr(activations, f"{name}_{which}")


def oracle(name, which):
    return getattr(reference, f"{name}_{which}")


def check_smooth(name, x, dy):
    y = run(kernel(name, "forward"), x, Out(x.shape))
    expected = oracle(name, "forward")(x)
    assert_close(y, expected, TOLERANCE, np.abs(expected) + SMALLEST)
    saved = y if name in FROM_OUTPUT else x
    dx = run(kernel(name, "backward"), saved, dy, Out(x.shape))
    expected = oracle(name, "backward")(x, dy)
    # The rounding of a remembered y moves y(1 - y) or 1 - y² by up to two roundings of 1.
    scale = 2 * np.abs(dy) if name in FROM_OUTPUT else np.abs(expected)
    assert_close(dx, expected, TOLERANCE, scale + SMALLEST)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_equals_oracle(name):
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        check_smooth(name, 3 * normal(rng, length), normal(rng, length))


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_extreme_inputs_are_finite_and_right(name):
    check_smooth(name, SPECIAL, np.ones_like(SPECIAL))


@pytest.mark.parametrize("name", [*SMOOTH, "relu", "leaky_relu"])
def test_activation_nan_stays_nan_and_alone(name):
    rng = np.random.default_rng(5)
    x, options = normal(rng, 19), (0.1,) if name == "leaky_relu" else ()
    x[7] = np.nan
    y = run(kernel(name, "forward"), x, Out(x.shape), *options)
    assert np.flatnonzero(np.isnan(y)).tolist() == [7]
    if name not in ("relu", "leaky_relu"):
        dx = run(kernel(name, "backward"), x, np.ones_like(x), Out(x.shape))
        assert np.flatnonzero(np.isnan(dx)).tolist() == [7]
    dy = np.ones_like(x)
    dy[3] = np.nan
    x = np.abs(np.where(np.isnan(x), 0.5, x))
    dx = run(kernel(name, "backward"), float32(x), dy, Out(x.shape), *options)
    assert np.flatnonzero(np.isnan(dx)).tolist() == [3]


def test_relu_equals_oracle_bit_for_bit():
    for length in LENGTHS:
        rng = np.random.default_rng(length)
        x, dy = normal(rng, length), normal(rng, length)
        x[rng.random(length) < 0.2] = 0.0
        x[rng.random(length) < 0.1] = np.nan
        y = run(activations.relu_forward, x, Out(x.shape))
        np.testing.assert_array_equal(y, reference.relu_forward(x))
        dx = run(activations.relu_backward, x, dy, Out(x.shape))
        assert_same_bits(dx, float32(reference.relu_backward(x, dy)))


@pytest.mark.parametrize("slope", [0.01, 0.0, 0.3, -0.5, 2.0])
def test_leaky_relu_equals_oracle(slope):
    exact = float(np.float32(slope))
    for length in LENGTHS[::4]:
        rng = np.random.default_rng(length)
        x, dy = normal(rng, length), normal(rng, length)
        x[length // 2] = 0.0
        x[0] = 1.0
        y = run(activations.leaky_relu_forward, x, Out(x.shape), slope)
        assert_close(y, reference.leaky_relu_forward(x, exact), TOLERANCE, may_be_zero=length == 1)
        dx = run(activations.leaky_relu_backward, x, dy, Out(x.shape), slope)
        expected = reference.leaky_relu_backward(x, dy, exact)
        assert_close(dx, expected, TOLERANCE, may_be_zero=slope == 0)


def test_relu_backward_zero_is_zero_and_nan_passes():
    x, dy = float32([-1.0, 0.0, -0.0, np.nan, 2.0]), float32([1.0, 2.0, 3.0, 4.0, 5.0])
    dx = run(activations.relu_backward, x, dy, Out(x.shape))
    assert dx.tolist() == [0, 0, 0, 4, 5]


@pytest.mark.parametrize("name", [*SMOOTH, "relu", "leaky_relu"])
def test_activation_wrong_arguments_are_refused(name):
    options = (0.1,) if name == "leaky_relu" else ()
    x = np.ones(5, np.float32)
    for length in (0, 4, 6):
        other = np.ones(length, np.float32)
        refuse(kernel(name, "forward"), x, Out((length,)), *options, match="y has shape")
        refuse(kernel(name, "backward"), x, other, Out((5,)), *options, match="dy has shape")
        refuse(kernel(name, "backward"), x, x, Out((length,)), *options, match="dx has shape")
    refuse_wrong_arrays(kernel(name, "forward"), x, Out((5,)), *options)
    refuse_wrong_arrays(kernel(name, "backward"), x, x, Out((5,)), *options)
    refuse_threads(kernel(name, "forward"), x, Out((5,)), *options)
    refuse_threads(kernel(name, "backward"), x, x, Out((5,)), *options)
    refuse(kernel(name, "forward"), None, Out((5,)), *options, match="None", error=TypeError)


@pytest.mark.parametrize("name", [*SMOOTH, "relu", "leaky_relu"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_activation_in_place_gives_the_same(name, threads):
    options = (0.1,) if name == "leaky_relu" else ()
    x, dy = normal(np.random.default_rng(0), 2, 8193 * 2)
    expected = run(kernel(name, "forward"), x, Out(x.shape), *options)
    y = x.copy()
    kernel(name, "forward")(y, y, *options, threads)
    assert_same_bits(y, expected)
    expected = run(kernel(name, "backward"), x, dy, Out(x.shape), *options)
    kernel(name, "backward")(x, dy, dy, *options, threads)
    assert_same_bits(dy, expected)


@pytest.mark.parametrize("name", [*SMOOTH, "relu", "leaky_relu"])
def test_activation_no_elements_is_no_work(name):
    options, empty = (0.1,) if name == "leaky_relu" else (), np.empty(0, np.float32)
    assert run(kernel(name, "forward"), empty, Out((0,)), *options).size == 0
    assert run(kernel(name, "backward"), empty, empty, Out((0,)), *options).size == 0
