"""Numbers that say how well a classifier does, from labels and what was predicted.

Labels and predictions are class indices, integer arrays of shape (N,). As in scikit-learn the
true labels come first.
"""

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .arguments import real_number, whole_number
from .arrays import as_labels


class PerClass(NamedTuple):
    """One number for each of K classes, in four arrays of shape (K,)."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]


def accuracy(labels: Any, predictions: Any) -> float:
    """Share of the samples whose prediction is the label.

    Raises
    ------
    TypeError, ValueError
        When an argument does not hold integers, the lengths differ, or there are no samples.
    """
    labels, predictions = _pair(labels, predictions)
    return float(np.mean(labels == predictions))


def confusion_matrix(labels: Any, predictions: Any, classes: int) -> NDArray[np.int64]:
    """How often each class was taken for each.

    Returns
    -------
    (K, K) int64 array
        Entry [i, j] counts the samples of class i that were predicted as j.

    Raises
    ------
    TypeError, ValueError
        As `accuracy`; ValueError also for an index outside of 0 … classes − 1.
    """
    classes = whole_number(classes, "classes", maximum=2**15)
    labels, predictions = _pair(labels, predictions)
    _check_range("label", labels, classes)
    _check_range("prediction", predictions, classes)
    counts = np.bincount(labels * classes + predictions, minlength=classes * classes)
    return counts.astype(np.int64, copy=False).reshape(classes, classes)


def per_class(matrix: Any) -> PerClass:
    """Precision, recall and F1 of each class, from a confusion matrix.

    precision = hits / predicted, recall = hits / support,
    F1 = 2 · hits / (predicted + support), the harmonic mean of the two. Where the divisor is 0,
    because the class was never predicted or has no samples, the value is 0.

    Parameters
    ----------
    matrix : (K, K) integers
        As `confusion_matrix` returns it.

    Raises
    ------
    TypeError, ValueError
        When `matrix` is no square array of counts.
    """
    matrix = np.asarray(matrix)
    if matrix.dtype.kind not in "iu":
        raise TypeError(f"the matrix has dtype {matrix.dtype}; expected counts, as integers")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"the matrix has shape {matrix.shape}; expected (K, K)")
    if matrix.min() < 0:
        raise ValueError(f"the matrix holds {matrix.min()}; expected counts, 0 or more")
    matrix = matrix.astype(np.int64)
    hits, support, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return PerClass(
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, support),
        f1=_ratio(2 * hits, predicted + support),
        support=support,
    )


def wilson_interval(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Between which shares the true one lies, when `hits` of `count` samples were right.

    With p = hits / count, n = count and the normal quantile z, the ends are

        (p + z²/2n ± z √(p (1 − p) / n + z²/4n²)) / (1 + z²/n)

    It holds for few samples and for shares near 0 and 1 as well, and never leaves [0, 1].

    Raises
    ------
    TypeError, ValueError
        When `hits` is not in 0 … `count`, or `confidence` not between 0 and 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    count = whole_number(count, "count", maximum=2**63 - 1)
    hits = whole_number(hits, "hits", 0, count)
    confidence = real_number(confidence, "confidence", maximum=1.0, below=True)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, extra = hits / count, z * z / count
    middle = share + extra / 2
    reach = z * math.sqrt(share * (1 - share) / count + extra / (4 * count))
    ends = (middle - reach) / (1 + extra), (middle + reach) / (1 + extra)
    # Where all or none were right, the far end is exact but for rounding.
    return (0.0 if hits == 0 else ends[0]), (1.0 if hits == count else ends[1])


def top_k_accuracy(labels: Any, scores: Any, k: int = 5) -> float:
    """Share of the samples whose label is among the `k` classes with the highest scores.

    Of classes with equal scores the one with the lower index comes first, so that k = 1 agrees
    with argmax. A sample with a score of NaN counts as wrong.

    Parameters
    ----------
    labels : (N,) integers
    scores : (N, K) floats
        Logits or probabilities.
    k : int
        1 to K.

    Raises
    ------
    TypeError, ValueError
        When the arguments do not fit each other, or a label is out of range.
    """
    scores = np.asarray(scores)
    if scores.dtype.kind != "f":
        raise TypeError(f"the scores have dtype {scores.dtype}; expected floats")
    if scores.ndim != 2 or not scores.size:
        raise ValueError(f"the scores have shape {scores.shape}; expected (N, K), not empty")
    labels = as_labels(labels, len(scores))
    classes = scores.shape[1]
    _check_range("label", labels, classes)
    k = whole_number(k, "k", maximum=classes)
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    earlier = np.arange(classes) < labels[:, None]
    rank = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return float(np.mean((rank < k) & ~np.isnan(scores).any(axis=1)))


def _pair(labels: Any, predictions: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    labels, predictions = as_labels(labels), as_labels(predictions)
    if len(labels) != len(predictions):
        raise ValueError(
            f"there are {len(labels)} labels and {len(predictions)} predictions; expected as many"
        )
    if not len(labels):
        raise ValueError("there are no labels; expected at least one sample")
    return labels, predictions


def _check_range(what: str, values: NDArray[np.int64], classes: int) -> None:
    wrong = (values < 0) | (values >= classes)
    if wrong.any():
        position = int(wrong.argmax())
        raise ValueError(f"{what} {position} is {values[position]}; expected 0 to {classes - 1}")


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """part / whole, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(whole.shape), where=whole > 0)
