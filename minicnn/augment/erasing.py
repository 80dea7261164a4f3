"""Rectangles that hide a part of the image."""

from typing import Any

import numpy as np

from ..arguments import real_number
from .base import Floats, Pixelwise, interval, log_spread, positive_interval, spread


class RandomErasing(Pixelwise):
    """Covers a random rectangle with probability `p`, so that no single part decides.

    Parameters
    ----------
    p : float in [0, 1]
    scale : (low, high)
        Share of the image's area, drawn evenly.
    ratio : (low, high)
        How much wider than high the rectangle is, relative to the image; even in the logarithm.
        A side longer than the image's is cut to it.
    value : float or None
        What covers it; None: the mean colour of the image.

    Source: Zhong et al., "Random erasing data augmentation" (2020); DeVries & Taylor, "Improved
    regularization of convolutional neural networks with cutout" (2017).
    """

    draws, names = 5, ("p", "scale", "ratio", "value")

    def __init__(
        self,
        p: float = 0.5,
        scale: Any = (0.02, 0.33),
        ratio: Any = (0.3, 3.3),
        value: float | None = None,
    ):
        self.p = real_number(p, "p", maximum=1.0)
        self.scale = interval(scale, "scale", maximum=1.0)
        self.ratio = positive_interval(ratio, "ratio")
        self.value = None if value is None else real_number(value, "value", float("-inf"))

    def apply(self, x: Floats, u: Floats) -> None:
        area, ratio = spread(u[:, 1], self.scale), log_spread(u[:, 2], self.ratio)
        rows = _span(np.sqrt(area / ratio), u[:, 3], x.shape[2])
        columns = _span(np.sqrt(area * ratio), u[:, 4], x.shape[3])
        for i in np.flatnonzero(u[:, 0] < self.p):
            cover = x[i].mean(axis=(1, 2), keepdims=True) if self.value is None else self.value
            x[i][:, slice(*rows[i]), slice(*columns[i])] = cover


def _span(share: Any, u: Any, length: int) -> list[tuple[int, int]]:
    """First pixel and the one after the last, of each image."""
    sizes = np.minimum(np.rint(share * length), length).astype(np.int64)
    starts = (u.astype(np.float64) * (length - sizes + 1)).astype(np.int64)
    return list(zip(starts.tolist(), (starts + sizes).tolist(), strict=True))
