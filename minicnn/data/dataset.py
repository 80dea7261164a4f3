"""What a reader of data returns."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import DataError

MAX_CLASSES = 65_536


class Dataset(NamedTuple):
    """Images with their labels; unpacks as `images, labels, classes = dataset`.

    Attributes
    ----------
    images : (N, C, H, W) uint8 or float32 array
        uint8 means 0 ... 255 for 0 ... 1.
    labels : (N,) int64 array
        Positions in `classes`.
    classes : tuple of str
    """

    images: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


class Splits(NamedTuple):
    """One source of data as it comes: what it does not divide itself is None.

    Attributes
    ----------
    name : str
        For people: "digits", "mnist", or the path.
    train : Dataset
    validation, test : Dataset or None
    """

    name: str
    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None


def numbered_classes(labels: npt.NDArray[np.int64], source: str) -> tuple[str, ...]:
    """Class names "0", "1", ... up to the largest label.

    Raises
    ------
    DataError
        A negative label, or one so large that it cannot be a class number.
    """
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(
            f"{source}: labels must be in 0 ... {MAX_CLASSES - 1}, got {low} ... {high}; "
            "number the classes from 0, as np.unique(labels, return_inverse=True)[1] does"
        )
    return tuple(str(k) for k in range(high + 1))
