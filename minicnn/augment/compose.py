"""Transforms in a row, applied to batches."""

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import random
from ..arguments import whole_number
from ..arrays import as_float32, as_labels, check_dtype
from ..kernels.augment import warp
from .base import Floats, Geometric, Mixing, Pixelwise, Transform
from .geometry import identity

LOTS = 2  # uniform numbers for each Mixing besides its own: whether, and with which image


class Compose:
    """Transforms applied one after the other; neighbouring geometric ones in one resampling.

    Parameters
    ----------
    *transforms : Transform or Compose
        `Mixing` ones (MixUp, CutMix) come last. Of several, an image gets the first whose lot
        falls on it.

    Raises
    ------
    TypeError, ValueError
        Something else than a transform; a transform behind a mixing one.
    """

    def __init__(self, *transforms: "Transform | Compose"):
        flat: list[Transform] = []
        for given in transforms:
            flat += given.transforms if isinstance(given, Compose) else [given]
        self.transforms: list[Transform] = flat
        for before, transform in zip([None, *flat], flat, strict=False):
            if not isinstance(transform, (Geometric, Pixelwise, Mixing)):
                raise TypeError(f"{transform!r} is no transform; expected objects of mc.augment")
            if isinstance(before, Mixing) and not isinstance(transform, Mixing):
                raise ValueError(
                    f"{transform!r} comes after {before!r}; expected MixUp and CutMix at the end"
                )

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of classes."""
        return any(isinstance(t, Mixing) for t in self.transforms)

    def check(self, x: NDArray[Any]) -> None:
        """Raise a TypeError or ValueError when x is not images that this can be applied to."""
        check_dtype(x)
        if x.ndim != 4 or not x.size:
            raise ValueError(
                f"only images (N, C, H, W) can be augmented, got shape {x.shape}; "
                "reshape them, or train without augment"
            )
        for transform in self.transforms:
            if isinstance(transform, Pixelwise):
                transform.check(x)

    def __call__(self, x: Any, *, seed: int = 0, epoch: int = 0) -> Floats:
        """The images as they are in one epoch; to look at what the transforms do.

        Parameters
        ----------
        x : (N, C, H, W) uint8, or float of 0 … 1
        seed, epoch : int
            With its number, decide what happens to an image.

        Returns
        -------
        (N, C, H, W) float32
            A new array; where labels would be mixed, the mixed images.
        """
        x = np.asarray(x)
        self.check(x)
        labels = np.zeros(len(x), np.int64)
        return Epoch(self, x, labels, seed, epoch, classes=1).batch(np.arange(len(x)))[0]

    def hyper_parameters(self) -> dict[str, Any]:
        """The transforms by type and arguments, as plain data."""
        return {"transforms": [
            {"type": type(t).__name__, **t.hyper_parameters()} for t in self.transforms
        ]}  # fmt: skip

    def __repr__(self) -> str:
        return "Compose(" + ", ".join(map(repr, self.transforms)) + ")"


class Epoch:
    """What a Compose makes of one epoch's samples.

    All uniform numbers are drawn at once: row i of a transform's table belongs to sample i, and
    is the beginning of a stream named (epoch, place of the transform), so it does not depend on
    the number of samples either.

    Parameters
    ----------
    chain : Compose
    x : (N, C, H, W) uint8 or float array
        Images that `chain.check` has accepted.
    y : (N,) integers
        Class numbers, below `classes` where they are mixed.
    seed, epoch : int
    classes : int
        Length of a row of targets, if the chain mixes.

    Raises
    ------
    TypeError, ValueError
        Labels of another type, or out of range where they are mixed.
    """

    def __init__(
        self, chain: Compose, x: NDArray[Any], y: Any, seed: int, epoch: int, classes: int
    ):
        self.chain, self.x, self.classes = chain, x, whole_number(classes, "classes")
        self.y = as_labels(y, len(x))
        if chain.mixes:
            _check_labels(self.y, classes)
        self.tables = [
            random.uniform((len(x), _draws(transform)), seed, random.AUGMENT, epoch, place)
            for place, transform in enumerate(chain.transforms)
        ]

    def batch(self, index: NDArray[np.int64]) -> tuple[Floats, NDArray[Any]]:
        """The samples at `index`: images (n, C, H, W) float32, and int64 labels (n,) or, when
        labels are mixed, float32 targets (n, classes) whose rows add up to 1."""
        images = self._images(index)
        if not self.chain.mixes:
            return images, self.y[index]
        targets = one_hot(self.y[index], self.classes)
        free = np.ones(len(index), bool)
        for transform, table in zip(self.chain.transforms, self.tables, strict=True):
            if isinstance(transform, Mixing):
                rows = table[index]
                chosen = np.flatnonzero(free & (rows[:, 0] < transform.p))
                free[chosen] = False
                self._mix(transform, images, targets, rows[chosen], chosen)
        return images, targets

    def _images(self, index: NDArray[np.int64]) -> Floats:
        """The samples at `index` after all transforms but the mixing ones."""
        images = np.ascontiguousarray(self.x[index])
        if images.dtype != np.uint8:
            images = as_float32(images)
        steps = zip(self.chain.transforms, self.tables, strict=True)
        for geometric, group in groupby(steps, lambda step: isinstance(step[0], Geometric)):
            drawn = [(transform, table[index]) for transform, table in group]
            if geometric:
                images = _resample(images, drawn)
                continue
            images = as_float32(images)
            for transform, u in drawn:
                if isinstance(transform, Pixelwise):
                    transform.apply(images, u)
        return as_float32(images)

    def _mix(
        self, transform: Mixing, images: Floats, targets: Floats, rows: Floats,
        chosen: NDArray[np.int64],
    ) -> None:  # fmt: skip
        """Mix the chosen images of a batch with others of the data, and their targets."""
        if not len(chosen):
            return
        # Any image of the data: whether it is in this batch must not matter.
        partners = (rows[:, 1].astype(np.float64) * len(self.x)).astype(np.int64)
        mixed = images[chosen]
        kept = transform.mix(mixed, self._images(partners), rows[:, LOTS:])
        images[chosen] = mixed
        targets[chosen] *= kept[:, None]
        targets[chosen] += (1 - kept)[:, None] * one_hot(self.y[partners], self.classes)


def one_hot(labels: NDArray[np.int64], classes: int) -> Floats:
    """(n, classes) float32: 1 at each row's label, else 0."""
    rows = np.zeros((len(labels), classes), np.float32)
    rows[np.arange(len(labels)), labels] = 1
    return rows


def _draws(transform: Transform) -> int:
    return transform.draws + (LOTS if isinstance(transform, Mixing) else 0)


def _resample(images: NDArray[Any], drawn: list[tuple[Any, Floats]]) -> Floats:
    """Images after geometric transforms; the last map is applied to output pixels first."""
    maps = identity(len(images))
    for transform, u in drawn:
        maps = maps @ transform.maps(u, images.shape[2:])
    y = np.empty(images.shape, np.float32)
    warp(images, np.ascontiguousarray(maps[:, :2].reshape(-1, 6)), y)
    return y


def _check_labels(y: NDArray[np.int64], classes: int) -> None:
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels are {y.min()} … {y.max()}; to be mixed they must lie in 0 … {classes - 1}, "
            "one for each output of the model"
        )
