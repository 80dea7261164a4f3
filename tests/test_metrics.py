"""Metrics: small cases worked out by hand, scikit-learn where it is installed, errors."""

import math

import numpy as np
import pytest

from minicnn.metrics import (
    accuracy,
    confusion_matrix,
    per_class,
    top_k_accuracy,
    wilson_interval,
)

LABELS = [0, 0, 1, 1, 1, 2]
PREDICTIONS = [0, 1, 1, 1, 0, 1]


def random_case(seed=0, n=200, classes=7):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, classes, n), rng.normal(size=(n, classes))
    return labels, scores, scores.argmax(axis=1)


def test_accuracy_is_the_share_of_equal_labels():
    value = accuracy(LABELS, PREDICTIONS)
    assert type(value) is float and value == 3 / 6


def test_confusion_matrix_has_true_classes_in_rows():
    matrix = confusion_matrix(LABELS, PREDICTIONS, 4)
    assert matrix.tolist() == [[1, 1, 0, 0], [1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert matrix.dtype == np.int64


def test_per_class_scores_by_hand():
    scores = per_class(confusion_matrix(LABELS, PREDICTIONS, 3))
    assert scores.precision.tolist() == pytest.approx([1 / 2, 2 / 4, 0])
    assert scores.recall.tolist() == pytest.approx([1 / 2, 2 / 3, 0])
    assert scores.f1.tolist() == pytest.approx([2 / 4, 4 / 7, 0])
    assert scores.support.tolist() == [2, 3, 1]


def test_per_class_with_nothing_to_divide_by_is_zero():
    # Class 0 has samples but no prediction, class 1 the reverse, class 2 neither.
    scores = per_class([[0, 5, 0], [0, 0, 0], [0, 0, 0]])
    for values in (scores.precision, scores.recall, scores.f1):
        assert values.tolist() == [0, 0, 0]


def test_top_k_by_hand():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.1, 0.4], [0.3, 0.1, 0.6]])
    labels = [1, 2, 1]  # ranks 0, 1, 2
    expected = [1 / 3, 2 / 3, 1]
    assert [top_k_accuracy(labels, scores, k) for k in (1, 2, 3)] == pytest.approx(expected)


def test_top_k_with_equal_scores_takes_the_first_as_argmax_does():
    scores = np.zeros((3, 3))
    assert top_k_accuracy([0, 1, 2], scores, 1) == 1 / 3
    assert top_k_accuracy([0, 1, 2], scores, 2) == 2 / 3


@pytest.mark.parametrize("row", [[math.nan, 1, 0], [1, math.nan, 0], [math.nan] * 3])
def test_top_k_with_a_nan_score_counts_the_sample_as_wrong(row):
    scores = np.array([row, [1, 0, 0]], np.float32)
    assert top_k_accuracy([0, 0], scores, 1) == 0.5
    assert top_k_accuracy([0, 0], scores, 3) == 0.5


def test_top_1_is_the_accuracy_of_argmax():
    labels, scores, predictions = random_case()
    assert top_k_accuracy(labels, scores, 1) == accuracy(labels, predictions)


def test_metrics_equal_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    labels, scores, predictions = random_case(n=60, classes=12)
    predictions[predictions == 3] = 4  # class 3 is never predicted
    matrix = confusion_matrix(labels, predictions, 12)
    every = np.arange(12)
    assert np.array_equal(matrix, sklearn.confusion_matrix(labels, predictions, labels=every))
    expected = sklearn.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=0
    )
    for ours, theirs in zip(per_class(matrix), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)
    for k in (1, 3, 11):
        theirs = sklearn.top_k_accuracy_score(labels, scores, k=k, labels=every)
        assert top_k_accuracy(labels, scores, k) == pytest.approx(theirs, rel=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: accuracy([0, 1], [0]), ValueError, "2 labels and 1 predictions"),
        (lambda: accuracy(np.zeros(0, int), np.zeros(0, int)), ValueError, "no labels"),
        (lambda: accuracy([0.0], [0]), TypeError, "got float64"),
        (lambda: accuracy([[0]], [0]), ValueError, r"shape \(1, 1\)"),
        (lambda: confusion_matrix([0, 3], [0, 0], 3), ValueError, "label 1 is 3; expected 0 to 2"),
        (lambda: confusion_matrix([0], [-1], 3), ValueError, "prediction 0 is -1"),
        (lambda: confusion_matrix([0], [0], 0), ValueError, "classes is 0"),
        (lambda: confusion_matrix([0], [0], 2**31), ValueError, "classes is 2147483648"),
        (lambda: per_class([[1, 2]]), ValueError, r"shape \(1, 2\); expected \(K, K\)"),
        (lambda: per_class([[0.5]]), TypeError, "dtype float64; expected counts"),
        (lambda: per_class([[-1]]), ValueError, "the matrix holds -1"),
        (lambda: top_k_accuracy([0], [[1, 2]], 1), TypeError, "scores have dtype int64"),
        (lambda: top_k_accuracy([0], [1.0, 2.0], 1), ValueError, r"scores have shape \(2,\)"),
        (lambda: top_k_accuracy([0, 1], [[1.0, 2.0]], 1), ValueError, "got 2 for 1 samples"),
        (lambda: top_k_accuracy([2], [[1.0, 2.0]], 1), ValueError, "label 0 is 2"),
        (lambda: top_k_accuracy([0], [[1.0, 2.0]]), ValueError, "k is 5; expected 1 to 2"),
    ],
)
def test_metric_of_wrong_arguments_says_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (8, 10, 0.4902, 0.9433), (972, 1000, 0.9598, 0.9806)],
)
def test_wilson_interval_of_known_cases(hits, count, low, high):
    assert wilson_interval(hits, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_ends_where_the_share_is_just_not_rejected():
    # Its definition: at both ends, the observed share is z standard deviations away.
    z = 1.959963984540054
    for end in wilson_interval(37, 50):
        assert abs(37 / 50 - end) == pytest.approx(z * math.sqrt(end * (1 - end) / 50))


@pytest.mark.parametrize("arguments", [(11, 10), (-1, 10), (0, 0), (1, 2, 1.0), (1.0, 2)])
def test_wilson_interval_of_impossible_counts_is_refused(arguments):
    with pytest.raises((TypeError, ValueError)):
        wilson_interval(*arguments)
