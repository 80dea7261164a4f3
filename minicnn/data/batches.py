"""Mini-batches of arrays in memory."""

import operator
from collections.abc import Iterator
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from .. import random
from ..arrays import as_float32, as_labels, check_images, gather

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64] | None]


def batches(
    x: npt.ArrayLike,
    y: npt.ArrayLike | None,
    batch_size: SupportsIndex,
    *,
    shuffle: bool = False,
    seed: SupportsIndex = 0,
    epoch: SupportsIndex = 0,
) -> Iterator[Batch]:
    """The samples of one epoch, `batch_size` at a time; the last batch holds what is left.

    The order depends on (seed, epoch) and the number of samples only. `x` is never converted as
    a whole: each batch is gathered in the dtype of `x` and converted by itself, so an epoch over
    uint8 images needs the memory of one float32 batch.

    Parameters
    ----------
    x : (N, ...) uint8 or float array
        As in `as_float32`; any memory layout, also memory-mapped.
    y : (N,) integer array or None
        As in `as_labels`; None for prediction.
    batch_size : int
        At least 1.
    shuffle : bool
        In a new order every epoch, otherwise as they come.
    seed, epoch : int
        The stream of `minicnn.random` that gives the order.

    Returns
    -------
    iterator of (float32 (n, ...), int64 (n,) or None)
        New arrays each time: they share no memory with `x`, `y` or each other.

    Raises
    ------
    TypeError, ValueError
        As `as_float32`, `as_labels` and `minicnn.random.permutation`, and for a `batch_size`
        below 1; raised by the call, before the first batch.
    """
    x = np.asarray(x)
    check_images(x)
    labels = None if y is None else as_labels(y, len(x))
    size = operator.index(batch_size)
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    order = random.permutation(len(x), seed, random.SHUFFLE, epoch) if shuffle else None
    return _generate(x, labels, size, order)


def _generate(
    x: npt.NDArray[Any],
    labels: npt.NDArray[np.int64] | None,
    size: int,
    order: npt.NDArray[np.int64] | None,
) -> Iterator[Batch]:
    for start in range(0, len(x), size):
        stop = min(start + size, len(x))
        if order is None:
            # Copied first: as_float32 hands a contiguous float32 slice back as it is.
            images = x[start:stop].copy()
            yield as_float32(images), None if labels is None else labels[start:stop].copy()
        else:
            chosen = order[start:stop]
            yield as_float32(gather(x, chosen)), None if labels is None else labels[chosen]
