"""BatchNorm kernels against the oracle, including a large mean with a small variance."""

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close

from kernels.harness import (
    InOut,
    Out,
    float32,
    normal,
    refuse,
    refuse_threads,
    refuse_wrong_arrays,
    run,
)
from minicnn.kernels import batchnorm

EPS, MOMENTUM = 1e-5, 0.3
# Sums are in double; what is left are the handful of float32 roundings of one element.
TOLERANCE = 8 * UNIT_ROUNDOFF
SHAPES = (
    [(n, 3, 1) for n in range(2, 18)]
    + [(1, n, 18 - n) for n in range(1, 17)]
    + [(2, 2, n) for n in range(1, 18)]
    + [tuple(np.random.default_rng(seed).integers(2, 12, 3)) for seed in range(60)]
)


def arrays(shape, seed=0, offset=0.0):
    """x, weight, bias, running_mean, running_var, dy."""
    rng, C = np.random.default_rng(seed), shape[1]
    x = float32(rng.standard_normal(shape) * rng.uniform(0.5, 2, (C, 1)) + offset)
    var = float32(rng.uniform(0.5, 2, C))
    return x, normal(rng, C), normal(rng, C), normal(rng, C), var, normal(rng, *shape)


def magnitude(x, mean, inv_std, weight, bias):
    """Σ of the absolute terms of y: |x̂ · w| + |b|."""
    weight = np.ones(len(mean)) if weight is None else weight
    bias = np.zeros(len(mean)) if bias is None else bias
    return np.abs((x - mean[:, None]) * (inv_std * weight)[:, None]) + np.abs(bias)[:, None]


def check_train(x, weight, bias, running_mean, running_var, dy):
    C = Out((x.shape[1],))
    y, mean, inv_std, new_mean, new_var = run(
        batchnorm.batchnorm_forward_train, x, weight, bias, Out(x.shape), C, C,
        InOut(running_mean), InOut(running_var), MOMENTUM, EPS,
    )  # fmt: skip
    want = reference.batchnorm_train_forward(
        x, weight, bias, running_mean, running_var, MOMENTUM, EPS
    )
    assert_close(y, want[0], TOLERANCE, magnitude(x, *want[1:3], weight, bias))
    spread = np.abs(x).mean(axis=(0, 2))
    assert_close(mean, want[1], TOLERANCE, spread)
    assert_close(inv_std, want[2], TOLERANCE)
    assert_close(new_mean, want[3], TOLERANCE, spread + np.abs(running_mean))
    assert_close(new_var, want[4], TOLERANCE)
    check_gradients(
        run(batchnorm.batchnorm_backward, dy, x, weight, mean, inv_std, Out(x.shape), C, C),
        reference.batchnorm_train_backward(x, weight, dy, EPS),
        x, weight, dy, want[1], want[2],
    )  # fmt: skip


def check_gradients(actual, expected, x, weight, dy, mean, inv_std):
    normalised = np.abs((x - mean[:, None]) * inv_std[:, None])
    total, product = np.abs(dy).sum(axis=(0, 2)), (np.abs(dy) * normalised).sum(axis=(0, 2))
    scale = inv_std * (1 if weight is None else np.abs(weight))
    count = x.shape[0] * x.shape[2]
    dx_scale = np.abs(dy) + (total / count)[:, None] + normalised * (product / count)[:, None]
    assert_close(actual[0], expected[0], TOLERANCE, dx_scale * scale[:, None])
    assert_close(actual[1], expected[1], TOLERANCE, product)
    assert_close(actual[2], expected[2], TOLERANCE, total)


def check_eval(x, weight, bias, running_mean, running_var, dy):
    statistics, C = (running_mean, running_var), Out((x.shape[1],))
    inv_std = 1 / np.sqrt(running_var.astype(np.float64) + EPS)
    y = run(batchnorm.batchnorm_forward_eval, x, weight, bias, *statistics, Out(x.shape), EPS)
    expected = reference.batchnorm_eval_forward(x, weight, bias, *statistics, EPS)
    scale = magnitude(x, running_mean, inv_std, weight, bias)
    assert_close(y, expected, TOLERANCE, scale)
    check_gradients(
        run(batchnorm.batchnorm_backward_eval, dy, x, weight, *statistics, Out(x.shape), C, C, EPS),
        reference.batchnorm_eval_backward(x, weight, dy, *statistics, EPS),
        x, weight, dy, running_mean, inv_std,
    )  # fmt: skip


@pytest.mark.parametrize("check", [check_train, check_eval])
@pytest.mark.parametrize("affine", [True, False])
def test_batchnorm_equals_oracle(check, affine):
    for seed, shape in enumerate(SHAPES):
        x, weight, bias, *rest = arrays(shape, seed)
        check(x, *((weight, bias) if affine else (None, None)), *rest)


