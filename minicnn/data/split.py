"""Stratified splits: every part has the classes in the proportions of the whole."""

import math
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from .. import random
from ..arrays import as_labels

Index = npt.NDArray[np.int64]

# Products such as 3000 * 0.1 miss the whole number they stand for by a rounding error.
SLACK = 1e-6


def stratified_split(
    labels: npt.ArrayLike, fraction: float | Sequence[float], seed: SupportsIndex
) -> tuple[Index, ...]:
    """Divide samples at random into parts that each hold every class in proportion.

    The result depends on the arguments only and is the same on every machine. A held-out part
    has ceil(N * fraction) samples, and in it each class has its exact share rounded down or up.
    Small classes come first, though: a class with at least as many samples as there are parts is
    in all of them, one with fewer fills the parts from the left, and the size of a part gives way.

    Parameters
    ----------
    labels : (N,) integer array
    fraction : float or sequence of float
        A number is the share of the second of two parts: 0.2 gives (train, validation).
        A sequence gives all shares, which add up to 1: (0.8, 0.1, 0.1) gives three parts.
    seed : int
        0 <= seed < 2**64.

    Returns
    -------
    tuple of int64 arrays
        The positions of each part's samples, increasing; every position is in one part.

    Raises
    ------
    TypeError, ValueError
        Labels as in `as_labels`; shares outside (0, 1) or not adding up to 1; too few samples to
        put at least one into each part.
    """
    y = as_labels(labels)
    shares = _shares(fraction)
    classes, numbers, sizes = np.unique(y, return_inverse=True, return_counts=True)
    counts = _counts(sizes, shares)
    if empty := [k for k, total in enumerate(counts.sum(axis=1)) if total == 0]:
        raise ValueError(
            f"cannot split {len(y)} samples of {len(classes)} classes into parts of {shares}: "
            f"part {empty[0]} would be empty; add samples or ask for fewer parts"
        )
    # Group a random order by class, keeping it random within each class; then the first samples
    # of a class go to part 0, the next ones to part 1, and so on.
    order = random.permutation(len(y), seed, random.SPLIT)
    order = order[np.argsort(numbers[order], kind="stable")]
    part_of = np.empty(len(y), np.int64)
    part_of[order] = np.repeat(np.tile(np.arange(len(shares)), len(classes)), counts.T.ravel())
    return tuple(np.flatnonzero(part_of == part) for part in range(len(shares)))


def _shares(fraction: float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(fraction, Sequence):
        shares = tuple(float(share) for share in fraction)
        if len(shares) < 2 or abs(sum(shares) - 1) > SLACK:
            raise ValueError(f"the shares of two or more parts must add up to 1, got {shares}")
    else:
        shares = (1 - float(fraction), float(fraction))
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"each share must lie between 0 and 1, got fraction={fraction}")
    return shares


def _counts(sizes: npt.NDArray[np.intp], shares: tuple[float, ...]) -> npt.NDArray[np.intp]:
    """How many samples of each class go to each part: (parts, classes)."""
    counts = np.zeros((len(shares), len(sizes)), np.intp)
    # least[p, k] = 1 where class k must be in part p: its samples fill the parts from the left.
    least = (sizes > np.arange(len(shares))[:, np.newaxis]).astype(np.intp)
    left = sizes.copy()
    for part in range(len(shares) - 1, 0, -1):
        quota = sizes * shares[part]
        most = left - least[:part].sum(axis=0)
        counts[part] = np.clip(np.floor(quota + SLACK).astype(np.intp), least[part], most)
        missing = math.ceil(sizes.sum() * shares[part] - SLACK) - int(counts[part].sum())
        # One more for the classes that are furthest below their share; the first of equals.
        short = np.where(counts[part] < most, np.round(quota - counts[part], 6), 0)
        furthest = np.argsort(-short, kind="stable")[: max(missing, 0)]
        counts[part][furthest[short[furthest] > 0]] += 1
        left -= counts[part]
    counts[0] = left
    return counts
