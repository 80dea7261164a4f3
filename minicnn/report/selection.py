"""Which samples a report shows."""

import numpy as np
from numpy.typing import NDArray

from .facts import Judged

Index = NDArray[np.int64]

SHOWN = 12  # of each kind
EXPLAINED_CLASSES, EXPLAINED_MISTAKES = 6, 2


def confident_mistakes(judged: Judged, most: int = SHOWN) -> Index:
    """Positions of the wrong answers, the surest first; of equals the first sample."""
    return _in_order(judged, judged.answers != judged.labels, -1)[:most]


def unsure_hits(judged: Judged, most: int = SHOWN) -> Index:
    """Positions of the right answers, the least sure first."""
    return _in_order(judged, judged.answers == judged.labels, 1)[:most]


def to_explain(judged: Judged) -> Index:
    """The surest right answer of each of a few classes, then the surest mistakes.

    Of many classes those are taken that lie evenly among them.
    """
    right = _in_order(judged, judged.answers == judged.labels, -1)
    classes = np.unique(judged.labels[right])
    if len(classes) > EXPLAINED_CLASSES:
        places = np.linspace(0, len(classes) - 1, EXPLAINED_CLASSES).round().astype(int)
        classes = classes[places]
    hits = [right[judged.labels[right] == k][0] for k in classes]
    return np.array([*hits, *confident_mistakes(judged, EXPLAINED_MISTAKES)], np.int64)


def _in_order(judged: Judged, chosen: NDArray[np.bool_], sign: int) -> Index:
    """The chosen positions by confidence, rising or falling."""
    positions = np.flatnonzero(chosen)
    confidence = judged.probabilities[positions].max(axis=1)
    return positions[np.argsort(sign * confidence, kind="stable")]
