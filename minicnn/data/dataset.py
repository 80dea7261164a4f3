"""What a reader of data returns."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import DataError
from .folders import Problem

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


class Photos(NamedTuple):
    """How a folder of photos was read.

    Attributes
    ----------
    size : (height, width)
        What every picture was stretched to.
    problems : tuple of Problem
        Files and folders that cannot be used and were left out.
    hidden, foreign : tuple of str
        Paths that were passed over: hidden, or no picture by the ending of the name.
    paths : dict of "train", "validation", "test" to list of str
        The file of each image, for the parts that the folder has.
    """

    size: tuple[int, int]
    problems: tuple[Problem, ...] = ()
    hidden: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    paths: Mapping[str, Sequence[str]] = MappingProxyType({})


class Splits(NamedTuple):
    """One source of data as it comes: what it does not divide itself is None.

    Attributes
    ----------
    name : str
        For people: "digits", "mnist", or the path.
    train : Dataset
    validation, test : Dataset or None
    photos : Photos or None
        Where the source is a folder of photos.
    """

    name: str
    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None
    photos: Photos | None = None


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


def join_splits(
    name: str, train: Dataset, validation: Dataset | None = None, test: Dataset | None = None
) -> Splits:
    """The parts of one source, checked against each other.

    Parts whose classes are numbered get the longest list of names, since a small part may lack
    samples of the last classes.

    Raises
    ------
    DataError
        Images of different sizes or types, or a part without samples.
    """
    parts = {"train": train, "validation": validation, "test": test}
    present = {key: part for key, part in parts.items() if part is not None}
    for key, part in present.items():
        if len(part.labels) == 0:
            raise DataError(f"{name}: the {key} part holds no samples")
        got, expected = (f"{p.images.dtype} {p.images.shape[1:]}" for p in (part, train))
        if got != expected:
            raise DataError(
                f"{name}: the {key} images are {got}, expected {expected} as the train images"
            )
    classes = max((part.classes for part in present.values()), key=len)
    joined = {key: part._replace(classes=classes) for key, part in present.items()}
    return Splits(name, joined["train"], joined.get("validation"), joined.get("test"))