def test_batchnorm_large_mean_small_variance_keeps_its_digits():
    """Around 4096 a float32 has 2⁻¹¹ steps: E[x²] - E[x]² would keep nothing of the variance."""
    for seed in range(5):
        x, weight, bias, mean, var, dy = arrays((4, 3, 25), seed, offset=4096.0)
        check_train(x, weight, bias, mean, var, dy)
        check_eval(x, weight, bias, float32(mean + 4096), var, dy)


def test_batchnorm_without_optional_outputs_gives_the_same():
    x, weight, bias, mean, var, dy = arrays((3, 4, 5))
    C, statistics = Out((4,)), (InOut(mean), InOut(var))
    train = batchnorm.batchnorm_forward_train
    full = run(train, x, weight, bias, Out(x.shape), C, C, *statistics, MOMENTUM, EPS)
    bare = run(train, x, weight, bias, Out(x.shape), C, C, None, None, MOMENTUM, EPS)
    for got, want in zip(bare, full[:3], strict=True):
        np.testing.assert_array_equal(got, want)
    arguments = dy, x, weight, full[1], full[2], Out(x.shape)
    dx = run(batchnorm.batchnorm_backward, *arguments, None, None)
    np.testing.assert_array_equal(dx, run(batchnorm.batchnorm_backward, *arguments, C, C)[0])


def test_batchnorm_constant_channel_gives_the_bias():
    x = np.full((2, 1, 3), 7.0, np.float32)
    one, C = np.ones(1, np.float32), Out((1,))
    y, _, inv_std = run(
        batchnorm.batchnorm_forward_train, x, one, 2 * one, Out(x.shape), C, C, None, None, 0.1, EPS
    )
    assert (y == 2).all()
    assert_close(inv_std, np.array([EPS**-0.5]), TOLERANCE)


def test_batchnorm_nan_stays_in_its_channel():
    x, weight, bias, mean, var, _ = arrays((3, 4, 5))
    x[1, 2, 3] = np.nan
    C, statistics = Out((4,)), (InOut(mean), InOut(var))
    outputs = run(
        batchnorm.batchnorm_forward_train, x, weight, bias, Out(x.shape), C, C, *statistics,
        MOMENTUM, EPS,
    )  # fmt: skip
    assert np.isnan(outputs[0][:, 2]).all()
    assert not np.isnan(np.delete(outputs[0], 2, axis=1)).any()
    for statistic in outputs[1:]:
        assert np.flatnonzero(np.isnan(statistic)).tolist() == [2]


def calls():
    """(kernel, arguments up to the last array, the numbers after them)."""
    x, weight, bias, mean, var, dy = arrays((3, 4, 5))
    y, C = Out(x.shape), Out((4,))
    return {
        "train": (
            batchnorm.batchnorm_forward_train,
            [x, weight, bias, y, C, C, InOut(mean), InOut(var)],
            (MOMENTUM, EPS),
        ),
        "backward": (batchnorm.batchnorm_backward, [dy, x, weight, mean, var, y, C, C], ()),
        "eval": (batchnorm.batchnorm_forward_eval, [x, weight, bias, mean, var, y], (EPS,)),
        "backward_eval": (
            batchnorm.batchnorm_backward_eval, [dy, x, weight, mean, var, y, C, C], (EPS,),
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", calls())
def test_batchnorm_wrong_arguments_are_refused(name):
    kernel, arguments, numbers = calls()[name]
    refuse_wrong_arrays(kernel, *arguments, *numbers)
    refuse_threads(kernel, *arguments, *numbers)
    for number, argument in enumerate(arguments):
        shape = getattr(argument, "shape", None) or argument.values.shape
        for length in (shape[-1] - 1, shape[-1] + 1):
            wrong = type(argument)((*shape[:-1], length)) if isinstance(argument, Out) else None
            values = np.ones((*shape[:-1], length), np.float32)
            if wrong is None:
                wrong = InOut(values) if isinstance(argument, InOut) else values
            trial = [*arguments[:number], wrong, *arguments[number + 1 :]]
            refuse(kernel, *trial, *numbers, match="has shape")


@pytest.mark.parametrize("shape", [(1, 3, 1), (0, 3, 4)])
def test_batchnorm_train_fewer_than_two_values_is_refused(shape):
    C = Out((3,))
    x = np.ones(shape, np.float32)
    refuse(
        batchnorm.batchnorm_forward_train, x, None, None, Out(shape), C, C, None, None, 0.1, EPS,
        match="more than one value per channel",
    )  # fmt: skip
