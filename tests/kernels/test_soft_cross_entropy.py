"""The cross-entropy of targets that are shares of classes, against the oracle and by its limits.

Tolerances as in test_softmax_cross_entropy.py: computed in double, gradients rounded once.
"""

import math

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close

from kernels.harness import Out, float32, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels.softmax_cross_entropy import (
    soft_cross_entropy_backward,
    soft_cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

TOLERANCE = 2 * UNIT_ROUNDOFF
LOSS_TOLERANCE = 1e-12


def shares(rng, N, K):
    """Rows of shares; every third is a single class."""
    targets = rng.dirichlet(np.ones(K), N)
    targets[::3] = np.eye(K)[rng.integers(0, K, len(targets[::3]))]
    return float32(targets)


def check(logits, targets, weight=None, smoothing=0.0):
    """Forward and backward against the oracle; returns (loss, dlogits)."""
    options = targets, weight, smoothing
    probabilities, loss = run(soft_cross_entropy_forward, logits, *options, Out(logits.shape))
    expected = reference.softmax(logits)
    assert_close(probabilities, expected, TOLERANCE, expected + 1e-37)
    want = reference.soft_cross_entropy_forward(logits, *options)
    largest = 1 if weight is None else weight.max()
    spread = largest * (1 + float(np.ptp(logits, axis=1).max()))
    assert_close(loss, want, LOSS_TOLERANCE, spread, may_be_zero=True)
    dlogits = run(soft_cross_entropy_backward, probabilities, *options, Out(logits.shape))
    expected = reference.soft_cross_entropy_backward(logits, *options)
    # Shares that float32 rounds add up to 1 within 1e-6 only, which a gradient of 0 shows.
    assert_close(dlogits, expected, 2 * TOLERANCE, 2 * largest / len(logits), may_be_zero=True)
    return loss, dlogits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_soft_cross_entropy_equals_oracle(weighted, smoothing):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        N, K = seed % 17 + 1, int(rng.integers(2, 30))
        weight = float32(rng.uniform(0.1, 3, K)) if weighted else None
        check(5 * normal(rng, N, K), shares(rng, N, K), weight, smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_soft_cross_entropy_of_single_classes_is_that_of_labels(smoothing):
    rng = np.random.default_rng(5)
    logits, labels = 3 * normal(rng, 9, 4), rng.integers(0, 4, 9)
    loss, dlogits = check(logits, float32(np.eye(4)[labels]), None, smoothing)
    options = labels, None, -100, smoothing
    p, hard, total = run(softmax_cross_entropy_forward, logits, *options, Out(logits.shape))
    assert loss == pytest.approx(hard, rel=1e-14)
    expected = run(softmax_cross_entropy_backward, p, *options, total, Out(logits.shape))
    np.testing.assert_allclose(dlogits, expected, rtol=0, atol=1e-8)  # of numbers below 1/9


def test_soft_cross_entropy_gradient_is_the_slope_of_the_loss():
    rng = np.random.default_rng(6)
    logits, targets = normal(rng, 2, 3).astype(np.float64), shares(rng, 2, 3)
    weight, step = float32([0.5, 2, 1]), 1e-6
    analytic = reference.soft_cross_entropy_backward(logits, targets, weight, 0.1)
    for place in np.ndindex(2, 3):
        ends = []
        for sign in (1, -1):
            moved = logits.copy()
            moved[place] += sign * step
            ends.append(reference.soft_cross_entropy_forward(moved, targets, weight, 0.1))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(analytic[place], abs=1e-9)


@pytest.mark.parametrize(
    ("row", "target", "loss"),
    [
        ([0.0, 60.0], [1, 0], 60.0),
        ([1e38, -1e38], [0.5, 0.5], 1e38),
        ([-np.inf, 0.0, 0.0], [0, 0.5, 0.5], math.log(2)),
        ([-np.inf, 0.0], [0.5, 0.5], math.inf),
    ],
)
def test_soft_cross_entropy_extreme_logits_are_right(row, target, loss):
    _, got = run(soft_cross_entropy_forward, float32([row]), float32([target]), None, 0.0,
                 Out((1, len(row))))  # fmt: skip
    assert got == pytest.approx(loss, rel=1e-6)


def test_soft_cross_entropy_wrong_arguments_are_refused():
    logits, targets, out = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32), Out((3, 4))
    weight = np.ones(4, np.float32)
    for kernel in (soft_cross_entropy_forward, soft_cross_entropy_backward):
        for smoothing in (-0.1, 1.1, np.nan):
            refuse(kernel, logits, targets, None, smoothing, out, match="label_smoothing must be")
        for shape in ((3, 3), (4, 4), (2, 4), (0, 4)):
            refuse(kernel, logits, targets, None, 0.0, Out(shape), match="has shape")
            refuse(kernel, logits, np.ones(shape, np.float32), None, 0.0, out, match="has shape")
        refuse(kernel, logits, targets, weight[:3].copy(), 0.0, out, match="class_weight")
        refuse_wrong_arrays(kernel, logits, targets, weight, 0.0, out)
        refuse_threads(kernel, logits, targets, weight, 0.0, out)
