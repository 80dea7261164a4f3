"""Softmax-cross-entropy kernels against the oracle: weights, smoothing, ignored rows, far ends."""

import math

import numpy as np
import pytest
import reference
from checks import UNIT_ROUNDOFF, assert_close

from kernels.harness import Out, float32, normal, refuse, refuse_threads, refuse_wrong_arrays, run
from minicnn.kernels.softmax_cross_entropy import (
    count_correct,
    softmax,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)

# Computed in double and rounded once; twice that for the last digit of exp.
TOLERANCE = 2 * UNIT_ROUNDOFF
SMALLEST = float(np.finfo(np.float32).tiny)
LOSS_TOLERANCE = 1e-12  # the loss is never rounded to float32


def check(logits, labels, weight=None, ignore=-100, smoothing=0.0):
    """Forward and backward; returns (loss, dlogits)."""
    options = labels, weight, ignore, smoothing
    probabilities, loss, weight_sum = run(
        softmax_cross_entropy_forward, logits, *options, Out(logits.shape)
    )
    expected = reference.softmax(logits)
    assert_close(probabilities, expected, TOLERANCE, expected + SMALLEST)
    want, want_sum = reference.cross_entropy_forward(logits, *options)
    # Where p is near 1, -log p is the difference of numbers as large as the logits' spread.
    spread = 1 + float(np.ptp(logits, axis=1).max())
    spread *= 1 if weight is None else weight.max()
    assert_close(loss, want, LOSS_TOLERANCE, spread, may_be_zero=True)
    assert_close(weight_sum, want_sum, LOSS_TOLERANCE, may_be_zero=True)
    dlogits = run(
        softmax_cross_entropy_backward, probabilities, *options, weight_sum, Out(logits.shape)
    )
    expected = reference.cross_entropy_backward(logits, *options)
    # A probability that was rounded to float32 is multiplied by at most 2 max w / W.
    scale = 2 * (1 if weight is None else weight.max()) / (want_sum or 1)
    assert_close(dlogits, expected, 2 * TOLERANCE, scale, may_be_zero=not expected.any())
    return loss, dlogits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_equals_oracle(weighted, smoothing):
    for seed in range(40):
        rng = np.random.default_rng(seed)
        N, K = seed % 17 + 1, int(rng.integers(2, 30))
        logits, labels = 5 * normal(rng, N, K), rng.integers(0, K, N)
        if seed % 3 == 0:
            labels[rng.random(N) < 0.3] = -100
            labels[0] = 0
        weight = float32(rng.uniform(0.1, 3, K)) if weighted else None
        check(logits, labels, weight, -100, smoothing)


def test_cross_entropy_ignore_index_may_be_a_class():
    logits, labels = normal(np.random.default_rng(1), 6, 4), np.array([0, 2, 2, 1, 3, 2])
    _, dlogits = check(logits, labels, None, 2, 0.1)
    assert not dlogits[labels == 2].any() and dlogits[labels != 2].all()


def test_cross_entropy_every_row_ignored_loss_is_nan_gradient_zero():
    logits, labels = normal(np.random.default_rng(1), 3, 4), np.full(3, -100)
    for weight in (None, np.ones(4, np.float32)):
        loss, dlogits = check(logits, labels, weight)
        assert math.isnan(loss) and not dlogits.any()


def test_cross_entropy_one_class_is_zero():
    loss, dlogits = check(float32([[3.0], [-1e30]]), np.zeros(2, np.int64))
    assert loss == 0 and not dlogits.any()


@pytest.mark.parametrize(
    ("row", "label", "loss"),
    [
        ([0.0, 60.0], 0, 60.0),
        ([0.0, 200.0, 0.0], 2, 200.0),
        ([-200.0, 0.0], 1, 0.0),
        ([1e38, -1e38], 1, 2e38),
        ([1e38, 1e38], 0, math.log(2)),
        ([-1e38, -1e38, -1e38], 2, math.log(3)),
        ([1e20, 1e20], 1, math.log(2)),
        ([3e38, -3e38, 3e38], 0, math.log(2)),
        ([-np.inf, 0.0, 0.0], 1, math.log(2)),
    ],
)
def test_cross_entropy_extreme_logits_are_right(row, label, loss):
    logits, labels = float32([row]), np.array([label])
    probabilities, got, weight_sum = run(
        softmax_cross_entropy_forward, logits, labels, None, -100, 0.0, Out(logits.shape)
    )
    assert got == pytest.approx(loss, rel=1e-6, abs=1e-30)
    expected = reference.softmax(logits)
    assert_close(probabilities, expected, TOLERANCE, expected + SMALLEST)
    options = labels, None, -100, 0.0, weight_sum
    dlogits = run(softmax_cross_entropy_backward, probabilities, *options, Out(logits.shape))
    expected = reference.cross_entropy_backward(logits, labels)
    assert_close(dlogits, expected, 2 * TOLERANCE, 1.0, may_be_zero=loss == 0)


