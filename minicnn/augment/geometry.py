"""Flips, crops and rotations, as maps from output pixels to input pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import real_number
from .base import Floats, Geometric, Size, interval, log_spread, positive_interval, spread


def identity(n: int) -> NDArray[np.float64]:
    """n maps that move nothing, (n, 3, 3)."""
    return np.tile(np.eye(3), (n, 1, 1))


class RandomHorizontalFlip(Geometric):
    """Mirrors left and right with probability `p`.

    Parameters
    ----------
    p : float in [0, 1]
    """

    draws, names = 1, ("p",)

    def __init__(self, p: float = 0.5):
        self.p = real_number(p, "p", maximum=1.0)

    def maps(self, u: Floats, size: Size) -> NDArray[np.float64]:
        maps = identity(len(u))
        flipped = u[:, 0] < self.p
        maps[flipped, 0, 0], maps[flipped, 0, 2] = -1.0, size[1] - 1
        return maps


class RandomVerticalFlip(Geometric):
    """Mirrors top and bottom with probability `p`.

    Parameters
    ----------
    p : float in [0, 1]
    """

    draws, names = 1, ("p",)

    def __init__(self, p: float = 0.5):
        self.p = real_number(p, "p", maximum=1.0)

    def maps(self, u: Floats, size: Size) -> NDArray[np.float64]:
        maps = identity(len(u))
        flipped = u[:, 0] < self.p
        maps[flipped, 1, 1], maps[flipped, 1, 2] = -1.0, size[0] - 1
        return maps


class RandomResizedCrop(Geometric):
    """Shows a random rectangle of the image in the image's own size.

    Parameters
    ----------
    scale : (low, high)
        Share of the image's area, 0 to 1, drawn evenly.
    ratio : (low, high)
        How much wider than high the rectangle is, relative to the image, so that 1 keeps the
        proportions; even in the logarithm. A side longer than the image's is cut to it.

    Source: Szegedy et al., "Going deeper with convolutions" (2015), section 6.
    """

    draws, names = 4, ("scale", "ratio")

    def __init__(self, scale: Any = (0.08, 1.0), ratio: Any = (3 / 4, 4 / 3)):
        self.scale = interval(scale, "scale", maximum=1.0)
        if not self.scale[0] > 0:
            raise ValueError(f"scale is {scale!r}; expected shares above 0")
        self.ratio = positive_interval(ratio, "ratio")

    def maps(self, u: Floats, size: Size) -> NDArray[np.float64]:
        area, ratio = spread(u[:, 0], self.scale), log_spread(u[:, 1], self.ratio)
        maps = identity(len(u))
        for axis, share in enumerate((np.sqrt(area * ratio), np.sqrt(area / ratio))):
            share = np.minimum(share, 1.0)
            length = size[1 - axis]
            start = u[:, 2 + axis] * (1.0 - share) * length
            maps[:, axis, axis] = share
            # The centre of pixel 0 is half an output pixel inside of the rectangle.
            maps[:, axis, 2] = start + 0.5 * share - 0.5
        return maps


class RandomRotation(Geometric):
    """Turns the image about its centre; the corners that open show the nearest pixel.

    Parameters
    ----------
    degrees : float or (low, high)
        A number d means (-d, d). Positive angles turn counter-clockwise.
    """

    draws, names = 1, ("degrees",)

    def __init__(self, degrees: Any):
        if not isinstance(degrees, (tuple, list)):
            limit = real_number(degrees, "degrees", maximum=360.0)
            degrees = (-limit, limit)
        self.degrees = interval(degrees, "degrees", -360.0, 360.0)

    def maps(self, u: Floats, size: Size) -> NDArray[np.float64]:
        angle = np.deg2rad(spread(u[:, 0], self.degrees))
        cos, sin = np.cos(angle), np.sin(angle)
        y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
        maps = identity(len(u))
        # Rows grow downwards, so this is a counter-clockwise turn of what is seen.
        maps[:, 0, 0], maps[:, 0, 1], maps[:, 0, 2] = cos, -sin, x - (cos * x - sin * y)
        maps[:, 1, 0], maps[:, 1, 1], maps[:, 1, 2] = sin, cos, y - (sin * x + cos * y)
        return maps