def test_cross_entropy_label_of_probability_zero_gives_infinite_loss():
    logits = float32([[-np.inf, 0.0]])
    _, loss, _ = run(
        softmax_cross_entropy_forward, logits, np.array([0]), None, -100, 0.0, Out((1, 2))
    )
    assert loss == math.inf


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_cross_entropy_nan_or_infinite_logit_makes_its_row_nan(value):
    for column in range(3):
        logits = normal(np.random.default_rng(2), 2, 3)
        logits[1, column] = value
        probabilities, loss, _ = run(
            softmax_cross_entropy_forward, logits, np.array([0, 1]), None, -100, 0.0, Out((2, 3))
        )
        assert math.isnan(loss)
        assert np.isnan(probabilities).tolist() == [[False] * 3, [True] * 3]


def test_softmax_equals_oracle():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        logits = 10 * normal(rng, *rng.integers(1, 40, 2))
        expected = reference.softmax(logits)
        assert_close(
            run(softmax, logits, Out(logits.shape)), expected, TOLERANCE, expected + SMALLEST
        )


def test_count_correct_ties_ignored_rows_and_nan():
    logits = float32([[1, 3, 3], [5, 1, 0], [0, 0, 0], [1, 2, 3], [1, np.nan, 9]])
    for labels, right in (
        ([1, 0, 0, 2, 1], 5),
        ([2, 0, 1, 2, 2], 2),
        ([-100, -100, 0, -100, -100], 1),
        ([0, 1, 2, 0, 0], 0),
    ):
        assert count_correct(logits, np.array(labels)) == right
    assert count_correct(logits, np.array([1, 0, 0, 2, 1]), 0) == 3


def test_count_correct_equals_numpy_argmax():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        N, K = (int(i) for i in rng.integers(1, 30, 2))
        logits, labels = float32(rng.integers(0, 4, (N, K))), rng.integers(0, K, N)
        assert count_correct(logits, labels) == (logits.argmax(axis=1) == labels).sum()


@pytest.mark.parametrize("label", [4, -1, -99, 2**31, 2**63 - 1, -(2**63)])
def test_cross_entropy_label_out_of_range_is_refused(label):
    logits, labels = np.ones((3, 4), np.float32), np.array([0, 3, label])
    options = labels, None, -100, 0.0
    match = rf"labels\[2\] is {label};.*0\.\.3"
    refuse(softmax_cross_entropy_forward, logits, *options, Out((3, 4)), match=match)
    refuse(softmax_cross_entropy_backward, logits, *options, 1.0, Out((3, 4)), match=match)


def test_cross_entropy_wrong_shapes_and_smoothing_are_refused():
    logits, labels = np.ones((3, 4), np.float32), np.zeros(3, np.int64)
    weight, out = np.ones(4, np.float32), Out((3, 4))
    forward, backward = softmax_cross_entropy_forward, softmax_cross_entropy_backward
    for smoothing in (-0.1, 1.1, np.nan):
        numbers = labels, weight, -100, smoothing
        refuse(forward, logits, *numbers, out, match="label_smoothing must be between")
        refuse(backward, logits, *numbers, 1.0, out, match="label_smoothing must be between")
    for shape in ((3, 3), (4, 4), (2, 4), (0, 4)):
        refuse(forward, logits, labels, None, -100, 0.0, Out(shape), match="has shape")
        refuse(backward, logits, labels, None, -100, 0.0, 1.0, Out(shape), match="has shape")
        refuse(softmax, logits, Out(shape), match="has shape")
    refuse(forward, logits, labels[:2].copy(), None, -100, 0.0, out, match="labels has shape")
    refuse(forward, logits, labels, weight[:3].copy(), -100, 0.0, out, match="class_weight")
    empty = np.ones((3, 0), np.float32)
    refuse(forward, empty, labels, None, -100, 0.0, Out((3, 0)), match="size 0")
    with pytest.raises(ValueError, match="labels has shape"):
        count_correct(logits, np.zeros(4, np.int64))


def test_cross_entropy_wrong_arrays_and_threads_are_refused():
    logits, labels, out = np.ones((3, 4), np.float32), np.zeros(3, np.int64), Out((3, 4))
    weight = np.ones(4, np.float32)
    for kernel, arguments in (
        (softmax_cross_entropy_forward, (logits, labels, weight, -100, 0.0, out)),
        (softmax_cross_entropy_backward, (logits, labels, weight, -100, 0.0, 3.0, out)),
        (softmax, (logits, out)),
    ):
        refuse_wrong_arrays(kernel, *arguments)
        refuse_threads(kernel, *arguments)
